//! The live projection as another process reads it: the scheduler goes on writing meanwhile.

use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
    thread::sleep,
    time::Duration,
};

use redb::{ConcurrencyMode, Database, DatabaseError, ReadOnlyDatabase, ReadableDatabase, StorageError};

use super::{Position, ProjectionError, Row, Snapshot};

const CACHE_BYTES: usize = 16 * 1024 * 1024;
/// A scheduler that starts makes or repairs its file; this is how often, and with what pauses, it is waited for.
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(100);

/// Why the file could not be opened for reading.
#[derive(Debug, thiserror::Error)]
pub enum ReadProjectionError {
    /// There is no file.
    #[error("there is no projection at {}: no scheduler has run with these settings on this machine", .path.display())]
    Missing {
        /// Where it should be.
        path: PathBuf,
    },
    /// The file is empty.
    #[error("the projection {} is just being made; try again when the scheduler is ready", .path.display())]
    BeingMade {
        /// The file.
        path: PathBuf,
    },
    /// The scheduler died while it wrote, and none runs now.
    #[error("the projection {} was left in the middle of writing; start the scheduler, which repairs it", .path.display())]
    Unclean {
        /// The file.
        path: PathBuf,
    },
    /// Something locks the whole file.
    #[error("another program keeps the projection {} to itself", .path.display())]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// The file is none that this version reads, or damaged.
    #[error(
        "{} is no projection that this version of waybill can read: it is damaged or another version's; start the scheduler with --rebuild",
        .path.display()
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<DatabaseError>,
    },
    /// The file cannot be opened at all.
    #[error("cannot read the projection {}; may this user read there?", .path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<DatabaseError>,
    },
}

impl ReadProjectionError {
    fn of(path: &Path, error: DatabaseError) -> Self {
        let empty = || std::fs::metadata(path).is_ok_and(|metadata| metadata.len() == 0);
        let (path, source) = (path.to_owned(), error);
        match &source {
            DatabaseError::RepairAborted => Self::Unclean { path },
            DatabaseError::DatabaseAlreadyOpen => Self::Locked { path },
            DatabaseError::Storage(StorageError::Io(io)) if io.kind() == ErrorKind::NotFound => Self::Missing { path },
            DatabaseError::Storage(StorageError::Io(io)) if io.kind() == ErrorKind::InvalidData && empty() => {
                Self::BeingMade { path }
            }
            DatabaseError::Storage(StorageError::Io(io)) if io.kind() != ErrorKind::InvalidData => {
                Self::Open { path, source: Box::new(source) }
            }
            _ => Self::Version { path, source: Box::new(source) },
        }
    }

    /// Whether a scheduler that is starting may be the cause.
    fn may_pass(&self) -> bool {
        matches!(self, Self::BeingMade { .. } | Self::Unclean { .. } | Self::Locked { .. })
    }
}

/// The projection's file, opened for reading in the mode in which the scheduler writes it.
pub struct ReadProjection {
    database: ReadOnlyDatabase,
}

impl std::fmt::Debug for ReadProjection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReadProjection").finish_non_exhaustive()
    }
}

impl ReadProjection {
    /// Opens the file; blocks for two seconds at most while a scheduler makes or repairs it.
    ///
    /// # Errors
    /// [`ReadProjectionError`].
    pub fn open(path: &Path) -> Result<Self, ReadProjectionError> {
        let mut builder = Database::builder();
        // In any other mode the scheduler could not start while this is open.
        builder.set_cache_size(CACHE_BYTES).set_concurrency_mode(ConcurrencyMode::SingleWriter);
        let mut tries = TRIES;
        loop {
            tries = tries.saturating_sub(1);
            match builder.open_read_only(path).map_err(|error| ReadProjectionError::of(path, error)) {
                Ok(database) => return Ok(Self { database }),
                Err(error) if error.may_pass() && tries > 0 => sleep(PAUSE),
                Err(error) => return Err(error),
            }
        }
    }

    /// The rows as they stand now. Until it is dropped, the scheduler's file grows by what changes meanwhile.
    ///
    /// # Errors
    /// Those of the store.
    pub fn snapshot(&self) -> Result<Snapshot, ProjectionError> {
        Ok(Snapshot(self.database.begin_read()?))
    }

    /// The place in the log up to which the rows are folded; none in a new file.
    ///
    /// # Errors
    /// Those of the store.
    pub fn position(&self) -> Result<Option<Position>, ProjectionError> {
        self.snapshot()?.position()
    }

    /// Every row of every table, as [`Projection::rows`](super::Projection::rows) gives them.
    ///
    /// # Errors
    /// Those of the store.
    pub fn rows(&self) -> Result<Vec<Row>, ProjectionError> {
        self.snapshot()?.rows()
    }
}
