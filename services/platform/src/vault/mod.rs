//! The vault: sealed versions of secrets and grants, by key. Nothing in it can be opened by who keeps it.

mod nats;

use std::fmt;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use waybill_schemas::{Sealed, Timestamp, VaultFilter, VaultKey, v1::ProviderFailure};

use crate::log::{ErrorKind, LogError};

#[cfg(any(test, feature = "testing"))]
pub use crate::testing::MemoryVault;
pub use nats::{NatsVault, vault_problems};

/// A version of a secret, sealed to the scheduler.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretEntry {
    /// The sealed credentials.
    pub sealed: Sealed,
    /// Keyed hash of the credentials: equal for equal credentials, see [`HashKey::mac`](crate::sealing::HashKey::mac).
    pub mac: String,
}

impl fmt::Debug for SecretEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretEntry").field("sealed", &self.sealed).finish_non_exhaustive()
    }
}

/// A version of a secret for one worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GrantEntry {
    /// The credentials, sealed to the worker.
    Sealed(Sealed),
    /// Why the scheduler could not seal them.
    Failed(ProviderFailure),
}

/// What stands at a key: the kind of the key says which.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VaultEntry {
    /// At a key of a secret.
    Secret(SecretEntry),
    /// At a key of a grant.
    Grant(GrantEntry),
}

impl VaultEntry {
    /// The sealed credentials, where there are some.
    pub fn sealed(&self) -> Option<&Sealed> {
        match self {
            Self::Secret(entry) => Some(&entry.sealed),
            Self::Grant(GrantEntry::Sealed(sealed)) => Some(sealed),
            Self::Grant(GrantEntry::Failed(_)) => None,
        }
    }

    fn to_json(&self) -> serde_json::Result<Vec<u8>> {
        match self {
            Self::Secret(entry) => serde_json::to_vec(entry),
            Self::Grant(entry) => serde_json::to_vec(entry),
        }
    }

    /// Reads what stands at a key. The error never quotes it.
    fn from_json(key: &VaultKey, json: &[u8]) -> Result<Self, VaultError> {
        let entry = match key {
            VaultKey::Secret { .. } => serde_json::from_slice(json).map(Self::Secret),
            VaultKey::Grant { .. } => serde_json::from_slice(json).map(Self::Grant),
        };
        entry.map_err(|_| VaultError::Entry { key: key.clone() })
    }

    /// True if an entry of this kind may stand at the key.
    pub(crate) fn fits(&self, key: &VaultKey) -> bool {
        matches!((self, key), (Self::Secret(_), VaultKey::Secret { .. }) | (Self::Grant(_), VaultKey::Grant { .. }))
    }
}

impl From<SecretEntry> for VaultEntry {
    fn from(entry: SecretEntry) -> Self {
        Self::Secret(entry)
    }
}

impl From<GrantEntry> for VaultEntry {
    fn from(entry: GrantEntry) -> Self {
        Self::Grant(entry)
    }
}

/// An entry in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Its key.
    pub key: VaultKey,
    /// Its stream sequence within the vault.
    pub sequence: u64,
    /// The stream's timestamp of it.
    pub at: Timestamp,
    /// What stands there.
    pub entry: VaultEntry,
}

/// What became of the creation of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Created {
    /// It stands there; also when the same entry stood there before.
    Stored(u64),
    /// Another entry stands there.
    Conflict(Kept),
}

/// The vault cannot be read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VaultError {
    /// JetStream does not answer or refuses.
    #[error("the vault cannot be used")]
    Log(#[from] LogError),
    /// What stands at the key is none of Waybill's entries.
    #[error("what stands in the vault at {key} cannot be read; save the secret again")]
    Entry {
        /// The key.
        key: VaultKey,
    },
    /// The entry is of another kind than the key.
    #[error("an entry of another kind was to be written at {key}")]
    Kind {
        /// The key.
        key: VaultKey,
    },
}

impl VaultError {
    /// What the error asks for.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Log(error) => error.kind(),
            Self::Entry { .. } | Self::Kind { .. } => ErrorKind::Never,
        }
    }
}

/// The vault as services use it. Clones of an implementation share it.
///
/// The gateway creates secrets; the scheduler reads and replaces them, writes grants, and erases both; a worker reads its
/// own grants.
#[async_trait]
pub trait Vault: fmt::Debug + Send + Sync + 'static {
    /// Makes the vault if it is not there. Only the scheduler does.
    ///
    /// # Errors
    /// [`VaultError`], with code 10058 when a stream of that name with other settings exists.
    async fn ensure(&self, replicas: usize) -> Result<(), VaultError>;

    /// Writes an entry where none is. A lost acknowledgement is repaired: the same entry there counts as this one.
    ///
    /// # Errors
    /// [`VaultError`] when the vault does not take it within ten seconds.
    async fn create(&self, key: &VaultKey, entry: &VaultEntry) -> Result<Created, VaultError>;

    /// Writes an entry in the place of what is there, and then erases the bytes of everything earlier at the key. Returns its
    /// sequence.
    ///
    /// # Errors
    /// [`VaultError`] when the vault does not take it within ten seconds, or an earlier entry could not be erased.
    async fn put(&self, key: &VaultKey, entry: &VaultEntry) -> Result<u64, VaultError>;

    /// The entry at a key. A permission can name the key.
    ///
    /// # Errors
    /// [`VaultError`] when the vault does not answer, or what is there cannot be read.
    async fn get(&self, key: &VaultKey) -> Result<Option<Kept>, VaultError>;

    /// The entry that was written last, of all that match a filter.
    ///
    /// # Errors
    /// [`VaultError`] when the vault does not answer, or what is there cannot be read.
    async fn last_matching(&self, filter: &VaultFilter) -> Result<Option<Kept>, VaultError>;

    /// The keys that match a filter, in their own order.
    ///
    /// # Errors
    /// [`VaultError`] when the vault does not answer.
    async fn keys(&self, filter: &VaultFilter) -> Result<Vec<VaultKey>, VaultError>;

    /// Erases every entry that the key ever had and that is still there: the server overwrites their bytes. Returns how many
    /// they were.
    ///
    /// # Errors
    /// [`VaultError`] when the vault does not answer or refuses; the key may then be erased in part.
    async fn erase(&self, key: &VaultKey) -> Result<u64, VaultError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_read_by_the_kind_of_its_key() {
        let secret = VaultKey::parse("secret.ws.s.1").unwrap();
        let grant = VaultKey::parse("grant.w.ws.s.1").unwrap();
        let failed = VaultEntry::Grant(GrantEntry::Failed(ProviderFailure::UnsealFailed));
        assert_eq!(failed.to_json().unwrap(), br#"{"failed":"unseal_failed"}"#);
        assert_eq!(VaultEntry::from_json(&grant, br#"{"failed":"unseal_failed"}"#), Ok(failed.clone()));
        assert!(failed.fits(&grant) && !failed.fits(&secret));
        let unreadable = VaultEntry::from_json(&secret, b"canary-in-the-vault").unwrap_err();
        assert_eq!(unreadable, VaultError::Entry { key: secret });
        assert!(!unreadable.to_string().contains("canary"));
    }
}
