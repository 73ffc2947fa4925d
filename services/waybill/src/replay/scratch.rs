//! Where a replay folds to: a file without a name, gone with the process, or a new one that is kept.

use std::{
    fs::{self, File, OpenOptions},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use waybill_scheduler::projection::Projection;

use crate::Failure;

/// The file cannot be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ScratchError {
    #[error("cannot make {}; it must not be there yet, and its folder must", .path.display())]
    Out { path: PathBuf, source: std::io::Error },
    #[error("cannot make a temporary file in {}; TMPDIR names another folder", .folder.display())]
    Temporary { folder: PathBuf, source: std::io::Error },
}

/// A file that only this user can read. One that is to be kept is removed if the replay does not get to its end.
#[derive(Debug)]
pub(crate) struct Scratch {
    file: File,
    path: PathBuf,
    unfinished: Option<PathBuf>,
    kept: bool,
}

impl Scratch {
    /// Makes `out`, or a temporary file.
    pub(crate) fn new(out: Option<&Path>) -> Result<Self, ScratchError> {
        match out {
            Some(path) => {
                let mut options = OpenOptions::new();
                let made = options.read(true).write(true).create_new(true).mode(0o600).open(path);
                let file = made.map_err(|source| ScratchError::Out { path: path.to_owned(), source })?;
                Ok(Self { file, path: path.to_owned(), unfinished: Some(path.to_owned()), kept: true })
            }
            None => {
                let folder = std::env::temp_dir();
                let file = tempfile::tempfile_in(&folder)
                    .map_err(|source| ScratchError::Temporary { folder: folder.clone(), source })?;
                Ok(Self { file, path: folder, unfinished: None, kept: false })
            }
        }
    }

    /// An empty projection in the file.
    pub(crate) fn projection(&self) -> Result<Projection, Failure> {
        Ok(Projection::scratch(self.file.try_clone()?, &self.path)?)
    }

    /// Writes the projection out for good, if the file is to be kept.
    pub(super) fn keep(mut self, projection: Projection) -> Result<(), Failure> {
        if self.kept {
            projection.persist()?;
            self.unfinished = None;
        }
        Ok(())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Some(path) = &self.unfinished {
            // What is half written is of no use; that it stays is not worse than why it was not finished.
            let _ = fs::remove_file(path);
        }
    }
}
