//! The fold as stories: what each event leads to, in the order of `testdata/fold.txt`.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod support;

use support::{Story, in_words, transcript};
use waybill_domain::decision::{Decision, differing_fields};
use waybill_schemas::{RecordedEvent, Uuid};

/// Runs the lines of a story and writes it again with what they came to.
fn run(lines: &str) -> String {
    let mut story = Story::default();
    let mut text = String::new();
    for line in lines.lines().filter(|line| !line.starts_with(['>', '!', '='])) {
        text.push_str(line);
        text.push('\n');
        match line.trim() {
            "publish" => publish_all(&mut story, &mut text),
            "placements" => text.push_str(&format!("= {}\n", story.placements())),
            line => text.push_str(&transcript(&story.tell(line))),
        }
    }
    text
}

/// Publishes the outbox in its order until it is empty, and says at which sequence each decision came to stand.
fn publish_all(story: &mut Story, text: &mut String) {
    while let Some(key) = story.facts.pending.keys().next().cloned() {
        let decision = story.facts.pending[&key].decision.clone();
        text.push_str(&format!("= {} {}\n", story.next(), in_words(&decision)));
        text.push_str(&transcript(&story.publish(&key)));
    }
}

#[test]
fn stories_come_to_what_they_say() {
    let file = include_str!("testdata/fold.txt");
    let mut told = 0;
    for story in file.split("\n\n").filter(|story| !story.trim().is_empty()) {
        let (title, lines) = story.trim_start().split_once('\n').unwrap();
        assert!(title.starts_with("# "), "a story begins with its title: {title}");
        let expected: String = lines.trim_end().to_owned() + "\n";
        assert_eq!(run(lines), expected, "{title}");
        told += 1;
    }
    assert!(told >= 25, "{told} stories");
}

/// One type from the fold to the worker: what an event states is what was decided.
#[test]
fn a_decision_survives_its_event() {
    let mut story = Story::default();
    let lines = "worker w1\nsave s a.b\nname i s a.b\nrequest c i w1\nrequest d - w1\nrotate s a.b\nend c 4";
    lines.lines().for_each(|line| drop(story.tell(line)));
    let mut seen = 0;
    while let Some(key) = story.facts.pending.keys().next().cloned() {
        let pending = story.facts.pending[&key].clone();
        let recorded = RecordedEvent {
            subject: pending.decision.subject(),
            envelope: waybill_schemas::Envelope::new(Uuid::nil(), "/test"),
            event: pending.decision.to_event(),
        };
        assert!(recorded.event.belongs_on(&recorded.subject));
        let again = Decision::from_event(&recorded).unwrap();
        assert_eq!(again, pending.decision);
        assert_eq!(differing_fields(&again, &pending.decision), Vec::<String>::new());
        story.publish(&key);
        seen += 1;
    }
    assert_eq!(seen, 4);
}

#[test]
fn differences_are_named_by_their_fields() {
    let mut story = Story::default();
    let lines = "worker w1\nsave s a.b\nname i s a.b\nrequest c i w1\nrequest d i w1";
    lines.lines().for_each(|line| drop(story.tell(line)));
    let decisions: Vec<Decision> = story.facts.pending.values().map(|pending| pending.decision.clone()).collect();
    assert_eq!(differing_fields(&decisions[0], &decisions[1]), ["container_id", "placement"]);
}

/// What is said twice, made up or said otherwise is told by the verifier, and nothing else is.
#[test]
fn the_verifier_tells_what_the_log_does_not_lead_to() {
    let mut story = Story::default();
    for line in ["worker w1", "worker w2", "save s a.b", "name i s a.b", "request c i w1"] {
        story.tell(line);
    }
    let key = story.facts.pending.keys().next().unwrap().clone();
    let pending = story.facts.pending[&key].clone();
    story.publish(&key);
    story.state(&pending);
    for line in ["provided w1 c 5", "pulled w2 c 5", "pulled w1 c 5", "pulled w1 c 5"] {
        story.tell(line);
    }
    let (found, tally) = story.verifier.finish();
    let problems: Vec<(u64, String)> =
        found.iter().map(|found| (found.sequence, serde_json::to_string(&found.problem).unwrap())).collect();
    assert_eq!(
        problems,
        [
            (7, "\"unexpected\"".to_owned()),
            (9, r#"{"foreign_outcome":{"placed_on":"w1"}}"#.to_owned()),
            (11, "\"repeated_outcome\"".to_owned()),
        ]
    );
    assert_eq!((tally.requests, tally.agreed, tally.outcomes), (1, 1, 2));
}
