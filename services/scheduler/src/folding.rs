//! The fold's loop: messages in order, in batches, into the projection.

use std::{collections::BTreeSet, sync::Arc};

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span};
use waybill_domain::fold::Anomaly;
use waybill_platform::{
    log::{EventLog, RawMessage},
    metrics,
    trace::{self, Delivery},
};
use waybill_schemas::{ALL_SUBJECTS, Event, Recorded, RecordedEvent, Subject, Timestamp, WorkerId};

use crate::{
    SchedulerError,
    batch::next_batch,
    projection::{Entry, Projection, Quarantined, Settled},
};

/// Folds from a sequence on, and tells after each commit which sequence was folded last.
pub(crate) struct Folding {
    pub(crate) log: EventLog,
    pub(crate) projection: Arc<Projection>,
    pub(crate) stream_created: Timestamp,
    pub(crate) folded: watch::Sender<u64>,
    /// Hears of workers that registered, once their registration is committed.
    pub(crate) registered: mpsc::UnboundedSender<BTreeSet<WorkerId>>,
    /// Hears of requests that came back from quarantine: their decisions are pending behind those that are published.
    pub(crate) back: mpsc::UnboundedSender<u64>,
}

impl Folding {
    /// Runs until `until` is folded, or for ever; ends early on shutdown.
    pub(crate) async fn run(
        &self,
        from: u64,
        until: Option<u64>,
        shutdown: &CancellationToken,
    ) -> Result<(), SchedulerError> {
        let mut messages = Box::pin(self.log.read(ALL_SUBJECTS, from));
        while until.is_none_or(|last| *self.folded.borrow() < last) {
            let batch = tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(()),
                batch = next_batch(&mut messages, |message: &RawMessage| message.pending > 0) => batch?,
            };
            let Some(last) = batch.last().map(|message| message.sequence) else {
                return Err(SchedulerError::LogEnded);
            };
            self.commit(batch).await?;
            self.folded.send_replace(last);
        }
        Ok(())
    }

    async fn commit(&self, batch: Vec<RawMessage>) -> Result<(), SchedulerError> {
        let entries: Vec<Entry> = batch.into_iter().map(entry).collect();
        let spans: Vec<Span> = entries.iter().filter_map(live_span).collect();
        entries.iter().for_each(count);
        let workers: BTreeSet<WorkerId> = entries.iter().filter_map(registration).collect();
        let (projection, created) = (self.projection.clone(), self.stream_created);
        let folding = tokio::task::spawn_blocking(move || projection.fold(created, &entries));
        let report = folding.in_current_span().await.map_err(|_| SchedulerError::Interrupted)??;
        drop(spans);
        if !workers.is_empty() {
            // Nobody listens during a rebuild.
            let _ = self.registered.send(workers);
        }
        report.anomalies.iter().for_each(|(sequence, anomaly)| warn(*sequence, *anomaly));
        report.settled.into_iter().for_each(|settled| self.settled(settled));
        Ok(())
    }
}

fn entry(message: RawMessage) -> Entry {
    let entry = Entry::of(&message);
    if let Entry::Poison(poison) = &entry {
        let Recorded { sequence, value: Quarantined { subject, error, .. }, .. } = poison.as_ref();
        tracing::warn!(sequence, subject, error, "event cannot be decoded, quarantined");
    }
    entry
}

impl Folding {
    /// Tells what came of a retry or a discard, and wakes whoever has to act on an event that is back.
    fn settled(&self, settled: Settled) {
        match settled {
            Settled::Back(recorded) => {
                let (sequence, event) = (recorded.sequence, &recorded.value.event);
                tracing::info!(sequence, event = %event.event_type(), "quarantined event put back in its place");
                // Nobody listens during a rebuild.
                let _ = match event {
                    Event::WorkerRegistered(worker) => self.registered.send([worker.worker_id.clone()].into()).is_ok(),
                    Event::ContainerRequested(_) => self.back.send(sequence).is_ok(),
                    _ => true,
                };
            }
            Settled::Held { sequence, why } => tracing::warn!(sequence, why, "quarantined event stays in quarantine"),
            Settled::Discarded { sequence } => tracing::info!(sequence, "quarantined event discarded"),
            Settled::NotThere { sequence } => tracing::warn!(sequence, "no such event in quarantine"),
        }
    }
}

fn count(entry: &Entry) {
    if let Entry::Event(recorded) = entry {
        metrics::consumed(&recorded.value.event.subject());
    }
}

fn registration(entry: &Entry) -> Option<WorkerId> {
    let Entry::Event(recorded) = entry else { return None };
    match &recorded.value.event {
        Event::WorkerRegistered(worker) => Some(worker.worker_id.clone()),
        _ => None,
    }
}

/// Builds get a span here; requests get theirs when their decision is published.
fn live_span(entry: &Entry) -> Option<Span> {
    let Entry::Event(recorded) = entry else { return None };
    let Recorded { at, sequence, value: RecordedEvent { envelope, event } } = recorded.as_ref();
    let build = matches!(event.subject(), Subject::Image { .. });
    if !build || !trace::is_live(*at) {
        return None;
    }
    let span = trace::process_span(&event.subject(), envelope, Delivery::Live);
    span.in_scope(|| tracing::debug!(sequence, event = %event.event_type(), "folded"));
    Some(span)
}

fn warn(sequence: u64, anomaly: Anomaly) {
    match anomaly {
        Anomaly::DuplicateRequest { first } => {
            tracing::warn!(sequence, first, "container request was published twice, decided once");
        }
        Anomaly::UnexpectedDecision => {
            tracing::warn!(sequence, "decision answers no open request, passed over");
        }
    }
}
