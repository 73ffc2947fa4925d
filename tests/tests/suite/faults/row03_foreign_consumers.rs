//! An orchestrator's key makes a consumer that delivers into another worker's pull queue.

use async_nats::HeaderMap;
use futures_util::future::join_all;
use serde_json::{Value, json};
use waybill_tests::{
    login::Login,
    require,
    stack::{Plan, Recorded, User},
};

use super::{
    admin::Admin,
    contract::{self, STREAM},
    count_pulls, private_registry,
};

const ATTACKER: &str = "umbrella";
/// More than the 512 pull requests that may wait at one consumer.
const PULL_REQUESTS: usize = 600;

/// Stores messages of the attacker's own workspace that read as JetStream API requests.
async fn store(user: &User, body: &str, count: usize) {
    let stored = (0..count).map(|number| async move {
        let subject = contract::request_subject(ATTACKER, &format!("c-{number}"));
        user.publish(&subject, &[], body).await
    });
    let stored = join_all(stored).await;
    assert!(stored.iter().all(Option::is_some), "the attacker's own requests are stored");
}

/// Has the server deliver the attacker's messages to a subject; returns the server's answer.
async fn deliver_to(user: &User, target: &str) -> Value {
    let (subject, filter) = contract::orchestrator_consumer(ATTACKER);
    let name = format!("orchestrator-{ATTACKER}");
    let config = json!({ "stream_name": STREAM, "config": {
        "durable_name": name, "name": name, "filter_subject": filter, "deliver_policy": "all",
        // The acknowledgement subject is where the foreign requests' answers go: without interest there the server
        // drops the requests.
        "ack_policy": "explicit", "max_ack_pending": -1, "ack_wait": 86_400_000_000_000_u64,
        "deliver_subject": target,
    }});
    user.ask(&subject, HeaderMap::new(), config.to_string()).await.unwrap_or(Value::Null)
}

fn is_refused(answer: &Value) -> bool {
    answer.is_null() || !answer["error"].is_null()
}

#[tokio::test]
async fn a_foreign_consumer_starves_no_worker() {
    let login = Login::new("puller", "pass");
    let (registry, reference) = private_registry("starved", &[&login]);
    let plan = Plan::default().workspaces(&["acme", ATTACKER]).plain_http(&[&registry.host()]);
    let stack = require!(plan.start().await);
    stack.build("acme", "img", &reference, contract::credentials(&login)).await;
    let attacker = stack.user(&format!("orchestrator-{ATTACKER}")).await;
    store(&attacker, r#"{"batch":256,"expires":86400000000000}"#, PULL_REQUESTS).await;
    let mut answers = Vec::new();
    for consumer in contract::worker_consumers("w1") {
        let target = format!("$JS.API.CONSUMER.MSG.NEXT.{STREAM}.{consumer}");
        answers.push(deliver_to(&attacker, &target).await);
    }
    for number in 0..3 {
        let container = format!("c-{number}");
        assert_eq!(stack.container("acme", &container, "img", "w1").await.status, 202);
        let outcome = stack.wait_for_outcome(&container).await;
        assert_eq!(outcome.name, contract::PULLED, "{}", outcome.line);
    }
    assert!(answers.iter().all(is_refused), "an orchestrator's key made a consumer");
}

#[tokio::test]
async fn a_foreign_consumer_rewinds_no_worker() {
    let login = Login::new("puller", "pass");
    let (registry, reference) = private_registry("rewound", &[&login]);
    let plan = Plan::default().workspaces(&["acme", ATTACKER]).plain_http(&[&registry.host()]);
    let mut stack = require!(plan.start().await);
    let admin = Admin::connect(&mut stack).await;
    admin.shorten_duplicate_window().await;
    stack.build("acme", "img", &reference, contract::credentials(&login)).await;
    // Twice, so that the first outcome is not the newest on its subject.
    for pulls in 1..=2 {
        stack.container("acme", "c-1", "img", "w1").await;
        let pulled = |events: &[Recorded]| {
            let pulled = events.iter().filter(|event| event.is(contract::PULLED, "c-1"));
            (pulled.count() >= pulls).then_some(())
        };
        stack.wait_for("one more pull", pulled).await;
    }
    admin.until_acknowledged("w1").await;
    let (outcomes, pulls) = (contract::outcomes(&stack.events().await, "c-1").len(), count_pulls(&registry));

    admin.pass_duplicate_window().await;
    let attacker = stack.user(&format!("orchestrator-{ATTACKER}")).await;
    store(&attacker, r#"{"seq":1}"#, 1).await;
    let mut answers = Vec::new();
    for consumer in contract::worker_consumers("w1") {
        answers.push(deliver_to(&attacker, &format!("$JS.API.CONSUMER.RESET.{STREAM}.{consumer}")).await);
    }
    stack.container("acme", "c-marker", "img", "w1").await;
    stack.wait_for_outcome("c-marker").await;
    admin.until_acknowledged("w1").await;
    assert_eq!(contract::outcomes(&stack.events().await, "c-1").len(), outcomes, "outcomes of c-1");
    assert_eq!(count_pulls(&registry), pulls + 1, "only the marker is pulled");
    assert!(answers.iter().all(is_refused), "an orchestrator's key made a consumer");
}
