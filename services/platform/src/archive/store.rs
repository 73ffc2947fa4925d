//! Where an archive is: a folder, or a bucket of an object store.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use object_store::{ObjectStore, ObjectStoreExt as _, path::Path as Key};
use url::Url;

/// Why an archive could not be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The address is none.
    #[error("{address} is no place for an archive: {reason}; a folder, file://, s3://, gs:// or az:// is")]
    Address {
        /// What was given.
        address: String,
        /// What is wrong.
        reason: String,
    },
    /// A file of the folder cannot be read or written.
    #[error("cannot use {}", .0.display())]
    File(PathBuf, #[source] io::Error),
    /// The object store refuses, or does not answer.
    #[error("the object store does not take or give {0}")]
    Object(String, #[source] object_store::Error),
}

/// A place that keeps files by name.
#[derive(Debug)]
pub enum Store {
    /// A folder.
    Folder(PathBuf),
    /// Objects whose keys begin alike.
    Objects {
        /// The bucket.
        store: Box<dyn ObjectStore>,
        /// What the keys begin with.
        prefix: Key,
        /// As it was given.
        address: String,
    },
}

impl Store {
    /// Opens a folder, or what a URL names; `options` hold the object store's credentials by their usual names, such as
    /// `AWS_ACCESS_KEY_ID`.
    ///
    /// # Errors
    /// [`StoreError::Address`]. A URL with a password or a query is refused: addresses are recorded in the log.
    pub fn open(address: &str, options: impl IntoIterator<Item = (String, String)>) -> Result<Self, StoreError> {
        let refused = |reason: String| StoreError::Address { address: without_secrets(address), reason };
        if !address.contains("://") {
            let folder = std::path::absolute(address).map_err(|error| refused(error.to_string()))?;
            return Ok(Self::Folder(folder));
        }
        let url = Url::parse(address).map_err(|error| refused(error.to_string()))?;
        if url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
            return Err(refused("credentials do not belong into it, but into the environment".to_owned()));
        }
        if url.scheme() == "file" {
            return url.to_file_path().map(Self::Folder).map_err(|()| refused("it names no folder".to_owned()));
        }
        let opened = object_store::parse_url_opts(&url, options);
        let (store, prefix) = opened.map_err(|error| refused(crate::chain(&error)))?;
        Ok(Self::Objects { store, prefix, address: url.to_string() })
    }

    /// The place, for people and for the log.
    pub fn address(&self) -> String {
        match self {
            Self::Folder(folder) => folder.display().to_string(),
            Self::Objects { address, .. } => address.clone(),
        }
    }

    /// Writes a file, all or nothing: it is on the disk when this returns.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn put(&self, name: &str, bytes: Vec<u8>) -> Result<(), StoreError> {
        match self {
            Self::Folder(folder) => {
                let place = folder.join(name);
                write_file(folder, &place, &bytes).map_err(|error| StoreError::File(place, error))
            }
            Self::Objects { store, prefix, .. } => {
                let key = prefix.clone().join(name);
                let stored = store.put(&key, bytes.into()).await;
                stored.map(|_| ()).map_err(|error| StoreError::Object(key.to_string(), error))
            }
        }
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`StoreError`], also where there is none.
    pub async fn get(&self, name: &str) -> Result<Vec<u8>, StoreError> {
        match self {
            Self::Folder(folder) => {
                let place = folder.join(name);
                fs::read(&place).map_err(|error| StoreError::File(place, error))
            }
            Self::Objects { store, prefix, .. } => {
                let key = prefix.clone().join(name);
                let failed = |error| StoreError::Object(key.to_string(), error);
                let found = store.get(&key).await.map_err(failed)?;
                Ok(found.bytes().await.map_err(failed)?.to_vec())
            }
        }
    }
}

fn write_file(folder: &Path, place: &Path, bytes: &[u8]) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let beside = place.with_extension("part");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, place)?;
    // The name is on the disk once the folder is.
    File::open(folder)?.sync_all()
}

/// The address without what may be a credential.
fn without_secrets(address: &str) -> String {
    let Ok(mut url) = Url::parse(address) else { return "the address".to_owned() };
    let _ = (url.set_password(None), url.set_username(""));
    url.set_query(None);
    url.set_fragment(None);
    url.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_put_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("archive");
        let objects = Store::open("memory:///some/where", []).unwrap();
        for store in [Store::open(inner.to_str().unwrap(), []).unwrap(), objects] {
            assert!(store.get("a.zst").await.is_err());
            store.put("a.zst", b"one".to_vec()).await.unwrap();
            store.put("a.zst", b"two".to_vec()).await.unwrap();
            assert_eq!(store.get("a.zst").await.unwrap(), b"two", "{store:?}");
        }
        let names: Vec<_> = fs::read_dir(&inner).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["a.zst"], "nothing half written is left");
    }

    #[test]
    fn an_address_names_a_place_and_no_secret() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let options = [("AWS_REGION", "eu-central-1")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        for (address, shown) in [
            ("/srv/archive", "/srv/archive"),
            ("file:///srv/archive", "/srv/archive"),
            ("s3://bucket/waybill", "s3://bucket/waybill"),
            ("gs://bucket/waybill", "gs://bucket/waybill"),
        ] {
            assert_eq!(Store::open(address, options.clone()).unwrap().address(), shown);
        }
        for address in [
            "s3://key:hunter2@bucket/waybill",
            "s3://bucket/waybill?secret=hunter2",
            "ftp://host/hunter2",
            "https://host/waybill",
            "s3://",
        ] {
            let error = Store::open(address, options.clone()).unwrap_err().to_string();
            assert!(error.contains("is no place for an archive"), "{error}");
            assert!(address.starts_with("ftp") || !error.contains("hunter2"), "{error}");
        }
    }
}
