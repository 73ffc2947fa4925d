//! Grants: a version of a secret sealed to a worker, in the vault before the decision that needs it is in the log.
//!
//! One grant serves all placements of a secret on a worker, so each is sealed once for each worker, version and key of the
//! worker. A set in memory knows those that are there.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
};

use futures_util::{StreamExt as _, stream};
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard, watch};
use waybill_domain::fold::{SecretFact, SecretKey};
use waybill_platform::{
    metrics,
    sealing::{Binding, KeyRing, PublicKey, digest},
    vault::{Created, GrantEntry, Kept, Vault, VaultEntry, VaultError},
};
use waybill_schemas::{PublicSealingKey, Sealed, SecretName, VaultKey, WorkerId, WorkspaceId, v1::ProviderFailure};

use crate::projection::Due;

/// Most grants that are remembered; then all are forgotten, and looked up again.
const MOST_KNOWN: usize = 100_000;
/// Grants that are made at a time.
const AT_ONCE: usize = 16;

/// The scheduler's keys in use. Changes when the log says the new ones.
pub(crate) type Keys = watch::Receiver<Arc<KeyRing>>;

/// Which grant a decision needs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct GrantKey {
    pub(crate) worker_id: WorkerId,
    pub(crate) workspace: WorkspaceId,
    pub(crate) secret: SecretName,
    pub(crate) version: u64,
    /// The worker's key.
    pub(crate) recipient: PublicSealingKey,
}

impl GrantKey {
    /// Where the grant stands.
    pub(crate) fn vault_key(&self) -> VaultKey {
        VaultKey::Grant {
            worker_id: self.worker_id.clone(),
            workspace: self.workspace.clone(),
            secret: self.secret.clone(),
            version: self.version,
        }
    }

    fn secret_key(&self) -> VaultKey {
        VaultKey::Secret { workspace: self.workspace.clone(), secret: self.secret.clone(), version: self.version }
    }

    fn binding(&self, registry: &str) -> Binding {
        Binding::Grant {
            worker_id: self.worker_id.clone(),
            workspace: self.workspace.clone(),
            secret: self.secret.clone(),
            version: self.version,
            registry: registry.to_owned(),
        }
    }
}

/// What else is to be known of a version to make a grant of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Version {
    /// Host that it is bound to.
    pub(crate) registry: String,
    /// Digest of its sealed bytes, as its event says.
    pub(crate) digest: String,
}

/// The grant that a decision needs; none where it hands nothing over, or may not any more.
pub(crate) fn needed_grant(due: &Due) -> Option<(GrantKey, Version)> {
    let decision = &due.pending.decision;
    let credential = decision.credential().filter(|_| due.is_in_force())?;
    let key = GrantKey {
        worker_id: decision.worker_id.clone(),
        workspace: decision.workspace.clone(),
        secret: credential.secret_name.clone(),
        version: credential.version,
        recipient: due.worker.as_ref()?.sealing_key.clone(),
    };
    let digest = due.pending.digest.clone().unwrap_or_default();
    Some((key, Version { registry: credential.registry.clone(), digest }))
}

/// Makes grants.
#[derive(Debug)]
pub(crate) struct Grants {
    vault: Arc<dyn Vault>,
    keys: Keys,
    known: Mutex<Known>,
    /// Held for reading from the moment at which the projection is looked at until the grants are there, for writing by the
    /// keeper of the vault. What the keeper erases is therefore not made again from an older picture.
    turn: RwLock<()>,
}

/// Grants that are in the vault, sealed with one of the keys of a ring.
#[derive(Debug, Default)]
struct Known {
    ring: Option<Arc<KeyRing>>,
    grants: HashSet<GrantKey>,
}

impl Known {
    /// Forgets all when the keys have changed: a grant is good only as long as its sender's key is in use.
    fn follow(&mut self, ring: &Arc<KeyRing>) {
        if self.ring.as_ref().is_none_or(|known| !Arc::ptr_eq(known, ring)) {
            self.ring = Some(ring.clone());
            self.grants.clear();
        }
    }
}

impl Grants {
    pub(crate) fn new(vault: Arc<dyn Vault>, keys: Keys) -> Self {
        Self { vault, keys, known: Mutex::default(), turn: RwLock::default() }
    }

    fn ring(&self) -> Arc<KeyRing> {
        self.keys.borrow().clone()
    }

    /// Begins a turn: grants are made from what the projection says within it.
    pub(crate) async fn begin_turn(&self) -> RwLockReadGuard<'_, ()> {
        self.turn.read().await
    }

    /// Begins a turn in which nobody makes grants.
    pub(crate) async fn begin_exclusive_turn(&self) -> ExclusiveTurn<'_> {
        ExclusiveTurn { grants: self, _turn: self.turn.write().await }
    }

    /// Sees that each grant is in the vault. Errors by grant: a decision whose grant is not among them may be published.
    pub(crate) async fn ensure_all(
        &self,
        _turn: &RwLockReadGuard<'_, ()>,
        needed: BTreeMap<GrantKey, Version>,
    ) -> BTreeMap<GrantKey, VaultError> {
        let ensured = stream::iter(needed).map(|(key, version)| async move {
            let ensured = self.ensure(&key, &version).await;
            ensured.err().map(|error| (key, error))
        });
        let failed: Vec<Option<(GrantKey, VaultError)>> = ensured.buffer_unordered(AT_ONCE).collect().await;
        failed.into_iter().flatten().collect()
    }

    async fn ensure(&self, key: &GrantKey, version: &Version) -> Result<(), VaultError> {
        let ring = self.ring();
        if self.is_known(&ring, key) {
            return Ok(());
        }
        let place = key.vault_key();
        // An entry that cannot be read is written anew.
        let (there, is_new) = match self.vault.get(&place).await {
            Err(VaultError::Entry { .. }) => (None, false),
            there => there.map(|there| (there.clone(), there.is_none()))?,
        };
        if there.as_ref().is_some_and(|kept| is_good(kept, key, &ring)) {
            self.remember(&ring, key);
            return Ok(());
        }
        let Some(entry) = self.make(key, version, &ring).await? else { return Ok(()) };
        if there.as_ref().is_some_and(|kept| kept.entry == entry) {
            return Ok(());
        }
        self.write(&place, &entry, is_new).await?;
        if entry.sealed().is_some() {
            self.remember(&ring, key);
        }
        Ok(())
    }

    async fn write(&self, place: &VaultKey, entry: &VaultEntry, is_new: bool) -> Result<(), VaultError> {
        if is_new && let Created::Stored(_) = self.vault.create(place, entry).await? {
            return Ok(());
        }
        self.vault.put(place, entry).await.map(|_| ())
    }

    /// The grant to write: a failed one where the version cannot be opened or nothing can be sealed to the worker, none where
    /// the vault does not hold the version.
    async fn make(&self, key: &GrantKey, version: &Version, ring: &KeyRing) -> Result<Option<VaultEntry>, VaultError> {
        let place = key.secret_key();
        let (worker_id, secret_name) = (&key.worker_id, &key.secret);
        let sealed = match self.vault.get(&place).await {
            Ok(Some(Kept { entry: VaultEntry::Secret(entry), .. })) => Ok(entry.sealed),
            Ok(None) => {
                tracing::warn!(%worker_id, %secret_name, version = key.version, "the vault holds no such version of the secret");
                return Ok(None);
            }
            Ok(Some(_)) | Err(VaultError::Entry { .. }) => Err("unreadable"),
            Err(error) => return Err(error),
        };
        let granted = sealed.and_then(|sealed| seal_to_worker(key, version, ring, &sealed));
        match granted {
            Ok(sealed) => {
                metrics::grant_sealed();
                Ok(Some(GrantEntry::Sealed(sealed).into()))
            }
            Err(reason) => {
                tracing::warn!(%worker_id, %secret_name, version = key.version, reason, "the secret cannot be sealed to the worker");
                Ok(Some(GrantEntry::Failed(ProviderFailure::UnsealFailed).into()))
            }
        }
    }

    /// True if the grant is known to be in the vault.
    pub(crate) fn has(&self, key: &GrantKey) -> bool {
        self.is_known(&self.ring(), key)
    }

    fn is_known(&self, ring: &Arc<KeyRing>, key: &GrantKey) -> bool {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.follow(ring);
        known.grants.contains(key)
    }

    fn remember(&self, ring: &Arc<KeyRing>, key: &GrantKey) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.follow(ring);
        if known.grants.len() >= MOST_KNOWN {
            known.grants.clear();
        }
        known.grants.insert(key.clone());
    }
}

/// A turn in which nobody makes grants.
pub(crate) struct ExclusiveTurn<'g> {
    grants: &'g Grants,
    _turn: RwLockWriteGuard<'g, ()>,
}

impl ExclusiveTurn<'_> {
    /// Erases a grant.
    pub(crate) async fn erase(&self, place: &VaultKey) -> Result<(), VaultError> {
        self.grants.known.lock().unwrap_or_else(PoisonError::into_inner).grants.clear();
        self.grants.vault.erase(place).await.map(|_| ())
    }

    /// Seals a grant again with the present key, if it is sealed with an earlier one.
    pub(crate) async fn reseal(&self, key: &GrantKey, version: &Version) -> Result<(), VaultError> {
        let (ring, place) = (self.grants.ring(), key.vault_key());
        let there = self.grants.vault.get(&place).await?;
        let sender = there.as_ref().and_then(|kept| kept.entry.sealed()).map(|sealed| &sealed.sender);
        if sender.is_none_or(|sender| sender == ring.present().text()) {
            return Ok(());
        }
        if let Some(entry) = self.grants.make(key, version, &ring).await? {
            self.grants.vault.put(&place, &entry).await?;
        }
        Ok(())
    }
}

/// True if a grant is sealed to the worker's present key with a key that is in use.
fn is_good(kept: &Kept, key: &GrantKey, ring: &KeyRing) -> bool {
    let sealed = kept.entry.sealed();
    sealed.is_some_and(|sealed| sealed.recipient == key.recipient && is_own_key(ring, &sealed.sender))
}

pub(crate) fn is_own_key(ring: &KeyRing, key: &PublicSealingKey) -> bool {
    key == ring.present().text() || ring.earlier().contains(key)
}

/// True if the sealed bytes of a version are those that its event speaks of, or were sealed again by this scheduler, which
/// compared them then.
pub(crate) fn is_vouched_for(ring: &KeyRing, sealed: &Sealed, said: &str) -> bool {
    is_own_key(ring, &sealed.sender) || digest(sealed) == said
}

fn seal_to_worker(key: &GrantKey, version: &Version, ring: &KeyRing, sealed: &Sealed) -> Result<Sealed, &'static str> {
    if !is_vouched_for(ring, sealed, &version.digest) {
        return Err("digest");
    }
    let credentials = ring.open(&secret_binding(key, version), sealed).map_err(|error| error.as_str())?;
    let worker: PublicKey = key.recipient.as_str().parse().map_err(|_| "worker key")?;
    ring.seal(&worker, &key.binding(&version.registry), &credentials).map_err(|_| "worker key")
}

fn secret_binding(key: &GrantKey, version: &Version) -> Binding {
    Binding::Secret {
        workspace: key.workspace.clone(),
        secret: key.secret.clone(),
        version: key.version,
        registry: version.registry.clone(),
    }
}

/// The version of a secret's head, as grants need it.
pub(crate) fn head_version(fact: &SecretFact) -> Version {
    Version { registry: fact.registry.clone(), digest: fact.digest.clone() }
}

/// The place of a version of a secret.
pub(crate) fn version_key(secret: &SecretKey, version: u64) -> VaultKey {
    VaultKey::Secret { workspace: secret.workspace.clone(), secret: secret.secret_name.clone(), version }
}
