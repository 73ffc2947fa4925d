//! Many large messages that cannot be read cost neither memory nor projection, and hold back no request.

use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use waybill_tests::{
    login::Login,
    require,
    stack::{Plan, Service, Stack, User},
    wait::eventually,
};

use super::contract::{self, WORKSPACE};

const MESSAGES: usize = 800;
/// Just below the largest that the server takes.
const MESSAGE_BYTES: usize = 1_000_000;
/// Messages under way at once.
const CLIENTS: usize = 4;
const MEMORY_KILOBYTES: u64 = 200 * 1024;
const PROJECTION_BYTES: u64 = 32 * 1024 * 1024;
const PATIENCE: Duration = Duration::from_secs(300);

async fn store_garbage(user: &User) {
    let body = vec![b'x'; MESSAGE_BYTES];
    let stored = stream::iter(0..MESSAGES).map(|number| {
        let (subject, body) = (contract::request_subject(WORKSPACE, &format!("garbage-{number}")), body.clone());
        async move {
            // The helper's limit is for small messages on an idle machine: where no answer came, the same again.
            let headers = [("Nats-Msg-Id", subject.as_str())];
            let stored =
                eventually(PATIENCE, "stored garbage", async || user.publish(&subject, &headers, body.clone()).await);
            stored.await.unwrap()
        }
    });
    assert_eq!(stored.buffer_unordered(CLIENTS).count().await, MESSAGES);
}

/// The most memory that a service's process has held, in kilobytes (`VmHWM` of proc_pid_status(5)).
fn peak_memory(stack: &mut Stack, service: &Service) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", stack.process(service).pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[tokio::test]
async fn large_garbage_fills_neither_memory_nor_projection() {
    let mut stack = require!(Plan::default().setting("WAYBILL_LOG", "info").start().await);
    let login = Login::new("puller", "pass");
    let reference = "registry.example.com/team/app:1";
    stack.build(WORKSPACE, "img", reference, contract::credentials(&login)).await;
    stack.stop(&Service::Scheduler).await;
    store_garbage(&stack.user("orchestrator-acme").await).await;
    let requested = stack.container(WORKSPACE, "c-after", "img", "w1").await;
    assert_eq!(requested.status, 202, "{requested:?}");
    stack.spawn(&Service::Scheduler).unwrap();
    let decided = eventually(PATIENCE, "the decision behind the garbage", async || {
        contract::last_decision(&stack, "w1", "c-after").await
    });
    decided.await.unwrap();
    let memory = peak_memory(&mut stack, &Service::Scheduler);
    let projection = std::fs::metadata(contract::projection(&stack)).unwrap().len();
    assert!(
        memory <= MEMORY_KILOBYTES && projection <= PROJECTION_BYTES,
        "{memory} kB of memory (at most {MEMORY_KILOBYTES}), {projection} bytes of projection \
         (at most {PROJECTION_BYTES})"
    );
}
