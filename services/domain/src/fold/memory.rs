//! The projection in memory: for replays that need no file, and for tests.

use std::{collections::BTreeMap, convert::Infallible};

use uuid::Uuid;
use waybill_schemas::WorkerId;

use super::{
    Change, ContainerKey, Facts, ImageFact, ImageKey, Pending, PendingKey, RequestFact, ServedFact, WorkerFact,
};

/// Facts in ordered maps.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MemoryFacts {
    /// What builds said, by image.
    pub images: BTreeMap<ImageKey, ImageFact>,
    /// Registrations, by worker.
    pub workers: BTreeMap<WorkerId, WorkerFact>,
    /// Requests, by the id of their event.
    pub requests: BTreeMap<Uuid, RequestFact>,
    /// Decisions that the log does not hold yet.
    pub pending: BTreeMap<PendingKey, Pending>,
    /// Containers that have credentials, and whose.
    pub served: BTreeMap<ContainerKey, (ImageKey, ServedFact)>,
    /// The newest end of each container that ended.
    pub ended: BTreeMap<ContainerKey, u64>,
}

impl MemoryFacts {
    /// Writes one row.
    pub fn apply(&mut self, change: Change) {
        match change {
            Change::PutImage(key, fact) => drop(self.images.insert(key, *fact)),
            Change::PutWorker(id, fact) => drop(self.workers.insert(id, fact)),
            Change::PutRequest(id, fact) => drop(self.requests.insert(id, fact)),
            Change::PutPending(pending) => drop(self.pending.insert(pending.key(), *pending)),
            Change::RemovePending(key) => drop(self.pending.remove(&key)),
            Change::PutServed(image, served) => {
                drop(self.served.insert(ContainerKey::of(&served.request), (image, served)));
            }
            Change::RemoveServed(_, container) => drop(self.served.remove(&container)),
            Change::PutEnded(container, sequence) => drop(self.ended.insert(container, sequence)),
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

    fn pending(&self, key: PendingKey) -> Result<Option<Pending>, Infallible> {
        Ok(self.pending.get(&key).cloned())
    }

    fn served(&self, image: &ImageKey) -> Result<Vec<ServedFact>, Infallible> {
        let with = self.served.values().filter(|(with, _)| with == image);
        Ok(with.map(|(_, served)| served.clone()).collect())
    }

    fn served_to(&self, container: &ContainerKey) -> Result<Option<(ImageKey, ServedFact)>, Infallible> {
        Ok(self.served.get(container).cloned())
    }

    fn ended(&self, container: &ContainerKey) -> Result<Option<u64>, Infallible> {
        Ok(self.ended.get(container).copied())
    }

    fn each_request_after(&self, sequence: u64, show: &mut dyn FnMut(&RequestFact)) -> Result<(), Infallible> {
        self.requests.values().filter(|request| request.last_decided_for() > sequence).for_each(show);
        Ok(())
    }
}
