//! A row of the projection that changed on disk decides nothing: it is folded again, or the scheduler says so and stops.

use memchr::memmem;
use waybill_tests::{
    login::Login,
    require,
    stack::{Plan, Recorded, Service, Stack},
    wait::eventually,
};

use super::{
    PATIENCE,
    contract::{self, WORKSPACE},
    fleet::{service, verify},
};

/// What a decision came to, whatever request it answers.
fn content(event: &Recorded) -> [String; 4] {
    [&event.name, event.text("image_ref"), event.text("registry"), event.text("reason")].map(str::to_owned)
}

/// Flips the lowest bit of a marker's first byte, wherever the marker stands in the projection's file.
fn flip(stack: &Stack, marker: &str) {
    let file = contract::projection(stack);
    let mut bytes = std::fs::read(&file).unwrap();
    let found: Vec<usize> = memmem::find_iter(&bytes, marker).collect();
    assert!(!found.is_empty(), "{marker} is not in the projection");
    found.into_iter().for_each(|place| bytes[place] ^= 1);
    std::fs::write(&file, bytes).unwrap();
}

/// Requests a container, and returns its decision; none if the scheduler ends without one.
async fn decide(stack: &mut Stack, container: &str, image: &str) -> Option<Recorded> {
    let requested = stack.container(WORKSPACE, container, image, "w1").await;
    assert_eq!(requested.status, 202, "{requested:?}");
    let decided = eventually(PATIENCE, "a decision, or the scheduler's end", async || {
        let ended = stack.process(&Service::Scheduler).exit_status().is_some();
        let events = stack.events().await;
        let decided = contract::decisions_of_request(&events, requested.sequence());
        match decided.first() {
            Some(decided) => Some(Some((*decided).clone())),
            None => ended.then_some(None),
        }
    });
    decided.await.unwrap()
}

/// An image of this id and reference, with a marker somewhere in its row.
async fn never_decides_from(image: &str, reference: &str, marker: &str) {
    let mut stack = require!(Plan::default().start().await);
    let login = Login::new("puller", "pass");
    let saved = stack.build(WORKSPACE, image, reference, contract::credentials(&login)).await;
    assert_eq!(saved.status, 201, "{saved:?}");
    // Nothing is pulled here: decisions are looked at.
    stack.stop(&service("w1")).await;
    let before = decide(&mut stack, "c-before", image).await.expect("a decision");
    stack.stop(&Service::Scheduler).await;
    flip(&stack, marker);
    stack.spawn(&Service::Scheduler).unwrap();
    let after = match decide(&mut stack, "c-after", image).await {
        Some(after) => after,
        None => {
            let said = stack.process(&Service::Scheduler).last_lines().await;
            assert!(contract::says_foreign_log(&said), "the scheduler ends without a remedy: {said}");
            stack.sigkill(&Service::Scheduler);
            stack.spawn_with(&Service::Scheduler, &["--rebuild"]).unwrap();
            decide(&mut stack, "c-rebuilt", image).await.expect("a decision after a rebuild")
        }
    };
    assert_eq!(content(&after), content(&before), "the flipped row decided: {}", after.line);
    verify(&stack).await;
}

#[tokio::test]
async fn a_flipped_registry_decides_nothing() {
    never_decides_from("img", "marker-a.example.com/team/app:1", "marker-a.example.com").await;
}

#[tokio::test]
async fn a_flipped_reference_decides_nothing() {
    never_decides_from("img", "registry.example.com/team/marker-b:1", "marker-b").await;
}

#[tokio::test]
async fn a_flipped_key_decides_nothing() {
    never_decides_from("marker-c", "registry.example.com/team/app:1", "marker-c").await;
}
