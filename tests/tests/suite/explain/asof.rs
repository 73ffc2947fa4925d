//! What is told of a moment that is past is what was told then, at a hundred points of a random history.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use waybill_tests::{
    require,
    stack::{Service, User},
};

use super::asked;
use crate::replay::history::History;

const POINTS: usize = 100;

#[tokio::test]
async fn what_is_told_of_the_past_was_told_then() {
    let mut history = require!(History::start().await);
    let seed = history.seed;
    println!("seed {seed}");
    let operator = history.stack.user("operator").await;
    let mut recorded = BTreeMap::<u64, ([String; 2], (i32, Value))>::new();
    let mut down: Option<Service> = None;
    while recorded.len() < POINTS {
        for _ in 0..=history.dice.below(3) {
            history.step().await;
        }
        // With one of them down, hops stay open.
        if history.dice.below(6) == 0 {
            down = stop_or_start(&mut history, down).await;
        }
        let question = question(&mut history);
        let before = last_sequence(&operator).await;
        let answer = asked(&history.stack, &[&question[0], &question[1]]).await;
        // What comes into the log meanwhile may be in the answer or not: such a moment has no sequence.
        if last_sequence(&operator).await == before {
            recorded.insert(before, (question, answer));
        }
    }
    let mut codes = BTreeSet::new();
    for (sequence, ([kind, id], then)) in recorded {
        let (at, mut then) = (sequence.to_string(), then);
        let mut again = asked(&history.stack, &[&kind, &id, "--at", &at]).await;
        // How far the readers were is not in the log.
        if then.1["verdict"]["state"] == "in_flight" {
            for answer in [&mut then.1, &mut again.1] {
                let verdict = answer["verdict"].as_object_mut().unwrap();
                assert!(verdict.remove("sentence").is_some() && verdict.remove("remedy").is_some());
            }
        }
        assert_eq!(again, then, "seed {seed}: {kind} {id} at {sequence}");
        codes.insert(then.1["verdict"]["code"].as_str().unwrap().to_owned());
    }
    println!("verdicts: {codes:?}");
    assert!(codes.len() >= 6, "seed {seed}: too few situations: {codes:?}");
    history.assert_varied().await;
}

async fn stop_or_start(history: &mut History, down: Option<Service>) -> Option<Service> {
    if let Some(service) = down {
        history.stack.spawn(&service).unwrap();
        history.stack.until_ready(&service).await.unwrap();
        return None;
    }
    let services = [Service::Scheduler, Service::Worker("w1".to_owned())];
    let service = services[usize::try_from(history.dice.below(2)).unwrap()].clone();
    history.stack.stop(&service).await;
    Some(service)
}

/// An image, or one of the newest containers.
fn question(history: &mut History) -> [String; 2] {
    let newest = u64::try_from(history.containers.len().min(8)).unwrap();
    if newest == 0 || history.dice.below(3) == 0 {
        return ["image".to_owned(), format!("img-{}", history.dice.below(7))];
    }
    let back = usize::try_from(history.dice.below(newest)).unwrap();
    ["container".to_owned(), history.containers[history.containers.len() - 1 - back].clone()]
}

async fn last_sequence(operator: &User) -> u64 {
    let stream = operator.ask("$JS.API.STREAM.INFO.WAYBILL", Default::default(), "").await;
    stream.and_then(|stream| stream["state"]["last_seq"].as_u64()).expect("the stream's state")
}
