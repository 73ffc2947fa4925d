//! Explaining as a specification: given what the log holds, this hop broke, for this reason.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::as_conversions,
    reason = "tests fail by panicking"
)]

#[path = "../support/mod.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod support;
mod world;

use std::collections::BTreeSet;

use proptest::prelude::*;
use waybill_domain::explain::{
    Code, Explanation, History, Hop, ReaderState, ReaderStatus, Readers, State, explain_container, explain_image,
};
use waybill_schemas::{
    Timestamp,
    v1::{AttachSkipReason, ProviderFailure, PullFailure, SaveSkipReason},
};

use support::rows;
use world::{World, container, image, minute, workspace};

fn explained(history: &History, now: Timestamp) -> Explanation {
    explain_container(history, &workspace(), &container(), &Readers::unknown(), now)
}

#[test]
fn every_situation_of_a_container_has_its_verdict() {
    let mut seen = BTreeSet::new();
    for row in rows(include_str!("../testdata/explain.txt")) {
        let world = World::of(row.raw(1));
        let verdict = explained(&world.history(), world.now()).verdict;
        let found = (verdict.state.as_str(), verdict.hop.as_str(), verdict.code.as_str());
        assert_eq!(found, (row.raw(2), row.raw(3), row.raw(4)), "{row}: {}", verdict.sentence);
        assert!(verdict.sentence.contains(row.raw(5)), "{row}: {}", verdict.sentence);
        assert_eq!(verdict.remedy.is_empty(), verdict.state != State::Broken, "{row}: {}", verdict.remedy);
        seen.insert(verdict.code.as_str());
    }
    let readers_only = [Code::LostByScheduler, Code::LostByWorker].map(Code::as_str);
    let missing: Vec<_> = Code::ALL
        .iter()
        .map(|code| code.as_str())
        .filter(|code| !seen.contains(code) && !readers_only.contains(code) && *code != "saved")
        .collect();
    assert!(missing.is_empty(), "no situation for {missing:?}");
}

#[test]
fn every_broken_hop_has_its_remedy() {
    let remedies = rows(include_str!("../testdata/remedies.txt"));
    for row in rows(include_str!("../testdata/explain.txt")) {
        let world = World::of(row.raw(1));
        let verdict = explained(&world.history(), world.now()).verdict;
        if verdict.state == State::Broken {
            let (hop, code) = (verdict.hop.as_str(), verdict.code.as_str());
            let words = remedies.iter().find(|remedy| (remedy.raw(0), remedy.raw(1)) == (hop, code));
            let words = words.unwrap_or_else(|| panic!("no remedy for {hop} {code}")).raw(2);
            assert!(verdict.remedy.contains(words), "{row}: {}", verdict.remedy);
        }
    }
}

#[test]
fn every_situation_of_an_image_has_its_verdict() {
    for row in rows(include_str!("../testdata/explain_image.txt")) {
        let world = World::of(row.raw(1));
        let explained = explain_image(&world.history(), &workspace(), &image(), world.now());
        let verdict = explained.verdict;
        assert_eq!((verdict.state.as_str(), verdict.code.as_str()), (row.raw(2), row.raw(3)), "{row}");
        assert_eq!(verdict.hop, Hop::Saved, "{row}");
        assert!(verdict.sentence.contains(row.raw(4)), "{row}: {}", verdict.sentence);
    }
}

#[test]
fn a_rotation_that_came_too_late_is_told() {
    for (words, told) in [("saved moved rotated", true), ("saved saved rotated", false)] {
        let world = World::of(words);
        let explained = explain_image(&world.history(), &workspace(), &image(), world.now());
        assert_eq!(explained.verdict.sequence, Some(if told { 2 } else { 3 }), "{words}");
        let note = explained.notes.iter().any(|note| note.contains("rotation at sequence 3 changed nothing"));
        assert_eq!(note, told, "{words}: {:?}", explained.notes);
    }
}

/// New credentials need no build.
#[test]
fn what_a_rotation_mends_has_it_as_its_remedy() {
    const ROTATE: &str = "`waybill secrets rotate img --creds FILE`";
    for words in [
        "saved:until=1 registered requested skip:secret_expired",
        "saved registered requested attached provider pulled rotated:until=1 dropped:secret_expired",
        "saved:until=4 registered requested attached failed:token_exchange_failed",
        "saved registered requested attached failed:token_exchange_failed",
        "saved:until=5 registered requested attached provider pull:unauthorized",
        "saved registered requested attached provider pull:unauthorized",
    ] {
        let world = World::of(words);
        let verdict = explained(&world.history(), world.now()).verdict;
        assert!(verdict.remedy.contains(ROTATE), "{words}: {}", verdict.remedy);
    }
    let world = World::of("saved:until=5 now=61");
    let verdict = explain_image(&world.history(), &workspace(), &image(), world.now()).verdict;
    assert!(verdict.remedy.contains(ROTATE), "{}", verdict.remedy);
}

#[test]
fn the_timeline_tells_who_did_what_when() {
    let world = World::of("registered saved requested attached provider pulled");
    let explained = explained(&world.history(), world.now());
    let steps: Vec<_> =
        explained.timeline.iter().map(|step| (step.hop.as_str(), step.sequence, step.after_ms)).collect();
    let minutes = Some(60_000);
    assert_eq!(
        steps,
        [
            ("saved", 2, None),
            ("requested", 3, minutes),
            ("attached", 4, minutes),
            ("provider", 5, minutes),
            ("pull", 6, minutes)
        ]
    );
    let step = &explained.timeline[0];
    assert_eq!((step.service.as_str(), step.version.as_deref()), ("/waybill/test", Some("1.2.3")));
    assert_eq!(step.trace_id.as_deref(), Some("0af7651916cd43dd8448eb211c80319c"));
    assert_eq!(explained.verdict.since, Some(minute(6)));
}

#[test]
fn what_expires_is_told_before_it_does() {
    let expire = "the credentials expire at 2026-01-01T01:00:00Z";
    let again = "the credentials expired at 2026-01-01T01:00:00Z; rotate them, or build again with new ones, before the next container asks";
    let newer = "the credentials expired at 2026-01-01T01:00:00Z; the next container gets those saved at sequence 7";
    let life = "saved:until=60 registered requested attached provider pulled";
    let cases = [
        ("saved:until=60 registered requested", "", &[expire][..]),
        ("saved:until=60 registered requested", "now=61", &[again]),
        ("saved:until=60 registered requested attached", "", &[expire]),
        (life, "now=59", &[expire]),
        (life, "now=60", &[again]),
        (life, "saved:until=60 now=60", &[again]),
        (life, "saved:until=90 now=60", &[newer]),
        (life, "saved now=60", &[newer]),
        ("saved registered requested attached provider pulled", "now=60", &[]),
        ("saved:until=60 registered requested attached provider pull:denied", "", &[expire]),
        ("saved:until=5 registered requested attached provider pull:unauthorized", "", &[]),
        ("saved:until=1 registered requested skip:secret_expired", "", &[]),
    ];
    for (words, later, notes) in cases {
        let world = World::of(&format!("{words} {later}"));
        assert_eq!(explained(&world.history(), world.now()).notes, notes, "{words} {later}");
    }
}

#[test]
fn the_saved_step_says_until_when() {
    let cases = [
        ("saved:until=60", "oci-registry-a-b (basic) for a.b/team/app:1, until 2026-01-01T01:00:00Z"),
        ("saved", "oci-registry-a-b (basic) for a.b/team/app:1"),
    ];
    for (words, says) in cases {
        let world = World::of(words);
        let explained = explain_image(&world.history(), &workspace(), &image(), world.now());
        assert_eq!(explained.timeline[0].says, says, "{words}");
    }
}

#[test]
fn a_reason_is_told_in_words() {
    let cases = [
        (
            "skipped:incomplete_credentials requested skip:unknown_worker",
            "a part of the credentials is missing; `missing_key` names it; AWS_SECRET_ACCESS_KEY is missing; a.b/team/app:1",
            "the worker had not registered a sealing key before the request; no image reference is known",
        ),
        (
            "saved registered requested attached failed:unseal_failed",
            "the attached credentials could not be opened with the worker's key",
            "",
        ),
        ("requested skip:no_secret_for_image default pull:not_found", "no such repository, tag or digest (404)", ""),
    ];
    for (words, first, last) in cases {
        let world = World::of(words);
        let explained = explained(&world.history(), world.now());
        let says: Vec<&str> = explained.timeline.iter().map(|step| step.says.as_str()).collect();
        assert!(says.iter().any(|says| says.starts_with(first)), "{words}: {says:?}");
        assert!(says.iter().any(|says| says.starts_with(last)), "{words}: {says:?}");
    }
    let meanings = SaveSkipReason::ALL.iter().map(|reason| reason.meaning());
    let meanings = meanings.chain(AttachSkipReason::ALL.iter().map(|reason| reason.meaning()));
    let meanings = meanings.chain(ProviderFailure::ALL.iter().map(|reason| reason.meaning()));
    for meaning in meanings.chain(PullFailure::ALL.iter().map(|reason| reason.meaning())) {
        assert!(meaning.ends_with('.') && meaning.len() > 20, "{meaning:?}");
    }
}

#[test]
fn earlier_requests_are_told_in_short() {
    let world = World::of("requested skip:no_secret_for_image default pull:denied saved requested attached");
    let explained = explained(&world.history(), world.now());
    let earlier: Vec<_> = explained.earlier.iter().map(|one| (one.sequence, one.state, one.code)).collect();
    assert_eq!(earlier, [(1, State::Broken, Code::SavedAfterRequest)]);
    assert_eq!(explained.timeline.iter().map(|step| step.sequence).collect::<Vec<_>>(), [5, 6, 7]);
}

fn reader(behind: u64, position: u64, acknowledged: u64, reading: bool) -> ReaderStatus {
    let (last_active, since) = (Some(minute(1)), Some(minute(0)));
    ReaderStatus::Present(ReaderState { behind, position, acknowledged, reading, last_active, since })
}

/// A reader that is given messages all the time.
fn busy(last_active: Timestamp, since: Timestamp) -> ReaderStatus {
    let (last_active, since) = (Some(last_active), Some(since));
    ReaderStatus::Present(ReaderState { behind: 0, position: 9, acknowledged: 0, reading: true, last_active, since })
}

#[test]
fn open_hops_tell_whose_turn_it_is_and_whether_they_are_lost() {
    let undecided = "saved registered requested";
    let decided = "saved registered requested attached";
    let provided = "saved registered requested attached provider";
    let long_after = "saved registered requested now=5";
    let (open, broken) = (State::InFlight, State::Broken);
    let cases = [
        (undecided, ReaderStatus::Absent, open, Code::AwaitingDecision, "no scheduler is reading"),
        (undecided, reader(312, 2, 0, true), open, Code::AwaitingDecision, "it is 312 events behind"),
        (undecided, reader(1, 2, 0, false), open, Code::AwaitingDecision, "it is 1 event behind and is not reading"),
        (
            "saved registered requested now=3",
            reader(0, 3, 0, true),
            open,
            Code::AwaitingDecision,
            "has not decided yet",
        ),
        (long_after, reader(0, 3, 0, true), broken, Code::LostByScheduler, "has read up to sequence 3"),
        // It is catching up, or was killed: nothing is lost.
        (long_after, reader(9, 12, 0, true), open, Code::AwaitingDecision, "has not decided yet"),
        (long_after, busy(minute(5), minute(0)), open, Code::AwaitingDecision, "has not decided yet"),
        (long_after, reader(0, 3, 0, false), open, Code::AwaitingDecision, "is not reading any more"),
        (
            "saved registered requested now=14",
            busy(minute(14), minute(0)),
            broken,
            Code::LostByScheduler,
            "has read up",
        ),
        (
            "saved registered requested now=14",
            busy(minute(14), minute(13)),
            open,
            Code::AwaitingDecision,
            "not decided",
        ),
        (
            "saved registered requested garbage:worker now=14",
            reader(0, 4, 0, true),
            broken,
            Code::Quarantined,
            "sequence 4",
        ),
        (decided, ReaderStatus::Absent, open, Code::AwaitingProvider, "no consumer yet"),
        (decided, reader(1, 3, 3, false), open, Code::AwaitingProvider, "has not been seen for 4 min 0 s"),
        (decided, reader(2, 2, 2, true), open, Code::AwaitingProvider, "it is 2 events behind"),
        (decided, reader(0, 4, 3, true), open, Code::AwaitingProvider, "has the decision"),
        (decided, reader(0, 4, 4, true), broken, Code::LostByWorker, "never reported a provider"),
        (provided, reader(0, 4, 3, true), open, Code::AwaitingPull, "has not reported the pull"),
        (provided, reader(0, 4, 4, true), broken, Code::LostByWorker, "never reported the pull"),
    ];
    for (words, status, state, code, sentence) in cases {
        let world = World::of(words);
        let readers = Readers { scheduler: status.clone(), worker: status.clone() };
        let history = world.history();
        let verdict = explain_container(&history, &workspace(), &container(), &readers, world.now()).verdict;
        assert_eq!((verdict.state, verdict.code), (state, code), "{words} {status:?}: {}", verdict.sentence);
        assert!(verdict.sentence.contains(sentence), "{words} {status:?}: {}", verdict.sentence);
    }
}

/// Any life of a container, as words in an order in which the log can hold them.
fn life() -> impl Strategy<Value = Vec<String>> {
    let reason = |prefix: &'static str, words: Vec<&'static str>| {
        prop::sample::select(words).prop_map(move |word| format!("{prefix}:{word}"))
    };
    let skipped = reason("skipped", SaveSkipReason::ALL.iter().map(|r| r.as_str()).collect());
    let skip = reason("skip", AttachSkipReason::ALL.iter().map(|r| r.as_str()).collect());
    let failed = reason("failed", ProviderFailure::ALL.iter().map(|r| r.as_str()).collect());
    let pull = reason("pull", PullFailure::ALL.iter().map(|r| r.as_str()).collect());
    let word = |word: &'static str| Just(word.to_owned());
    let noise = prop_oneof![
        word("saved"),
        word("saved:until=7"),
        skipped,
        word("registered"),
        word("registered:new"),
        word("requested:same"),
        word("garbage:image"),
        word("garbage:container"),
        word("garbage:worker"),
        word("attached:foreign"),
        word("revoked"),
        word("revoked:older"),
        word("rotated"),
        word("rotated:until=7"),
        word("rotated renewed"),
        word("rotated renewed provider"),
        word("rotated renewed failed:token_exchange_failed"),
        word("revoked dropped failed:credentials_withheld"),
        word("verified"),
        word("ended"),
    ];
    let chain = (
        prop_oneof![word("requested"), word("requested:no_image"), word("requested:build")],
        prop_oneof![word("attached"), skip],
        prop_oneof![3 => word("provider"), 1 => word("provider:until=5"), 1 => word("default"), 2 => failed],
        prop_oneof![word("pulled"), pull],
        0..5_usize,
    );
    let chain = chain.prop_map(|(request, decision, provider, pull, length)| {
        let withheld =
            AttachSkipReason::ALL.iter().any(|r| r.withholds_credentials() && decision.ends_with(r.as_str()));
        let provider = if withheld { "failed:credentials_withheld".to_owned() } else { provider };
        let ended = provider.starts_with("failed");
        let words = [request, decision, provider, pull];
        words.into_iter().take(if ended { length.min(3) } else { length }).collect::<Vec<_>>()
    });
    let piece = prop_oneof![noise.prop_map(|word| vec![word]), chain];
    prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

proptest! {
    /// What is told of a hop stays told: a later event may say more about why, never that the hop did not break. Only what
    /// is newer than the failure, credentials that came by a rotation, may bring a container on.
    #[test]
    fn every_prefix_has_a_verdict_and_what_broke_stays_broken(words in life()) {
        let world = World::of(&words.join(" "));
        let now = minute(200);
        let mut before: Option<Explanation> = None;
        for length in 0..=world.len() {
            let history = world.prefix(length);
            explain_image(&history, &workspace(), &image(), now);
            let after = explained(&history, now);
            prop_assert_eq!(&after, &explained(&world.prefix(world.len()).until(length as u64), now));
            if let Some(before) = before.filter(|before| same_request(before, &after)) {
                if before.verdict.state == State::Broken && !world.is_rotated(length) {
                    prop_assert_eq!(after.verdict.state, State::Broken);
                    // A request that cannot be read may be a newer one.
                    let newer = (after.verdict.hop, after.verdict.code) == (Hop::Requested, Code::Quarantined);
                    prop_assert!(newer || after.verdict.hop <= before.verdict.hop, "{before:?} then {after:?}");
                }
                // Which build a container stands on is settled by the decision.
                let decided = before.timeline.iter().any(|step| step.hop == Hop::Attached);
                for step in before.timeline.iter().filter(|step| decided || step.hop > Hop::Saved) {
                    let same = after.timeline.iter().any(|other| {
                        (other.sequence, other.outcome, other.reason) == (step.sequence, step.outcome, step.reason)
                    });
                    prop_assert!(same, "{step:?} is not in {after:?}");
                }
            }
            before = Some(after);
        }
    }
}

/// Both speak of the same request.
fn same_request(before: &Explanation, after: &Explanation) -> bool {
    before.earlier.len() == after.earlier.len()
        && before.timeline.is_empty() == after.timeline.is_empty()
        && requested(before) == requested(after)
        && requested(before).is_some()
}

fn requested(explanation: &Explanation) -> Option<u64> {
    explanation.timeline.iter().find(|step| step.hop == Hop::Requested).map(|step| step.sequence)
}
