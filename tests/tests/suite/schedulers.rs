//! Two schedulers on one log: whoever stands still or dies, the other goes on, and nothing is decided twice.

use std::time::Duration;

use serde_json::{Value, json};
use waybill_tests::{
    fill::{publish_batch, request},
    port::Port,
    process::{Process, Signal},
    ready, require,
    stack::{Plan, Service, Stack, User},
    wait::eventually,
};

const CONTAINERS: usize = 300;
const LIMIT: Duration = Duration::from_secs(60);

/// Another scheduler, with a projection of its own.
async fn start_second(stack: &Stack) -> Process {
    let port = Port::reserve().unwrap();
    let mut command = stack.waybill();
    command.arg("scheduler").env("WAYBILL_SCHEDULER_HEALTH_LISTEN", port.host());
    command.env("WAYBILL_SCHEDULER_PROJECTION", stack.dir().join("second.redb"));
    let mut process = Process::spawn("second-scheduler", command, stack.dir()).unwrap();
    let url = format!("http://{}/readyz", port.host());
    ready::until_http(&mut process, LIMIT, &url, |status| status.is_success()).await.unwrap();
    process
}

/// Containers requested so far, each answered by one decision.
struct Requests {
    user: User,
    count: usize,
}

impl Requests {
    async fn add(&mut self) {
        let from = self.count;
        self.count += CONTAINERS;
        let batch = (from..self.count).map(|number| request(&format!("c-{number}"), "img", "w1"));
        publish_batch(&self.user.client, batch.collect()).await;
    }

    async fn until_decided(&self, stack: &Stack) {
        let decided = eventually(LIMIT, "a decision about every container", async || {
            let events = stack.events().await;
            let decided = events.iter().filter(|event| event.name == "ContainerCredentialsAttached").count();
            (decided >= self.count).then_some(decided)
        });
        assert_eq!(decided.await.unwrap(), self.count, "none is decided twice");
    }
}

#[tokio::test]
async fn one_goes_on_where_the_other_stands_still() {
    let mut stack = require!(Plan::default().setting("WAYBILL_LOG", "info").start().await);
    stack.stop(&Service::Worker("w1".to_owned())).await;
    let credentials = json!({ "USERNAME": "puller", "PASSWORD": "pass" });
    let saved = stack.build("acme", "img", "registry.example.com/team/app:1", credentials).await;
    assert_eq!(saved.status, 201);
    let mut second = start_second(&stack).await;
    let mut requests = Requests { user: stack.user("gateway").await, count: 0 };
    // Both at work.
    requests.add().await;
    requests.until_decided(&stack).await;
    // Whichever publishes, one of these stands still in the middle of it.
    stack.process(&Service::Scheduler).signal(Signal::Pause).unwrap();
    requests.add().await;
    requests.until_decided(&stack).await;
    stack.process(&Service::Scheduler).signal(Signal::Resume).unwrap();
    second.signal(Signal::Pause).unwrap();
    requests.add().await;
    requests.until_decided(&stack).await;
    second.signal(Signal::Resume).unwrap();
    requests.add().await;
    requests.until_decided(&stack).await;
    stack.sigkill(&Service::Scheduler);
    requests.add().await;
    requests.until_decided(&stack).await;

    let verified = stack.run(&["replay", "--verify", "--json"]).await;
    assert!(verified.status.success(), "{}{}", verified.stdout, verified.stderr);
    let summary: Value = serde_json::from_str(&verified.stdout).unwrap();
    assert_eq!(summary["verified"]["agreed"], requests.count, "{summary}");
}
