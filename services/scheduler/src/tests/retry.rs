//! Quarantined messages that are read again.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use waybill_platform::log::Log as _;
use waybill_schemas::v1::QuarantineRetried;

use super::Bench;
use crate::{
    projection::{Projection, Ruling},
    retry::{Candidate, Retries, Retry},
};

/// Asks for a message to be read again, and lets the scheduler look until it has an answer.
async fn retry(bench: &Bench, sequence: u64) -> Option<Candidate> {
    let asked_by = bench.append(&format!("quarantine.{sequence}"), QuarantineRetried { sequence }).await;
    let report = bench.fold().await;
    assert_eq!(report.rulings, [Ruling::Retry { sequence, asked_by }]);
    let (sender, asked) = mpsc::unbounded_channel();
    sender.send(Retry { sequence, asked_by }).unwrap();
    drop(sender);
    let stream = bench.log.stream_state().await.unwrap().unwrap();
    let retries = Retries {
        log: bench.administration(),
        stream,
        projection: bench.projection.clone(),
        folded: watch::channel(stream.last_sequence).1,
        asked,
    };
    // Without an answer it waits for the next request, which never comes.
    retries.run(&CancellationToken::new()).await.ok()
}

async fn finish(bench: Bench, candidate: Candidate) -> Arc<Projection> {
    let path = bench.path();
    let Bench { projection, grants, home, .. } = bench;
    drop(grants);
    candidate.finish(projection, &CancellationToken::new()).await.unwrap();
    let projection = Arc::new(Projection::open(&path).unwrap());
    drop(home);
    projection
}

#[tokio::test]
async fn a_message_that_can_be_read_now_is_put_back_in_its_place() {
    let mut bench = Bench::new();
    bench.save("ws", "s.t", 1).await;
    let named = bench.name("ws", "i", "s.t").await;
    bench.register("w").await;
    bench.fold_but(&[named]).await;
    bench.settle().await;
    let candidate = retry(&bench, named).await.unwrap();
    // What comes meanwhile is folded as well.
    bench.register("w2").await;
    bench.fold().await;
    let whole = Bench::with_log(bench.log.clone());
    whole.fold().await;
    let projection = finish(bench, candidate).await;
    assert_eq!(projection.rows().unwrap(), whole.projection.rows().unwrap());
    assert_eq!(projection.quarantined().unwrap(), 0);
}

#[tokio::test]
async fn a_message_that_the_log_went_on_without_stays() {
    let mut bench = Bench::new();
    bench.save("ws", "s.t", 1).await;
    let named = bench.name("ws", "i", "s.t").await;
    bench.register("w").await;
    bench.request("ws", "c", "i", "w").await;
    bench.fold_but(&[named]).await;
    bench.settle().await;
    assert_eq!(bench.decisions(), ["skipped c 4 no_secret_for_image"]);
    assert!(retry(&bench, named).await.is_none());
    let quarantine = bench.projection.snapshot().unwrap().quarantine().unwrap();
    let held = quarantine[0].1.held.as_ref().unwrap();
    assert!(held.why.contains("the decision at sequence 5 would have been another one"), "{}", held.why);
    assert_eq!(quarantine[0].1.open_retry(), None, "the request is answered");
}

#[tokio::test]
async fn a_contradiction_that_comes_last_keeps_the_message_in_quarantine() {
    let mut bench = Bench::new();
    bench.save("ws", "s.t", 1).await;
    let named = bench.name("ws", "i", "s.t").await;
    bench.register("w").await;
    bench.fold_but(&[named]).await;
    let candidate = retry(&bench, named).await.unwrap();
    bench.request("ws", "c", "i", "w").await;
    bench.settle().await;
    assert_eq!(bench.decisions(), ["skipped c 5 no_secret_for_image"]);
    let rows = bench.projection.rows().unwrap();
    let projection = finish(bench, candidate).await;
    assert_eq!(projection.rows().unwrap(), rows);
    let quarantine = projection.snapshot().unwrap().quarantine().unwrap();
    assert!(quarantine[0].1.held.is_some());
}

#[tokio::test]
async fn what_diverged_before_is_no_obstacle_and_other_messages_stay() {
    let mut bench = Bench::new();
    bench.save("ws", "s.t", 1).await;
    let named = bench.name("ws", "i", "s.t").await;
    let other = bench.name("ws", "j", "s.t").await;
    bench.register("w").await;
    let placement = bench.request("ws", "c", "i2", "w").await;
    bench.fold_but(&[named, other]).await;
    bench.settle().await;
    // Somebody says the decision again.
    let last = bench.log.messages().last().unwrap().clone();
    let mut headers = last.header_pairs();
    headers.retain(|(name, _)| name != "Nats-Msg-Id");
    let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    bench.log.publish_raw(&last.subject, &headers, &last.payload);
    bench.fold().await;
    assert_eq!(placement, 5);
    let candidate = retry(&bench, named).await.unwrap();
    let projection = finish(bench, candidate).await;
    let quarantine = projection.snapshot().unwrap().quarantine().unwrap();
    assert_eq!(quarantine.iter().map(|(sequence, _)| *sequence).collect::<Vec<_>>(), [other]);
}

#[tokio::test]
async fn a_message_that_still_cannot_be_read_stays_and_says_why() {
    let mut bench = Bench::new();
    bench.begin().await;
    let poison = bench.log.publish_raw("waybill.events.worker.w", &[], b"{}");
    bench.fold().await;
    assert!(retry(&bench, poison).await.is_none());
    let quarantine = bench.projection.snapshot().unwrap().quarantine().unwrap();
    assert_eq!(quarantine[0].1.held.as_ref().unwrap().why, quarantine[0].1.error);
    let report = {
        bench.append("quarantine.2", QuarantineRetried { sequence: 2 }).await;
        bench.fold().await
    };
    assert_eq!(report.rulings, [Ruling::NotThere { sequence: 2 }]);
}
