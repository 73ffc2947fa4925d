//! The rows at one moment: what is committed later does not change them.

use std::collections::{BTreeMap, BTreeSet};

use redb::{ReadOnlyTable, ReadTransaction, ReadableTable as _, ReadableTableMetadata as _};
use serde::de::DeserializeOwned;
use waybill_domain::fold::{PlacementState, SecretFact, SecretKey, WorkerFact};
use waybill_schemas::WorkerId;

use super::{
    Held, POSITION_KEY, Position, ProjectionError, Quarantined, RULES, RULES_KEY, Row, checksum, placement,
    tables::{
        self, DISCARDED, HELD, META, PLACEMENTS, QUARANTINE, SECRETS, TABLES, TableName, WORKER_SECRETS, WORKERS,
        definition, number_key, read_number, secret_key, worker_secret_key,
    },
};

/// All tables as one transaction left them. While it is held, the file keeps what it shows.
pub struct Snapshot(pub(super) ReadTransaction);

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot").finish_non_exhaustive()
    }
}

impl Snapshot {
    pub(super) fn table(
        &self,
        name: TableName,
    ) -> Result<Option<ReadOnlyTable<&'static str, &'static [u8]>>, ProjectionError> {
        tables::open_existing(self.0.open_table(definition(name)))
    }

    pub(super) fn row<T: DeserializeOwned>(&self, name: TableName, key: &str) -> Result<Option<T>, ProjectionError> {
        let Some(table) = self.table(name)? else { return Ok(None) };
        table.get(key)?.map(|row| checksum::decode(name, key, row.value())).transpose()
    }

    /// The place in the log up to which the rows are folded; none in a new file.
    ///
    /// # Errors
    /// Those of the store, and [`ProjectionError::Layout`] where another version's rules folded them.
    pub fn position(&self) -> Result<Option<Position>, ProjectionError> {
        let Some(table) = self.table(META)? else { return Ok(None) };
        if table.get(POSITION_KEY)?.is_none() {
            return Ok(None);
        }
        // Another version's rows may have no checksum, so that any failure to read the rules speaks of the version.
        match self.row::<u32>(META, RULES_KEY) {
            Ok(Some(RULES)) => self.row(META, POSITION_KEY),
            _ => Err(ProjectionError::Layout { table: META.to_owned() }),
        }
    }

    /// Every row of every table, in order: two projections of the same log are equal, byte for byte.
    ///
    /// # Errors
    /// Those of the store.
    pub fn rows(&self) -> Result<Vec<Row>, ProjectionError> {
        let mut rows = Vec::new();
        for table in TABLES {
            self.each(table, |row| -> Result<(), ProjectionError> {
                rows.push(row);
                Ok(())
            })?;
        }
        Ok(rows)
    }

    /// Bytes of all rows with their keys, but for the position's.
    #[cfg(test)]
    pub(crate) fn stored_bytes(&self) -> Result<u64, ProjectionError> {
        let tables = TABLES.into_iter().filter(|name| *name != META);
        let sizes = tables
            .map(|name| Ok(self.table(name)?.map_or(0, |table| table.stats().map_or(0, |stats| stats.stored_bytes()))));
        sizes.sum()
    }

    /// Hands over each row of one of [`TABLES`], in the order of its keys.
    ///
    /// # Errors
    /// Those of the store, and of `each`.
    pub fn each<E: From<ProjectionError>>(
        &self,
        table: &str,
        mut each: impl FnMut(Row) -> Result<(), E>,
    ) -> Result<(), E> {
        tables::visit(&self.0, table, &mut each)
    }

    /// The value of the row under a key, as [`Row`] has both.
    ///
    /// # Errors
    /// Those of the store.
    pub fn value(&self, table: &str, key: &str) -> Result<Option<Vec<u8>>, ProjectionError> {
        tables::value(&self.0, table, key)
    }

    /// What is in quarantine, by sequence.
    ///
    /// # Errors
    /// Those of the store.
    pub fn quarantine(&self) -> Result<Vec<(u64, Quarantined)>, ProjectionError> {
        let mut rows = self.kept(QUARANTINE)?;
        for (sequence, row) in &mut rows {
            row.held = self.row::<Held>(HELD, &number_key(*sequence))?;
        }
        Ok(rows)
    }

    /// What was given up, by sequence.
    ///
    /// # Errors
    /// Those of the store.
    pub fn discarded(&self) -> Result<Vec<(u64, Quarantined)>, ProjectionError> {
        self.kept(DISCARDED)
    }

    /// How many messages are in quarantine.
    ///
    /// # Errors
    /// Those of the store.
    pub fn quarantined(&self) -> Result<u64, ProjectionError> {
        Ok(self.table(QUARANTINE)?.map(|table| table.len()).transpose()?.unwrap_or(0))
    }

    fn kept(&self, name: TableName) -> Result<Vec<(u64, Quarantined)>, ProjectionError> {
        let Some(table) = self.table(name)? else { return Ok(Vec::new()) };
        let rows = table.iter()?.map(|row| {
            let (key, value) = row?;
            let sequence = read_number(name, key.value())?;
            Ok((sequence, checksum::decode(name, key.value(), value.value())?))
        });
        rows.collect()
    }

    /// Workers that have registered.
    ///
    /// # Errors
    /// Those of the store.
    pub fn workers(&self) -> Result<BTreeSet<WorkerId>, ProjectionError> {
        let Some(table) = self.table(WORKERS)? else { return Ok(BTreeSet::new()) };
        let ids = table.iter()?.map(|row| {
            let (key, value) = row?;
            checksum::content(WORKERS, key.value(), value.value())?;
            Ok(key.value().parse().ok())
        });
        ids.filter_map(Result::transpose).collect()
    }

    /// A worker's newest registration.
    ///
    /// # Errors
    /// Those of the store.
    pub fn worker(&self, id: &WorkerId) -> Result<Option<WorkerFact>, ProjectionError> {
        self.row(WORKERS, id.as_str())
    }

    /// A secret's head.
    ///
    /// # Errors
    /// Those of the store.
    pub fn secret(&self, key: &SecretKey) -> Result<Option<SecretFact>, ProjectionError> {
        self.row(SECRETS, &secret_key(key))
    }

    /// True if a placement of the worker has the secret.
    ///
    /// # Errors
    /// Those of the store.
    pub fn is_used_by(&self, secret: &SecretKey, worker_id: &WorkerId) -> Result<bool, ProjectionError> {
        let row: Option<SecretKey> = self.row(WORKER_SECRETS, &worker_secret_key(worker_id, secret))?;
        Ok(row.is_some())
    }

    /// For each of some workers, the sequence from which its consumer must start so that nothing stays undone: that of the
    /// first decision whose placement has something left to report, or else what follows the position.
    ///
    /// # Errors
    /// Those of the store.
    pub fn start_positions(&self, workers: &BTreeSet<WorkerId>) -> Result<BTreeMap<WorkerId, u64>, ProjectionError> {
        let next = self.position()?.map_or(1, |position| position.sequence.saturating_add(1));
        let mut starts: BTreeMap<WorkerId, u64> = workers.iter().map(|worker| (worker.clone(), next)).collect();
        let Some(table) = self.table(PLACEMENTS)? else { return Ok(starts) };
        for row in table.iter()? {
            let (key, value) = row?;
            let fact = placement::decode(key.value(), value.value())?;
            if let (PlacementState::Decided { decided_by }, false) = (&fact.state, fact.settled)
                && let Some(start) = starts.get_mut(&fact.worker_id)
            {
                *start = (*start).min(*decided_by);
            }
        }
        Ok(starts)
    }
}
