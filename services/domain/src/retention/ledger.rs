//! Which placements may leave the log, told from the log itself.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash as _, Hasher as _},
};

use waybill_schemas::{ContainerId, Event, Recorded, RecordedEvent, Subject, WorkerId, WorkspaceId};

use super::Removed;
use crate::{decision::Decision, fold::Pending};

/// A container, by a hash of its name: two that share one only stay longer.
type Container = u64;

/// What the log says of one placement.
#[derive(Debug)]
struct Row {
    container: Container,
    /// Place of its worker in the ledger's list; none where nothing named one.
    worker: Option<u32>,
    /// Sequence of the last decision about it; 0 for none.
    last_decision: u64,
    /// True if something keeps it: an event after the cut, or a message about it that cannot be read.
    kept: bool,
}

/// Everything about placements that were requested up to the cut.
#[derive(Debug, Default)]
pub struct Ledger {
    cut: u64,
    removed: Removed,
    rows: BTreeMap<u64, Row>,
    workers: Vec<WorkerId>,
    worker_places: BTreeMap<WorkerId, u32>,
    /// Containers on whose requests' subjects something cannot be read.
    unreadable: BTreeSet<Container>,
}

impl Ledger {
    /// `cut` is the sequence of the last message that may leave, `removed` what left before.
    pub fn new(cut: u64, removed: Removed) -> Self {
        Self { cut, removed, ..Self::default() }
    }

    /// Takes the next event of the log.
    pub fn observe(&mut self, recorded: &Recorded<RecordedEvent>) {
        let Recorded { sequence, value: RecordedEvent { event, .. }, .. } = recorded;
        let Some(container) = container_of(event) else { return };
        if let Event::ContainerRequested(request) = event {
            if *sequence <= self.cut {
                let worker = Some(self.place_of(&request.worker_id));
                self.rows.insert(*sequence, Row { container, worker, last_decision: 0, kept: false });
            }
            return;
        }
        let Some(placement) = event.placement() else { return };
        if !self.rows.contains_key(&placement) {
            // Rule G: what was said too late of a placement that left follows it.
            if !self.removed.contains(placement) || *sequence > self.cut {
                return;
            }
            let worker = event.worker_id().map(|worker| self.place_of(worker));
            self.rows.insert(placement, Row { container, worker, last_decision: 0, kept: false });
        }
        // Whatever names a placement counts as its own, also what is forged.
        let Some(row) = self.rows.get_mut(&placement) else { return };
        // Rule C: the last event of a placement counts.
        row.kept |= *sequence > self.cut;
        if Decision::from_event(&recorded.value).is_some() {
            row.last_decision = *sequence;
        }
    }

    /// Takes a message that cannot be read. What it is about stays, so that reading it again can still come to something.
    pub fn observe_unreadable(&mut self, subject: &Subject) {
        match subject {
            Subject::ContainerDecision { placement, .. }
            | Subject::ContainerOutcome { placement, .. }
            | Subject::ContainerQuestion { placement, .. } => {
                if let Some(row) = self.rows.get_mut(placement) {
                    row.kept = true;
                }
            }
            Subject::Container { workspace, container_id, .. } => {
                self.unreadable.insert(hash_container(workspace, container_id));
            }
            _ => {}
        }
    }

    fn place_of(&mut self, worker: &WorkerId) -> u32 {
        if let Some(place) = self.worker_places.get(worker) {
            return *place;
        }
        let place = u32::try_from(self.workers.len()).unwrap_or(u32::MAX);
        self.workers.push(worker.clone());
        self.worker_places.insert(worker.clone(), place);
        place
    }

    /// The workers of the placements.
    pub fn workers(&self) -> &[WorkerId] {
        &self.workers
    }

    /// The placements that leave. `open` are those that have a row at the end of the log, `pending` the decisions that it does not
    /// hold yet; `acknowledged` is the sequence up to which a worker is done with its decisions. One that is not there is done.
    pub fn select(
        &self,
        open: &BTreeSet<u64>,
        pending: &[Pending],
        acknowledged: &BTreeMap<WorkerId, u64>,
    ) -> Selection {
        let decided: BTreeSet<u64> =
            pending.iter().filter_map(|pending| Some(pending.decision.placement()?.number)).collect();
        // Rule F: a renewal that waits rests on placements of its worker, which may be over by now.
        let renewed: BTreeSet<&WorkerId> = pending
            .iter()
            .filter(|pending| pending.decision.placement().is_none())
            .map(|pending| &pending.decision.worker_id)
            .collect();
        let mut staying = self.unreadable.clone();
        let mut placements = BTreeSet::new();
        for (number, row) in &self.rows {
            let worker = row.worker.and_then(|place| self.workers.get(usize::try_from(place).ok()?));
            let done = worker.and_then(|worker| acknowledged.get(worker)).copied().unwrap_or(u64::MAX);
            let waits = decided.contains(number) || worker.is_some_and(|worker| renewed.contains(worker));
            // Rule E: a withdrawal that its worker has not taken may be all that it will hear of the end.
            let leaves = !row.kept && !open.contains(number) && !waits && row.last_decision <= done;
            // Rule D: a placement leaves after the older ones of its container, which its request superseded.
            if leaves && !staying.contains(&row.container) {
                placements.insert(*number);
            } else {
                staying.insert(row.container);
            }
        }
        Selection { placements, renewals: BTreeSet::new() }
    }
}

/// The messages that leave.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selection {
    placements: BTreeSet<u64>,
    /// Sequences of renewals that only these placements led to.
    pub(super) renewals: BTreeSet<u64>,
}

impl Selection {
    /// How many placements leave.
    pub fn placements(&self) -> u64 {
        u64::try_from(self.placements.len()).unwrap_or(u64::MAX)
    }

    /// True if the message leaves.
    pub fn takes(&self, recorded: &Recorded<RecordedEvent>) -> bool {
        let Recorded { sequence, value: RecordedEvent { event, .. }, .. } = recorded;
        match event {
            Event::ContainerRequested(_) => self.placements.contains(sequence),
            Event::WorkerCredentialsRenewed(_) => self.renewals.contains(sequence),
            Event::SecretRenewalApplied(applied) => self.renewals.contains(&applied.decided_by),
            Event::SecretRenewalFailed(failed) => self.renewals.contains(&failed.decided_by),
            event => event.placement().is_some_and(|placement| self.placements.contains(&placement)),
        }
    }
}

fn container_of(event: &Event) -> Option<Container> {
    Some(hash_container(event.workspace()?, event.container_id()?))
}

/// A hash of a container's name, the same in one process.
pub fn hash_container(workspace: &WorkspaceId, container: &ContainerId) -> u64 {
    let mut hasher = DefaultHasher::new();
    (workspace.as_str(), container.as_str()).hash(&mut hasher);
    hasher.finish()
}
