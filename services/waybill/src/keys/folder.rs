//! The folder of the scheduler's sealing keys: files `<unix seconds>.xkey`, the newest name is the present key.

use std::{
    fs::{self, File, Permissions},
    io::{self, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use waybill_platform::{
    config::{Settings, read_private},
    sealing::PrivateKey,
};
use waybill_schemas::PublicSealingKey;

use crate::{Failure, init::new_seed};

/// Ending of a key's file.
const ENDING: &str = "xkey";

/// One key file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyFile {
    /// Second of its making: its name.
    pub(crate) made: i64,
    /// Where it is.
    pub(crate) path: PathBuf,
    /// Public half of the key.
    pub(crate) public: PublicSealingKey,
}

/// The folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FolderError {
    #[error("the folder {} cannot be used; WAYBILL_SCHEDULER_KEY_DIR in scheduler.env names it", .folder.display())]
    Folder { folder: PathBuf, source: io::Error },
    #[error("{problem}; restore the key, or move the file out of the folder if no secret is sealed to it")]
    Key { problem: String },
    #[error("{} holds no key; `waybill init` makes the first one", .0.display())]
    Empty(PathBuf),
    #[error("cannot write {}", .path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("cannot remove {}", .path.display())]
    Remove { path: PathBuf, source: io::Error },
}

/// The folder that the scheduler's settings name.
pub(super) fn path(home: &Path) -> Result<PathBuf, Failure> {
    let settings = Settings::load(home, "scheduler")?;
    let mut reader = settings.reader();
    let path = reader.required_path("WAYBILL_SCHEDULER_KEY_DIR");
    reader.finish()?;
    Ok(path)
}

/// Its keys, the present one first.
pub(crate) fn read(folder: &Path) -> Result<Vec<KeyFile>, FolderError> {
    let unusable = |source| FolderError::Folder { folder: folder.to_owned(), source };
    let mut keys = Vec::new();
    for entry in fs::read_dir(folder).map_err(unusable)? {
        let path = entry.map_err(unusable)?.path();
        let name = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
        if let (Some(made), true) = (name, path.extension().is_some_and(|ending| ending == ENDING)) {
            keys.push(KeyFile { made, public: public_half(&path)?, path });
        }
    }
    keys.sort_by_key(|key| std::cmp::Reverse(key.made));
    if keys.is_empty() { Err(FolderError::Empty(folder.to_owned())) } else { Ok(keys) }
}

fn public_half(path: &Path) -> Result<PublicSealingKey, FolderError> {
    let seed = read_private(path).map_err(|problem| FolderError::Key { problem })?;
    let key = PrivateKey::from_seed(&seed).and_then(|key| key.public());
    let key = key.map_err(|error| FolderError::Key { problem: format!("{}: {error}", path.display()) })?;
    Ok(key.text().clone())
}

/// Adds a key that is newer than all others. It appears whole: the scheduler looks at the folder while it runs.
pub(super) fn add(folder: &Path, now: i64) -> Result<KeyFile, Failure> {
    let newest = read(folder)?.first().map_or(i64::MIN, |key| key.made);
    let made = now.max(newest.saturating_add(1));
    let path = folder.join(format!("{made}.{ENDING}"));
    let seed = new_seed()?;
    let write = || {
        let private = Permissions::from_mode(0o600);
        let mut file = tempfile::Builder::new().prefix(".key").permissions(private).tempfile_in(folder)?;
        file.write_all(&seed)?;
        file.as_file().sync_all()?;
        file.persist_noclobber(&path).map_err(|error| error.error)?;
        File::open(folder)?.sync_all()
    };
    write().map_err(|source| FolderError::Write { path: path.clone(), source })?;
    Ok(KeyFile { made, public: public_half(&path)?, path })
}

/// Removes a key for good.
pub(super) fn remove(key: &KeyFile) -> Result<(), FolderError> {
    let remove = || {
        fs::remove_file(&key.path)?;
        key.path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
    };
    remove().map_err(|source| FolderError::Remove { path: key.path.clone(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_key_is_the_present_one_whatever_the_clock_says() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(read(folder.path()), Err(FolderError::Empty(_))));
        fs::write(folder.path().join("100.xkey"), new_seed().unwrap()).unwrap();
        fs::set_permissions(folder.path().join("100.xkey"), Permissions::from_mode(0o600)).unwrap();
        fs::write(folder.path().join("notes"), "not a key").unwrap();
        for (now, made) in [(50, 101), (2000, 2000), (2000, 2001)] {
            let added = add(folder.path(), now).unwrap();
            assert_eq!(added.made, made);
            assert_eq!(read(folder.path()).unwrap()[0], added);
            assert_eq!(fs::metadata(&added.path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        let keys = read(folder.path()).unwrap();
        assert_eq!(keys.iter().map(|key| key.made).collect::<Vec<_>>(), [2001, 2000, 101, 100]);
        remove(&keys[3]).unwrap();
        assert_eq!(read(folder.path()).unwrap(), keys[..3]);
    }

    #[test]
    fn a_file_that_holds_no_key_is_named_and_not_quoted() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("100.xkey");
        fs::write(&file, "canary").unwrap();
        for (mode, words) in [(0o600, "100.xkey"), (0o644, "chmod 600")] {
            fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
            let error = read(folder.path()).unwrap_err().to_string();
            assert!(error.contains(words) && !error.contains("canary"), "{error}");
        }
    }
}
