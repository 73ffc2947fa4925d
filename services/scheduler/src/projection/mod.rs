//! The projection: what the log says so far, on disk, with the position it was folded to and the outbox of decisions.
//!
//! One redb transaction writes rows, position and outbox, so that a crash anywhere leaves a state from which folding
//! goes on. Rows are JSON; credentials in them are ciphertext. One process writes; others may read while it does.

mod facts;
mod position;
mod quarantine;
mod read;
mod rows;
mod scratch;
mod snapshot;

use std::{
    collections::BTreeSet,
    fs::{OpenOptions, Permissions},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use redb::{ConcurrencyMode, Database, Durability, ReadableDatabase, ReadableTable};
use waybill_domain::{
    fold::{Anomaly, Pending, PendingKey, fold},
    verify::Verifier,
};
use waybill_platform::log::RawMessage;
use waybill_schemas::{Event, Recorded, RecordedEvent, WorkerId, v1::QuarantineRetried};

pub use position::Position;
pub use quarantine::{Discarded, Held, Quarantined, Settled};
pub use read::{ReadProjection, ReadProjectionError};
pub use rows::{Row, TABLES};
pub use snapshot::Snapshot;

use facts::TransactionFacts;
use quarantine::QuarantineTable;
use rows::{DISCARDED, META, PENDING, POSITION_KEY, QUARANTINE, RULES, RULES_KEY, WORKERS};

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
    /// A table is not laid out as this version has it.
    #[error("the projection's table {table} was written by another version; start with --rebuild")]
    Layout {
        /// The table.
        table: String,
    },
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
        match error.into() {
            redb::Error::TableTypeMismatch { table, .. } => Self::Layout { table },
            error => Self::Store(Box::new(error)),
        }
    }
}

/// What stands at one sequence of the log.
#[derive(Debug)]
pub enum Entry {
    /// An event.
    Event(Box<Recorded<RecordedEvent>>),
    /// Something that is none: it is kept aside, and the fold goes on.
    Poison(Box<Recorded<Quarantined>>),
}

impl Entry {
    /// What a message is.
    pub fn of(message: &RawMessage) -> Self {
        let (sequence, at) = (message.sequence, message.at);
        match message.decode() {
            Ok(value) => Self::Event(Box::new(Recorded { sequence, at, value })),
            Err(error) => {
                let value = Quarantined::of(message, error.to_string());
                Self::Poison(Box::new(Recorded { sequence, at, value }))
            }
        }
    }

    fn position(&self, stream_created: waybill_schemas::Timestamp) -> Position {
        let (sequence, at) = match self {
            Self::Event(recorded) => (recorded.sequence, recorded.at),
            Self::Poison(recorded) => (recorded.sequence, recorded.at),
        };
        Position { stream_created, sequence, at }
    }
}

/// What a fold has to tell.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct FoldReport {
    /// What was passed over, by sequence.
    pub anomalies: Vec<(u64, Anomaly)>,
    /// What came of retries and discards of quarantined messages.
    pub settled: Vec<Settled>,
}

/// What the operator says of a quarantined message is done here, in the transaction of the event that says it.
fn settle(
    (quarantine, discarded): (&mut QuarantineTable<'_>, &mut QuarantineTable<'_>),
    facts: &mut TransactionFacts<'_>,
    recorded: &Recorded<RecordedEvent>,
) -> Result<Option<Settled>, ProjectionError> {
    match &recorded.value.event {
        Event::QuarantineRetried(QuarantineRetried { sequence }) => {
            let (settled, folded) = quarantine::retry(quarantine, facts, *sequence, recorded.sequence)?;
            folded.changes.into_iter().try_for_each(|change| facts.apply(change))?;
            Ok(Some(settled))
        }
        Event::QuarantineDiscarded(asked) => {
            quarantine::discard(quarantine, discarded, asked, recorded.sequence, recorded.at).map(Some)
        }
        _ => Ok(None),
    }
}

/// The projection's file.
#[derive(Debug)]
pub struct Projection {
    database: Database,
    path: PathBuf,
    durability: Durability,
}

impl Projection {
    /// Opens the file, or makes a new one that only this user can read.
    ///
    /// # Errors
    /// [`ProjectionError::Open`], among others when another scheduler has it.
    pub fn open(path: &Path) -> Result<Self, ProjectionError> {
        let opened = Self::open_private(path);
        let database = opened.map_err(|source| ProjectionError::Open { path: path.to_owned(), source })?;
        Ok(Self { database, path: path.to_owned(), durability: Durability::Immediate })
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
        self.snapshot()?.position()
    }

    /// Folds entries that follow the position, all or none. Returns what is worth telling.
    ///
    /// # Errors
    /// Those of the store; nothing is written then.
    pub fn fold(
        &self,
        stream_created: waybill_schemas::Timestamp,
        entries: &[Entry],
    ) -> Result<FoldReport, ProjectionError> {
        self.fold_each(stream_created, entries, |_, _| Ok(()))
    }

    /// As [`fold`](Self::fold), with each decision compared with the one that the fold made.
    ///
    /// # Errors
    /// As [`fold`](Self::fold).
    pub fn fold_verifying(
        &self,
        stream_created: waybill_schemas::Timestamp,
        entries: &[Entry],
        verifier: &mut Verifier,
    ) -> Result<FoldReport, ProjectionError> {
        self.fold_each(stream_created, entries, |facts, recorded| verifier.see(facts, recorded))
    }

    /// `see` gets each event with the facts before it.
    fn fold_each(
        &self,
        stream_created: waybill_schemas::Timestamp,
        entries: &[Entry],
        mut see: impl FnMut(&TransactionFacts<'_>, &Recorded<RecordedEvent>) -> Result<(), ProjectionError>,
    ) -> Result<FoldReport, ProjectionError> {
        let mut report = FoldReport::default();
        let Some(last) = entries.last() else { return Ok(report) };
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(self.durability)?;
        {
            let mut facts = TransactionFacts::open(&transaction)?;
            let mut quarantine = transaction.open_table(QUARANTINE)?;
            let mut discarded = transaction.open_table(DISCARDED)?;
            for entry in entries {
                match entry {
                    Entry::Event(recorded) => {
                        see(&facts, recorded)?;
                        let folded = fold(&facts, recorded)?;
                        report.anomalies.extend(folded.anomaly.map(|anomaly| (recorded.sequence, anomaly)));
                        folded.changes.into_iter().try_for_each(|change| facts.apply(change))?;
                        let settled = settle((&mut quarantine, &mut discarded), &mut facts, recorded)?;
                        report.settled.extend(settled);
                    }
                    Entry::Poison(recorded) => {
                        let row = rows::encode("quarantine", &recorded.value)?;
                        quarantine.insert(recorded.sequence, row.as_slice())?;
                    }
                }
            }
            let row = rows::encode("meta", &last.position(stream_created))?;
            let mut meta = transaction.open_table(META)?;
            meta.insert(POSITION_KEY, row.as_slice())?;
            meta.insert(RULES_KEY, rows::encode("meta", &RULES)?.as_slice())?;
        }
        transaction.commit()?;
        Ok(report)
    }

    /// Decisions that the log does not hold yet, in the order of what they are made for, from those after `after`.
    ///
    /// # Errors
    /// Those of the store.
    pub fn pending(&self, after: PendingKey, limit: usize) -> Result<Vec<Pending>, ProjectionError> {
        let transaction = self.database.begin_read()?;
        let Some(table) = rows::existing(transaction.open_table(PENDING))? else { return Ok(Vec::new()) };
        let range = table.range((after.caused_by, after.requested_by.saturating_add(1))..)?.take(limit);
        range.map(|row| rows::decode("pending", row?.1.value())).collect()
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

    /// Number of quarantined messages that are not given up.
    ///
    /// # Errors
    /// Those of the store.
    pub fn quarantined(&self) -> Result<u64, ProjectionError> {
        self.snapshot()?.quarantined()
    }

    /// Every row of every table, in order: two projections of the same log are equal, byte for byte.
    ///
    /// # Errors
    /// Those of the store.
    pub fn rows(&self) -> Result<Vec<Row>, ProjectionError> {
        self.snapshot()?.rows()
    }

    /// The rows as they stand now, whatever is folded later.
    ///
    /// # Errors
    /// Those of the store.
    pub fn snapshot(&self) -> Result<Snapshot, ProjectionError> {
        Ok(Snapshot(self.database.begin_read()?))
    }
}
