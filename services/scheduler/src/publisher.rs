//! The outbox's loop: decisions that are due become events.
//!
//! A row leaves the outbox when the fold reads the decision from the log, not when it was sent: sending again after a crash
//! finds the same id there. Withdrawals go in batches of their own, before everything that hands credentials over; within
//! the other lanes requests go before renewals, and workspaces take turns (invariant 12).

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use tokio::{sync::watch, time::timeout};
use tokio_util::sync::CancellationToken;
use tracing::Span;
use waybill_domain::{decision::Cause, fold::Lane};
use waybill_platform::{
    chain,
    log::{Administration, Appended, ErrorKind, Expect, NewEvent, RawMessage},
    metrics, trace,
    vault::VaultError,
};
use waybill_schemas::{Event, WorkspaceId};

use crate::{
    SchedulerError,
    announcement::{Announcement, count, write_log_line},
    aside::Aside,
    grants::{GrantKey, Grants, needed_grant},
    in_flight::InFlight,
    projection::{Due, Projection, ProjectionError},
};

/// Most decisions published as one atomic batch.
pub(crate) const MAX_BATCH: usize = 500;
/// Most decisions that are in the log and not folded: the fold is waited for then.
const MAX_IN_FLIGHT: usize = 4 * MAX_BATCH;
/// How long to wait where a grant could not be made for now.
const PAUSE: Duration = Duration::from_millis(200);
/// How often the outbox is looked at where nothing changes: what was set aside comes back.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// Publishes what the projection holds as due.
pub(crate) struct Publisher {
    log: Arc<dyn Administration>,
    projection: Arc<Projection>,
    grants: Arc<Grants>,
    aside: Arc<Aside>,
    folded: watch::Receiver<u64>,
    in_flight: InFlight,
    /// The workspace that was served last, by lane.
    turns: HashMap<Lane, WorkspaceId>,
}

/// Decisions that go together.
#[derive(Debug)]
struct Batch {
    due: Vec<Due>,
    /// Sequence up to which the log was folded when they were due.
    folded: u64,
}

/// What a round came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Round {
    /// Nothing was due.
    Idle,
    /// Decisions were published.
    Published,
    /// Some could not be for now.
    Postponed,
}

impl Publisher {
    pub(crate) fn new(
        log: Arc<dyn Administration>,
        projection: Arc<Projection>,
        grants: Arc<Grants>,
        aside: Arc<Aside>,
        folded: watch::Receiver<u64>,
    ) -> Self {
        Self { log, projection, grants, aside, folded, in_flight: InFlight::default(), turns: HashMap::new() }
    }

    /// Runs until shutdown.
    pub(crate) async fn run(mut self, shutdown: &CancellationToken) -> Result<(), SchedulerError> {
        loop {
            let round = tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                round = self.publish_round() => round?,
            };
            let wait = match round {
                Round::Published if self.in_flight.len() < MAX_IN_FLIGHT => continue,
                Round::Published | Round::Idle => LOOK_EVERY,
                Round::Postponed => PAUSE,
            };
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                changed = timeout(wait, self.folded.changed()) => if matches!(changed, Ok(Err(_))) { return Ok(()) },
            }
        }
    }

    /// Publishes one batch of what is due.
    pub(crate) async fn publish_round(&mut self) -> Result<Round, SchedulerError> {
        let folded = *self.folded.borrow_and_update();
        self.in_flight.release(folded);
        // Within the turn from here on: see `Grants`.
        let grants = self.grants.clone();
        let turn = grants.begin_turn().await;
        let batch = self.next_batch().await?;
        if batch.due.is_empty() {
            return Ok(Round::Idle);
        }
        let needed: BTreeMap<_, _> = batch.due.iter().filter_map(needed_grant).collect();
        let failed = if needed.is_empty() { BTreeMap::new() } else { grants.ensure_all(&turn, needed).await };
        drop(turn);
        let count = batch.due.len();
        let ready = self.keep_ready(batch.due, &failed);
        let postponed = ready.len() < count;
        self.append(ready, batch.folded).await;
        Ok(if postponed { Round::Postponed } else { Round::Published })
    }

    async fn next_batch(&mut self) -> Result<Batch, SchedulerError> {
        let (projection, turns) = (self.projection.clone(), self.turns.clone());
        let (aside, in_flight) = (self.aside.keys(), std::mem::take(&mut self.in_flight));
        let reading = move || {
            let batch = read_batch(&projection, &turns, &in_flight, &aside);
            (batch, in_flight)
        };
        let (batch, in_flight) = crate::run_blocking(move || Ok::<_, ProjectionError>(reading())).await?;
        self.in_flight = in_flight;
        let batch = batch?;
        for due in &batch.due {
            let decision = &due.pending.decision;
            self.turns.insert(Lane::of_outcome(&decision.outcome), decision.workspace.clone());
        }
        Ok(batch)
    }

    /// Decisions whose grants are there. The others stay in the outbox, or are set aside.
    fn keep_ready(&self, due: Vec<Due>, failed: &BTreeMap<GrantKey, VaultError>) -> Vec<Due> {
        let is_ready = |due: &Due| {
            let Some(error) = needed_grant(due).and_then(|(key, _)| failed.get(&key)) else { return true };
            let worker_id = &due.pending.decision.worker_id;
            if error.kind() == ErrorKind::Never {
                self.set_aside(due, &chain(error));
            } else {
                tracing::warn!(%worker_id, error = %chain(error), "a grant cannot be made now, its decision waits");
            }
            false
        };
        due.into_iter().filter(is_ready).collect()
    }

    async fn append(&mut self, due: Vec<Due>, folded: u64) {
        let mut announced = Vec::with_capacity(due.len());
        for due in due {
            let announcement = Announcement::new(&due.pending);
            let expect = self.expected(&due).await;
            announced.push((due, announcement, expect));
        }
        let to_event = |(_, announcement, expect): &(Due, Announcement, Expect)| {
            (announcement.event.clone(), *expect, announcement.span.clone())
        };
        let outcomes = self.log.append_all(announced.iter().map(to_event).collect()).await;
        for ((due, announcement, _), outcome) in announced.into_iter().zip(outcomes) {
            let outcome = match outcome {
                Ok(Appended::Conflict { last }) => self.resolve(&due, &announcement, last).await,
                Ok(Appended::Stored { sequence, duplicate }) => Ok(Some((sequence, duplicate))),
                Err(error) => Err((error.kind(), chain(&error))),
            };
            match outcome {
                Ok(Some((sequence, duplicate))) => self.note_stored(due, &announcement, (sequence, duplicate), folded),
                Ok(None) => self.set_aside(&due, "another event stands in its place"),
                Err((ErrorKind::Never, error)) => self.set_aside(&due, &error),
                Err((_, error)) => tracing::warn!(error, "a decision could not be appended, trying again"),
            }
        }
    }

    /// Where a decision is expected. A worker's new key brings a version again whose renewal may be there.
    async fn expected(&self, due: &Due) -> Expect {
        let pending = &due.pending;
        if pending.decision.cause() != Cause::KeyChange {
            return Expect::Last(pending.after);
        }
        let last = self.log.last(&pending.decision.subject()).await.ok().flatten();
        let earlier = last.filter(|last| last.sequence < pending.decision.caused_by);
        Expect::Last(earlier.map_or(pending.after, |last| last.sequence))
    }

    /// What became of a decision whose subject holds something else than expected: the sequence at which it is said, and
    /// whether it was said before; none if it cannot be said.
    async fn resolve(
        &self,
        due: &Due,
        announcement: &Announcement,
        last: Option<RawMessage>,
    ) -> Result<Option<(u64, bool)>, (ErrorKind, String)> {
        let Some(last) = last else { return Err((ErrorKind::Again, "a replica is behind".to_owned())) };
        match judge_conflict(due, &last) {
            Conflict::Said => Ok(Some((last.sequence, true))),
            Conflict::Foreign => Ok(None),
            Conflict::Earlier => {
                let outcome = self.append_after(&announcement.event, &announcement.span, last.sequence).await;
                match outcome {
                    Ok(Appended::Stored { sequence, duplicate }) => Ok(Some((sequence, duplicate))),
                    Ok(Appended::Conflict { .. }) => {
                        Err((ErrorKind::Again, "another renewal came meanwhile".to_owned()))
                    }
                    Err(error) => Err((error.kind(), chain(&error))),
                }
            }
        }
    }

    async fn append_after(
        &self,
        event: &NewEvent,
        span: &Span,
        sequence: u64,
    ) -> Result<Appended, waybill_platform::log::AppendError> {
        use tracing::Instrument as _;
        self.log.append(event, Expect::Last(sequence), None).instrument(span.clone()).await
    }

    fn note_stored(&mut self, due: Due, announcement: &Announcement, (sequence, duplicate): (u64, bool), folded: u64) {
        // The fold has read the decision and left the row: sending it for ever would not change that.
        if duplicate && sequence <= folded {
            return self.set_aside(&due, "the log holds it, and the fold did not take it");
        }
        let _entered = announcement.span.enter();
        write_log_line(&announcement.event.event, sequence);
        if !duplicate {
            count(&announcement.event.event);
            let cause = &due.pending.cause;
            metrics::decided_after(trace::now().instant() - cause.at.instant());
        }
        self.in_flight.add(due.key, sequence);
    }

    fn set_aside(&self, due: &Due, error: &str) {
        let decision = &due.pending.decision;
        metrics::decision_refused();
        tracing::error!(subject = %decision.subject(), caused_by = decision.caused_by, error, "a decision cannot be published, it is set aside");
        self.aside.put(due.key.clone());
    }
}

/// What the last message of a decision's subject says about it.
#[derive(Debug, PartialEq, Eq)]
enum Conflict {
    /// It is said.
    Said,
    /// An earlier renewal of the same version: the decision goes after it.
    Earlier,
    /// Something that nobody but this scheduler may say.
    Foreign,
}

fn judge_conflict(due: &Due, last: &RawMessage) -> Conflict {
    let Ok(recorded) = last.decode() else { return Conflict::Foreign };
    if recorded.envelope.id == due.pending.event_id() {
        return Conflict::Said;
    }
    let is_first = Lane::of_outcome(&due.pending.decision.outcome) == Lane::Requests;
    match recorded.event {
        // A withdrawal follows the first decision, and expects it.
        Event::ContainerCredentialsWithdrawn(_) if is_first => Conflict::Said,
        Event::WorkerCredentialsRenewed(_) if last.sequence < due.pending.decision.caused_by => Conflict::Earlier,
        // Renewals are said in the order of their causes: this one is said before the later one.
        Event::WorkerCredentialsRenewed(renewed) if renewed.caused_by > due.pending.decision.caused_by => {
            Conflict::Said
        }
        _ => Conflict::Foreign,
    }
}

/// Withdrawals alone, or else requests and then renewals.
fn read_batch(
    projection: &Projection,
    turns: &HashMap<Lane, WorkspaceId>,
    in_flight: &InFlight,
    aside: &HashSet<String>,
) -> Result<Batch, ProjectionError> {
    let snapshot = projection.snapshot()?;
    let folded = snapshot.position()?.map_or(0, |position| position.sequence);
    let is_taken = |key: &str| in_flight.contains(key) || aside.contains(key);
    let mut due = snapshot.due(Lane::Withdrawals, turns.get(&Lane::Withdrawals), MAX_BATCH, &is_taken)?;
    if due.is_empty() {
        for lane in [Lane::Requests, Lane::Renewals] {
            let room = MAX_BATCH.saturating_sub(due.len());
            if room > 0 {
                due.extend(snapshot.due(lane, turns.get(&lane), room, &is_taken)?);
            }
        }
    }
    Ok(Batch { due, folded })
}
