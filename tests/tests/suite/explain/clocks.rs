//! A clock that is wrong while its service runs.

use std::time::Duration;

use waybill_tests::{
    require,
    stack::{Plan, Service},
    wait::eventually,
};

use super::asked;

const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_clock_that_was_set_wrong_is_told_until_it_is_right() {
    let plan = require!(Plan::default().with_clocks());
    let stack = require!(plan.start().await);
    let (worker, mut asked_for) = (Service::Worker("w1".to_owned()), 0_u32);
    let mut last = Vec::new();
    for (ahead, expected) in [(630, Some(" ahead of the log's")), (-630, Some(" behind the log's")), (0, None)] {
        stack.set_clock(&worker, ahead);
        // It takes the worker a moment to notice.
        let told = eventually(PATIENCE, "what is told of the clock", async || {
            asked_for += 1;
            let container = format!("c-{asked_for}");
            stack.container("acme", &container, "img", "w1").await;
            stack.wait_for_outcome(&container).await;
            let (_, answer) = asked(&stack, &["container", &container]).await;
            let notes = answer["notes"].as_array().unwrap().iter().filter_map(|note| note.as_str());
            last = notes.filter(|note| note.contains("clock")).map(str::to_owned).collect();
            match (last.as_slice(), expected) {
                ([told], Some(expected)) => {
                    told.starts_with("the clock of worker w1 is 10 min") && told.contains(expected)
                }
                (told, expected) => told.is_empty() && expected.is_none(),
            }
            .then_some(())
        });
        told.await.unwrap_or_else(|error| panic!("{ahead}: {error}: {last:?}"));
    }
}
