//! The facts inside one write transaction: the fold reads what it has written.

use std::{
    cell::RefCell,
    collections::{HashMap, HashSet},
    hash::Hash,
};

use redb::{ReadableTable as _, Table, WriteTransaction};
use serde::{Serialize, de::DeserializeOwned};
use waybill_domain::fold::{
    Change, ContainerKey, Facts, ImageFact, ImageKey, Pending, PendingKey, PlacementFact, SecretFact, SecretKey,
    SecretUse, WorkerFact,
};
use waybill_schemas::WorkerId;

use super::{
    Due, ProjectionError, checksum, image, placement,
    tables::{
        IMAGES, NEWEST, PENDING, PLACEMENTS, SECRETS, TableName, USES, WORKER_SECRETS, WORKERS, container_key,
        definition, image_key, number_key, pending_key, range, secret_key, use_key, worker_secret_key,
        worker_uses_prefix,
    },
};

/// A table whose rows carry checksums.
pub(super) struct CheckedTable<'t> {
    name: TableName,
    table: Table<'t, &'static str, &'static [u8]>,
}

impl<'t> CheckedTable<'t> {
    pub(super) fn open(transaction: &'t WriteTransaction, name: TableName) -> Result<Self, ProjectionError> {
        Ok(Self { name, table: transaction.open_table(definition(name))? })
    }

    pub(super) fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, ProjectionError> {
        self.table.get(key)?.map(|row| checksum::decode(self.name, key, row.value())).transpose()
    }

    pub(super) fn put<T: Serialize>(&mut self, key: &str, row: &T) -> Result<(), ProjectionError> {
        let value = checksum::encode(self.name, key, row)?;
        self.table.insert(key, value.as_slice())?;
        Ok(())
    }

    pub(super) fn remove(&mut self, key: &str) -> Result<(), ProjectionError> {
        self.table.remove(key)?;
        Ok(())
    }

    /// The rows whose keys begin with a prefix.
    fn rows_below<T: DeserializeOwned>(&self, prefix: &str) -> Result<Vec<T>, ProjectionError> {
        let mut rows = Vec::new();
        for row in range(&self.table, prefix)? {
            let (key, value) = row?;
            if !key.value().starts_with(prefix) {
                break;
            }
            rows.push(checksum::decode(self.name, key.value(), value.value())?);
        }
        Ok(rows)
    }

    fn has_below(&self, prefix: &str) -> Result<bool, ProjectionError> {
        let first = range(&self.table, prefix)?.next().transpose()?;
        Ok(first.is_some_and(|(key, _)| key.value().starts_with(prefix)))
    }
}

pub(super) struct TransactionFacts<'t> {
    images: CheckedTable<'t>,
    secrets: CheckedTable<'t>,
    workers: CheckedTable<'t>,
    placements: CheckedTable<'t>,
    newest: CheckedTable<'t>,
    uses: CheckedTable<'t>,
    worker_secrets: CheckedTable<'t>,
    pending: CheckedTable<'t>,
    /// Rows that many events of a batch need, each read once.
    known_secrets: RefCell<HashMap<SecretKey, Option<SecretFact>>>,
    known_workers: RefCell<HashMap<WorkerId, Option<WorkerFact>>>,
    /// Keys of workers' secrets that this transaction has written.
    known_uses: HashSet<String>,
}

impl<'t> TransactionFacts<'t> {
    pub(super) fn open(transaction: &'t WriteTransaction) -> Result<Self, ProjectionError> {
        Ok(Self {
            images: CheckedTable::open(transaction, IMAGES)?,
            secrets: CheckedTable::open(transaction, SECRETS)?,
            workers: CheckedTable::open(transaction, WORKERS)?,
            placements: CheckedTable::open(transaction, PLACEMENTS)?,
            newest: CheckedTable::open(transaction, NEWEST)?,
            uses: CheckedTable::open(transaction, USES)?,
            worker_secrets: CheckedTable::open(transaction, WORKER_SECRETS)?,
            pending: CheckedTable::open(transaction, PENDING)?,
            known_secrets: RefCell::default(),
            known_workers: RefCell::default(),
            known_uses: HashSet::new(),
        })
    }

    pub(super) fn apply(&mut self, change: Change) -> Result<(), ProjectionError> {
        match change {
            Change::PutImage(key, fact) => {
                let key = image_key(&key);
                let value = image::encode(&key, fact)?;
                self.images.table.insert(key.as_str(), value.as_slice())?;
                Ok(())
            }
            Change::PutSecret(key, fact) => {
                self.secrets.put(&secret_key(&key), &fact)?;
                self.known_secrets.get_mut().insert(key, Some(fact));
                Ok(())
            }
            Change::PutWorker(id, fact) => {
                self.workers.put(id.as_str(), &fact)?;
                self.known_workers.get_mut().insert(id, Some(fact));
                Ok(())
            }
            // A memo of it would make it known again within this transaction.
            Change::RemoveWorker(id) => {
                self.known_workers.get_mut().insert(id.clone(), None);
                self.workers.remove(id.as_str())
            }
            Change::PutPlacement(fact) => {
                let (key, value) = placement::encode(*fact)?;
                self.placements.table.insert(key.as_str(), value.as_slice())?;
                Ok(())
            }
            Change::RemovePlacement(number) => self.placements.remove(&number_key(number)),
            Change::PutNewest(container, number) => self.newest.put(&container_key(&container), &number),
            Change::RemoveNewest(container) => self.newest.remove(&container_key(&container)),
            Change::PutUse(secret_use) => self.put_use(&secret_use),
            Change::RemoveUse(secret_use) => self.remove_use(&secret_use),
            Change::PutPending(pending) => self.pending.put(&pending_key(&pending.key()), &pending),
            Change::RemovePending(key) => self.pending.remove(&pending_key(&key)),
        }
    }

    /// Those decisions that still wait, with their workers and secrets as they are now.
    pub(super) fn complete(&self, new: Vec<Pending>) -> Result<Vec<Due>, ProjectionError> {
        let mut due = Vec::with_capacity(new.len());
        for pending in new {
            let key = pending.key();
            if self.pending(&key)?.is_none() {
                continue;
            }
            let (mut worker, mut secret) = (None, None);
            if let Some(credential) = pending.decision.credential() {
                let (workspace, secret_name) = (pending.decision.workspace.clone(), credential.secret_name.clone());
                worker = self.worker(&pending.decision.worker_id)?;
                secret = self.secret(&SecretKey { workspace, secret_name })?;
            }
            due.push(Due { key: pending_key(&key), pending, worker, secret });
        }
        Ok(due)
    }

    /// A use's row says nothing beyond its key, but a worker's row names the secret: keys are not read back.
    fn put_use(&mut self, secret_use: &SecretUse) -> Result<(), ProjectionError> {
        let SecretUse { secret, worker_id, placement } = secret_use;
        self.uses.put(&use_key(secret_use), &(worker_id, placement))?;
        let key = worker_secret_key(worker_id, secret);
        if self.known_uses.contains(&key) {
            return Ok(());
        }
        self.worker_secrets.put(&key, secret)?;
        self.known_uses.insert(key);
        Ok(())
    }

    /// The worker's row goes with the last of its placements that has the secret.
    fn remove_use(&mut self, secret_use: &SecretUse) -> Result<(), ProjectionError> {
        let SecretUse { secret, worker_id, .. } = secret_use;
        self.uses.remove(&use_key(secret_use))?;
        if self.uses.has_below(&worker_uses_prefix(secret, worker_id))? {
            return Ok(());
        }
        let key = worker_secret_key(worker_id, secret);
        self.known_uses.remove(&key);
        self.worker_secrets.remove(&key)
    }
}

fn read_once<K: Eq + Hash + Clone, T: Clone>(
    known: &RefCell<HashMap<K, Option<T>>>,
    key: &K,
    read: impl FnOnce() -> Result<Option<T>, ProjectionError>,
) -> Result<Option<T>, ProjectionError> {
    if let Some(row) = known.borrow().get(key) {
        return Ok(row.clone());
    }
    let row = read()?;
    known.borrow_mut().insert(key.clone(), row.clone());
    Ok(row)
}

impl Facts for TransactionFacts<'_> {
    type Error = ProjectionError;

    fn image(&self, key: &ImageKey) -> Result<Option<ImageFact>, ProjectionError> {
        let key = image_key(key);
        self.images.table.get(key.as_str())?.map(|row| image::decode(&key, row.value())).transpose()
    }

    fn secret(&self, key: &SecretKey) -> Result<Option<SecretFact>, ProjectionError> {
        read_once(&self.known_secrets, key, || self.secrets.get(&secret_key(key)))
    }

    fn worker(&self, id: &WorkerId) -> Result<Option<WorkerFact>, ProjectionError> {
        read_once(&self.known_workers, id, || self.workers.get(id.as_str()))
    }

    fn placement(&self, number: u64) -> Result<Option<PlacementFact>, ProjectionError> {
        let key = number_key(number);
        self.placements.table.get(key.as_str())?.map(|row| placement::decode(&key, row.value())).transpose()
    }

    fn newest_placement(&self, container: &ContainerKey) -> Result<Option<u64>, ProjectionError> {
        self.newest.get(&container_key(container))
    }

    fn uses_of_secret(&self, secret: &SecretKey) -> Result<Vec<SecretUse>, ProjectionError> {
        let rows: Vec<(WorkerId, u64)> = self.uses.rows_below(&format!("{}/", secret_key(secret)))?;
        let to_use = |(worker_id, placement)| SecretUse { secret: secret.clone(), worker_id, placement };
        Ok(rows.into_iter().map(to_use).collect())
    }

    fn secrets_of_worker(&self, id: &WorkerId) -> Result<Vec<SecretKey>, ProjectionError> {
        self.worker_secrets.rows_below(&format!("{id}/"))
    }

    fn placements_on(&self, id: &WorkerId) -> Result<Vec<PlacementFact>, ProjectionError> {
        let mut found = Vec::new();
        for row in self.placements.table.iter()? {
            let (key, value) = row?;
            let placement = placement::decode(key.value(), value.value())?;
            if placement.worker_id == *id {
                found.push(placement);
            }
        }
        Ok(found)
    }

    fn pending(&self, key: &PendingKey) -> Result<Option<Pending>, ProjectionError> {
        self.pending.get(&pending_key(key))
    }
}
