//! The projection: what the log says so far, on disk, with the position it was folded to and the outbox of decisions.
//!
//! One redb transaction writes rows, position and outbox, so that a crash anywhere leaves a state from which folding
//! goes on. Rows are JSON with a checksum; they hold no secret, sealed or not. One process writes; others may read while it
//! does.

mod checksum;
mod entry;
mod error;
mod facts;
mod image;
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
    sync::{
        PoisonError, RwLock, RwLockReadGuard,
        atomic::{AtomicU64, Ordering},
    },
};

use redb::{ConcurrencyMode, Database, DatabaseError, Durability, ReadableDatabase};
use waybill_domain::{
    fold::{Anomaly, Change, Pending, fold},
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
const CACHE_BYTES: usize = 8 * 1024 * 1024;

/// Length of the file from which it is compacted, if less than two thirds of it are in use.
const LEAST_TO_COMPACT: u64 = 4 * 1024 * 1024;

/// Most decisions that are handed over before they are on the disk. More go through the outbox, where lanes and workspaces
/// take turns.
const MOST_HANDED_OVER: usize = 16;

const POSITION_KEY: &str = "position";
/// By which rules the rows were folded.
const RULES_KEY: &str = "rules";
/// To be raised whenever the fold comes to other rows or decisions from the same log.
const RULES: u32 = 4;

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
    /// Locked for writing only to give room back.
    database: RwLock<Database>,
    path: PathBuf,
    durability: Durability,
    answered: AtomicU64,
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
            compact_if_sparse(&mut database, path);
            Ok((database, intact))
        };
        // The store's code asserts what a damaged file breaks.
        let opened: Result<(Database, bool), DatabaseError> = catch_unwind(AssertUnwindSafe(opening))
            .map_err(|_| ProjectionError::Damaged { path: path.to_owned(), source: None })?;
        let (database, intact) = opened.map_err(|error| ProjectionError::from_open(path, error))?;
        if !intact {
            tracing::warn!(projection = %path.display(), "the projection was left in the middle of writing, repaired it");
        }
        Ok(Self::over(database, path, Durability::Immediate))
    }

    fn over(database: Database, path: &Path, durability: Durability) -> Self {
        Self { database: RwLock::new(database), path: path.to_owned(), durability, answered: AtomicU64::new(0) }
    }

    fn database(&self) -> RwLockReadGuard<'_, Database> {
        self.database.read().unwrap_or_else(PoisonError::into_inner)
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
        self.fold_each(stream_created, entries, None, &|_| {})
    }

    /// As [`fold`](Self::fold). A few decisions that follow are handed over before the rows are on the disk: what they say follows
    /// from the log, whatever becomes of the transaction, and after a crash they are found said.
    pub(crate) fn fold_handing_over(
        &self,
        stream_created: Timestamp,
        entries: &[Entry],
        hand_over: &dyn Fn(Vec<Due>),
    ) -> Result<FoldReport, ProjectionError> {
        self.fold_each(stream_created, entries, None, hand_over)
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
        self.fold_each(stream_created, entries, Some(verifier), &|_| {})
    }

    fn fold_each(
        &self,
        stream_created: Timestamp,
        entries: &[Entry],
        mut verifier: Option<&mut Verifier>,
        hand_over: &dyn Fn(Vec<Due>),
    ) -> Result<FoldReport, ProjectionError> {
        let (mut report, mut answered, mut new) = (FoldReport::default(), 0_u64, Vec::new());
        let Some(last) = entries.last() else { return Ok(report) };
        let database = self.database();
        let mut transaction = database.begin_write()?;
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
                for change in folded.changes {
                    match &change {
                        Change::RemovePending(_) => answered = answered.saturating_add(1),
                        Change::PutPending(pending) if new.len() <= MOST_HANDED_OVER => {
                            new.push(Pending::clone(pending));
                        }
                        _ => {}
                    }
                    facts.apply(change)?;
                }
                report.rulings.extend(quarantine.rule(recorded)?);
            }
            if (1..=MOST_HANDED_OVER).contains(&new.len()) {
                hand_over(facts.complete(new)?);
            }
            let mut meta = CheckedTable::open(&transaction, META)?;
            meta.put(POSITION_KEY, &last.position(stream_created))?;
            meta.put(RULES_KEY, &RULES)?;
        }
        transaction.commit()?;
        self.answered.fetch_add(answered, Ordering::Relaxed);
        Ok(report)
    }

    /// Number of decisions that were folded since the file was opened.
    pub(crate) fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Gives room back that is not in use, which takes a while where there is much. What cannot be done now, as while somebody
    /// reads, is done at another time.
    pub(crate) fn compact(&self) {
        if let Ok(mut database) = self.database.try_write() {
            compact_if_sparse(&mut database, &self.path);
        }
    }

    /// Notes why a quarantined message stays where it is.
    ///
    /// # Errors
    /// Those of the store.
    pub fn hold(&self, sequence: u64, held: &Held) -> Result<(), ProjectionError> {
        let transaction = self.database().begin_write()?;
        CheckedTable::open(&transaction, HELD)?.put(&number_key(sequence), held)?;
        Ok(transaction.commit()?)
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
        Ok(Snapshot(self.database().begin_read()?))
    }
}

/// Gives room back that a large outbox took for a while: the store keeps the pages of its file.
fn compact_if_sparse(database: &mut Database, path: &Path) {
    let length = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    if length < LEAST_TO_COMPACT {
        return;
    }
    let used = || {
        let transaction = database.begin_write()?;
        let stats = transaction.stats()?;
        transaction.abort()?;
        let page = u64::try_from(stats.page_size()).unwrap_or(u64::MAX);
        Ok::<_, ProjectionError>(stats.allocated_pages().saturating_mul(page))
    };
    if !used().is_ok_and(|used| used < length / 3 * 2) {
        return;
    }
    match database.compact() {
        Ok(_) => tracing::info!(bytes_before = length, "compacted the projection"),
        Err(error) => tracing::debug!(%error, "the projection is not compacted now"),
    }
}

fn make_private(path: &Path) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
    std::fs::set_permissions(path, Permissions::from_mode(0o600))
}
