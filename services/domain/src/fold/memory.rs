//! The projection in memory: for replays that need no file, and for tests.

use std::{collections::BTreeMap, convert::Infallible};

use uuid::Uuid;
use waybill_schemas::WorkerId;

use super::{Change, Facts, ImageFact, ImageKey, Pending, RequestFact, WorkerFact};

/// Facts in ordered maps.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MemoryFacts {
    /// What builds said, by image.
    pub images: BTreeMap<ImageKey, ImageFact>,
    /// Registrations, by worker.
    pub workers: BTreeMap<WorkerId, WorkerFact>,
    /// Requests, by the id of their event.
    pub requests: BTreeMap<Uuid, RequestFact>,
    /// Decisions that the log does not hold yet, by the sequence of their request.
    pub pending: BTreeMap<u64, Pending>,
}

impl MemoryFacts {
    /// Writes one row.
    pub fn apply(&mut self, change: Change) {
        match change {
            Change::PutImage(key, fact) => drop(self.images.insert(key, fact)),
            Change::PutWorker(id, fact) => drop(self.workers.insert(id, fact)),
            Change::PutRequest(id, fact) => drop(self.requests.insert(id, fact)),
            Change::PutPending(sequence, pending) => drop(self.pending.insert(sequence, pending)),
            Change::RemovePending(sequence) => drop(self.pending.remove(&sequence)),
        }
    }
}

impl Facts for MemoryFacts {
    type Error = Infallible;

    fn image(&self, key: &ImageKey) -> Result<Option<ImageFact>, Infallible> {
        Ok(self.images.get(key).cloned())
    }

    fn worker(&self, id: &WorkerId) -> Result<Option<WorkerFact>, Infallible> {
        Ok(self.workers.get(id).cloned())
    }

    fn request(&self, id: Uuid) -> Result<Option<RequestFact>, Infallible> {
        Ok(self.requests.get(&id).cloned())
    }

    fn pending(&self, requested_by: u64) -> Result<Option<Pending>, Infallible> {
        Ok(self.pending.get(&requested_by).cloned())
    }

    fn requests_after(&self, sequence: u64) -> Result<Vec<RequestFact>, Infallible> {
        Ok(self.requests.values().filter(|request| request.sequence > sequence).cloned().collect())
    }
}
