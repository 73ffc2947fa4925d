//! Decisions whose subject holds something else than expected.

use waybill_platform::log::{Expect, Failure, Log as _, NewEvent};
use waybill_schemas::{Envelope, Event, Uuid, v1::ContainerCredentialsSkipped};

use super::Bench;
use crate::publisher::Round;

/// The decisions in the outbox, published by a scheduler that dies before it folds any of them.
async fn publish_and_die(bench: Bench) -> Bench {
    bench.publisher().publish_round().await.unwrap();
    bench.restart()
}

#[tokio::test]
async fn what_a_dead_scheduler_said_is_not_said_again() {
    let mut bench = Bench::new();
    bench.begin().await;
    bench.request("ws", "c1", "i", "w").await;
    bench.request("ws", "c2", "i", "w").await;
    bench.fold().await;
    let bench = publish_and_die(bench).await;
    let said = bench.log.messages().len();
    assert_eq!(bench.publisher().publish_round().await.unwrap(), Round::Behind);
    assert_eq!(bench.log.messages().len(), said);
    bench.settle().await;
    assert_eq!(bench.decisions(), ["attached c1 4 v1", "attached c2 5 v1"]);
    assert_eq!(bench.aside.keys().len(), 0);
}

#[tokio::test]
async fn a_first_decision_behind_its_withdrawal_is_said() {
    let mut bench = Bench::new();
    bench.begin().await;
    let placement = bench.request("ws", "c", "i", "w").await;
    bench.fold().await;
    // Another file of the same log goes on to the withdrawal.
    let other = Bench::with_log(bench.log.clone());
    other.settle().await;
    bench.end("ws", "c", placement).await;
    other.settle().await;
    assert_eq!(bench.decisions(), ["attached c 4 v1", "withdrawn c 4 ended"]);
    assert_eq!(bench.publisher().publish_round().await.unwrap(), Round::Behind);
    assert_eq!(bench.aside.keys().len(), 0);
    bench.settle().await;
    assert_eq!(bench.decisions().len(), 2);
    assert_eq!(bench.projection.rows().unwrap(), other.projection.rows().unwrap());
}

#[tokio::test]
async fn a_lost_acknowledgement_says_nothing_twice() {
    let mut bench = Bench::new();
    bench.begin().await;
    bench.request("ws", "c", "i", "w").await;
    bench.fold().await;
    bench.log.fail([Failure::LostAck]);
    bench.settle().await;
    bench.register("w").await;
    bench.fold().await;
    bench.log.fail([Failure::LostAck]);
    bench.settle().await;
    assert_eq!(bench.decisions(), ["attached c 4 v1", "renewed w s.t v1 key_change"]);
}

#[tokio::test]
async fn an_event_of_somebody_else_in_a_decisions_place_is_told_and_passed_over() {
    let mut bench = Bench::new();
    bench.begin().await;
    bench.request("ws", "c1", "i", "w").await;
    bench.request("ws", "c2", "i", "w").await;
    bench.fold().await;
    let forged = ContainerCredentialsSkipped {
        workspace: "ws".parse().unwrap(),
        container_id: "c1".parse().unwrap(),
        placement: 4,
        image_id: None,
        worker_id: "w".parse().unwrap(),
        image_ref: None,
        registry: None,
        secret_name: None,
        reason: waybill_schemas::v1::AttachSkipReason::NoImageId,
        image_event: None,
    };
    bench.append("decision.w.container.ws.c1.4", forged).await;
    bench.settle().await;
    assert_eq!(bench.decisions(), ["skipped c1 4 no_image_id", "attached c2 5 v1"]);
    assert_eq!(bench.aside.keys().len(), 1);
}

#[tokio::test]
async fn a_decision_that_the_fold_does_not_take_is_not_sent_for_ever() {
    let mut bench = Bench::new();
    bench.begin().await;
    bench.request("ws", "c", "i", "w").await;
    bench.fold().await;
    // The log holds the decision's id with another body on another subject's row: as if the fold had passed it over.
    let pending = bench.projection.snapshot().unwrap();
    let due = pending.due(waybill_domain::fold::Lane::Requests, None, 1, &|_| false).unwrap().remove(0);
    drop(pending);
    let new = NewEvent {
        subject: due.pending.decision.subject(),
        envelope: Envelope::new(due.pending.event_id(), "/waybill/test"),
        event: due.pending.decision.to_event(),
    };
    bench.log.append(&new, Expect::Last(0), None).await.unwrap();
    // A version that cannot read it.
    let last = bench.log.messages().last().unwrap().sequence;
    bench.fold_but(&[last]).await;
    let mut publisher = bench.publisher();
    publisher.publish_round().await.unwrap();
    assert_eq!(publisher.publish_round().await.unwrap(), Round::Idle);
    assert_eq!(bench.aside.keys().len(), 1);
    let events = bench.log.events();
    assert!(matches!(events.last().unwrap().1.event, Event::ContainerCredentialsAttached(_)));
    assert_ne!(due.pending.event_id(), Uuid::nil());
}
