//! An older log that is restored under a running scheduler, and grows past its position: the scheduler says so and decides
//! nothing from it.

use std::path::Path;

use waybill_tests::{
    login::Login,
    process::{Signal, command},
    require,
    stack::{Plan, Recorded, Service, Stack},
    wait::eventually,
};

use super::{
    PATIENCE,
    admin::Admin,
    contract::{self, WORKSPACE},
    fleet::{rebuild, refusal, service, verify},
};

const LOST: usize = 10;
/// How far the restored log grows past the end of the one that it replaces.
const FURTHER: u64 = 5;

fn copy(from: &Path, to: &Path) {
    assert!(command("cp").arg("-a").args([from, to]).status().unwrap().success());
}

async fn request(stack: &Stack, container: &str) -> u64 {
    let accepted = eventually(PATIENCE, "an accepted request", async || {
        let answer = stack.container(WORKSPACE, container, "img", "w1").await;
        (answer.status == 202).then(|| answer.sequence())
    });
    accepted.await.unwrap()
}

async fn until_decided(stack: &Stack, requests: &[u64]) -> Vec<Recorded> {
    let decided = stack.wait_for("every decision", |events| {
        let decided = |sequence: &u64| !contract::decisions_of_request(events, *sequence).is_empty();
        requests.iter().all(decided).then(|| events.to_vec())
    });
    decided.await
}

/// Waits until the scheduler refuses the log. A decision instead is a failure.
async fn until_refused(stack: &mut Stack, marker: u64) {
    let said = eventually(PATIENCE, "a scheduler that refuses the restored log", async || {
        if let Some(said) = refusal(stack).await {
            return Some(said);
        }
        let decided = !contract::decisions_of_request(&stack.events().await, marker).is_empty();
        decided.then(|| "nothing: it decides from the restored log".to_owned())
    });
    let said = said.await.unwrap();
    assert!(contract::says_rebuild(&said), "the scheduler says {said}");
}

#[tokio::test]
async fn a_log_restored_under_a_running_scheduler_is_noticed() {
    let mut stack = require!(Plan::default().start().await);
    let admin = Admin::connect(&mut stack).await;
    let login = Login::new("puller", "pass");
    let reference = "registry.example.com/team/app:1";
    stack.build(WORKSPACE, "img", reference, contract::credentials(&login)).await;
    // Nothing is pulled here: decisions are looked at.
    stack.stop(&service("w1")).await;
    let first = request(&stack, "c-first").await;
    until_decided(&stack, &[first]).await;
    let (store, backup) = (stack.home().join("data/nats"), stack.dir().join("backup"));
    stack.nats().stop().await.unwrap();
    copy(&store, &backup);
    stack.nats().restart().await.unwrap();
    let mut lost = Vec::new();
    for number in 0..LOST {
        lost.push(request(&stack, &format!("c-lost-{number}")).await);
    }
    until_decided(&stack, &lost).await;
    let end = admin.last_sequence().await;

    stack.process(&Service::Scheduler).signal(Signal::Pause).unwrap();
    stack.nats().stop().await.unwrap();
    std::fs::remove_dir_all(&store).unwrap();
    copy(&backup, &store);
    stack.nats().restart().await.unwrap();
    let mut requests = vec![first];
    while *requests.last().unwrap() < end + FURTHER {
        requests.push(request(&stack, &format!("c-new-{}", requests.len())).await);
    }
    stack.process(&Service::Scheduler).signal(Signal::Resume).unwrap();
    let marker = request(&stack, "c-marker").await;
    requests.push(marker);
    until_refused(&mut stack, marker).await;
    let events = stack.events().await;
    let wrong = requests[1..].iter().filter(|sequence| !contract::decisions_of_request(&events, **sequence).is_empty());
    assert_eq!(wrong.count(), 0, "nothing is decided from a foreign log");

    rebuild(&mut stack);
    let events = until_decided(&stack, &requests).await;
    for sequence in &requests {
        assert_eq!(contract::decisions_of_request(&events, *sequence).len(), 1, "decisions for request {sequence}");
    }
    verify(&stack).await;
}
