//! The home folder: files of this user only, each written whole or not at all.

use std::{
    fs::{self, OpenOptions, Permissions},
    io::{self, Write as _},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use super::{InitError, Report};

/// A file could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}", .path.display())]
pub(crate) struct FileError {
    action: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl FileError {
    fn at(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self { action, path, source }
    }
}

/// Every folder that is made, the home folder first.
const FOLDERS: [&str; 11] = [
    "",
    "keys",
    "keys/scheduler",
    "keys/signing",
    "tokens",
    "nats",
    "nats/context",
    "data",
    "data/nats",
    "data/accounts",
    "data/scheduler",
];

/// Writes a file of this user only beside its place and moves it there.
///
/// # Errors
/// [`FileError`]; what was there before is then still there.
pub(crate) fn write_private(path: &Path, content: &[u8]) -> Result<(), FileError> {
    let beside = path.with_extension("new");
    let write = || {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        file.set_permissions(Permissions::from_mode(0o600))?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    };
    write().map_err(FileError::at("write", path))
}

/// An opened home folder, and what was done in it.
pub(super) struct Home {
    root: PathBuf,
    written: Vec<PathBuf>,
    changed: Vec<PathBuf>,
    kept: usize,
}

impl Home {
    pub(super) fn open(root: &Path) -> Result<Self, FileError> {
        let home = Self { root: root.to_owned(), written: Vec::new(), changed: Vec::new(), kept: 0 };
        for folder in FOLDERS {
            home.make_folder(folder)?;
        }
        Ok(home)
    }

    /// Makes a folder of this user only, and protects one that is there.
    pub(super) fn make_folder(&self, name: &str) -> Result<(), FileError> {
        let path = self.root.join(name);
        fs::create_dir_all(&path).map_err(FileError::at("make the folder", &path))?;
        let private = Permissions::from_mode(0o700);
        fs::set_permissions(&path, private).map_err(FileError::at("protect the folder", &path))
    }

    /// True if there is a file of this name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.root.join(name).is_file()
    }

    pub(super) fn report(self) -> Report {
        Report { written: self.written, changed: self.changed, kept: self.kept }
    }

    /// Counts a file as one that is kept.
    pub(super) fn keep(&mut self) {
        self.kept = self.kept.saturating_add(1);
    }

    /// The file's content; none if there is no such file.
    pub(super) fn read(&self, name: &Path) -> Result<Option<Vec<u8>>, FileError> {
        let path = self.root.join(name);
        match fs::read(&path) {
            Ok(content) => Ok(Some(content)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(FileError::at("read", &path)(error)),
        }
    }

    /// The file's content, made first if there is no such file.
    pub(super) fn keep_or_write(
        &mut self,
        name: &Path,
        make: impl FnOnce() -> Result<Vec<u8>, InitError>,
    ) -> Result<Vec<u8>, InitError> {
        if let Some(content) = self.read(name)? {
            self.keep();
            return Ok(content);
        }
        let content = make()?;
        self.replace(name, &content)?;
        Ok(content)
    }

    /// Writes the file beside its place and moves it there.
    pub(super) fn replace(&mut self, name: &Path, content: &[u8]) -> Result<(), FileError> {
        let path = self.root.join(name);
        let present = fs::read(&path).ok();
        if present.as_deref() == Some(content) {
            self.keep();
            return Ok(());
        }
        write_private(&path, content)?;
        let list = if present.is_some() { &mut self.changed } else { &mut self.written };
        list.push(name.to_owned());
        Ok(())
    }

    /// Files of a folder with an ending: name without it, and content, in the order of their names.
    pub(super) fn list(&self, folder: &str, ending: &str) -> Result<Vec<(String, Vec<u8>)>, FileError> {
        let path = self.root.join(folder);
        let entries = fs::read_dir(&path).map_err(FileError::at("list", &path))?;
        let mut files = Vec::new();
        for entry in entries {
            let entry = entry.map_err(FileError::at("list", &path))?;
            let Some(name) = entry.file_name().to_str().and_then(|name| name.strip_suffix(ending)).map(str::to_owned)
            else {
                continue;
            };
            files.push((name, fs::read(entry.path()).map_err(FileError::at("read", &entry.path()))?));
        }
        files.sort();
        Ok(files)
    }
}
