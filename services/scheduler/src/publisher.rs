//! The outbox's loop: decisions that are due become events.
//!
//! A row leaves the outbox when the fold reads the decision from the log, not when it was sent: sending again after a crash
//! finds the same id there. Withdrawals go in batches of their own, before everything that hands credentials over; within
//! the other lanes requests go before renewals, and workspaces take turns (invariant 12).
//!
//! Several batches are under way at a time: each decision names what its subject must hold, so that their order among
//! themselves does not matter. Only renewals may share a subject; they are in one batch at a time.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use waybill_domain::fold::Lane;
use waybill_platform::{
    chain,
    log::{Administration, ErrorKind},
    metrics,
    vault::VaultError,
};
use waybill_schemas::WorkspaceId;

use crate::{
    SchedulerError,
    aside::Aside,
    folding::NewlyDue,
    grants::{GrantKey, Grants, needed_grant},
    in_flight::InFlight,
    projection::{Due, Projection, ProjectionError},
    sending::{Batch, Fate, Sent, is_renewal, send},
    standing::Standing,
};

/// Most decisions published as one atomic batch.
pub(crate) const MAX_BATCH: usize = 500;
/// Most decisions that were sent and are not folded: the fold is waited for then.
const MAX_IN_FLIGHT: usize = 8 * MAX_BATCH;
/// Batches under way at a time.
const MAX_UNDER_WAY: usize = 3;
/// How long to wait where a grant could not be made for now.
const PAUSE: Duration = Duration::from_millis(200);
/// How often the outbox is looked at where nothing changes: what was set aside comes back.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// How often a scheduler looks whether the one that is ahead of it goes on.
const LOOK_WHILE_BEHIND: Duration = Duration::from_millis(250);

/// Publishes what the projection holds as due.
pub(crate) struct Publisher {
    log: Arc<dyn Administration>,
    projection: Arc<Projection>,
    grants: Arc<Grants>,
    aside: Arc<Aside>,
    folded: watch::Receiver<u64>,
    /// Decisions that are not in the outbox yet.
    new: mpsc::Receiver<NewlyDue>,
    in_flight: InFlight,
    /// The workspace that was served last, by lane.
    turns: HashMap<Lane, WorkspaceId>,
    standing: Standing,
    /// True while a batch with renewals is under way.
    renewing: bool,
}

/// What a round came to.
#[cfg(test)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Round {
    /// Nothing was due.
    Idle,
    /// Decisions were published.
    Published,
    /// Some could not be for now.
    Postponed,
    /// Another scheduler has said some that this one has not folded.
    Behind,
}

impl Publisher {
    pub(crate) fn new(
        log: Arc<dyn Administration>,
        projection: Arc<Projection>,
        grants: Arc<Grants>,
        aside: Arc<Aside>,
        folded: watch::Receiver<u64>,
        new: mpsc::Receiver<NewlyDue>,
        standing: Standing,
    ) -> Self {
        Self {
            new,
            log,
            projection,
            grants,
            aside,
            folded,
            in_flight: InFlight::default(),
            turns: HashMap::new(),
            standing,
            renewing: false,
        }
    }

    /// Runs until shutdown.
    pub(crate) async fn run(mut self, shutdown: &CancellationToken) -> Result<(), SchedulerError> {
        tokio::select! {
            () = shutdown.cancelled() => Ok(()),
            ended = self.publish() => ended,
        }
    }

    async fn publish(&mut self) -> Result<(), SchedulerError> {
        let mut under_way = JoinSet::new();
        // What the catching up left there may be said by now.
        while self.new.try_recv().is_ok() {}
        loop {
            let wait = self.send_due(&mut under_way).await?;
            tokio::select! {
                Some(sent) = under_way.join_next() => {
                    self.note_sent(sent.map_err(|_| SchedulerError::Interrupted)?);
                }
                Some(new) = self.new.recv() => {
                    let batch = self.keep_sendable(new).filter(|_| under_way.len() < self.most_under_way());
                    if let Some(batch) = batch {
                        batch.due.iter().for_each(|due| self.in_flight.begin(due.key.clone()));
                        under_way.spawn(send(self.log.clone(), batch));
                    }
                }
                changed = timeout(wait, self.folded.changed()), if !self.standing.is_behind() => {
                    if matches!(changed, Ok(Err(_))) {
                        return Ok(());
                    }
                }
                // The fold of what another scheduler says is no reason to look at each of its batches.
                () = sleep(wait), if self.standing.is_behind() => {}
            }
        }
    }

    /// Sends as many batches as may be under way, and returns how long to wait if nothing happens.
    async fn send_due(&mut self, under_way: &mut JoinSet<Sent>) -> Result<Duration, SchedulerError> {
        self.in_flight.release(*self.folded.borrow_and_update());
        if self.standing.is_behind() && !self.take_over().await? {
            return Ok(LOOK_WHILE_BEHIND);
        }
        while under_way.len() < self.most_under_way() && self.in_flight.len() < MAX_IN_FLIGHT {
            let Some(batch) = self.next_batch().await? else { return Ok(LOOK_EVERY) };
            let postponed = batch.postponed;
            if !batch.due.is_empty() {
                under_way.spawn(send(self.log.clone(), batch));
            }
            if postponed {
                return Ok(PAUSE);
            }
        }
        Ok(LOOK_EVERY)
    }

    /// After a start or a take-over one batch shows whether another scheduler is ahead.
    fn most_under_way(&self) -> usize {
        if self.standing.is_sure() { MAX_UNDER_WAY } else { 1 }
    }

    /// A batch of what is newly due, if it can go as it is: of one lane, no renewals, and with every grant in the vault.
    fn keep_sendable(&self, NewlyDue { due, folded }: NewlyDue) -> Option<Batch> {
        // Once it is committed it is in the outbox, and may have been sent from there.
        if *self.folded.borrow() >= folded {
            return None;
        }
        let lane = |due: &Due| Lane::of_outcome(&due.pending.decision.outcome);
        let first = lane(due.first()?);
        let can_go = |due: &Due| {
            lane(due) == first
                && !self.in_flight.contains(&due.key)
                && needed_grant(due).is_none_or(|(key, _)| self.grants.has(&key))
        };
        let all = first != Lane::Renewals && !self.standing.is_behind() && due.iter().all(can_go);
        all.then_some(Batch { due, folded, postponed: false })
    }

    /// True if decisions wait that nobody says: this scheduler goes on with them.
    async fn take_over(&mut self) -> Result<bool, SchedulerError> {
        let waiting = self.read_batch().await?.is_some();
        let took_over = self.standing.look(Instant::now(), self.projection.answered(), waiting);
        if took_over {
            tracing::info!("decisions wait that no other scheduler publishes, going on with them");
        }
        Ok(took_over)
    }

    /// Publishes one batch of what is due.
    #[cfg(test)]
    pub(crate) async fn publish_round(&mut self) -> Result<Round, SchedulerError> {
        self.in_flight.release(*self.folded.borrow_and_update());
        let Some(batch) = self.next_batch().await? else { return Ok(Round::Idle) };
        let postponed = batch.postponed;
        let behind = self.note_sent(send(self.log.clone(), batch).await);
        Ok(match (behind, postponed) {
            (true, _) => Round::Behind,
            (false, true) => Round::Postponed,
            (false, false) => Round::Published,
        })
    }

    /// What is due and can be sent, once its grants are in the vault; none if nothing is due.
    async fn next_batch(&mut self) -> Result<Option<Batch>, SchedulerError> {
        // Within the turn from here on: see `Grants`.
        let grants = self.grants.clone();
        let turn = grants.begin_turn().await;
        let Some(mut batch) = self.read_batch().await? else { return Ok(None) };
        for due in &batch.due {
            let decision = &due.pending.decision;
            self.turns.insert(Lane::of_outcome(&decision.outcome), decision.workspace.clone());
        }
        let needed: BTreeMap<_, _> = batch.due.iter().filter_map(needed_grant).collect();
        let failed = if needed.is_empty() { BTreeMap::new() } else { grants.ensure_all(&turn, needed).await };
        drop(turn);
        let count = batch.due.len();
        batch.due = self.keep_ready(batch.due, &failed);
        batch.postponed = batch.due.len() < count;
        batch.due.iter().for_each(|due| self.in_flight.begin(due.key.clone()));
        self.renewing = self.renewing || batch.due.iter().any(is_renewal);
        Ok(Some(batch))
    }

    /// What is due and not under way.
    async fn read_batch(&mut self) -> Result<Option<Batch>, SchedulerError> {
        let (projection, turns, renewing) = (self.projection.clone(), self.turns.clone(), self.renewing);
        let (aside, in_flight) = (self.aside.keys(), std::mem::take(&mut self.in_flight));
        let reading = move || {
            let is_taken = |key: &str| in_flight.contains(key) || aside.contains(key);
            let batch = read_batch(&projection, &turns, &is_taken, renewing);
            (batch, in_flight)
        };
        let (batch, in_flight) = crate::run_blocking(move || Ok::<_, ProjectionError>(reading())).await?;
        self.in_flight = in_flight;
        Ok(Some(batch?).filter(|batch| !batch.due.is_empty()))
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

    /// Notes what became of a batch. True if another scheduler is ahead.
    fn note_sent(&mut self, Sent { fates, renewals }: Sent) -> bool {
        self.renewing = self.renewing && !renewals;
        for (due, fate) in fates {
            let cause = due.pending.decision.caused_by;
            match fate {
                Fate::Said { sequence, before } => {
                    if before {
                        self.standing.note_second(cause);
                    } else {
                        self.standing.note_first(cause);
                    }
                    self.in_flight.add(due.key, sequence);
                    continue;
                }
                Fate::Unsayable(error) => self.set_aside(&due, &error),
                Fate::Unknown => {}
                // Sent again before the fold is there, it would be found said.
                Fate::LeftAlone { beside } => {
                    self.standing.note_second(cause);
                    self.in_flight.add(due.key, beside);
                    continue;
                }
            }
            self.in_flight.give_up(&due.key);
        }
        self.standing.judge(Instant::now(), self.projection.answered())
    }

    fn set_aside(&self, due: &Due, error: &str) {
        let decision = &due.pending.decision;
        metrics::decision_refused();
        tracing::error!(subject = %decision.subject(), caused_by = decision.caused_by, error, "a decision cannot be published, it is set aside");
        self.aside.put(due.key.clone());
    }
}

/// Withdrawals alone, or else requests and then renewals, of which only one batch may be under way.
fn read_batch(
    projection: &Projection,
    turns: &HashMap<Lane, WorkspaceId>,
    is_taken: &dyn Fn(&str) -> bool,
    renewing: bool,
) -> Result<Batch, ProjectionError> {
    let snapshot = projection.snapshot()?;
    let folded = snapshot.position()?.map_or(0, |position| position.sequence);
    let mut due = snapshot.due(Lane::Withdrawals, turns.get(&Lane::Withdrawals), MAX_BATCH, is_taken)?;
    if due.is_empty() {
        let lanes = if renewing { vec![Lane::Requests] } else { vec![Lane::Requests, Lane::Renewals] };
        for lane in lanes {
            let room = MAX_BATCH.saturating_sub(due.len());
            if room > 0 {
                due.extend(snapshot.due(lane, turns.get(&lane), room, is_taken)?);
            }
        }
    }
    Ok(Batch { due, folded, postponed: false })
}
