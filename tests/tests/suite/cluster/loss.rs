//! One server at a time hangs, is cut off from the others, or dies: requests go on, and the doctor tells the truth.

use std::collections::BTreeSet;

use waybill_tests::{
    cluster::SERVERS,
    link::LinkState,
    process::{Process, Signal},
    require,
    stack::{Plan, Service, Stack},
};

use super::{build, findings, request_until_decided, server_of, until_whole};

async fn started() -> Result<Stack, waybill_tests::error::StartError> {
    let plan =
        Plan::default().clustered().setting("WAYBILL_LOG", "info").setting("WAYBILL_GATEWAY_APPEND_SECONDS", "20");
    let mut stack = plan.start().await?;
    // One of each, so that nobody else does the work of the one whose server is away.
    for service in [Service::SecondGateway, Service::SecondScheduler] {
        stack.stop(&service).await;
    }
    build(&stack).await;
    Ok(stack)
}

/// Reads a part of the log for as long as the test runs.
fn follow(stack: &Stack) -> Process {
    let mut child = stack.waybill();
    child.args(["events", "--follow", "--json", "--subject", "waybill.events.container.acme.*.*"]);
    Process::spawn("follower", child, stack.dir()).unwrap()
}

async fn assert_all_run(stack: &mut Stack) {
    for service in [Service::Gateway, Service::Scheduler, Service::Worker("w1".to_owned())] {
        assert!(stack.is_running(&service), "{service:?} has ended: {}", stack.process(&service).last_lines().await);
    }
}

#[tokio::test]
async fn whoever_loses_its_server_moves_to_another() {
    let mut stack = require!(started().await);
    let follower = follow(&stack);
    request_until_decided(&stack, "c-before").await;
    until_whole(&stack).await;

    for (client, container) in [("waybill-gateway", "c-hung-1"), ("waybill-scheduler", "c-hung-2")] {
        let number = server_of(&stack, client).await;
        stack.cluster().server(number).process().signal(Signal::Pause).unwrap();
        request_until_decided(&stack, container).await;
        stack.cluster().server(number).process().signal(Signal::Resume).unwrap();
        until_whole(&stack).await;
    }
    for (client, container) in [("waybill-gateway", "c-cut-1"), ("waybill-scheduler", "c-cut-2")] {
        let number = server_of(&stack, client).await;
        stack.cluster().set_links(number, LinkState::Held);
        request_until_decided(&stack, container).await;
        stack.cluster().set_links(number, LinkState::Open);
        until_whole(&stack).await;
    }
    // Readers have their consumers in the memory of one of them.
    for number in 0..SERVERS {
        stack.cluster().server(number).sigkill();
        request_until_decided(&stack, &format!("c-killed-{number}")).await;
        if number == 0 {
            assert_told(&stack, number).await;
        }
        stack.cluster().server(number).restart_soon().unwrap();
        until_whole(&stack).await;
    }
    assert_all_run(&mut stack).await;
    let marker = request_until_decided(&stack, "c-after").await;
    assert!(marker.sequence > 0);
    follower.wait_for_line(super::PATIENCE, |line| line.contains("c-after")).await.unwrap();
    let lines = follower.output().text(waybill_tests::process::Stream::Stdout);
    let sequences: Vec<u64> = lines.lines().map(|line| waybill_tests::stack::Recorded::parse(line).sequence).collect();
    let distinct: BTreeSet<u64> = sequences.iter().copied().collect();
    assert!(sequences.is_sorted() && distinct.len() == sequences.len(), "given twice: {sequences:?}");
    assert_eq!(distinct.len(), 9, "each request once: {lines}");
    let verified = stack.run(&["replay", "--verify"]).await;
    assert!(verified.status.success(), "{}{}", verified.stdout, verified.stderr);
}

/// With one of three servers dead the doctor names it, and sends nobody to `waybill init`.
async fn assert_told(stack: &Stack, dead: usize) {
    let name = format!("n{}", dead + 1);
    let told = findings(stack).await;
    let about = |check: &str| told.iter().find(|finding| finding.starts_with(check)).cloned().unwrap_or_default();
    assert!(about(&format!("server {name}")).contains("does not answer"), "{told:#?}");
    assert!(about("stream replicas").contains(&name) && about("vault replicas").contains(&name), "{told:#?}");
    assert!(!told.iter().any(|finding| finding.contains("waybill init")), "{told:#?}");
}
