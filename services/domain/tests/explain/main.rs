//! Explaining as a specification: given what the log holds, this hop broke, for this reason, and this is to be done.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::as_conversions,
    reason = "tests fail by panicking"
)]

mod bodies;
mod fleet;
mod life;
mod prove;
mod readers;
mod refused;
#[path = "../support/rows.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod support;
mod world;

use std::collections::BTreeSet;

use waybill_domain::explain::{
    Code, Explanation, History, Readers, State, StepOutcome, Verdict, explain_container, explain_image, explain_secret,
};
use waybill_schemas::{
    Timestamp,
    v1::{AttachSkipReason, ProviderFailure, PullFailure, SaveSkipReason},
};

use support::{Row, rows};
use world::{World, container, image, minute, secret, workspace};

fn explained(history: &History, now: Timestamp) -> Explanation {
    explain_container(history, &workspace(), &container(), &Readers::unknown(), now)
}

fn explained_words(words: &str) -> Explanation {
    let world = World::of(words);
    explained(&world.history(), world.now())
}

/// Holds an answer against columns of its row: state, hop, code, words of the sentence, words of the remedy. Returns what
/// differs, so that one run tells of every row.
fn differences(row: &Row, verdict: &Verdict) -> Vec<String> {
    let found = (verdict.state.as_str(), verdict.hop.as_str(), verdict.code.as_str());
    let agrees = found == (row.raw(2), row.raw(3), row.raw(4))
        && verdict.sentence.contains(row.raw(5))
        && verdict.remedy.contains(row.raw(6))
        && row.raw(6).is_empty() == verdict.remedy.is_empty();
    let Verdict { sentence, remedy, .. } = verdict;
    if agrees { Vec::new() } else { vec![format!("{row}\n  {found:?}\n  {sentence}\n  {remedy}")] }
}

#[test]
fn every_situation_of_a_container_has_its_verdict_and_its_remedy() {
    let (mut seen, mut wrong) = (BTreeSet::new(), Vec::new());
    for row in rows(include_str!("../testdata/explain.txt")) {
        let verdict = explained_words(row.raw(1)).verdict;
        wrong.extend(differences(&row, &verdict));
        assert_eq!(verdict.remedy.is_empty(), verdict.state != State::Broken, "{row}: {}", verdict.remedy);
        seen.insert(verdict.code);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // Of a placement that others followed, of readers, of a node's programs, and of an image or a secret.
    let elsewhere = [
        Code::Superseded,
        Code::LostByScheduler,
        Code::LostByWorker,
        Code::LogFull,
        Code::AskedAndRefused,
        Code::Saved,
    ];
    let missing: Vec<_> = Code::ALL.iter().filter(|code| !seen.contains(code) && !elsewhere.contains(code)).collect();
    assert!(missing.is_empty(), "no situation for {missing:?}");
}

#[test]
fn what_programs_of_the_node_asked_counts_where_nothing_else_broke() {
    let table = rows(include_str!("../testdata/explain_asked.txt"));
    let wrong: Vec<_> = table.iter().flat_map(|row| differences(row, &explained_words(row.raw(1)).verdict)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let refused = table.iter().filter(|row| row.raw(4) == Code::AskedAndRefused.as_str()).count();
    assert!(refused >= 4, "{refused}");
}

#[test]
fn every_situation_of_an_image_has_its_verdict_and_its_remedy() {
    let answer = |world: &World| explain_image(&world.history(), &workspace(), &image(), world.now());
    let table = rows(include_str!("../testdata/explain_image.txt"));
    let wrong: Vec<_> =
        table.iter().flat_map(|row| differences(row, &answer(&World::of(row.raw(1))).verdict)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_situation_of_a_secret_has_its_verdict_and_its_remedy() {
    let answer = |world: &World| explain_secret(&world.history(), &workspace(), &secret(), world.now());
    let table = rows(include_str!("../testdata/explain_secret.txt"));
    let wrong: Vec<_> =
        table.iter().flat_map(|row| differences(row, &answer(&World::of(row.raw(1))).verdict)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_timeline_tells_who_did_what_when() {
    let explained = explained_words("registered built requested decided provider pulled");
    let steps: Vec<_> =
        explained.timeline.iter().map(|step| (step.hop.as_str(), step.sequence, step.after_ms)).collect();
    let minutes = Some(60_000);
    assert_eq!(
        steps,
        [
            ("saved", 20, None),
            ("saved", 30, minutes),
            ("requested", 40, minutes),
            ("attached", 50, minutes),
            ("provider", 60, minutes),
            ("pull", 70, minutes)
        ]
    );
    let step = &explained.timeline[0];
    assert_eq!((step.service.as_str(), step.version.as_deref()), ("/waybill/test", Some("1.2.3")));
    assert_eq!(step.trace_id.as_deref(), Some("0af7651916cd43dd8448eb211c80319c"));
    assert_eq!(explained.verdict.since, Some(minute(7)));
    assert_eq!((explained.placement, explained.worker_id.unwrap().as_str()), (Some(40), "w1"));
}

/// The timeline shows what a verdict rests on, and nothing that belongs to other placements.
#[test]
fn the_timeline_shows_what_the_verdict_rests_on() {
    let cases: &[(&str, &[u64])] = &[
        ("registered built requested decided provider pulled revoked decided", &[20, 30, 40, 50, 60, 70, 80, 90]),
        (
            "registered built requested decided provider pulled rotated decided applied",
            &[20, 30, 40, 50, 60, 70, 80, 90, 100],
        ),
        ("registered skipped:image_modified requested decided default", &[20, 30, 40, 50]),
        ("registered built revoked requested decided", &[30, 40, 50, 60]),
        ("registered requested decided default pull:denied built requested decided", &[60, 70, 80, 100]),
    ];
    for (words, shown) in cases {
        let timeline = explained_words(words).timeline;
        assert_eq!(timeline.iter().map(|step| step.sequence).collect::<Vec<_>>(), *shown, "{words}");
    }
}

#[test]
fn what_is_not_believed_is_shown_and_told() {
    let cases = [
        ("registered built requested decided pulled:@w2", "worker w2 reports it, and the placement is on w1"),
        ("registered built requested decided provider provider", "it was reported before"),
        ("registered built requested forged", "the log leads to no such decision"),
        ("registered built requested decided provider pulled ended:w2", "worker w2 reports it"),
    ];
    for (words, why) in cases {
        let explained = explained_words(words);
        let ignored: Vec<_> = explained.timeline.iter().filter(|step| step.outcome == StepOutcome::Ignored).collect();
        assert_eq!(ignored.len(), 1, "{words}: {:?}", explained.timeline);
        let place = format!("at sequence {} is not believed: ", ignored[0].sequence);
        let told = explained.notes.iter().any(|note| note.contains(&place) && note.contains(why));
        assert!(told, "{words}: {:?}", explained.notes);
    }
}

/// The newest build wins for the next placement; the present one keeps what it was given, and says so.
#[test]
fn a_newer_build_is_told() {
    let cases = [
        (
            "registered built requested decided provider pulled moved",
            Some("at sequence 80, names a.b/team/app:2 with secret s"),
        ),
        (
            "registered built requested decided provider pulled skipped:no_credentials_provided",
            Some("names a.b/team/app:1 with no secret"),
        ),
        ("registered built requested decided provider pulled named:t", Some("names a.b/team/app:1 with secret t")),
        ("registered built requested decided provider pulled named", None),
        ("registered built moved requested decided provider pulled", None),
    ];
    for (words, told) in cases {
        let notes = explained_words(words).notes;
        let note = notes.iter().find(|note| note.starts_with("a newer build of the image"));
        assert_eq!(note.is_some(), told.is_some(), "{words}: {notes:?}");
        assert!(note.is_none_or(|note| note.contains(told.unwrap())), "{words}: {notes:?}");
    }
}

/// A note on what no program asked for.
const NOBODY: &str =
    "nobody asked: no program of the node has asked worker w1 for this container's login, only its own pull used it";

#[test]
fn what_expires_is_told_before_it_does() {
    let expire = "the credentials expire at 2026-01-01T01:00:00Z";
    let again = "the credentials expired at 2026-01-01T01:00:00Z; give the secret a new version before the next placement: `waybill secrets rotate s --creds FILE`";
    let newer = "the credentials expired at 2026-01-01T01:00:00Z; the next placement gets those saved at sequence 100";
    let life = "registered built:until=60 requested decided provider pulled";
    let cases = [
        ("registered built:until=60 requested", "", &[][..]),
        ("registered built:until=60 requested decided", "", &[expire]),
        (life, "now=59", &[expire, NOBODY]),
        (life, "now=60", &[again, NOBODY]),
        (
            "registered built:until=60 requested decided provider pulled ended decided",
            "built now=60",
            &["the placement ended at sequence 80", newer],
        ),
        ("registered built requested decided provider pulled", "now=60", &[NOBODY]),
        ("registered built:until=60 requested decided provider pull:denied", "", &[expire]),
        ("registered built:until=6 requested decided provider pull:unauthorized", "", &[]),
    ];
    for (words, later, notes) in cases {
        assert_eq!(explained_words(&format!("{words} {later}")).notes, notes, "{words} {later}");
    }
}

#[test]
fn a_version_in_use_is_told() {
    let words = "registered built requested decided provider pulled rotated decided applied";
    assert_eq!(
        explained_words(words).notes,
        ["the container has version 2 of secret s since sequence 100, which follows sequence 80", NOBODY]
    );
    let world = World::of("refused named");
    let notes = explain_image(&world.history(), &workspace(), &image(), world.now()).notes;
    assert_eq!(notes, ["the registry did not accept version 1 when it was saved: a.b answered 401"]);
}

#[test]
fn who_asked_is_told() {
    let before = "registered built requested decided provider pulled";
    let other = "skopeo (pid 4711, run by kubelet) asked as service account shop/web for a.b and was";
    let cases = [
        ("asked", vec![]),
        ("asked:not_found", vec![]),
        (
            "other:no_rule",
            vec![
                format!(
                    "asked by another: at sequence 80, {other} refused: no_rule: No rule of the worker gives the pod's service account a workspace"
                ),
                NOBODY.to_owned(),
            ],
        ),
        ("other asked", vec![format!("asked by another: at sequence 80, {other} given a login")]),
    ];
    for (words, notes) in cases {
        let explained = explained_words(&format!("{before} {words}"));
        assert_eq!((explained.verdict.code, explained.notes), (Code::Pulled, notes), "{words}");
    }
    let asked = explained_words(&format!("{before} asked asked:not_found asked:expired")).timeline;
    let steps: Vec<_> = asked.iter().skip(6).map(|step| (step.hop.as_str(), step.outcome, step.reason)).collect();
    let expected = [
        ("asked", StepOutcome::Done, None),
        ("asked", StepOutcome::Skipped, Some("not_found")),
        ("asked", StepOutcome::Failed, Some("expired")),
    ];
    assert_eq!(steps, expected);
    assert_eq!(asked[6].says, "skopeo (pid 4711, run by kubelet) asked with the container's key for a.b: was given it");
}

#[test]
fn earlier_placements_are_told_in_short() {
    type Short<'w> = (u64, &'w str, State, Code, &'w str);
    let cases: &[(&str, &[Short<'_>])] = &[
        (
            "registered requested decided default pull:denied built requested decided",
            &[(20, "w1", State::Broken, Code::SavedAfterRequest, "built after the container asked")],
        ),
        (
            "registered registered:w2 built requested decided provider pulled requested:w2 decided",
            &[(50, "w1", State::Healthy, Code::Superseded, "superseded by placement 90 on w2")],
        ),
        (
            "registered registered:w2 built requested decided provider pulled requested:w2",
            &[(50, "w1", State::InFlight, Code::AwaitingDecision, "about the move of the container")],
        ),
        (
            "registered built requested decided provider pulled ended decided requested decided",
            &[(40, "w1", State::Healthy, Code::Pulled, "was pulled with creds-a.b")],
        ),
        (
            "registered built requested decided ended:worker requested decided",
            &[(40, "w1", State::Healthy, Code::Ended, "ended at sequence 60")],
        ),
    ];
    for (words, expected) in cases {
        let earlier = explained_words(words).earlier;
        assert_eq!(earlier.len(), expected.len(), "{words}");
        for (found, (sequence, worker, state, code, sentence)) in earlier.iter().zip(*expected) {
            let place = (found.sequence, found.worker_id.as_str(), found.state, found.code);
            assert_eq!(place, (*sequence, *worker, *state, *code), "{words}: {}", found.sentence);
            assert!(found.sentence.contains(sentence), "{words}: {}", found.sentence);
        }
    }
}

/// Of a container that is asked for all the time, the newest placements are looked at.
#[test]
fn no_more_than_twenty_placements_are_told() {
    let words = format!("registered built {}", "requested decided provider pulled ".repeat(30));
    let explained = explained_words(&words);
    assert_eq!((explained.earlier.len(), explained.verdict.code), (19, Code::Pulled));
    assert!(explained.earlier.iter().all(|one| one.code == Code::Superseded), "{:?}", explained.earlier);
}

/// What is gathered in part says nothing of older decisions.
#[test]
fn older_decisions_are_compared_only_where_everything_is_known() {
    let world = World::of("registered built requested decided provider pulled requested decided provider pulled");
    let known: Vec<_> = world.entries().iter().filter(|entry| entry.sequence != 30).cloned().collect();
    let whole = History::new(known, Vec::new());
    let earlier = |history: &History| explained(history, world.now()).earlier[0].code;
    assert_eq!(earlier(&whole), Code::DecisionDiffers);
    assert_eq!(earlier(&whole.complete_from(80)), Code::Superseded);
}

#[test]
fn a_reason_is_told_in_words() {
    let cases = [
        (
            "skipped:incomplete_credentials requested decided",
            "a part of the credentials is missing; `missing_key` names it; AWS_SECRET_ACCESS_KEY is missing; a.b/team/app:1",
        ),
        (
            "registered built requested decided failed:unseal_failed",
            "the scheduler could not open the secret, or the worker its grant, with the keys that they have; the cloud's",
        ),
        ("registered requested decided default pull:not_found", "no such repository, tag or digest (404)"),
        (
            "registered built requested decided provider pulled revoked decided",
            "the secret was revoked; follows sequence 80",
        ),
    ];
    for (words, says) in cases {
        let timeline = explained_words(words).timeline;
        let found: Vec<&str> = timeline.iter().map(|step| step.says.as_str()).collect();
        assert!(found.iter().any(|found| found.starts_with(says)), "{words}: {found:?}");
    }
    let meanings = SaveSkipReason::ALL.iter().map(|reason| reason.meaning());
    let meanings = meanings.chain(AttachSkipReason::ALL.iter().map(|reason| reason.meaning()));
    let meanings = meanings.chain(ProviderFailure::ALL.iter().map(|reason| reason.meaning()));
    for meaning in meanings.chain(PullFailure::ALL.iter().map(|reason| reason.meaning())) {
        assert!(meaning.ends_with('.') && meaning.len() > 20, "{meaning:?}");
    }
}
