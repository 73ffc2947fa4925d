//! A server with too many messages in hand refuses decisions (429, code 10167): nothing ends, and all is made up for.

use waybill_tests::{
    require,
    stack::{Plan, Service, Stack, User},
    wait::eventually,
};

use super::{
    PATIENCE,
    admin::limit_requests,
    contract::{self, WORKSPACE},
    fleet::verify,
    row10_full_accounts::assert_recovered,
};

/// Messages that the server takes into its hand for the stream.
const IN_HAND: u32 = 2;
/// Messages that are sent at once to fill it.
const BURST: usize = 200;

/// Keeps the server's hand full: the same message again and again, which is stored once.
async fn flood(user: User) {
    let subject = contract::request_subject(WORKSPACE, "flood");
    loop {
        for _ in 0..BURST {
            let mut headers = async_nats::HeaderMap::new();
            headers.insert("Nats-Msg-Id", "flood");
            user.client.publish_with_headers(subject.clone(), headers, "flood".into()).await.unwrap();
        }
        user.client.flush().await.unwrap();
    }
}

/// True if the scheduler was told that there are too many requests.
fn is_refused(stack: &Stack) -> bool {
    let logs = stack.logs();
    logs.lines().any(|line| line.contains("waybill-scheduler") && line.contains("too many requests"))
}

#[tokio::test]
async fn too_many_requests_pass_by_themselves() {
    let mut stack = require!(Plan::default().start().await);
    limit_requests(&mut stack, IN_HAND).await;
    for service in [Service::Gateway, Service::Scheduler] {
        stack.until_ready(&service).await.unwrap();
    }
    let flooding = tokio::spawn(flood(stack.user("orchestrator-acme").await));
    let mut taken = Vec::new();
    let refused = eventually(PATIENCE, "a scheduler that is refused", async || {
        let container = format!("c-{}", taken.len());
        let answer = stack.container(WORKSPACE, &container, "img", "w1").await;
        if answer.status == 202 {
            taken.push((answer.sequence(), container));
        }
        is_refused(&stack).then_some(())
    });
    refused.await.unwrap_or_else(|error| panic!("{error}"));
    flooding.abort();
    assert_recovered(&mut stack, &taken).await;
    verify(&stack).await;
}
