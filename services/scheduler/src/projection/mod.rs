//! The projection: what the log says so far, on disk, with the position it was folded to and the outbox of decisions.
//!
//! One redb transaction writes rows, position and outbox, so that a crash anywhere leaves a state from which folding
//! goes on. Rows are JSON with a checksum; they hold no secret, sealed or not. One process writes; others may read while it
//! does.

mod checksum;
mod entry;
mod error;
mod facts;
mod outbox;
mod placement;
mod position;
mod quarantine;
mod read;
mod scratch;
mod snapshot;
mod tables;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{OpenOptions, Permissions},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use redb::{ConcurrencyMode, Database, DatabaseError, Durability, ReadableDatabase};
use waybill_domain::{
    fold::{Anomaly, fold},
    verify::Verifier,
};
use waybill_schemas::{Timestamp, WorkerId};

pub use entry::Entry;
pub use error::ProjectionError;
pub(crate) use outbox::{Due, OutboxState};
pub use position::Position;
pub use quarantine::{Discarded, Held, Quarantined, Ruling};
pub use read::{ReadProjection, ReadProjectionError};
pub use snapshot::Snapshot;
pub use tables::{Row, TABLES};

use facts::{CheckedTable, TransactionFacts};
use quarantine::QuarantineTables;
use tables::{HELD, META, number_key};

/// Page cache of the projection: bounded, since the default would be 1 GiB.
const CACHE_BYTES: usize = 64 * 1024 * 1024;

const POSITION_KEY: &str = "position";
/// By which rules the rows were folded.
const RULES_KEY: &str = "rules";
/// To be raised whenever the fold comes to other rows or decisions from the same log.
const RULES: u32 = 3;

/// What a fold has to tell.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct FoldReport {
    /// What is not as it should be, by sequence.
    pub anomalies: Vec<(u64, Anomaly)>,
    /// What the operator said of quarantined messages.
    pub rulings: Vec<Ruling>,
}

/// The projection's file.
#[derive(Debug)]
pub struct Projection {
    database: Database,
    path: PathBuf,
    durability: Durability,
}

impl Projection {
    /// Opens the file and checks it, or makes a new one that only this user can read.
    ///
    /// # Errors
    /// [`ProjectionError::InUse`], [`ProjectionError::Open`] and [`ProjectionError::Damaged`].
    pub fn open(path: &Path) -> Result<Self, ProjectionError> {
        make_private(path).map_err(|error| ProjectionError::Open {
            path: path.to_owned(),
            source: Box::new(redb::Error::Io(error)),
        })?;
        let opening = || {
            let mut builder = Database::builder();
            builder.set_cache_size(CACHE_BYTES).set_concurrency_mode(ConcurrencyMode::SingleWriter);
            let mut database = builder.create(path)?;
            let intact = database.check_integrity()?;
            Ok((database, intact))
        };
        // The store's code asserts what a damaged file breaks.
        let opened: Result<(Database, bool), DatabaseError> = catch_unwind(AssertUnwindSafe(opening))
            .map_err(|_| ProjectionError::Damaged { path: path.to_owned(), source: None })?;
        let (database, intact) = opened.map_err(|error| ProjectionError::from_open(path, error))?;
        if !intact {
            tracing::warn!(projection = %path.display(), "the projection was left in the middle of writing, repaired it");
        }
        Ok(Self { database, path: path.to_owned(), durability: Durability::Immediate })
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
    pub fn fold(&self, stream_created: Timestamp, entries: &[Entry]) -> Result<FoldReport, ProjectionError> {
        self.fold_each(stream_created, entries, None)
    }

    /// As [`fold`](Self::fold), with each event shown to a verifier.
    ///
    /// # Errors
    /// As [`fold`](Self::fold).
    pub fn fold_verifying(
        &self,
        stream_created: Timestamp,
        entries: &[Entry],
        verifier: &mut Verifier,
    ) -> Result<FoldReport, ProjectionError> {
        self.fold_each(stream_created, entries, Some(verifier))
    }

    fn fold_each(
        &self,
        stream_created: Timestamp,
        entries: &[Entry],
        mut verifier: Option<&mut Verifier>,
    ) -> Result<FoldReport, ProjectionError> {
        let mut report = FoldReport::default();
        let Some(last) = entries.last() else { return Ok(report) };
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(self.durability)?;
        {
            let mut facts = TransactionFacts::open(&transaction)?;
            let mut quarantine = QuarantineTables::open(&transaction)?;
            for entry in entries {
                let recorded = match entry {
                    Entry::Event(recorded) => recorded,
                    Entry::Poison(poison) => {
                        quarantine.keep(poison)?;
                        continue;
                    }
                };
                let folded = fold(&facts, recorded)?;
                if let Some(verifier) = &mut verifier {
                    verifier.observe(recorded, folded.anomaly.as_ref());
                }
                report.anomalies.extend(folded.anomaly.map(|anomaly| (recorded.sequence, anomaly)));
                folded.changes.into_iter().try_for_each(|change| facts.apply(change))?;
                report.rulings.extend(quarantine.rule(recorded)?);
            }
            let mut meta = CheckedTable::open(&transaction, META)?;
            meta.put(POSITION_KEY, &last.position(stream_created))?;
            meta.put(RULES_KEY, &RULES)?;
        }
        transaction.commit()?;
        Ok(report)
    }

    /// Notes why a quarantined message stays where it is.
    ///
    /// # Errors
    /// Those of the store.
    pub fn hold(&self, sequence: u64, held: &Held) -> Result<(), ProjectionError> {
        let transaction = self.database.begin_write()?;
        CheckedTable::open(&transaction, HELD)?.put(&number_key(sequence), held)?;
        Ok(transaction.commit()?)
    }

    /// Waits until no fold is being written.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) fn wait_for_writer(&self) -> Result<(), ProjectionError> {
        Ok(self.database.begin_write()?.abort()?)
    }

    /// Workers that have registered.
    ///
    /// # Errors
    /// Those of the store.
    pub fn workers(&self) -> Result<BTreeSet<WorkerId>, ProjectionError> {
        self.snapshot()?.workers()
    }

    /// For workers whose consumers are to be made: the first decision that each may not have acted on. See
    /// [`Snapshot::start_positions`].
    ///
    /// # Errors
    /// Those of the store.
    pub fn start_positions(&self, workers: &BTreeSet<WorkerId>) -> Result<BTreeMap<WorkerId, u64>, ProjectionError> {
        self.snapshot()?.start_positions(workers)
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

fn make_private(path: &Path) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
    std::fs::set_permissions(path, Permissions::from_mode(0o600))
}
