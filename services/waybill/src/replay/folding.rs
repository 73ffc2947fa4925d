//! Three stages at once: read in order, decode, fold and commit. Each hands batches to the next, and waits when it is ahead.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::StreamExt as _;
use tokio::{sync::mpsc, task::spawn_blocking};
use waybill_domain::{
    decision::{Decision, Outcome},
    fold::Pending,
    verify::{Divergence, Tally, Verifier},
};
use waybill_platform::log::{Log, RawMessage, StreamState};
use waybill_scheduler::projection::{Entry, Projection, ProjectionError};
use waybill_schemas::{Event, Filter, Timestamp};

use super::{ReplayError, progress::Progress};
use crate::Failure;

/// Most events in one transaction. Nobody waits for a scratch projection, and each transaction writes the pages that it
/// touches anew: fewer and larger ones than the scheduler's.
const BATCH: usize = 8000;
/// A batch ends early where events are large.
const BATCH_BYTES: usize = 16 * 1024 * 1024;
/// Batches that wait between two stages.
const QUEUE: usize = 1;

/// What was folded.
#[derive(Debug, Clone, Default)]
pub(crate) struct Counts {
    pub(crate) events: u64,
    pub(crate) requests: u64,
    /// By what they come to, such as `attached` or `skipped: no_image_id`.
    pub(crate) decisions: BTreeMap<String, u64>,
    pub(crate) quarantined: u64,
    /// Events that the log does not lead to.
    pub(crate) anomalies: u64,
}

/// True for an entry that is folded.
pub(crate) type Folds = Box<dyn FnMut(&Entry) -> bool + Send>;

/// A projection on its way through the log.
pub(crate) struct Replay {
    log: Arc<dyn Log>,
    created: Timestamp,
    folded: u64,
    pub(crate) projection: Arc<Projection>,
    pub(crate) verifier: Option<Verifier>,
    /// Looks at each entry before it is folded, and leaves out those that it is false for.
    pub(crate) folds: Option<Folds>,
    pub(crate) counts: Counts,
    pub(crate) elapsed: Duration,
}

impl Replay {
    /// At the start of the log, with an empty projection.
    pub(crate) fn new(log: Arc<dyn Log>, state: StreamState, projection: Projection) -> Self {
        Self {
            log,
            created: state.created,
            folded: 0,
            projection: Arc::new(projection),
            verifier: None,
            folds: None,
            counts: Counts::default(),
            elapsed: Duration::ZERO,
        }
    }

    /// Folds up to a sequence that the log holds; nothing if that was folded before.
    pub(crate) async fn fold_until(&mut self, last: u64) -> Result<(), Failure> {
        if last <= self.folded {
            return Ok(());
        }
        let started = Instant::now();
        let done = Arc::new(AtomicU64::new(0));
        let progress = Progress::show(done.clone(), last.saturating_sub(self.folded));
        let (raw_sender, mut raw) = mpsc::channel::<Vec<RawMessage>>(QUEUE);
        let (entry_sender, entries) = mpsc::channel::<Vec<Entry>>(QUEUE);
        let decoding = spawn_blocking(move || {
            while let Some(batch) = raw.blocking_recv() {
                if entry_sender.blocking_send(batch.iter().map(Entry::of).collect()).is_err() {
                    return;
                }
            }
        });
        let stage = Stage {
            created: self.created,
            projection: self.projection.clone(),
            verifier: self.verifier.take(),
            folds: self.folds.take(),
            counts: std::mem::take(&mut self.counts),
            done,
        };
        let folding = spawn_blocking(move || stage.run(entries));
        let read = read(self.log.as_ref(), self.folded.saturating_add(1), last, raw_sender).await;
        let folded = folding.await.map_err(|_| ReplayError::Interrupted)?;
        decoding.await.map_err(|_| ReplayError::Interrupted)?;
        // Reading stops when folding has failed, which is then the reason.
        let stage = folded?;
        read?;
        drop(progress);
        (self.verifier, self.folds, self.counts) = (stage.verifier, stage.folds, stage.counts);
        self.folded = last;
        self.elapsed = self.elapsed.saturating_add(started.elapsed());
        Ok(())
    }

    /// Decisions that the log leads to and does not hold yet.
    pub(crate) fn open(&self) -> Result<Vec<Pending>, Failure> {
        let mut open = Vec::new();
        self.projection.snapshot()?.each("pending", |row| -> Result<(), Failure> {
            open.push(serde_json::from_slice(&row.value)?);
            Ok(())
        })?;
        Ok(open)
    }

    /// What the verifier found, if there is one. `open` is what the log leads to and does not hold yet.
    pub(crate) fn finish_verifier(&mut self, open: &[Pending]) -> Option<(Vec<Divergence>, Tally)> {
        let mut verifier = self.verifier.take()?;
        open.iter().for_each(|pending| verifier.count_open(pending));
        Some(verifier.finish())
    }

    /// The projection, once nothing else uses it.
    pub(crate) fn into_projection(self) -> Result<Projection, ReplayError> {
        Arc::into_inner(self.projection).ok_or(ReplayError::Interrupted)
    }
}

/// Reads from a sequence to another, in batches.
async fn read(log: &dyn Log, from: u64, last: u64, sender: mpsc::Sender<Vec<RawMessage>>) -> Result<(), Failure> {
    let mut messages = log.follow(&Filter::All, from, None);
    let mut batch = Vec::with_capacity(BATCH);
    let mut bytes = 0_usize;
    while let Some(message) = messages.next().await {
        let message = message?;
        let at_end = message.sequence >= last;
        bytes = bytes.saturating_add(message.payload.len());
        // The last one that was asked for may have left the log.
        if message.sequence <= last {
            batch.push(message);
        }
        if at_end || batch.len() >= BATCH || bytes >= BATCH_BYTES {
            bytes = 0;
            let full = std::mem::replace(&mut batch, Vec::with_capacity(BATCH));
            if sender.send(full).await.is_err() || at_end {
                return Ok(());
            }
        }
    }
    Err(ReplayError::Interrupted.into())
}

/// The last stage.
struct Stage {
    created: Timestamp,
    projection: Arc<Projection>,
    verifier: Option<Verifier>,
    folds: Option<Folds>,
    counts: Counts,
    done: Arc<AtomicU64>,
}

impl Stage {
    fn run(mut self, mut entries: mpsc::Receiver<Vec<Entry>>) -> Result<Self, ProjectionError> {
        while let Some(mut batch) = entries.blocking_recv() {
            if let Some(folds) = &mut self.folds {
                batch.retain(|entry| folds(entry));
            }
            let report = match &mut self.verifier {
                Some(verifier) => self.projection.fold_verifying(self.created, &batch, verifier)?,
                None => self.projection.fold(self.created, &batch)?,
            };
            self.counts.anomalies = self.counts.anomalies.saturating_add(count(report.anomalies.len()));
            self.counts.events = self.counts.events.saturating_add(count(batch.len()));
            batch.iter().for_each(|entry| self.counts.add(entry));
            self.done.store(self.counts.events, Ordering::Relaxed);
        }
        Ok(self)
    }
}

impl Counts {
    fn add(&mut self, entry: &Entry) {
        let recorded = match entry {
            Entry::Poison(_) => {
                self.quarantined = self.quarantined.saturating_add(1);
                return;
            }
            Entry::Event(recorded) => &recorded.value,
        };
        if matches!(recorded.event, Event::ContainerRequested(_)) {
            self.requests = self.requests.saturating_add(1);
        }
        if let Some(decision) = Decision::from_event(recorded) {
            let counted = self.decisions.entry(outcome_name(&decision.outcome)).or_default();
            *counted = counted.saturating_add(1);
        }
    }
}

/// What a decision comes to, in a word or two.
fn outcome_name(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Attached { .. } => "attached".to_owned(),
        Outcome::Skipped { reason, .. } => format!("skipped: {reason}"),
        Outcome::Withdrawn { reason, .. } => format!("withdrawn: {reason}"),
        Outcome::Renewed { cause, .. } => format!("renewed: {cause}"),
    }
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}
