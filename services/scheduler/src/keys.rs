//! The scheduler's sealing keys: one file a key in a folder, the newest one seals. The log says which there are.

use std::{path::Path, sync::Arc};

use uuid::Uuid;
use waybill_platform::{
    config::read_private,
    log::{Administration, AppendError, Appended, Expect, LogError, NewEvent},
    sealing::{KeyError, KeyRing, PrivateKey},
    trace,
};
use waybill_schemas::{Envelope, Event, Subject, v1::SchedulerKeyPublished};

use crate::SOURCE;

/// What the name of a key's file ends with; the seconds since 1970 when it was made stand before it.
const EXTENSION: &str = "xkey";

/// Why the keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFolderError {
    /// The folder cannot be listed.
    #[error("cannot list the keys in {}", .path.display())]
    Folder {
        /// The folder.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The folder holds no key.
    #[error("there is no key in {} (<seconds>.xkey); `waybill init` makes the first one", .path.display())]
    Empty {
        /// The folder.
        path: std::path::PathBuf,
    },
    /// A file cannot be read; the text says why.
    #[error("{0}")]
    File(String),
    /// A file holds no key.
    #[error("{} is no key; `waybill keys rotate` makes one", .path.display())]
    Key {
        /// The file.
        path: std::path::PathBuf,
        /// Why.
        source: KeyError,
    },
}

/// Reads the keys in a folder: `<unix seconds>.xkey`, the newest name is the present key.
///
/// # Errors
/// [`KeyFolderError`], which never quotes a key.
pub fn read_keys(folder: &Path) -> Result<KeyRing, KeyFolderError> {
    let failed = |source| KeyFolderError::Folder { path: folder.to_owned(), source };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let made = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse::<u64>().ok());
        if let Some(made) = made.filter(|_| path.extension().is_some_and(|extension| extension == EXTENSION)) {
            files.push((made, path));
        }
    }
    files.sort();
    let mut keys = Vec::new();
    for (_, path) in files.into_iter().rev() {
        let seed = read_private(&path).map_err(KeyFolderError::File)?;
        keys.push(PrivateKey::from_seed(&seed).map_err(|source| KeyFolderError::Key { path, source })?);
    }
    let mut keys = keys.into_iter();
    let present = keys.next().ok_or_else(|| KeyFolderError::Empty { path: folder.to_owned() })?;
    KeyRing::new(present, keys.collect()).map_err(|source| KeyFolderError::Key { path: folder.to_owned(), source })
}

/// What the log says of a ring.
pub(crate) fn published_form(ring: &KeyRing) -> SchedulerKeyPublished {
    SchedulerKeyPublished { sealing_key: ring.present().text().clone(), earlier_keys: ring.earlier() }
}

/// Why the keys could not be published.
#[derive(Debug, thiserror::Error)]
pub enum PublishKeysError {
    /// The log could not be asked.
    #[error("the log does not say which keys were published")]
    Log(#[from] LogError),
    /// The log did not take the event.
    #[error("the log did not take the scheduler's keys")]
    Append(#[from] AppendError),
}

/// Says in the log which keys there are, unless that is what it says already. Workers and gateways go by it.
///
/// # Errors
/// [`PublishKeysError`].
pub(crate) async fn publish_keys(log: &Arc<dyn Administration>, ring: &KeyRing) -> Result<(), PublishKeysError> {
    let event = published_form(ring);
    loop {
        let last = log.last(&Subject::SchedulerKeys).await?;
        let said = last.as_ref().and_then(|last| last.decode().ok());
        if said.is_some_and(|said| said.event == Event::SchedulerKeyPublished(event.clone())) {
            return Ok(());
        }
        let mut envelope = Envelope::new(Uuid::new_v4(), SOURCE);
        envelope.time = Some(trace::now());
        let new = NewEvent { subject: Subject::SchedulerKeys, envelope, event: event.clone().into() };
        let expect = Expect::Last(last.map_or(0, |last| last.sequence));
        if let Appended::Stored { sequence, .. } = log.append(&new, expect, None).await? {
            tracing::info!(sealing_key = %event.sealing_key, earlier = event.earlier_keys.len(), sequence, "published the scheduler's keys");
            return Ok(());
        }
        tracing::warn!("somebody else published keys of the scheduler at the same time, looking again");
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use waybill_platform::log::{Log as _, MemoryLog};

    use super::*;

    fn write_key(folder: &Path, name: &str) -> PrivateKey {
        let key = PrivateKey::generate();
        fs::write(folder.join(name), key.seed().unwrap().expose()).unwrap();
        fs::set_permissions(folder.join(name), fs::Permissions::from_mode(0o600)).unwrap();
        key
    }

    #[test]
    fn the_newest_name_is_the_present_key() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(read_keys(folder.path()), Err(KeyFolderError::Empty { .. })));
        let old = write_key(folder.path(), "999.xkey");
        let new = write_key(folder.path(), "1000.xkey");
        fs::write(folder.path().join("notes.txt"), "no key").unwrap();
        let ring = read_keys(folder.path()).unwrap();
        assert_eq!(ring.present().text(), new.public().unwrap().text(), "by number, not by letters");
        assert_eq!(ring.earlier(), [old.public().unwrap().text().clone()]);
        fs::write(folder.path().join("1001.xkey"), "SUcanary").unwrap();
        fs::set_permissions(folder.path().join("1001.xkey"), fs::Permissions::from_mode(0o600)).unwrap();
        let error = read_keys(folder.path()).unwrap_err();
        assert!(matches!(error, KeyFolderError::Key { .. }) && !format!("{error:?}").contains("canary"));
    }

    #[tokio::test]
    async fn keys_are_published_once_and_again_when_they_change() {
        let memory = MemoryLog::new();
        let log: Arc<dyn Administration> = Arc::new(memory.clone());
        let [first, second] = [0; 2].map(|_| PrivateKey::generate());
        let ring = KeyRing::new(first.try_clone().unwrap(), Vec::new()).unwrap();
        publish_keys(&log, &ring).await.unwrap();
        publish_keys(&log, &ring).await.unwrap();
        assert_eq!(memory.events().len(), 1);
        let rotated = KeyRing::new(second, vec![first]).unwrap();
        publish_keys(&log, &rotated).await.unwrap();
        let last = memory.last(&Subject::SchedulerKeys).await.unwrap().unwrap().decode().unwrap();
        assert_eq!(last.event, Event::SchedulerKeyPublished(published_form(&rotated)));
        assert_eq!(memory.events().len(), 2);
    }
}
