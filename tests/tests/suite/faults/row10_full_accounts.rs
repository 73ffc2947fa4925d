//! An account with no room left: every light says so, nothing ends, and all goes on by itself when there is room.

use serde_json::Value;
use waybill_tests::{
    require,
    stack::{Plan, Service, Stack},
    wait::eventually,
};

use crate::explain::expect;

use super::{
    PATIENCE,
    admin::{Admin, limit_storage},
    contract::{self, WORKSPACE},
    fleet::verify,
};

/// Room for some dozens of requests.
const ROOM_BYTES: u64 = 24 * 1024;
const MOST_REQUESTS: usize = 1000;

/// Requests containers until the log has no room for another; returns sequence and id of those that it took.
pub(super) async fn request_until_full(stack: &Stack) -> Vec<(u64, String)> {
    let mut taken = Vec::new();
    for number in 0..MOST_REQUESTS {
        let container = format!("c-{number}");
        let answer = stack.container(WORKSPACE, &container, "img", "w1").await;
        if answer.status != 202 {
            assert!(answer.status.is_server_error(), "{answer:?}");
            return taken;
        }
        taken.push((answer.sequence(), container));
    }
    panic!("the account takes {MOST_REQUESTS} requests: it is not full");
}

/// Waits until a service that runs says in its readiness why it is not ready.
pub(super) async fn until_says(stack: &mut Stack, service: &Service, says: fn(&str) -> bool) {
    let what = format!("{service:?} to say that the log takes no events");
    let said = eventually(PATIENCE, &what, async || {
        if let Some(status) = stack.process(service).exit_status() {
            return Some(Err(format!("{service:?} ended with {status}")));
        }
        let answer = stack.readiness(service).await?;
        (answer.status == 503 && says(&answer.body.to_string())).then_some(Ok(()))
    });
    let said = said.await.unwrap_or_else(|error| panic!("{error}"));
    if let Err(ended) = said {
        panic!("{ended}: {}", stack.process(service).last_lines().await);
    }
}

/// What the doctor finds in need of attention.
pub(super) async fn doctor_findings(stack: &Stack) -> String {
    let said = stack.run(&["doctor", "--json"]).await;
    let report: Value = serde_json::from_str(&said.stdout).unwrap_or_else(|_| panic!("{}", said.stderr));
    let checks = report["checks"].as_array().unwrap().iter();
    checks.filter(|check| check["status"] == "attention").map(Value::to_string).collect()
}

/// A request that waits for a decision is not the scheduler's fault, wherever one asks. The gateway has tried a moment ago.
pub(super) async fn explained_as_full(stack: &Stack, container: &str) {
    let refused = stack.container(WORKSPACE, "c-refused", "img", "w1").await;
    assert!(refused.status.is_server_error(), "{refused:?}");
    let expected = (1, "attached", "log_full", "the scheduler's decision cannot be recorded: the event log");
    expect(stack, ["container", container], expected).await;
    let case = stack.run(&["case", "container", container]).await;
    let case: Value = serde_json::from_str(&case.stdout).unwrap_or_else(|_| panic!("{}", case.stderr));
    assert!(case["readers"]["log_full"].is_string(), "{case:#}");
}

/// Waits until every request that was taken has its decision and outcome, from the scheduler that runs.
pub(super) async fn assert_recovered(stack: &mut Stack, taken: &[(u64, String)]) {
    let decided = stack.wait_for("every decision", |events| {
        let decided = |sequence| !contract::decisions_of_request(events, sequence).is_empty();
        let pulled = |container: &str| !contract::outcomes(events, container).is_empty();
        taken.iter().all(|(sequence, container)| decided(*sequence) && pulled(container)).then_some(())
    });
    decided.await;
    assert_eq!(stack.process(&Service::Scheduler).exit_status(), None, "it is the process of before");
    for service in [Service::Scheduler, Service::Gateway] {
        stack.until_ready(&service).await.unwrap();
    }
    let events = stack.events().await;
    for (sequence, container) in taken {
        assert_eq!(contract::decisions_of_request(&events, *sequence).len(), 1, "decisions for {container}");
    }
}

#[tokio::test]
async fn a_full_account_is_said_and_passes_by_itself() {
    let plan = Plan::default().setting("WAYBILL_GATEWAY_APPEND_SECONDS", "2");
    let mut stack = require!(plan.start().await);
    let admin = Admin::connect(&mut stack).await;
    stack.container(WORKSPACE, "c-before", "img", "w1").await;
    stack.wait_for_outcome("c-before").await;
    stack.stop(&Service::Scheduler).await;
    let used = admin.account_bytes().await;
    limit_storage(&mut stack, Some(used + ROOM_BYTES)).await;
    let gateway_back = eventually(PATIENCE, "a gateway that is ready", async || {
        stack.readiness(&Service::Gateway).await?.status.is_success().then_some(())
    });
    gateway_back.await.unwrap();
    let taken = request_until_full(&stack).await;
    assert!(!taken.is_empty(), "there was room for requests");

    // Decisions find no room. The process lives on, and says why it makes none.
    stack.spawn(&Service::Scheduler).unwrap();
    until_says(&mut stack, &Service::Scheduler, contract::says_full).await;
    until_says(&mut stack, &Service::Gateway, contract::says_full).await;
    let findings = doctor_findings(&stack).await;
    assert!(contract::says_full(&findings), "the doctor finds: {findings}");

    let (_, waiting) = taken.last().unwrap();
    explained_as_full(&stack, waiting).await;

    limit_storage(&mut stack, None).await;
    assert_recovered(&mut stack, &taken).await;
    verify(&stack).await;
}
