//! The fold's loop: messages in order, in batches, into the projection.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use futures_util::StreamExt as _;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::Span;
use waybill_domain::fold::{Anomaly, SecretKey};
use waybill_platform::{
    log::{Administration, RawMessage, ReadError},
    metrics,
    trace::{self, Delivery},
};
use waybill_schemas::{Event, Filter, Recorded, RecordedEvent, Subject, Timestamp};

use crate::{
    SchedulerError,
    batch::{BULK, Batched, LIVE, complete_batch, read_during},
    bounded::Bounded,
    consumers::Reader,
    keeper::VaultTask,
    projection::{Due, Entry, FoldReport, Position, Projection, ProjectionError, Ruling},
    retry::Retry,
};

/// Folds from a sequence on, and tells after each commit which sequence was folded last.
pub(crate) struct Folding {
    pub(crate) log: Arc<dyn Administration>,
    pub(crate) projection: Arc<Projection>,
    pub(crate) stream_created: Timestamp,
    pub(crate) folded: watch::Sender<u64>,
    pub(crate) heard: Heard,
    /// Of lines about messages that cannot be read.
    pub(crate) poisonings: Bounded,
    /// True while another scheduler publishes.
    pub(crate) behind: Arc<AtomicBool>,
}

/// Decisions that are due, and the sequence up to which the log is folded with them.
pub(crate) struct NewlyDue {
    pub(crate) due: Vec<Due>,
    pub(crate) folded: u64,
}

/// A message that waits for its batch.
struct Queued {
    sequence: u64,
    entry: Entry,
    size: usize,
    more_waits: bool,
}

impl From<&RawMessage> for Queued {
    fn from(message: &RawMessage) -> Self {
        let (size, more_waits) = (message.size(), message.more_waits());
        Self { sequence: message.sequence, entry: Entry::of(message), size, more_waits }
    }
}

impl Batched for Queued {
    fn size(&self) -> usize {
        self.size
    }

    fn more_waits(&self) -> bool {
        self.more_waits
    }
}

/// Who hears of what was folded, once it is committed.
pub(crate) struct Heard {
    /// Of a few decisions that are due, before they are in the outbox.
    pub(crate) due: mpsc::Sender<NewlyDue>,
    /// Of whose consumers are to be made or removed.
    pub(crate) readers: mpsc::UnboundedSender<BTreeSet<Reader>>,
    /// Of what is to be done in the vault.
    pub(crate) vault: mpsc::UnboundedSender<VaultTask>,
    /// Of quarantined messages that are to be read again.
    pub(crate) retries: mpsc::UnboundedSender<Retry>,
}

impl Folding {
    /// Runs until shutdown. Ends with an error when the log is another one than the projection's.
    pub(crate) async fn run(
        &self,
        from: u64,
        position: Option<Position>,
        shutdown: &CancellationToken,
    ) -> Result<(), SchedulerError> {
        let known = position.map(|position| position.identity());
        // A message is decoded as it comes: its payload is not kept while it waits for its batch.
        let decoded = |message: Result<RawMessage, ReadError>| message.map(|message| Queued::from(&message));
        let mut messages = self.log.follow(&Filter::All, from, known).map(decoded);
        let folding = async {
            let mut ahead = Vec::new();
            loop {
                // Nobody waits for who is behind, and fewer transactions leave more of the disk to who is ahead.
                let bounds = if self.behind.load(Ordering::Relaxed) { BULK } else { LIVE };
                let batch = tokio::select! {
                    biased;
                    () = shutdown.cancelled() => return Ok(()),
                    batch = complete_batch(&mut messages, ahead, bounds) => batch?,
                };
                let Some(last) = batch.last().map(|queued| queued.sequence) else {
                    return Err(SchedulerError::LogEnded);
                };
                let committing = self.commit(batch.into_iter().map(|queued| queued.entry).collect(), last);
                ahead = read_during(&mut messages, bounds, committing).await?;
                self.folded.send_replace(last);
            }
        };
        tokio::select! {
            folded = folding => folded,
            () = self.poisonings.tell_rest() => Err(SchedulerError::Interrupted),
        }
    }

    async fn commit(&self, entries: Vec<Entry>, last: u64) -> Result<(), SchedulerError> {
        let (projection, created, new) = (self.projection.clone(), self.stream_created, self.heard.due.clone());
        let folding = move || {
            let _spans: Vec<Span> = entries.iter().filter_map(live_span).collect();
            // A publisher that is busy takes them from the outbox.
            let hand_over = |due: Vec<Due>| drop(new.try_send(NewlyDue { due, folded: last }));
            let report = projection.fold_handing_over(created, &entries, &hand_over)?;
            Ok::<_, ProjectionError>((entries, report))
        };
        let (entries, report) = crate::run_blocking(folding).await?;
        self.tell(&entries, report);
        Ok(())
    }

    fn tell(&self, entries: &[Entry], report: FoldReport) {
        let mut readers = BTreeSet::new();
        for entry in entries {
            match entry {
                Entry::Event(recorded) => {
                    metrics::consumed(&recorded.value.subject);
                    readers.extend(Reader::from_event(&recorded.value.event));
                    // The process goes down when nobody listens.
                    let _ = vault_task(&recorded.value.event).is_none_or(|task| self.heard.vault.send(task).is_ok());
                }
                Entry::Poison(poison) if !self.poisonings.is_told(poison.sequence) => {}
                Entry::Poison(poison) => {
                    let (sequence, value) = (poison.sequence, &poison.value);
                    tracing::warn!(
                        sequence,
                        subject = value.subject,
                        size = value.size,
                        error = value.error,
                        "event cannot be decoded, quarantined"
                    );
                }
            }
        }
        if !readers.is_empty() {
            let _ = self.heard.readers.send(readers);
        }
        report.anomalies.iter().for_each(|(sequence, anomaly)| warn(*sequence, anomaly));
        report.rulings.into_iter().for_each(|ruling| self.tell_ruling(ruling));
    }

    fn tell_ruling(&self, ruling: Ruling) {
        match ruling {
            Ruling::Retry { sequence, asked_by } => {
                tracing::info!(sequence, asked_by, "quarantined event is to be read again");
                let _ = self.heard.retries.send(Retry { sequence, asked_by });
            }
            Ruling::Discarded { sequence } => tracing::info!(sequence, "quarantined event discarded"),
            Ruling::NotThere { sequence } => tracing::warn!(sequence, "no such event in quarantine"),
        }
    }
}

/// What the keeper of the vault has to do for an event.
fn vault_task(event: &Event) -> Option<VaultTask> {
    let (workspace, secret_name) = (event.workspace()?.clone(), event.secret_name()?.clone());
    let secret = SecretKey { workspace, secret_name };
    match event {
        Event::CredentialSecretRevoked(revoked) => {
            Some(VaultTask::Withdraw { secret, version: revoked.version, shred: false })
        }
        Event::CredentialSecretShredded(shredded) => {
            Some(VaultTask::Withdraw { secret, version: shredded.version, shred: true })
        }
        event => event.stored_version().map(|stored| VaultTask::Check { secret, version: stored.version }),
    }
}

/// Builds and versions get a span here; requests get theirs when their decision is published.
fn live_span(entry: &Entry) -> Option<Span> {
    let Entry::Event(recorded) = entry else { return None };
    let Recorded { at, sequence, value } = recorded.as_ref();
    let is_saved = matches!(value.subject, Subject::Image { .. } | Subject::Secret { .. });
    if !is_saved || !trace::is_on() || !trace::is_live(*at) {
        return None;
    }
    let RecordedEvent { event, .. } = value;
    let span = trace::process_span(value, Delivery::Live);
    span.in_scope(|| tracing::debug!(sequence, event = %event.event_type(), "folded"));
    Some(span)
}

fn warn(sequence: u64, anomaly: &Anomaly) {
    match anomaly {
        Anomaly::UnexpectedDecision => {
            tracing::warn!(sequence, "decision answers nothing that is open, passed over");
        }
        Anomaly::DecisionDiffers { expected } => {
            tracing::error!(sequence, expected = ?expected.outcome, "decision is not the one that the log leads to");
        }
        Anomaly::ForeignOutcome { placed_on } => {
            tracing::warn!(sequence, %placed_on, "outcome of a worker that the placement is not on, passed over");
        }
        Anomaly::RepeatedOutcome => tracing::warn!(sequence, "outcome was reported before, passed over"),
    }
}
