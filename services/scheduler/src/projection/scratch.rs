//! Projections that are thrown away: nothing waits for the disk.

use std::{fs::File, path::Path, sync::PoisonError};

use redb::{Database, Durability, backends::FileBackend};

use super::{Projection, ProjectionError};

/// Page cache: what does not fit is written to the file, which costs more than anything else in a replay.
const CACHE_BYTES: usize = 256 * 1024 * 1024;

impl Projection {
    /// A projection in an empty file that nobody else opens. Until [`persist`](Self::persist) nothing of it outlives this
    /// process. `path` is only what messages call it.
    ///
    /// # Errors
    /// [`ProjectionError::Open`].
    pub fn scratch(file: File, path: &Path) -> Result<Self, ProjectionError> {
        let backend = FileBackend::new(file).map_err(redb::Error::from);
        let opened = backend.and_then(|backend| {
            let mut builder = Database::builder();
            builder.set_cache_size(CACHE_BYTES);
            builder.create_with_backend(backend).map_err(redb::Error::from)
        });
        let failed = |source| ProjectionError::Open { path: path.to_owned(), source: Box::new(source) };
        let database = opened.map_err(failed)?;
        // redb allows this only where no other process can open the file.
        Ok(Self::over(database, path, Durability::None))
    }

    /// Writes a scratch projection to the disk for good.
    ///
    /// # Errors
    /// Those of the store.
    pub fn persist(self) -> Result<(), ProjectionError> {
        let database = self.database.into_inner().unwrap_or_else(PoisonError::into_inner);
        database.begin_write()?.commit()?;
        Ok(database.close()?)
    }
}
