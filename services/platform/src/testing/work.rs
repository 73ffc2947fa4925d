//! Consumers and their queues.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::time::{sleep, timeout};
use waybill_schemas::Filter;

use super::{Sample, log::append};
use crate::{
    health::HealthState,
    log::{Administration, ConsumerSpec, Delivered, ErrorKind, Expect, Missing, WorkQueue},
};

/// A check that waits longer has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// A worker gets what is addressed to it until it acknowledges it, and waits for its consumer.
pub async fn check_work(log: &dyn Administration) {
    deliver_until_acknowledged(log).await;
    wait_for_the_consumer(log).await;
}

async fn next(queue: &mut WorkQueue) -> Delivered {
    timeout(PATIENCE, queue.recv()).await.expect("a message in time").expect("an open queue")
}

fn queue(log: &dyn Administration, name: &str, missing: Missing) -> (WorkQueue, HealthState) {
    let health = HealthState::default();
    (log.work(name, 8, health.component("decisions"), missing), health)
}

async fn deliver_until_acknowledged(log: &dyn Administration) {
    let sample = Sample::new();
    let mut stored = Vec::new();
    for placement in 1..=3 {
        stored.push(append(log, &sample.withdrawal("c", placement), Expect::Last(0)).await);
    }
    append(log, &Sample::new().withdrawal("c", 1), Expect::Last(0)).await;
    let spec = ConsumerSpec::for_worker(&sample.worker_id, stored[1]);
    assert!(log.ensure_consumer(&spec).await.unwrap(), "made");
    assert!(!log.ensure_consumer(&ConsumerSpec { start: 1, ..spec.clone() }).await.unwrap(), "there already");
    let state = log.consumer_state(&spec.name).await.unwrap().unwrap();
    assert_eq!((state.filter, state.pending), (spec.filter.to_string(), 2), "from its start on, for this worker");

    let (mut work, health) = queue(log, &spec.name, never_missing());
    let second = next(&mut work).await;
    assert!(health.readiness().ready);
    assert_eq!((second.message.sequence, second.redelivered), (stored[1], false));
    assert_eq!(second.message.decode().unwrap().event.placement(), Some(2));
    let third = next(&mut work).await;
    third.in_progress().await;
    third.ack().await;
    second.retry_after(Duration::from_millis(1)).await;
    let again = next(&mut work).await;
    assert_eq!((again.message.sequence, again.redelivered), (stored[1], true));
    again.ack().await;
    let fourth = append(log, &sample.withdrawal("c", 4), Expect::Last(0)).await;
    let last = next(&mut work).await;
    assert_eq!((last.message.sequence, last.redelivered), (fourth, false));
    last.ack().await;
    acknowledged(log, &spec.name).await;
    assert!(log.delete_consumer(&spec.name).await.unwrap());
    assert!(!log.delete_consumer(&spec.name).await.unwrap(), "gone already");
    assert!(log.consumer_state(&spec.name).await.unwrap().is_none());
}

/// Waits until the server has seen every acknowledgement.
async fn acknowledged(log: &dyn Administration, name: &str) {
    let seen = async {
        while log.consumer_state(name).await.unwrap().unwrap().unacknowledged > 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, seen).await.expect("acknowledgements in time");
}

async fn wait_for_the_consumer(log: &dyn Administration) {
    let sample = Sample::new();
    let stored = append(log, &sample.withdrawal("c", 1), Expect::Last(0)).await;
    let asked = Arc::new(AtomicU32::new(0));
    let (counter, told) = (asked.clone(), Arc::new(tokio::sync::Notify::new()));
    let tell = told.clone();
    let missing: Missing = Arc::new(move || {
        counter.fetch_add(1, Ordering::Relaxed);
        tell.notify_one();
        Box::pin(async {})
    });
    let spec = ConsumerSpec {
        name: format!("worker-{}", sample.worker_id),
        filter: Filter::Decisions(Some(sample.worker_id.clone())),
        start: 0,
    };
    let (mut work, health) = queue(log, &spec.name, missing);
    timeout(PATIENCE, told.notified()).await.expect("told that the consumer is missing");
    assert!(!health.readiness().ready);
    log.ensure_consumer(&spec).await.unwrap();
    let first = next(&mut work).await;
    assert_eq!(first.message.sequence, stored);
    first.ack().await;
    acknowledged(log, &spec.name).await;

    // It is lost, and made anew after what is done.
    let before = asked.load(Ordering::Relaxed);
    log.delete_consumer(&spec.name).await.unwrap();
    timeout(PATIENCE, told.notified()).await.expect("told again");
    assert!(asked.load(Ordering::Relaxed) > before || before > 1);
    let second = append(log, &sample.withdrawal("c", 2), Expect::Last(0)).await;
    // A server may still remove the files of the old one, and says so.
    let anew = ConsumerSpec { start: stored + 1, ..spec.clone() };
    let made = async {
        loop {
            match log.ensure_consumer(&anew).await {
                Err(error) if error.kind() == ErrorKind::Again => sleep(Duration::from_millis(20)).await,
                made => break made,
            }
        }
    };
    timeout(PATIENCE, made).await.expect("a consumer made anew").unwrap();
    let found = next(&mut work).await;
    assert_eq!((found.message.sequence, found.redelivered), (second, false));
    found.ack().await;
}

fn never_missing() -> Missing {
    Arc::new(|| Box::pin(async {}))
}
