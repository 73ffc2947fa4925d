//! The facts inside one write transaction: the fold reads what it has written.

use redb::{ReadableTable, Table, WriteTransaction};
use uuid::Uuid;
use waybill_domain::fold::{
    Change, ContainerKey, Facts, ImageFact, ImageKey, Pending, PendingKey, RequestFact, ServedFact, WorkerFact,
};
use waybill_schemas::WorkerId;

use super::{
    ProjectionError,
    rows::{CONTAINERS, ENDED, IMAGES, PENDING, REQUESTS, SERVED, WORKERS, decode, encode},
};

pub(super) struct TransactionFacts<'t> {
    images: Table<'t, &'static str, &'static [u8]>,
    workers: Table<'t, &'static str, &'static [u8]>,
    requests: Table<'t, u128, &'static [u8]>,
    pending: Table<'t, (u64, u64), &'static [u8]>,
    served: Table<'t, &'static str, &'static [u8]>,
    containers: Table<'t, &'static str, &'static [u8]>,
    ended: Table<'t, &'static str, &'static [u8]>,
}

impl<'t> TransactionFacts<'t> {
    pub(super) fn open(transaction: &'t WriteTransaction) -> Result<Self, ProjectionError> {
        Ok(Self {
            images: transaction.open_table(IMAGES)?,
            workers: transaction.open_table(WORKERS)?,
            requests: transaction.open_table(REQUESTS)?,
            pending: transaction.open_table(PENDING)?,
            served: transaction.open_table(SERVED)?,
            containers: transaction.open_table(CONTAINERS)?,
            ended: transaction.open_table(ENDED)?,
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
            Change::PutPending(pending) => {
                self.pending.insert(pending_key(pending.key()), encode("pending", &pending)?.as_slice())?;
            }
            Change::RemovePending(key) => {
                self.pending.remove(pending_key(key))?;
            }
            Change::PutServed(image, served) => {
                let container = ContainerKey::of(&served.request);
                self.served.insert(served_key(&image, &container).as_str(), encode("served", &served)?.as_slice())?;
                let image_id = encode("containers", &image.image_id)?;
                self.containers.insert(container_key(&container).as_str(), image_id.as_slice())?;
            }
            Change::RemoveServed(image, container) => {
                self.served.remove(served_key(&image, &container).as_str())?;
                self.containers.remove(container_key(&container).as_str())?;
            }
            Change::PutEnded(container, sequence) => {
                let row = encode("ended", &sequence)?;
                self.ended.insert(container_key(&container).as_str(), row.as_slice())?;
            }
        }
        Ok(())
    }
}

/// Neither id can hold a slash.
fn image_key(key: &ImageKey) -> String {
    format!("{}/{}", key.workspace, key.image_id)
}

fn container_key(key: &ContainerKey) -> String {
    format!("{}/{}", key.workspace, key.container_id)
}

fn served_key(image: &ImageKey, container: &ContainerKey) -> String {
    format!("{}/{}", image_key(image), container.container_id)
}

fn pending_key(key: PendingKey) -> (u64, u64) {
    (key.caused_by, key.requested_by)
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

    fn pending(&self, key: PendingKey) -> Result<Option<Pending>, ProjectionError> {
        self.pending.get(pending_key(key))?.map(|row| decode("pending", row.value())).transpose()
    }

    fn served(&self, image: &ImageKey) -> Result<Vec<ServedFact>, ProjectionError> {
        let prefix = format!("{}/", image_key(image));
        let mut served = Vec::new();
        for row in self.served.range(prefix.as_str()..)? {
            let (key, row) = row?;
            if !key.value().starts_with(&prefix) {
                break;
            }
            served.push(decode("served", row.value())?);
        }
        Ok(served)
    }

    fn served_to(&self, container: &ContainerKey) -> Result<Option<(ImageKey, ServedFact)>, ProjectionError> {
        let Some(row) = self.containers.get(container_key(container).as_str())? else { return Ok(None) };
        let image = ImageKey { workspace: container.workspace.clone(), image_id: decode("containers", row.value())? };
        let served = self.served.get(served_key(&image, container).as_str())?;
        let served = served.map(|row| decode("served", row.value())).transpose()?;
        Ok(served.map(|served| (image, served)))
    }

    fn ended(&self, container: &ContainerKey) -> Result<Option<u64>, ProjectionError> {
        self.ended.get(container_key(container).as_str())?.map(|row| decode("ended", row.value())).transpose()
    }

    fn each_request_after(&self, sequence: u64, show: &mut dyn FnMut(&RequestFact)) -> Result<(), ProjectionError> {
        for row in self.requests.iter()? {
            let request: RequestFact = decode("requests", row?.1.value())?;
            if request.last_decided_for() > sequence {
                show(&request);
            }
        }
        Ok(())
    }
}
