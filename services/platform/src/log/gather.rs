//! Appends that come while others are on their way gather, and go together as one atomic batch (NATS ADR-50).
//!
//! One that comes alone is published at once and by itself. What a batch cannot take, its own append does: each event is stored
//! once by the protocol of `append`, whichever way it went first.

use std::{collections::HashSet, sync::Arc};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::{
    Expect,
    batch::MAX_BATCH,
    publish::{Next, Outgoing, Wire, interpret},
};

/// Publishes that may be on their way before the next ones gather: one is taken by the log while another is made ready.
const UNDER_WAY: usize = 2;

/// A message that is to be stored where its subject holds what is expected.
pub(crate) type Expecting = (Arc<Outgoing>, Expect);

/// The right to publish now; others gather until enough are given back.
pub(crate) type Turn = OwnedSemaphorePermit;

/// What became of messages that were to be stored together.
#[derive(Debug)]
pub(crate) enum Gathered {
    /// They are stored; the last one at this sequence, those before it just before.
    Stored(u64),
    /// Each is to be appended for itself.
    Alone {
        /// With a turn, where nothing was tried yet.
        turn: Option<Turn>,
        /// True if they may be stored by a publish that was not answered.
        unsure: bool,
    },
}

/// Messages of one caller, which are stored together or not at all.
struct Job {
    messages: Vec<Expecting>,
    done: oneshot::Sender<Gathered>,
}

/// Where appends gather. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Gathering {
    turns: Arc<Semaphore>,
    waiting: mpsc::UnboundedSender<Job>,
}

impl Gathering {
    /// Begins; the work ends with the last clone.
    pub(crate) fn begin(wire: impl Wire + Clone + 'static) -> Self {
        let (waiting, jobs) = mpsc::unbounded_channel();
        let turns = Arc::new(Semaphore::new(UNDER_WAY));
        tokio::spawn(publish_gathered(wire, jobs, turns.clone()));
        Self { turns, waiting }
    }

    /// Waits for a turn, and stores the messages with what else waits then. The caller may give up: the messages may be stored
    /// all the same.
    pub(crate) async fn join(&self, messages: Vec<Expecting>) -> Gathered {
        if messages.len() == 1
            && let Ok(turn) = self.turns.clone().try_acquire_owned()
        {
            return Gathered::Alone { turn: Some(turn), unsure: false };
        }
        let (done, gathered) = oneshot::channel();
        // Nobody takes it while the process goes down: then it goes alone.
        let _ = self.waiting.send(Job { messages, done });
        gathered.await.unwrap_or(Gathered::Alone { turn: None, unsure: false })
    }
}

async fn publish_gathered(
    wire: impl Wire + Clone + 'static,
    mut waiting: mpsc::UnboundedReceiver<Job>,
    turns: Arc<Semaphore>,
) {
    let mut jobs = Vec::new();
    while waiting.recv_many(&mut jobs, MAX_BATCH).await > 0 {
        let Ok(turn) = turns.clone().acquire_owned().await else { return };
        // What came meanwhile goes along.
        while jobs.len() < MAX_BATCH
            && let Ok(job) = waiting.try_recv()
        {
            jobs.push(job);
        }
        let (jobs, wire) = (std::mem::take(&mut jobs), wire.clone());
        tokio::spawn(async move { publish_together(&wire, jobs, turn).await });
    }
}

/// Publishes a batch. One that is refused is halved until what keeps it out stands alone.
async fn publish_together(wire: &impl Wire, jobs: Vec<Job>, turn: Turn) {
    let mut turn = Some(turn);
    let mut left = split_by_size(choose_distinct(jobs));
    while let Some(mut part) = left.pop() {
        let messages: Vec<(&Outgoing, Expect)> =
            part.iter().flat_map(|job| &job.messages).map(|(message, expect)| (message.as_ref(), *expect)).collect();
        let count = u64::try_from(messages.len()).unwrap_or(u64::MAX);
        if count < 2 {
            let alone = part.into_iter().next();
            alone.into_iter().for_each(|job| job.finish(Gathered::Alone { turn: turn.take(), unsure: false }));
            continue;
        }
        let ack = wire.publish_batch(&messages).await;
        let stored = ack.as_ref().map_or(0, |ack| ack.count);
        match interpret(ack) {
            Next::Stored(last) if stored == count => {
                let mut sequence = last.saturating_sub(count);
                for job in part {
                    sequence = sequence.saturating_add(u64::try_from(job.messages.len()).unwrap_or(u64::MAX));
                    job.finish(Gathered::Stored(sequence));
                }
            }
            Next::Again(reason) => {
                tracing::debug!(reason, events = count, "it is unknown whether the batch is stored");
                part.into_iter().for_each(|job| job.finish(Gathered::Alone { turn: None, unsure: true }));
            }
            _ if part.len() == 1 => {
                part.into_iter().for_each(|job| job.finish(Gathered::Alone { turn: None, unsure: false }));
            }
            next => {
                tracing::debug!(?next, events = count, "the batch was not stored");
                let second = part.split_off(part.len() / 2);
                left.extend([second, part]);
            }
        }
    }
}

/// Those that somebody still waits for, no two of them on one subject: the log would refuse the batch for the second, which
/// goes alone.
fn choose_distinct(jobs: Vec<Job>) -> Vec<Job> {
    let mut subjects = HashSet::new();
    let mut chosen = Vec::with_capacity(jobs.len());
    for job in jobs.into_iter().filter(|job| !job.done.is_closed()) {
        if job.messages.iter().any(|(message, _)| subjects.contains(&message.subject)) {
            job.finish(Gathered::Alone { turn: None, unsure: false });
            continue;
        }
        subjects.extend(job.messages.iter().map(|(message, _)| message.subject.clone()));
        chosen.push(job);
    }
    chosen
}

/// Parts that the server takes as one batch, the first one last.
fn split_by_size(jobs: Vec<Job>) -> Vec<Vec<Job>> {
    let mut parts: Vec<(usize, Vec<Job>)> = Vec::new();
    for job in jobs {
        match parts.last_mut().filter(|(count, _)| count.saturating_add(job.messages.len()) <= MAX_BATCH) {
            Some((count, part)) => {
                *count = count.saturating_add(job.messages.len());
                part.push(job);
            }
            None => parts.push((job.messages.len(), vec![job])),
        }
    }
    parts.into_iter().rev().map(|(_, part)| part).collect()
}

impl Job {
    /// Whoever gave up meanwhile is not told.
    fn finish(self, gathered: Gathered) {
        let _ = self.done.send(gathered);
    }
}
