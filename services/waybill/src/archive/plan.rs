//! What leaves, and the proof that nothing else changes: the whole log and the log without it are folded, and their rows compared.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

use waybill_domain::{
    fold::PlacementFact,
    retention::{Ledger, Removed, Selection, account_for_renewals},
    verify::{Divergence, Verifier},
};
use waybill_platform::log::{ConsumerSpec, EventLog, Log, StreamState};
use waybill_scheduler::projection::{Entry, Snapshot};
use waybill_schemas::{Subject, WorkerId};

use super::ArchiveError;
use crate::{
    Failure,
    replay::{Replay, Scratch, changes},
};

/// What leaves.
pub(super) struct Plan {
    pub(super) selection: Selection,
    /// Sequences of the messages.
    pub(super) leaves: Removed,
}

/// Selects what leaves, up to `cut`, and proves it. `removed` is what left before.
pub(super) async fn make(log: &Arc<EventLog>, state: StreamState, cut: u64, removed: Removed) -> Result<Plan, Failure> {
    let end = state.last_sequence;
    let (whole, found, ledger) = fold_whole(log, state, Ledger::new(cut, removed)).await?;
    let snapshot = whole.projection.snapshot()?;
    let acknowledged = acknowledged(log.as_ref(), &snapshot, ledger.workers()).await?;
    let mut selection = ledger.select(&open_placements(&snapshot)?, &whole.open()?, &acknowledged);
    drop(ledger);
    if selection.placements() == 0 {
        return Ok(Plan { selection, leaves: Removed::default() });
    }
    let (rest, without, mut leaves) = fold_rest(log, state, selection.clone()).await?;
    let placements_only = selection.clone();
    let differs = |divergence: Box<Divergence>| {
        ArchiveError::Differs(format!("the event at sequence {} would be judged otherwise", divergence.sequence))
    };
    account_for_renewals(&mut selection, &found, &without, |sequence| leaves.contains(sequence)).map_err(differs)?;
    let rest_snapshot = rest.projection.snapshot()?;
    changes(&snapshot, &rest_snapshot, |changed| {
        Err(ArchiveError::Differs(format!("the row {} would be another one", changed.name())).into())
    })?;
    if selection != placements_only {
        // Renewals change no rows once nothing leads to them, so that what is proven stays proven.
        (_, _, leaves) = fold_rest(log, state, selection.clone()).await?;
    }
    judge_last(log.as_ref(), &leaves, end).await?;
    Ok(Plan { selection, leaves })
}

/// A scheduler that is behind what leaves would have to be rebuilt.
async fn judge_last(log: &dyn Log, leaves: &Removed, end: u64) -> Result<(), Failure> {
    let last = leaves.last();
    if last >= end {
        return Err(ArchiveError::Differs("the log would lose its last message".to_owned()).into());
    }
    match log.scheduler_reader().await? {
        Some(reader) if reader.pending > 0 && reader.delivered <= last => {
            Err(ArchiveError::SchedulerBehind { read: reader.delivered, last }.into())
        }
        _ => Ok(()),
    }
}

async fn fold_whole(
    log: &Arc<EventLog>,
    state: StreamState,
    ledger: Ledger,
) -> Result<(Replay, Vec<Divergence>, Ledger), Failure> {
    let ledger = Arc::new(Mutex::new(ledger));
    let mut replay = Replay::new(log.clone(), state, Scratch::new(None)?.projection()?);
    let noting = ledger.clone();
    replay.folds = Some(Box::new(move |entry| {
        let mut ledger = noting.lock().unwrap_or_else(PoisonError::into_inner);
        match entry {
            Entry::Event(recorded) => ledger.observe(recorded),
            Entry::Poison(poison) => {
                if let Ok(subject) = poison.value.subject.parse::<Subject>() {
                    ledger.observe_unreadable(&subject);
                }
            }
        }
        true
    }));
    let found = fold_verified(&mut replay, state.last_sequence).await?;
    replay.folds = None;
    let ledger = Arc::into_inner(ledger).ok_or(ArchiveError::Interrupted)?;
    Ok((replay, found, ledger.into_inner().unwrap_or_else(PoisonError::into_inner)))
}

/// The log without what leaves, and the sequences that left.
async fn fold_rest(
    log: &Arc<EventLog>,
    state: StreamState,
    selection: Selection,
) -> Result<(Replay, Vec<Divergence>, Removed), Failure> {
    let left = Arc::new(Mutex::new(Removed::default()));
    let mut replay = Replay::new(log.clone(), state, Scratch::new(None)?.projection()?);
    let noting = left.clone();
    replay.folds = Some(Box::new(move |entry| match entry {
        Entry::Event(recorded) if selection.takes(recorded) => {
            noting.lock().unwrap_or_else(PoisonError::into_inner).push(recorded.sequence);
            false
        }
        _ => true,
    }));
    let found = fold_verified(&mut replay, state.last_sequence).await?;
    replay.folds = None;
    let left = Arc::into_inner(left).ok_or(ArchiveError::Interrupted)?;
    Ok((replay, found, left.into_inner().unwrap_or_else(PoisonError::into_inner)))
}

async fn fold_verified(replay: &mut Replay, end: u64) -> Result<Vec<Divergence>, Failure> {
    replay.verifier = Some(Verifier::default());
    replay.fold_until(end).await?;
    Ok(replay.finish_verifier(&[]).map(|(found, _)| found).unwrap_or_default())
}

/// Placements with a row.
fn open_placements(snapshot: &Snapshot) -> Result<BTreeSet<u64>, Failure> {
    let mut open = BTreeSet::new();
    snapshot.each("placements", |row| -> Result<(), Failure> {
        open.insert(serde_json::from_slice::<PlacementFact>(&row.value)?.number);
        Ok(())
    })?;
    Ok(open)
}

/// Up to where each worker is done with its decisions; a worker that is not registered is not there.
async fn acknowledged(
    log: &dyn Log,
    snapshot: &Snapshot,
    workers: &[WorkerId],
) -> Result<BTreeMap<WorkerId, u64>, Failure> {
    let (registered, mut acknowledged) = (snapshot.workers()?, BTreeMap::new());
    for worker in workers.iter().filter(|worker| registered.contains(*worker)) {
        let state = log.consumer_state(&ConsumerSpec::for_worker(worker, 0).name).await?;
        let done = state.map_or(0, |state| match (state.pending, state.unacknowledged) {
            (0, 0) => u64::MAX,
            _ => state.acknowledged,
        });
        acknowledged.insert(worker.clone(), done);
    }
    Ok(acknowledged)
}
