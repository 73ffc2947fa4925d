//! As-of answers are those that the live scheduler gave at that moment, at a hundred points of a random history.

use std::collections::BTreeMap;

use serde_json::Value;
use waybill_scheduler::projection::{Projection, ReadProjection, Row};
use waybill_tests::require;

use super::{history::History, json};

const POINTS: usize = 100;
/// Points at which rows are compared byte for byte, and those at which a time is asked for.
const BYTES: usize = 10;

#[tokio::test]
async fn the_past_is_answered_as_it_was() {
    let mut history = require!(History::start().await);
    let seed = history.seed;
    println!("seed {seed}");
    let file = history.stack.home().join("data/scheduler/projection.redb");
    let mut lines = BTreeMap::<u64, String>::new();
    let mut rows = BTreeMap::<u64, Vec<Row>>::new();
    while lines.len() < POINTS || rows.len() < BYTES {
        for _ in 0..=history.dice.below(3) {
            history.step().await;
        }
        // The flow is not stopped: all that is read comes from one transaction, which says where it stands.
        if history.dice.below(8) == 0 {
            let live = ReadProjection::open(&file).unwrap().snapshot().unwrap();
            rows.insert(live.position().unwrap().unwrap().sequence, live.rows().unwrap());
        }
        let live = history.stack.run(&["projection", "--json"]).await;
        assert!(live.status.success(), "{}", live.stderr);
        lines.insert(position(&live.stdout)["sequence"].as_u64().unwrap(), live.stdout);
    }

    let stack = &history.stack;
    for (number, (sequence, live)) in lines.iter().enumerate() {
        let asked = |at: String| async move { stack.run(&["projection", "--json", "--at", &at]).await };
        let again = asked(sequence.to_string()).await;
        assert_eq!(&again.stdout, live, "seed {seed}, sequence {sequence}: {}", again.stderr);
        if number % (POINTS / BYTES) == 0 {
            let again = asked(position(live)["at"].as_str().unwrap().to_owned()).await;
            assert_eq!(&again.stdout, live, "seed {seed}, time of {sequence}: {}", again.stderr);
        }
    }
    for (sequence, live) in rows {
        let out = history.stack.dir().join(format!("replayed-{sequence}.redb"));
        let until = sequence.to_string();
        json(&history.stack, &["replay", "--until-sequence", &until, "--out", out.to_str().unwrap()]).await;
        assert_eq!(Projection::open(&out).unwrap().rows().unwrap(), live, "seed {seed}, sequence {sequence}");
    }
    history.assert_varied().await;
}

fn position(lines: &str) -> Value {
    let lines = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.into_iter().find(|line| line["table"] == "meta").expect("a position")["value"].clone()
}
