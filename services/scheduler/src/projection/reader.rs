//! The projection as other processes may read it, while the scheduler writes or after it stopped.

use std::{fmt, path::Path};

use redb::{
    ConcurrencyMode, Database, ReadOnlyDatabase, ReadTransaction, ReadableDatabase, ReadableTableMetadata as _,
};

use super::{
    Position, ProjectionError,
    rows::{self, META, POSITION_KEY, QUARANTINE},
};

/// Looking needs little.
const CACHE_BYTES: usize = 1024 * 1024;

/// A projection that is only read.
pub struct ProjectionReader(ReadOnlyDatabase);

impl fmt::Debug for ProjectionReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ProjectionReader").finish_non_exhaustive()
    }
}

impl ProjectionReader {
    /// Opens a file that is there, without changing it.
    ///
    /// # Errors
    /// [`ProjectionError::Open`], among others where there is none.
    pub fn open(path: &Path) -> Result<Self, ProjectionError> {
        let mut builder = Database::builder();
        builder.set_cache_size(CACHE_BYTES).set_concurrency_mode(ConcurrencyMode::SingleWriter);
        let opened = builder.open_read_only(path);
        opened
            .map(Self)
            .map_err(|error| ProjectionError::Open { path: path.to_owned(), source: Box::new(error.into()) })
    }

    /// The place in the log up to which the rows are folded, as last committed; none in a new file.
    ///
    /// # Errors
    /// Those of the store.
    pub fn position(&self) -> Result<Option<Position>, ProjectionError> {
        position(&self.0.begin_read()?)
    }

    /// Number of quarantined entries.
    ///
    /// # Errors
    /// Those of the store.
    pub fn quarantined(&self) -> Result<u64, ProjectionError> {
        quarantined(&self.0.begin_read()?)
    }
}

pub(super) fn position(transaction: &ReadTransaction) -> Result<Option<Position>, ProjectionError> {
    let Some(table) = rows::existing(transaction.open_table(META))? else { return Ok(None) };
    table.get(POSITION_KEY)?.map(|row| rows::decode("meta", row.value())).transpose()
}

pub(super) fn quarantined(transaction: &ReadTransaction) -> Result<u64, ProjectionError> {
    let table = rows::existing(transaction.open_table(QUARANTINE))?;
    Ok(table.map(|table| table.len()).transpose()?.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::projection::{Entry, Projection, Quarantined};
    use waybill_schemas::Recorded;

    #[test]
    fn a_reader_follows_the_writer_and_makes_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("projection.redb");
        assert!(ProjectionReader::open(&file).is_err());
        assert!(!file.exists(), "a reader makes nothing");

        let writer = Projection::open(&file).unwrap();
        let reader = ProjectionReader::open(&file).unwrap();
        assert_eq!((reader.position().unwrap(), reader.quarantined().unwrap()), (None, 0));
        let at = "2026-01-31T12:00:00Z".parse().unwrap();
        let value =
            Quarantined { subject: "s".into(), headers: vec![], payload: String::new(), at, error: "bad".into() };
        writer.fold(at, &[Entry::Poison(Recorded { sequence: 7, at, value })]).unwrap();
        let position = reader.position().unwrap().unwrap();
        assert_eq!((position.sequence, reader.quarantined().unwrap()), (7, 1));
        drop(writer);
        assert_eq!(ProjectionReader::open(&file).unwrap().quarantined().unwrap(), 1);
    }
}
