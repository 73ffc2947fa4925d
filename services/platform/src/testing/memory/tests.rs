//! What goes wrong on demand, and what becomes of it.

use futures_util::StreamExt as _;

use super::*;
use crate::{
    log::ReadError,
    testing::{Sample, check_log},
};

#[tokio::test]
async fn it_is_a_log() {
    check_log(&MemoryLog::new()).await;
}

#[tokio::test]
async fn it_is_a_log_for_many_at_once() {
    check_log(&MemoryLog::new().gathering()).await;
}

/// Whatever goes wrong with batches and with what falls out of them, each event is stored once.
#[tokio::test]
async fn what_goes_wrong_with_a_batch_concerns_nobody_else() {
    for failure in [Failure::LostAck, Failure::Unavailable, Failure::Full, Failure::ReadUnavailable] {
        for healthy in 0..6 {
            let log = MemoryLog::new().gathering();
            let sample = Sample::new();
            let mut failures = vec![Failure::None; healthy];
            failures.extend(vec![failure.clone(); 3]);
            log.fail(failures);
            let requests: Vec<_> = (0..20).map(|index| sample.request(&format!("c{index}"), "r")).collect();
            let appends = requests.iter().map(|new| log.append(new, Expect::Last(0), None));
            let outcomes = futures_util::future::join_all(appends).await;
            let mut stored: Vec<_> = outcomes.into_iter().map(|outcome| outcome.unwrap().sequence().unwrap()).collect();
            stored.sort_unstable();
            assert_eq!(stored, (1..=20).collect::<Vec<u64>>(), "{failure:?} after {healthy}");
            assert_eq!(log.messages().len(), 20);
        }
    }
}

/// A batch that the log refuses falls apart, until what it may hold against one event stands alone.
#[tokio::test]
async fn a_refused_batch_fails_nobody() {
    let log = MemoryLog::new().gathering();
    let sample = Sample::new();
    // Two go alone; then the batch of the others is refused, and its first half.
    log.fail([Failure::None, Failure::None, Failure::Refused(10_054), Failure::Refused(10_054)]);
    let requests: Vec<_> = (0..8).map(|index| sample.request(&format!("c{index}"), "r")).collect();
    let appends = requests.iter().map(|new| log.append(new, Expect::Last(0), None));
    let outcomes = futures_util::future::join_all(appends).await;
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Ok(Appended::Stored { duplicate: false, .. }))));
    assert_eq!(log.messages().len(), 8);
}

#[tokio::test]
async fn what_goes_wrong_is_tried_again() {
    let log = MemoryLog::new();
    let mut full = log.full();
    let request = Sample::new().request("c", "r");
    log.fail([Failure::Unavailable, Failure::Full, Failure::LostAck, Failure::ReadUnavailable]);
    let appended = log.append(&request, Expect::Last(0), None).await.unwrap();
    assert!(matches!(appended, Appended::Stored { sequence: 1, duplicate: true }), "{appended:?}");
    assert_eq!(log.events().len(), 1);
    assert!(full.has_changed().unwrap(), "a log without room is told");
    assert!(full.borrow_and_update().is_some());
}

/// The acknowledgement is lost, and somebody else appends before the next try.
#[tokio::test]
async fn an_event_behind_a_later_one_is_found() {
    let log = MemoryLog::new();
    let sample = Sample::new();
    let request = sample.request("c", "r");
    log.fail([Failure::LostAck]);
    let append = async {
        let other = async {
            while log.messages().is_empty() {
                tokio::task::yield_now().await;
            }
            log.append(&sample.end(&request, 1), Expect::Last(1), None).await.unwrap()
        };
        tokio::join!(log.append(&request, Expect::Last(0), None), other).0.unwrap()
    };
    let appended = append.await;
    assert!(matches!(appended, Appended::Stored { sequence: 1, duplicate: true }), "{appended:?}");
    assert_eq!(log.messages().len(), 2);
}

#[tokio::test]
async fn a_limit_says_what_was_wrong() {
    let log = MemoryLog::new();
    let request = Sample::new().request("c", "r");
    let limit = Some(Duration::from_millis(30));
    log.fail(vec![Failure::Full; 50]);
    let error = log.append(&request, Expect::Last(0), limit).await.unwrap_err();
    assert!(matches!(error, AppendError::Full { .. }), "{error}");
    log.server().failures.clear();
    log.fail(vec![Failure::Unavailable; 50]);
    let error = log.append(&request, Expect::Last(0), limit).await.unwrap_err();
    assert!(matches!(error, AppendError::Unavailable { .. }), "{error}");
    log.server().failures.clear();
    log.fail([Failure::Refused(10_054)]);
    let error = log.append(&request, Expect::Last(0), limit).await.unwrap_err();
    assert!(matches!(error, AppendError::Refused { code: 10_054, .. }), "{error}");
    assert_eq!(log.messages().len(), 0);
}

#[tokio::test]
async fn one_refused_event_does_not_keep_the_others_out() {
    let log = MemoryLog::new();
    let sample = Sample::new();
    let events = ["a", "b", "c"].map(|container| (sample.request(container, "r"), Expect::Last(0), Span::none()));
    // The batch, again, and then the first of its events.
    log.fail([Failure::Unavailable, Failure::Refused(10_054), Failure::Refused(10_054)]);
    let outcomes = log.append_all(&events).await;
    assert!(matches!(outcomes[0], Some(Err(AppendError::Refused { .. }))));
    assert!(outcomes[1..].iter().all(|outcome| matches!(outcome, Some(Ok(Appended::Stored { .. })))));
    assert_eq!(log.messages().len(), 2);
}

#[tokio::test]
async fn an_older_copy_that_has_grown_is_another_log() {
    let log = MemoryLog::new();
    let sample = Sample::new();
    let append = async |request| log.append(&sample.request("c", request), Expect::Last(0), None).await.unwrap();
    append("r1").await;
    append("r2").await;
    let mut follow = log.follow(&Filter::All, 1, None);
    for sequence in 1..=2 {
        assert_eq!(follow.next().await.unwrap().unwrap().sequence, sequence);
    }
    log.restore_to(1);
    append("r3").await;
    append("r4").await;
    let error = follow.next().await.unwrap().unwrap_err();
    assert_eq!(error, ReadError::Replaced { sequence: 2 });
    assert!(follow.next().await.is_none());
}

#[tokio::test]
async fn a_dropped_delivery_comes_again() {
    let log = MemoryLog::new();
    let sample = Sample::new();
    log.append(&sample.withdrawal("c", 1), Expect::Last(0), None).await.unwrap();
    log.ensure_consumer(&ConsumerSpec::for_worker(&sample.worker_id, 0)).await.unwrap();
    let health = crate::health::HealthState::default();
    let name = format!("worker-{}", sample.worker_id);
    let mut queue = log.work(&name, 1, health.component("decisions"), Arc::new(|| Box::pin(async {})));
    drop(queue.recv().await.unwrap());
    let again = queue.recv().await.unwrap();
    assert!(again.redelivered);
    again.ack().await;
    assert_eq!(log.consumer_state(&name).await.unwrap().unwrap().unacknowledged, 0);
}
