//! The facts inside one write transaction: the fold reads what it has written.

use redb::{ReadableTable, Table, WriteTransaction};
use uuid::Uuid;
use waybill_domain::fold::{Change, Facts, ImageFact, ImageKey, Pending, RequestFact, WorkerFact};
use waybill_schemas::WorkerId;

use super::{
    ProjectionError,
    rows::{IMAGES, PENDING, REQUESTS, WORKERS, decode, encode},
};

pub(super) struct TransactionFacts<'t> {
    images: Table<'t, &'static str, &'static [u8]>,
    workers: Table<'t, &'static str, &'static [u8]>,
    requests: Table<'t, u128, &'static [u8]>,
    pending: Table<'t, u64, &'static [u8]>,
}

impl<'t> TransactionFacts<'t> {
    pub(super) fn open(transaction: &'t WriteTransaction) -> Result<Self, ProjectionError> {
        Ok(Self {
            images: transaction.open_table(IMAGES)?,
            workers: transaction.open_table(WORKERS)?,
            requests: transaction.open_table(REQUESTS)?,
            pending: transaction.open_table(PENDING)?,
        })
    }

    pub(super) fn apply(&mut self, change: Change) -> Result<(), ProjectionError> {
        match change {
            Change::PutImage(key, fact) => {
                self.images.insert(image_key(&key).as_str(), encode("images", &fact)?.as_slice())?;
            }
            Change::PutWorker(id, fact) => {
                self.workers.insert(id.as_str(), encode("workers", &fact)?.as_slice())?;
            }
            Change::PutRequest(id, fact) => {
                self.requests.insert(id.as_u128(), encode("requests", &fact)?.as_slice())?;
            }
            Change::PutPending(sequence, pending) => {
                self.pending.insert(sequence, encode("pending", &pending)?.as_slice())?;
            }
            Change::RemovePending(sequence) => {
                self.pending.remove(sequence)?;
            }
        }
        Ok(())
    }
}

/// Neither id can hold a slash.
fn image_key(key: &ImageKey) -> String {
    format!("{}/{}", key.workspace, key.image_id)
}

impl Facts for TransactionFacts<'_> {
    type Error = ProjectionError;

    fn image(&self, key: &ImageKey) -> Result<Option<ImageFact>, ProjectionError> {
        self.images.get(image_key(key).as_str())?.map(|row| decode("images", row.value())).transpose()
    }

    fn worker(&self, id: &WorkerId) -> Result<Option<WorkerFact>, ProjectionError> {
        self.workers.get(id.as_str())?.map(|row| decode("workers", row.value())).transpose()
    }

    fn request(&self, id: Uuid) -> Result<Option<RequestFact>, ProjectionError> {
        self.requests.get(id.as_u128())?.map(|row| decode("requests", row.value())).transpose()
    }

    fn pending(&self, requested_by: u64) -> Result<Option<Pending>, ProjectionError> {
        self.pending.get(requested_by)?.map(|row| decode("pending", row.value())).transpose()
    }

    fn requests_after(&self, sequence: u64) -> Result<Vec<RequestFact>, ProjectionError> {
        let mut after = Vec::new();
        for row in self.requests.iter()? {
            let request: RequestFact = decode("requests", row?.1.value())?;
            if request.sequence > sequence {
                after.push(request);
            }
        }
        Ok(after)
    }
}
