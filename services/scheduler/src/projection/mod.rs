//! The projection: what the log says so far, on disk, with the position it was folded to and the outbox of decisions.
//!
//! One redb transaction writes rows, position and outbox, so that a crash anywhere leaves a state from which folding
//! goes on. Rows are JSON; credentials in them are ciphertext. One process writes; others may read while it does.

mod facts;
mod position;
mod quarantine;
mod reader;
mod rows;

use std::{
    collections::BTreeSet,
    fs::{OpenOptions, Permissions},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use redb::{ConcurrencyMode, Database, ReadableDatabase, ReadableTable};
use waybill_domain::fold::{Anomaly, Pending, fold};
use waybill_schemas::{Recorded, RecordedEvent, WorkerId};

pub use position::Position;
pub use quarantine::Quarantined;
pub use reader::ProjectionReader;
pub use rows::Row;

use facts::TransactionFacts;
use rows::{META, PENDING, POSITION_KEY, QUARANTINE, WORKERS};

/// Page cache of the projection: bounded, since the default would be 1 GiB.
const CACHE_BYTES: usize = 64 * 1024 * 1024;

/// Why the projection could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ProjectionError {
    /// The file cannot be made or opened.
    #[error("cannot open the projection {}; is another scheduler using it, and may this user write there?", .path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<redb::Error>,
    },
    /// The store failed.
    #[error("the projection's store failed; if the file is damaged, start with --rebuild")]
    Store(#[source] Box<redb::Error>),
    /// A row is not what this version writes.
    #[error("a row of the projection's table {table} cannot be read by this version; start with --rebuild")]
    Row {
        /// The table.
        table: &'static str,
        /// Why.
        source: serde_json::Error,
    },
}

impl ProjectionError {
    /// Whether another process has the file.
    pub fn is_in_use(&self) -> bool {
        matches!(self, Self::Open { source, .. } if matches!(**source, redb::Error::DatabaseAlreadyOpen))
    }
}

impl<E: Into<redb::Error>> From<E> for ProjectionError {
    fn from(error: E) -> Self {
        Self::Store(Box::new(error.into()))
    }
}

/// What stands at one sequence of the log.
#[derive(Debug)]
pub enum Entry {
    /// An event.
    Event(Box<Recorded<RecordedEvent>>),
    /// Something that is none: it is kept aside, and the fold goes on.
    Poison(Recorded<Quarantined>),
}

impl Entry {
    fn position(&self, stream_created: waybill_schemas::Timestamp) -> Position {
        let (sequence, at) = match self {
            Self::Event(recorded) => (recorded.sequence, recorded.at),
            Self::Poison(recorded) => (recorded.sequence, recorded.at),
        };
        Position { stream_created, sequence, at }
    }
}

/// The projection's file.
#[derive(Debug)]
pub struct Projection {
    database: Database,
    path: PathBuf,
}

impl Projection {
    /// Opens the file, or makes a new one that only this user can read.
    ///
    /// # Errors
    /// [`ProjectionError::Open`], among others when another scheduler has it.
    pub fn open(path: &Path) -> Result<Self, ProjectionError> {
        let opened = Self::open_private(path);
        let database = opened.map_err(|source| ProjectionError::Open { path: path.to_owned(), source })?;
        Ok(Self { database, path: path.to_owned() })
    }

    fn open_private(path: &Path) -> Result<Database, Box<redb::Error>> {
        let private = || {
            if let Some(folder) = path.parent() {
                std::fs::create_dir_all(folder)?;
            }
            OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
            std::fs::set_permissions(path, Permissions::from_mode(0o600))
        };
        private().map_err(redb::Error::Io)?;
        let mut builder = Database::builder();
        builder.set_cache_size(CACHE_BYTES).set_concurrency_mode(ConcurrencyMode::SingleWriter);
        builder.create(path).map_err(|error| Box::new(error.into()))
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The place in the log up to which the rows are folded; none in a new file.
    ///
    /// # Errors
    /// Those of the store.
    pub fn position(&self) -> Result<Option<Position>, ProjectionError> {
        reader::position(&self.database.begin_read()?)
    }

    /// Folds entries that follow the position, all or none. Returns what the fold passed over, by sequence.
    ///
    /// # Errors
    /// Those of the store; nothing is written then.
    pub fn fold(
        &self,
        stream_created: waybill_schemas::Timestamp,
        entries: &[Entry],
    ) -> Result<Vec<(u64, Anomaly)>, ProjectionError> {
        let Some(last) = entries.last() else { return Ok(Vec::new()) };
        let mut anomalies = Vec::new();
        let transaction = self.database.begin_write()?;
        {
            let mut facts = TransactionFacts::open(&transaction)?;
            let mut quarantine = transaction.open_table(QUARANTINE)?;
            for entry in entries {
                match entry {
                    Entry::Event(recorded) => {
                        let folded = fold(&facts, recorded)?;
                        anomalies.extend(folded.anomaly.map(|anomaly| (recorded.sequence, anomaly)));
                        folded.changes.into_iter().try_for_each(|change| facts.apply(change))?;
                    }
                    Entry::Poison(recorded) => {
                        let row = rows::encode("quarantine", &recorded.value)?;
                        quarantine.insert(recorded.sequence, row.as_slice())?;
                    }
                }
            }
            let row = rows::encode("meta", &last.position(stream_created))?;
            transaction.open_table(META)?.insert(POSITION_KEY, row.as_slice())?;
        }
        transaction.commit()?;
        Ok(anomalies)
    }

    /// Decisions that the log does not hold yet, in the order of their requests, from those after `after`.
    ///
    /// # Errors
    /// Those of the store.
    pub fn pending(&self, after: u64, limit: usize) -> Result<Vec<(u64, Pending)>, ProjectionError> {
        let transaction = self.database.begin_read()?;
        let Some(table) = rows::existing(transaction.open_table(PENDING))? else { return Ok(Vec::new()) };
        let range = table.range(after.saturating_add(1)..)?.take(limit);
        range
            .map(|row| {
                let (sequence, pending) = row?;
                Ok((sequence.value(), rows::decode("pending", pending.value())?))
            })
            .collect()
    }

    /// Workers that have registered.
    ///
    /// # Errors
    /// Those of the store.
    pub fn workers(&self) -> Result<BTreeSet<WorkerId>, ProjectionError> {
        let transaction = self.database.begin_read()?;
        let Some(table) = rows::existing(transaction.open_table(WORKERS))? else { return Ok(BTreeSet::new()) };
        let ids = table.iter()?.map(|row| Ok(row?.0.value().parse().ok()));
        ids.filter_map(Result::transpose).collect()
    }

    /// Number of quarantined entries.
    ///
    /// # Errors
    /// Those of the store.
    pub fn quarantined(&self) -> Result<u64, ProjectionError> {
        reader::quarantined(&self.database.begin_read()?)
    }

    /// Every row of every table, in order: two projections of the same log are equal, byte for byte.
    ///
    /// # Errors
    /// Those of the store.
    pub fn rows(&self) -> Result<Vec<Row>, ProjectionError> {
        rows::all(&self.database.begin_read()?)
    }
}
