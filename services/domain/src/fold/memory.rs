//! The projection in memory: for explanations, replays that need no file, and tests.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
};

use waybill_schemas::WorkerId;

use super::{
    Change, ContainerKey, Facts, ImageFact, ImageKey, Pending, PendingKey, PlacementFact, SecretFact, SecretKey,
    SecretUse, WorkerFact,
};

/// Facts in ordered maps.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MemoryFacts {
    /// What the newest builds said, by image.
    pub images: BTreeMap<ImageKey, ImageFact>,
    /// Newest versions, by secret.
    pub secrets: BTreeMap<SecretKey, SecretFact>,
    /// Registrations, by worker.
    pub workers: BTreeMap<WorkerId, WorkerFact>,
    /// Placements that are not over, by number.
    pub placements: BTreeMap<u64, PlacementFact>,
    /// The newest placement of each container that has one.
    pub newest: BTreeMap<ContainerKey, u64>,
    /// Which placements have which secret.
    pub uses: BTreeSet<SecretUse>,
    /// Decisions that the log does not hold yet.
    pub pending: BTreeMap<PendingKey, Pending>,
}

impl MemoryFacts {
    /// Writes one row.
    pub fn apply(&mut self, change: Change) {
        match change {
            Change::PutImage(key, fact) => drop(self.images.insert(key, fact)),
            Change::PutSecret(key, fact) => drop(self.secrets.insert(key, fact)),
            Change::PutWorker(id, fact) => drop(self.workers.insert(id, fact)),
            Change::RemoveWorker(id) => drop(self.workers.remove(&id)),
            Change::PutPlacement(fact) => drop(self.placements.insert(fact.number, *fact)),
            Change::RemovePlacement(number) => drop(self.placements.remove(&number)),
            Change::PutNewest(container, number) => drop(self.newest.insert(container, number)),
            Change::RemoveNewest(container) => drop(self.newest.remove(&container)),
            Change::PutUse(secret_use) => drop(self.uses.insert(secret_use)),
            Change::RemoveUse(secret_use) => drop(self.uses.remove(&secret_use)),
            Change::PutPending(pending) => drop(self.pending.insert(pending.key(), *pending)),
            Change::RemovePending(key) => drop(self.pending.remove(&key)),
        }
    }
}

impl Facts for MemoryFacts {
    type Error = Infallible;

    fn image(&self, key: &ImageKey) -> Result<Option<ImageFact>, Infallible> {
        Ok(self.images.get(key).cloned())
    }

    fn secret(&self, key: &SecretKey) -> Result<Option<SecretFact>, Infallible> {
        Ok(self.secrets.get(key).cloned())
    }

    fn worker(&self, id: &WorkerId) -> Result<Option<WorkerFact>, Infallible> {
        Ok(self.workers.get(id).cloned())
    }

    fn placement(&self, number: u64) -> Result<Option<PlacementFact>, Infallible> {
        Ok(self.placements.get(&number).cloned())
    }

    fn newest_placement(&self, container: &ContainerKey) -> Result<Option<u64>, Infallible> {
        Ok(self.newest.get(container).copied())
    }

    fn uses_of_secret(&self, secret: &SecretKey) -> Result<Vec<SecretUse>, Infallible> {
        Ok(self.uses.iter().filter(|secret_use| secret_use.secret == *secret).cloned().collect())
    }

    fn secrets_of_worker(&self, id: &WorkerId) -> Result<Vec<SecretKey>, Infallible> {
        let mine = self.uses.iter().filter(|secret_use| secret_use.worker_id == *id);
        let secrets: BTreeSet<SecretKey> = mine.map(|secret_use| secret_use.secret.clone()).collect();
        Ok(secrets.into_iter().collect())
    }

    fn placements_on(&self, id: &WorkerId) -> Result<Vec<PlacementFact>, Infallible> {
        Ok(self.placements.values().filter(|placement| placement.worker_id == *id).cloned().collect())
    }

    fn pending(&self, key: &PendingKey) -> Result<Option<Pending>, Infallible> {
        Ok(self.pending.get(key).cloned())
    }
}
