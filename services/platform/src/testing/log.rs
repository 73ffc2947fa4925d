//! Appending and looking up.

use std::time::Duration;

use tracing::Span;
use waybill_schemas::{Filter, Timestamp, Uuid};

use super::Sample;
use crate::log::{Administration, Appended, Expect, Log, NewEvent, RawMessage};

/// Appends what must be stored, and returns its sequence.
pub(super) async fn append(log: &(impl Log + ?Sized), new: &NewEvent, expect: Expect) -> u64 {
    match log.append(new, expect, None).await.unwrap() {
        Appended::Stored { sequence, duplicate: false } => sequence,
        other => panic!("{} was not stored now: {other:?}", new.subject),
    }
}

fn sequences(messages: &[RawMessage]) -> Vec<u64> {
    messages.iter().map(|message| message.sequence).collect()
}

fn duplicate(outcome: Appended) -> u64 {
    match outcome {
        Appended::Stored { sequence, duplicate: true } => sequence,
        other => panic!("not a duplicate: {other:?}"),
    }
}

fn conflict(outcome: Appended) -> Option<RawMessage> {
    match outcome {
        Appended::Conflict { last } => last,
        other => panic!("not a conflict: {other:?}"),
    }
}

/// Each event is stored once, whatever is tried again, and in its place or not at all.
pub async fn check_appending(log: &dyn Administration) {
    store_once(log).await;
    store_in_place_of_a_used_id(log).await;
    store_anything_once(log).await;
    give_up_and_try_again(log).await;
    store_at_once(log).await;
    store_batches(log).await;
    store_what_a_batch_cannot(log).await;
}

async fn store_once(log: &dyn Administration) {
    let sample = Sample::new();
    let request = sample.request("c", "r");
    let first = append(log, &request, Expect::Last(0)).await;
    assert_eq!(duplicate(log.append(&request, Expect::Last(0), None).await.unwrap()), first);

    let other = sample.request("c", "r");
    let last = conflict(log.append(&other, Expect::Last(0), None).await.unwrap());
    assert_eq!(last.map(|last| last.sequence), Some(first), "a conflict shows what is there");

    let end = sample.end(&request, first);
    let second = append(log, &end, Expect::Last(first)).await;
    // Hidden behind a later one, it is known again by its id or in conflict with the later one: servers differ.
    match log.append(&request, Expect::Last(0), None).await.unwrap() {
        Appended::Stored { sequence, duplicate } => assert_eq!((sequence, duplicate), (first, true)),
        Appended::Conflict { last } => assert_eq!(last.map(|last| last.sequence), Some(second)),
    }
    let stale = conflict(log.append(&sample.end(&request, first), Expect::Last(first), None).await.unwrap());
    assert_eq!(stale.map(|last| last.sequence), Some(second));
    assert_eq!(log.pending(&sample.containers(None), 1).await.unwrap(), 2, "nothing was stored twice");
}

/// An id that was used on another subject keeps nothing out.
async fn store_in_place_of_a_used_id(log: &dyn Administration) {
    let sample = Sample::new();
    let decision = sample.withdrawal("c", 1);
    let mut taken = sample.request("other", "r");
    taken.envelope.id = decision.envelope.id;
    append(log, &taken, Expect::Last(0)).await;
    let stored = append(log, &decision, Expect::Last(0)).await;
    assert_eq!(log.last(&decision.subject).await.unwrap().unwrap().sequence, stored);
    assert_eq!(duplicate(log.append(&decision, Expect::Last(0), None).await.unwrap()), stored);

    // The same where the subject holds something already, from before and from after the id was used.
    let mut later = sample.withdrawal("c", 1);
    let mut taken = sample.request("another", "r");
    later.envelope.id = Uuid::new_v4();
    taken.envelope.id = later.envelope.id;
    append(log, &taken, Expect::Last(0)).await;
    let second = append(log, &later, Expect::Last(stored)).await;
    let mut stale = sample.withdrawal("c", 1);
    stale.envelope.id = taken.envelope.id;
    assert_eq!(duplicate(log.append(&stale, Expect::Last(stored), None).await.unwrap()), second);
    let mut used_first = sample.withdrawal("c", 1);
    used_first.envelope.id = sample.request("x", "r").envelope.id;
    let last = conflict(log.append(&used_first, Expect::Last(stored), None).await.unwrap());
    assert_eq!(last.map(|last| last.sequence), Some(second));
}

async fn store_anything_once(log: &dyn Administration) {
    let sample = Sample::new();
    let registrations = [0; 2].map(|_| sample.registration());
    let first = append(log, &registrations[0], Expect::Anything).await;
    let second = append(log, &registrations[1], Expect::Anything).await;
    assert_eq!(duplicate(log.append(&registrations[1], Expect::Anything, None).await.unwrap()), second);
    assert_eq!(duplicate(log.append(&registrations[0], Expect::Anything, None).await.unwrap()), first);

    let third = sample.registration();
    let mut taken = sample.request("c", "r");
    taken.envelope.id = third.envelope.id;
    append(log, &taken, Expect::Last(0)).await;
    append(log, &third, Expect::Anything).await;
}

/// Whoever gives up and comes back stores the event once.
async fn give_up_and_try_again(log: &dyn Administration) {
    let sample = Sample::new();
    for index in 0..5 {
        let request = sample.request("c", &format!("r{index}"));
        for microseconds in [0, 200, 1_000] {
            // Whatever comes of it, the next try knows.
            let _ = log.append(&request, Expect::Last(0), Some(Duration::from_micros(microseconds))).await;
        }
        assert!(log.append(&request, Expect::Last(0), None).await.unwrap().sequence().is_some());
    }
    assert_eq!(log.pending(&sample.containers(None), 1).await.unwrap(), 5);
}

/// Many callers at once, some of whom are late, each get their own answer.
async fn store_at_once(log: &dyn Administration) {
    let sample = Sample::new();
    let requests: Vec<NewEvent> = (0..200).map(|index| sample.request(&format!("c{index}"), "r")).collect();
    let there = append(log, &requests[70], Expect::Last(0)).await;
    let other = sample.request("c130", "r");
    let before = append(log, &other, Expect::Last(0)).await;
    // The same event twice, and another one on its subject.
    let late = [&requests[5], &sample.request("c6", "r")];
    let appends = requests.iter().chain(late).map(|new| log.append(new, Expect::Last(0), None));
    let outcomes = futures_util::future::join_all(appends).await;
    let outcomes: Vec<Appended> = outcomes.into_iter().map(Result::unwrap).collect();
    let mut stored: Vec<u64> = outcomes.iter().filter_map(Appended::sequence).collect();
    assert_eq!(duplicate(outcomes[70].clone()), there);
    assert_eq!(conflict(outcomes[130].clone()).map(|last| last.sequence), Some(before));
    assert_eq!(outcomes[5].sequence(), outcomes[200].sequence());
    assert_eq!([&outcomes[6], &outcomes[201]].iter().filter_map(|outcome| outcome.sequence()).count(), 1);
    for (new, outcome) in requests.iter().zip(&outcomes) {
        let Some(sequence) = outcome.sequence() else { continue };
        let recorded = log.message_at(sequence).await.unwrap().unwrap();
        assert_eq!(recorded.decode().unwrap().envelope.id, new.envelope.id, "its own place");
    }
    stored.sort_unstable();
    stored.dedup();
    assert_eq!(stored.len(), 199);
    assert_eq!(log.pending(&sample.containers(None), 1).await.unwrap(), 200, "each once");
}

async fn store_batches(log: &dyn Administration) {
    let sample = Sample::new();
    let requests: Vec<NewEvent> = (0..1_100).map(|index| sample.request(&format!("c{index}"), "r")).collect();
    let all = || requests.iter().map(|new| (new.clone(), Expect::Last(0), Span::none())).collect::<Vec<_>>();
    let outcomes = log.append_all(&all()).await;
    let stored: Vec<u64> = outcomes.into_iter().map(|outcome| outcome.unwrap().unwrap().sequence().unwrap()).collect();
    assert!(stored.is_sorted_by(|a, b| a < b), "in order");
    assert_eq!(log.pending(&sample.containers(None), 1).await.unwrap(), 1_100);

    let again = log.append_all(&all().split_off(1_090)).await;
    let [first, others @ ..] = again.as_slice() else { panic!("no outcomes") };
    assert_eq!(duplicate(first.clone().unwrap().unwrap()), stored[1_090]);
    assert!(
        others.len() == 9 && others.iter().all(Option::is_none),
        "where the first is said, the others are left alone"
    );

    // More subjects than the server tells the last messages of.
    let lasts = log.lasts(&sample.containers(None), 5_000).await.unwrap();
    assert_eq!((sequences(&lasts.messages), lasts.more), (stored.clone(), false));
    let newest = log.lasts(&sample.containers(None), 10).await.unwrap();
    assert_eq!((sequences(&newest.messages), newest.more), (stored[1_090..].to_vec(), true));
}

async fn store_what_a_batch_cannot(log: &dyn Administration) {
    let sample = Sample::new();
    let requests = ["a", "b", "c"].map(|container| sample.request(container, "r"));
    let there = append(log, &requests[1], Expect::Last(0)).await;
    let other = sample.request("b", "r");
    let batch = [&requests[0], &other, &requests[2], &requests[1]];
    let batch = batch.map(|new| (new.clone(), Expect::Last(0), Span::none()));
    let outcomes = log.append_all(&batch).await;
    let [first, second, third, fourth] = <[_; 4]>::try_from(outcomes).unwrap().map(|outcome| outcome.unwrap().unwrap());
    assert!(matches!(first, Appended::Stored { duplicate: false, .. }));
    assert_eq!(conflict(second).map(|last| last.sequence), Some(there));
    assert!(matches!(third, Appended::Stored { duplicate: false, .. }));
    assert_eq!(duplicate(fourth), there);
    assert!(log.append_all(&[]).await.is_empty());

    // Two events of one subject, each after the other.
    let request = sample.request("d", "r");
    let pair = [(request.clone(), Expect::Last(0)), (sample.end(&request, 1), Expect::Anything)];
    let pair = pair.map(|(new, expect)| (new, expect, Span::none()));
    for outcome in log.append_all(&pair).await {
        assert!(matches!(outcome.unwrap().unwrap(), Appended::Stored { duplicate: false, .. }));
    }
}

/// Everything that was appended is found, by subject, by filter, by sequence and by time.
pub async fn check_looking_up(log: &dyn Administration) {
    let sample = Sample::new();
    let nothing = sample.request("nothing", "r");
    assert!(log.last(&nothing.subject).await.unwrap().is_none());
    assert!(log.last_matching(&sample.containers(None)).await.unwrap().is_none());
    let empty = log.lasts(&sample.containers(None), 9).await.unwrap();
    assert!(empty.messages.is_empty() && !empty.more);

    let requests =
        [("a", "r1"), ("b", "r1"), ("a", "r2")].map(|(container, request)| sample.request(container, request));
    let mut stored = Vec::new();
    for request in &requests {
        stored.push(append(log, request, Expect::Last(0)).await);
    }
    let end = append(log, &sample.end(&requests[0], stored[0]), Expect::Last(stored[0])).await;
    let withdrawals = [3, 1, 2].map(|placement| sample.withdrawal("a", placement));
    for withdrawal in &withdrawals {
        append(log, withdrawal, Expect::Last(0)).await;
    }
    look_up_lasts(log, &sample, &stored, end).await;
    look_up_moments(log, &sample, &stored, end).await;
}

async fn look_up_lasts(log: &dyn Administration, sample: &Sample, stored: &[u64], end: u64) {
    let first = sample.request("a", "r1").subject;
    let last = log.last(&first).await.unwrap().unwrap();
    assert_eq!((last.sequence, last.subject.clone()), (end, first.to_string()));
    assert_eq!(last.decode().unwrap().event, sample.end(&sample.request("a", "r1"), stored[0]).event);

    let matching = async |filter| log.last_matching(&filter).await.unwrap().map(|message| message.sequence);
    assert_eq!(matching(sample.containers(Some("a"))).await, Some(end));
    assert_eq!(matching(sample.containers(Some("b"))).await, Some(stored[1]));
    assert_eq!(matching(Filter::Subject(first)).await, Some(end));
    let (worker, workspace) = (Some(sample.worker_id.clone()), Some(sample.workspace.clone()));
    let decisions = Filter::ContainerDecisions(worker.clone(), workspace, Some("a".parse().unwrap()));
    let newest = log.last_matching(&decisions).await.unwrap().unwrap().decode().unwrap();
    assert_eq!(newest.event.placement(), Some(2), "the newest by the log's order");
    assert_eq!(
        matching(Filter::Decisions(worker)).await,
        log.last_matching(&decisions).await.unwrap().map(|m| m.sequence)
    );

    let lasts = log.lasts(&sample.containers(None), 9).await.unwrap();
    assert_eq!((sequences(&lasts.messages), lasts.more), (vec![stored[1], stored[2], end], false));
    let two = log.lasts(&sample.containers(None), 2).await.unwrap();
    assert_eq!((sequences(&two.messages), two.more), (vec![stored[2], end], true));
    let at = log.message_at(stored[1]).await.unwrap().unwrap();
    assert_eq!(at.decode().unwrap().event, sample.request("b", "r1").event);
    for nowhere in [0, u64::from(u32::MAX)] {
        assert!(log.message_at(nowhere).await.unwrap().is_none(), "{nowhere}");
    }
}

async fn look_up_moments(log: &dyn Administration, sample: &Sample, stored: &[u64], end: u64) {
    let newest = async |container, most, until| {
        sequences(&log.newest_on(&sample.containers(container), most, until).await.unwrap().messages)
    };
    assert_eq!(newest(None, 9, u64::MAX).await, [stored[0], stored[1], stored[2], end]);
    assert_eq!(newest(None, 2, u64::MAX).await, [stored[2], end]);
    assert_eq!(newest(Some("a"), 9, stored[2]).await, [stored[0], stored[2]]);
    assert_eq!(newest(Some("nothing"), 9, u64::MAX).await, [0_u64; 0]);

    let page = async |container, from, most| {
        let page = log.read_page(&sample.containers(container), from, most).await.unwrap();
        (sequences(&page.messages), page.more)
    };
    assert_eq!(page(None, 0, 9).await, (vec![stored[0], stored[1], stored[2], end], false));
    assert_eq!(page(None, stored[1], 2).await, (vec![stored[1], stored[2]], true));
    assert_eq!(page(Some("b"), stored[2], 9).await, (Vec::new(), false));

    assert_eq!(log.pending(&sample.containers(None), stored[1]).await.unwrap(), 3);
    assert_eq!(log.pending(&sample.containers(Some("b")), stored[2]).await.unwrap(), 0);
    let at = log.message_at(stored[1]).await.unwrap().unwrap().at;
    assert_eq!(log.sequence_at(at).await.unwrap(), stored[1]);
    assert_eq!(log.sequence_at("2000-01-01T00:00:00Z".parse().unwrap()).await.unwrap(), 1);
    let state = log.stream_state().await.unwrap().unwrap();
    assert!(state.last_sequence >= end && state.first_sequence == 1);
    let future = Timestamp::from(at.instant() + time::Duration::days(1));
    assert_eq!(log.sequence_at(future).await.unwrap(), state.last_sequence + 1);
}
