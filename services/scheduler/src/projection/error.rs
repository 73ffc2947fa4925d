//! Why the projection could not be read or written, and what to do about it.

use std::path::{Path, PathBuf};

use redb::{DatabaseError, StorageError};

/// Why the projection could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ProjectionError {
    /// Another process has the file.
    #[error("another scheduler is using the projection {}", .path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be made or opened.
    #[error("cannot open the projection {}; may this user write there?", .path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<redb::Error>,
    },
    /// The file is cut short, changed on disk, or no projection at all.
    #[error(
        "the projection {} is damaged: cut short, changed on disk, or no projection; start with --rebuild to fold the log anew",
        .path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Why, where the store says so.
        source: Option<Box<redb::Error>>,
    },
    /// The store failed.
    #[error("the projection's store failed; if the file is damaged, start with --rebuild")]
    Store(#[source] Box<redb::Error>),
    /// The store's code gave up in the middle, which it does on a damaged file only.
    #[error("the projection's store gave up; its file is damaged, start with --rebuild")]
    GaveUp,
    /// A table is not laid out as this version has it.
    #[error("the projection's table {table} was written by another version; start with --rebuild")]
    Layout {
        /// The table.
        table: String,
    },
    /// A row's checksum does not fit its table, key and value.
    #[error(
        "the row {key} of the projection's table {table} changed on disk; start with --rebuild to fold the log anew"
    )]
    Changed {
        /// The table.
        table: &'static str,
        /// The row's key, as [`Row`](super::Row) has it.
        key: String,
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
    /// True if another process has the file.
    pub fn is_in_use(&self) -> bool {
        matches!(self, Self::InUse { .. })
    }

    /// What the failure to open a file means.
    pub(super) fn from_open(path: &Path, error: DatabaseError) -> Self {
        let path = path.to_owned();
        match error {
            DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => Self::InUse { path },
            DatabaseError::Storage(StorageError::Io(io)) if !is_damage(&io) => {
                Self::Open { path, source: Box::new(redb::Error::Io(io)) }
            }
            error => Self::Damaged { path, source: Some(Box::new(error.into())) },
        }
    }
}

/// True for errors of reading that speak of the file's content.
fn is_damage(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
    matches!(error.kind(), InvalidData | InvalidInput | UnexpectedEof)
}

impl<E: Into<redb::Error>> From<E> for ProjectionError {
    fn from(error: E) -> Self {
        match error.into() {
            redb::Error::TableTypeMismatch { table, .. } => Self::Layout { table },
            error => Self::Store(Box::new(error)),
        }
    }
}
