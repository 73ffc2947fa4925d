//! The outbox's loop: pending decisions become events, in the order of their requests.
//!
//! A row leaves the outbox when the fold reads the decision from the log, not when it was sent: sending again after a
//! crash finds the same id there. A cursor in memory keeps one run from sending a row twice.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::Span;
use waybill_domain::fold::{Decision, Pending};
use waybill_platform::{
    log::{EventLog, Expect, NewEvent},
    metrics,
    trace::{self, Delivery},
};
use waybill_schemas::{Envelope, Event, EventType, TraceParent, v1::AttachSkipReason};

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
        let mut cursor = 0;
        loop {
            self.folded.mark_unchanged();
            // What was published since is found published when it is sent again.
            while let Ok(sequence) = self.back.try_recv() {
                cursor = sequence.saturating_sub(1).min(cursor);
            }
            let pending = self.next(cursor).await?;
            if let Some((last, _)) = pending.last() {
                cursor = *last;
                tokio::select! {
                    () = shutdown.cancelled() => return Ok(()),
                    published = self.publish(pending) => published?,
                }
                continue;
            }
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                Some(sequence) = self.back.recv() => cursor = sequence.saturating_sub(1).min(cursor),
                changed = self.folded.changed() => if changed.is_err() { return Ok(()) },
            }
        }
    }

    async fn next(&self, cursor: u64) -> Result<Vec<(u64, Pending)>, SchedulerError> {
        let projection = self.projection.clone();
        let reading = tokio::task::spawn_blocking(move || projection.pending(cursor, MAX_BATCH));
        Ok(reading.await.map_err(|_| SchedulerError::Interrupted)??)
    }

    async fn publish(&self, pending: Vec<(u64, Pending)>) -> Result<(), SchedulerError> {
        let announced: Vec<Announcement> =
            pending.iter().map(|(_, pending)| Announcement::of(pending, &self.keys)).collect();
        // Normally nothing was decided before for this container on this worker; where it was, appending finds out.
        let nothing = Expect::LastSibling(0);
        let events = announced.iter().map(|one| (one.event.clone(), nothing, one.span.clone())).collect();
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

/// A live request's trace goes on; an old one is linked. Either way the attach span links to the span that saved.
fn process_span(pending: &Pending) -> Span {
    let delivery = Delivery::of(pending.requested_at, false);
    let context = pending.trace.as_ref();
    let request = Envelope {
        id: pending.request_id,
        source: String::new(),
        source_version: None,
        time: None,
        causation_id: None,
        correlation_id: Some(pending.correlation_id),
        traceparent: context.and_then(|context| TraceParent::parse(&context.traceparent)),
        tracestate: context.and_then(|context| context.tracestate.clone()),
    };
    let subject = Event::from(pending.request.clone()).subject();
    let span = trace::process_span(&subject, &request, delivery);
    if let Decision::Attach(plan) = &pending.decision
        && let Some(saved) = plan.saved.trace.as_ref().and_then(|context| TraceParent::parse(&context.traceparent))
    {
        trace::link_saved(&span, &saved, plan.saved.sequence);
    }
    span
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
