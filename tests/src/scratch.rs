//! A server's own folder, and files that only their owner may read.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::error::StartError;

/// A temporary folder (mode 0700), removed on drop.
#[derive(Debug)]
pub struct Scratch(TempDir);

impl Scratch {
    /// Makes one; `what` becomes part of its name.
    pub fn new(what: &str) -> Result<Self, StartError> {
        let made = tempfile::Builder::new().prefix(&format!("waybill-{what}-")).tempdir();
        made.map(Self).map_err(StartError::setup(format!("a temporary folder for {what}")))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Makes a folder below.
    pub fn folder(&self, name: &str) -> Result<PathBuf, StartError> {
        let path = self.path().join(name);
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&path);
        made.map(|()| path).map_err(StartError::setup(format!("the folder {name}")))
    }

    /// Writes a file (mode 0600) below.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> Result<PathBuf, StartError> {
        let path = self.path().join(name);
        let written = write_private(&path, content.as_ref());
        written.map(|()| path).map_err(StartError::setup(format!("the file {name}")))
    }
}

/// Writes a new file that only its owner may read, from its first byte on.
fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?.write_all(content)
}
