//! What leaves the log changes nothing: random histories, cut anywhere, lose what is over, and the rest folds to the same rows.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::print_stderr,
    reason = "tests fail by panicking"
)]

mod support;

use std::collections::{BTreeMap, BTreeSet};

use support::Story;
use waybill_domain::{
    decision::Outcome,
    fold::{Anomaly, MemoryFacts, Pending, PendingKey, fold},
    retention::{Ledger, Removed, Selection, account_for_renewals},
    verify::{Divergence, Verifier},
};
use waybill_schemas::{Event, Recorded, RecordedEvent, WorkerId};

type Log = Vec<Recorded<RecordedEvent>>;

/// A log folded from its start, with what diverges.
fn refold(log: &[Recorded<RecordedEvent>]) -> (MemoryFacts, Vec<Divergence>) {
    let (mut facts, mut verifier) = (MemoryFacts::default(), Verifier::default());
    for recorded in log {
        let Ok(folded) = fold(&facts, recorded);
        verifier.observe(recorded, folded.anomaly.as_ref());
        folded.changes.into_iter().for_each(|change| facts.apply(change));
    }
    (facts, verifier.finish().0)
}

/// What leaves a log at its end: the rest, and what is removed by now.
fn archive(log: &Log, cut: u64, removed: &Removed, acknowledged: &BTreeMap<WorkerId, u64>) -> (Log, Removed) {
    let (facts, whole) = refold(log);
    let mut ledger = Ledger::new(cut, removed.clone());
    log.iter().for_each(|recorded| ledger.observe(recorded));
    let open: BTreeSet<u64> = facts.placements.keys().copied().collect();
    let pending: Vec<Pending> = facts.pending.values().cloned().collect();
    let mut selection = ledger.select(&open, &pending, acknowledged);
    let without =
        |selection: &Selection| -> Log { log.iter().filter(|recorded| !selection.takes(recorded)).cloned().collect() };
    let (rest, found) = refold(&without(&selection));
    assert_eq!(rest, facts, "the rest folds to the same rows");
    let leaves: BTreeSet<u64> =
        log.iter().filter(|recorded| selection.takes(recorded)).map(|recorded| recorded.sequence).collect();
    account_for_renewals(&mut selection, &whole, &found, |sequence| leaves.contains(&sequence)).unwrap();
    let (rest, found) = refold(&without(&selection));
    assert_eq!(rest, facts, "without its renewals, too");
    assert!(found.iter().all(|found| whole.contains(found)), "nothing new diverges: {found:?}");
    let gone = log.iter().filter(|recorded| selection.takes(recorded)).map(|recorded| recorded.sequence);
    let gone = removed.sequences().chain(gone).map(|sequence| [sequence, sequence]);
    (without(&selection), Removed::from_ranges(gone))
}

struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        // SplitMix64: a seed repeats its history.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % bound as u64) as usize
    }

    fn pick<'p>(&mut self, from: &[&'p str]) -> &'p str {
        from[self.below(from.len())]
    }
}

const WORKERS: [&str; 2] = ["w1", "w2"];
const CONTAINERS: [&str; 3] = ["c", "d", "e"];
const SECRETS: [&str; 2] = ["s", "t"];

/// One random step of a history.
fn step(story: &mut Story, random: &mut Random) {
    let pending: Vec<PendingKey> = story.facts.pending.keys().cloned().collect();
    if !pending.is_empty() && random.below(2) == 0 {
        story.publish(&pending[random.below(pending.len())]);
        return;
    }
    let (worker, container, secret) = (random.pick(&WORKERS), random.pick(&CONTAINERS), random.pick(&SECRETS));
    let requests: Vec<(u64, String, String)> = story
        .log
        .iter()
        .filter_map(|recorded| match &recorded.value.event {
            Event::ContainerRequested(request) => {
                Some((recorded.sequence, request.container_id.to_string(), request.worker_id.to_string()))
            }
            _ => None,
        })
        .collect();
    let line = match random.below(14) {
        0 => format!("worker {worker}"),
        1 => format!("worker {worker} {}", random.pick(&["A", "B"])),
        2 if random.below(3) == 0 => format!("retire {worker}"),
        2 => format!("save {secret} a.b"),
        3 => format!("rotate {secret} a.b"),
        4 if random.below(2) == 0 => format!("revoke {secret}"),
        4 if random.below(3) == 0 => format!("shred {secret}"),
        5 => format!("name {} {secret} a.b", random.pick(&["i", "j"])),
        6..=8 => format!("request {container} {} {worker}", random.pick(&["i", "j", "-"])),
        _ if requests.is_empty() => format!("save {secret} a.b"),
        other => {
            // Mostly of its own worker and container, sometimes not.
            let (number, own, on) = &requests[random.below(requests.len())];
            let container = if random.below(12) == 0 { container } else { own };
            let worker = if random.below(8) == 0 { worker } else { on };
            match other {
                9 => format!("provided {worker} {container} {number}"),
                10 => format!("pulled {worker} {container} {number}"),
                11 => format!("end {container} {number}"),
                _ => format!("ended {worker} {container} {number}"),
            }
        }
    };
    story.tell(&line);
}

/// A history with archives at random moments, each of what is over at a random cut. Returns how much left.
fn run(seed: u64) -> u64 {
    let mut random = Random(seed);
    let (mut story, mut rest, mut removed) = (Story::default(), Log::new(), Removed::default());
    for _ in 0..1 + random.below(4) {
        for _ in 0..10 + random.below(60) {
            let before = story.log.len();
            step(&mut story, &mut random);
            rest.extend(story.log[before..].iter().cloned());
        }
        let end = story.next() - 1;
        let cut = random.below(end as usize) as u64;
        // One worker may not have taken its last decisions.
        let mut acknowledged = BTreeMap::new();
        for worker in WORKERS {
            if random.below(3) == 0 {
                acknowledged.insert(worker.parse().unwrap(), random.below(end as usize + 1) as u64);
            }
        }
        (rest, removed) = archive(&rest, cut, &removed, &acknowledged);
        assert!(removed.last() < end, "the log's last message stays");
        let (facts, _) = refold(&rest);
        assert_eq!(facts, story.facts, "a rebuild comes to what the living projection holds");
        let open = story.facts.placements.keys();
        assert!(open.into_iter().all(|placement| !removed.contains(*placement)), "an open placement never leaves");
    }
    removed.count()
}

#[test]
fn a_rebuild_of_the_rest_equals_the_living_projection_at_any_cut() {
    let histories = std::env::var("WAYBILL_TEST_HISTORIES").ok().and_then(|text| text.parse().ok()).unwrap_or(1_000);
    let mut left = 0;
    for seed in 0..histories {
        left += std::panic::catch_unwind(|| run(seed)).unwrap_or_else(|panic| {
            eprintln!("seed {seed}");
            std::panic::resume_unwind(panic);
        });
    }
    assert!(left > histories, "enough leaves for the histories to say something: {left}");
}

fn story(lines: &str) -> Story {
    let mut story = Story::default();
    for line in lines.split("; ") {
        match line {
            "publish" => {
                let key = story.facts.pending.keys().next().unwrap().clone();
                story.publish(&key);
            }
            line => drop(story.tell(line)),
        }
    }
    story
}

/// Rules A to E, each by a history of its own: which sequences leave.
#[test]
fn what_leaves() {
    let begin = "worker w1; worker w2; save s a.b; name i s a.b; ";
    let one = "request c i w1; publish; provided w1 c 5; pulled w1 c 5; ended w1 c 5; worker w2";
    // On two workers: requested at 5, decided at 6, placed again at 7; the withdrawal is 8, the decision 9, the end 10.
    let moved = "request c i w1; publish; request c i w2; publish; publish; ended w2 c 7; worker w2";
    let nobody: &[(&str, u64)] = &[];
    /// A name, a history, the cut, what workers have acknowledged, and what leaves.
    type Case<'c> = (&'c str, &'c str, u64, &'c [(&'c str, u64)], &'c [u64]);
    let cases: [Case<'_>; 11] = [
        ("it is over", one, 10, nobody, &[5, 6, 7, 8, 9]),
        ("it goes on", "request c i w1; publish; pulled w1 c 5; worker w2", 8, nobody, &[]),
        ("nothing is decided yet", "request c i w1; end c 5; worker w2", 7, nobody, &[]),
        ("its end is too young", one, 8, nobody, &[]),
        ("something was said of it since", &format!("{one}; pulled w1 c 5"), 10, nobody, &[]),
        ("its withdrawal is not said", "request c i w1; publish; end c 5; worker w2", 8, nobody, &[]),
        ("its withdrawal is said", "request c i w1; publish; end c 5; publish; worker w2", 9, nobody, &[5, 6, 7, 8]),
        ("its worker has not taken it", one, 10, &[("w1", 5)], &[]),
        ("its worker has taken it", one, 10, &[("w1", 6)], &[5, 6, 7, 8, 9]),
        ("both of a container", moved, 10, nobody, &[5, 6, 7, 8, 9, 10]),
        ("a newer one stays with the older that it superseded", moved, 10, &[("w1", 7)], &[]),
    ];
    for (name, lines, cut, acknowledged, expected) in cases {
        let story = story(&format!("{begin}{lines}"));
        let acknowledged = acknowledged.iter().map(|(worker, place)| (worker.parse().unwrap(), *place)).collect();
        let (_, removed) = archive(&story.log, cut, &Removed::default(), &acknowledged);
        assert_eq!(removed.sequences().collect::<Vec<_>>(), expected, "{name}");
    }
}

/// Rule F: a renewal leaves with the last placement that led to it, and what its worker made of it.
#[test]
fn renewals_leave_with_the_last_of_their_placements() {
    let begin = "worker w1; save s a.b; name i s a.b; request c i w1; publish; request d i w1; publish; ";
    let story_of = |end: &str| story(&format!("{begin}rotate s a.b; publish; ended w1 c 4; {end}worker w1"));
    let both = story_of("ended w1 d 6; ");
    let (_, removed) = archive(&both.log, 11, &Removed::default(), &BTreeMap::new());
    assert_eq!(removed.sequences().collect::<Vec<_>>(), [4, 5, 6, 7, 9, 10, 11], "the version itself stays");
    let one = story_of("");
    let (_, removed) = archive(&one.log, 10, &Removed::default(), &BTreeMap::new());
    assert_eq!(removed.sequences().collect::<Vec<_>>(), [4, 5, 10], "the other one has it still");
    let waiting = story(&format!("{begin}rotate s a.b; ended w1 c 4; ended w1 d 6; worker w1"));
    assert_eq!(waiting.facts.pending.len(), 1);
    let (_, removed) = archive(&waiting.log, 10, &Removed::default(), &BTreeMap::new());
    assert_eq!(removed, Removed::default(), "it is still to be said, and rests on them");
}

/// A purged subject is empty: what a scheduler or a worker that hung says again is taken by the log, and changes nothing.
#[test]
fn what_is_said_again_of_a_placement_that_left_does_not_come_to_life() {
    let mut story = story("worker w1; save s a.b; name i s a.b; request c i w1");
    let decision = story.facts.pending.values().next().unwrap().clone();
    let key = decision.key();
    story.publish(&key);
    ["ended w1 c 4", "worker w1"].iter().for_each(|line| drop(story.tell(line)));
    let (rest, removed) = archive(&story.log, 6, &Removed::default(), &BTreeMap::new());
    assert_eq!(removed.sequences().collect::<Vec<_>>(), [4, 5, 6]);
    let (facts, _) = refold(&rest);
    story.facts = facts;
    let before = story.facts.clone();
    let end = story.tell("ended w1 c 4");
    let outcome = story.tell("pulled w1 c 4");
    assert_eq!((end, outcome), Default::default(), "ends and outcomes change nothing");
    let again = story.state(&decision);
    assert_eq!(again.anomaly, Some(Anomaly::UnexpectedDecision));
    let taken_back: Vec<_> = story.facts.pending.values().cloned().collect();
    let [withdrawal] = taken_back.as_slice() else { panic!("{taken_back:?}") };
    assert!(matches!(&withdrawal.decision.outcome, Outcome::Withdrawn { placement, .. } if placement.number == 4));
    assert_eq!(withdrawal.after, 10, "the worker is told right after, on the same subject");
    let folded = story.publish(&withdrawal.key());
    assert_eq!((folded.anomaly, &story.facts), (None, &before), "and nothing is left of it");
    story.tell("worker w1");
    let late: Log = rest.into_iter().chain(story.log[7..].iter().cloned()).collect();
    let (_, removed) = archive(&late, 11, &removed, &BTreeMap::new());
    assert_eq!(removed.sequences().collect::<Vec<_>>(), [4, 5, 6, 8, 9, 10, 11], "rule G: it leaves with the next run");
}
