//! The outbox's loop: pending decisions become events, in the order of what they are made for.
//!
//! A row leaves the outbox when the fold reads the decision from the log, not when it was sent: sending again after a
//! crash finds the same id there. A cursor in memory keeps one run from sending a row twice.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::Span;
use waybill_domain::fold::{Decision, Pending, PendingKey};
use waybill_platform::{
    log::{EventLog, Expect, NewEvent},
    metrics,
    trace::{self, Delivery},
};
use waybill_schemas::{Envelope, Event, EventType, Subject, TraceParent, v1::AttachSkipReason};

use crate::{
    SchedulerError,
    announce::{Keys, announce, envelope},
    projection::Projection,
};

/// Most decisions published as one atomic batch.
const MAX_BATCH: usize = 500;

/// Publishes what the projection holds as pending.
pub(crate) struct Publisher {
    pub(crate) log: EventLog,
    pub(crate) projection: Arc<Projection>,
    pub(crate) keys: Keys,
    pub(crate) folded: watch::Receiver<u64>,
    /// Requests that came back from quarantine, by sequence.
    pub(crate) back: mpsc::UnboundedReceiver<u64>,
}

impl Publisher {
    /// Runs until shutdown.
    pub(crate) async fn run(mut self, shutdown: &CancellationToken) -> Result<(), SchedulerError> {
        let mut cursor = PendingKey::START;
        loop {
            self.folded.mark_unchanged();
            // What was published since is found published when it is sent again.
            while let Ok(sequence) = self.back.try_recv() {
                cursor = before(sequence).min(cursor);
            }
            let pending = self.next(cursor).await?;
            if let Some(last) = pending.last() {
                cursor = last.key();
                tokio::select! {
                    () = shutdown.cancelled() => return Ok(()),
                    published = self.publish(pending) => published?,
                }
                continue;
            }
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                Some(sequence) = self.back.recv() => cursor = before(sequence).min(cursor),
                changed = self.folded.changed() => if changed.is_err() { return Ok(()) },
            }
        }
    }

    async fn next(&self, cursor: PendingKey) -> Result<Vec<Pending>, SchedulerError> {
        let projection = self.projection.clone();
        let reading = tokio::task::spawn_blocking(move || projection.pending(cursor, MAX_BATCH));
        Ok(reading.await.map_err(|_| SchedulerError::Interrupted)??)
    }

    async fn publish(&self, pending: Vec<Pending>) -> Result<(), SchedulerError> {
        let announced: Vec<Announcement> =
            pending.iter().map(|pending| Announcement::of(pending, &self.keys)).collect();
        // What is known of earlier decisions for this container on this worker; where it is wrong, appending finds out.
        let expected = pending.iter().map(|pending| Expect::LastSibling(pending.after));
        let events = announced.iter().zip(expected).map(|(one, last)| (one.event.clone(), last, one.span.clone()));
        let events = events.collect();
        let appended = self.log.append_all(events).await?;
        for (announcement, appended) in announced.iter().zip(appended) {
            announcement.span.in_scope(|| log_line(&announcement.event.event, appended.sequence));
            if !appended.duplicate {
                count(&announcement.event.event);
            }
        }
        Ok(())
    }
}

/// Before every decision that is made for the event at a sequence.
fn before(sequence: u64) -> PendingKey {
    PendingKey { caused_by: sequence, requested_by: 0 }
}

/// A decision ready to publish, in the span of its processing.
struct Announcement {
    event: NewEvent,
    span: Span,
}

impl Announcement {
    fn of(pending: &Pending, keys: &Keys) -> Self {
        let span = process_span(pending);
        let event = span.in_scope(|| announce(pending, keys));
        Self { event: NewEvent { envelope: envelope(pending, trace::now()), event }, span }
    }
}

/// The trace of a live cause (the request, a rotation, a revocation or an end) goes on; an old one is linked. Either way the attach span links to the span that saved.
fn process_span(pending: &Pending) -> Span {
    let delivery = Delivery::of(pending.caused_at, false);
    let context = pending.trace.as_ref();
    let cause = Envelope {
        id: pending.cause(),
        source: String::new(),
        source_version: None,
        time: None,
        causation_id: None,
        correlation_id: Some(pending.correlation_id),
        traceparent: context.and_then(|context| TraceParent::parse(&context.traceparent)),
        tracestate: context.and_then(|context| context.tracestate.clone()),
    };
    let span = trace::process_span(&cause_subject(pending), &cause, delivery);
    if let Decision::Attach(plan) = &pending.decision
        && let Some(saved) = plan.saved.trace.as_ref().and_then(|context| TraceParent::parse(&context.traceparent))
    {
        trace::link_saved(&span, &saved, plan.saved.sequence);
    }
    span
}

/// Where the event stands that the decision is made for.
fn cause_subject(pending: &Pending) -> Subject {
    match (&pending.renewal, &pending.request.image_id) {
        (Some(_), _) if ends(&pending.decision) => Subject::Container {
            workspace: pending.request.workspace.clone(),
            container_id: pending.request.container_id.clone(),
            event: EventType::ContainerEnded,
        },
        (Some(_), Some(image_id)) => Subject::Image {
            workspace: pending.request.workspace.clone(),
            image_id: image_id.clone(),
            event: match &pending.decision {
                Decision::Skip(plan) if plan.reason == AttachSkipReason::SecretRevoked => {
                    EventType::CredentialSecretRevoked
                }
                // A rotation can come to nothing, too: the new credentials may have expired.
                _ => EventType::CredentialSecretRotated,
            },
        },
        _ => Event::from(pending.request.clone()).subject(),
    }
}

fn ends(decision: &Decision) -> bool {
    matches!(decision, Decision::Skip(plan) if plan.reason == AttachSkipReason::ContainerEnded)
}

fn count(event: &Event) {
    match event {
        Event::ContainerCredentialsSkipped(skipped) => metrics::decision("skipped", Some(skipped.reason.as_str())),
        _ => metrics::decision("attached", None),
    }
}

/// People search for these messages and fields.
fn log_line(event: &Event, sequence: u64) {
    match event {
        Event::ContainerCredentialsAttached(attached) => tracing::info!(
            container_id = %attached.container_id,
            image_id = %attached.image_id,
            secret_name = %attached.secret_name,
            credentials_length = attached.credentials_length,
            workspace = %attached.workspace,
            worker_id = %attached.worker_id,
            sequence,
            "attached OCI credentials"
        ),
        Event::ContainerCredentialsSkipped(skipped) if skipped.reason == AttachSkipReason::NoSecretForImage => {
            tracing::warn!(
                container_id = %skipped.container_id,
                image_id = skipped.image_id.as_ref().map(tracing::field::display),
                workspace = %skipped.workspace,
                worker_id = %skipped.worker_id,
                sequence,
                "no credential secret found for image"
            );
        }
        Event::ContainerCredentialsSkipped(skipped) if skipped.reason == AttachSkipReason::ContainerEnded => {
            tracing::info!(
                container_id = %skipped.container_id,
                workspace = %skipped.workspace,
                worker_id = %skipped.worker_id,
                sequence,
                "container ended, its worker is told"
            );
        }
        Event::ContainerCredentialsSkipped(skipped) => tracing::warn!(
            container_id = %skipped.container_id,
            image_id = skipped.image_id.as_ref().map(tracing::field::display),
            reason = %skipped.reason,
            workspace = %skipped.workspace,
            worker_id = %skipped.worker_id,
            sequence,
            "no credentials attached"
        ),
        other => debug_assert!(!EventType::DECISIONS.contains(&other.event_type())),
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;
    use waybill_domain::fold::{Renewal, SkipPlan};
    use waybill_schemas::v1::ContainerRequested;

    use super::*;

    fn pending(renewal: Option<Renewal>, reason: AttachSkipReason) -> Pending {
        Pending {
            request_id: Uuid::from_u128(1),
            correlation_id: Uuid::from_u128(1),
            requested_by: 3,
            renewal,
            caused_at: "2026-01-01T00:00:00Z".parse().unwrap(),
            after: 0,
            request: ContainerRequested {
                workspace: "ws".parse().unwrap(),
                container_id: "c".parse().unwrap(),
                image_id: Some("i".parse().unwrap()),
                worker_id: "w".parse().unwrap(),
                build_container: false,
            },
            trace: None,
            decision: Decision::Skip(SkipPlan { reason, image_ref: None, registry: None, image_event: Some(5) }),
        }
    }

    #[test]
    fn a_decision_goes_on_from_what_it_was_made_for() {
        use AttachSkipReason as Why;
        let renewal = Some(Renewal { id: Uuid::from_u128(2), sequence: 5 });
        let cases = [
            (None, Why::SecretExpired, "waybill.events.container.ws.c.ContainerRequested"),
            (None, Why::SecretRevoked, "waybill.events.container.ws.c.ContainerRequested"),
            (renewal, Why::SecretRevoked, "waybill.events.image.ws.i.CredentialSecretRevoked"),
            (renewal, Why::SecretExpired, "waybill.events.image.ws.i.CredentialSecretRotated"),
            (renewal, Why::UnknownWorker, "waybill.events.image.ws.i.CredentialSecretRotated"),
        ];
        for (renewal, reason, subject) in cases {
            assert_eq!(cause_subject(&pending(renewal, reason)).to_string(), subject, "{reason}");
        }
    }
}
