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
    fleet::{rebuild, refusal, service, verify},
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

/// Requests a container, and returns its decision, or what the scheduler says instead of one.
async fn decide(stack: &mut Stack, container: &str, image: &str) -> Result<Recorded, String> {
    let requested = stack.container(WORKSPACE, container, image, "w1").await;
    assert_eq!(requested.status, 202, "{requested:?}");
    let decided = eventually(PATIENCE, "a decision or a refusal", async || {
        let refused = refusal(stack).await;
        let events = stack.events().await;
        let decided = contract::decisions_of_request(&events, requested.sequence());
        decided.first().map(|decided| Ok((*decided).clone())).or(refused.map(Err))
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
        Ok(after) => after,
        Err(said) => {
            assert!(contract::says_rebuild(&said), "the scheduler refuses without a remedy: {said}");
            rebuild(&mut stack);
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
