//! The keeper of the vault: erases what was withdrawn, and seals everything again when the scheduler's keys change.
//!
//! What it has to do follows from the log and from what the vault holds, so that nothing of it is written down: a sweep at
//! each start finds what a crash left undone.

use std::{collections::VecDeque, path::PathBuf, sync::Arc, time::Duration};

use futures_util::{FutureExt as _, StreamExt as _, TryStreamExt as _, stream};
use tokio::{
    sync::{mpsc, watch},
    time::{MissedTickBehavior, interval, sleep},
};
use tokio_util::sync::CancellationToken;
use waybill_domain::{
    fold::{SecretFact, SecretKey, SecretState},
    secret::SecretHead,
};
use waybill_platform::{
    chain,
    log::{Administration, ErrorKind, RawMessage},
    sealing::{Binding, KeyRing},
    trace,
    vault::{Kept, SecretEntry, Vault, VaultEntry, VaultError},
};
use waybill_schemas::{Subject, Timestamp, VaultFilter, VaultKey};

use crate::{
    SchedulerError,
    grants::{GrantKey, Grants, head_version, is_vouched_for, version_key},
    keys::{publish_keys, published_form, read_keys},
    projection::{Projection, Snapshot},
};

/// How often the folder of keys is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How long to wait before the vault is asked again.
const PAUSE: Duration = Duration::from_millis(500);
/// How often what a crash left is looked for.
const COLLECT_EVERY: Duration = Duration::from_secs(3600);
/// How long a version may stand in the vault before its event. A gateway sends the event within ten minutes of the request, or
/// not at all; the rest is for clocks that differ.
const GRACE: Duration = Duration::from_secs(3600);
/// Entries that are erased at a time.
const AT_ONCE: usize = 16;

/// Something to do in the vault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum VaultTask {
    /// A secret was revoked or shredded, up to a version.
    Withdraw {
        /// The secret.
        secret: SecretKey,
        /// The newest version that is withdrawn.
        version: u64,
        /// True if the versions themselves go as well.
        shred: bool,
    },
    /// A version was saved, perhaps sealed to a key that is an earlier one by now.
    Check {
        /// The secret.
        secret: SecretKey,
        /// The version.
        version: u64,
    },
    /// Everything in the vault is looked at.
    Sweep,
    /// What nobody needs any more is looked for: versions without an event, and grants that no placement uses.
    Collect,
}

/// Keeps the vault.
pub(crate) struct Keeper {
    pub(crate) log: Arc<dyn Administration>,
    pub(crate) vault: Arc<dyn Vault>,
    pub(crate) projection: Arc<Projection>,
    pub(crate) grants: Arc<Grants>,
    pub(crate) key_folder: PathBuf,
    pub(crate) keys: watch::Sender<Arc<KeyRing>>,
    /// What the folding finds to do.
    pub(crate) tasks: mpsc::UnboundedReceiver<VaultTask>,
}

impl Keeper {
    /// Runs until shutdown. The vault's errors pass, or are told; they end nothing.
    pub(crate) async fn run(mut self, shutdown: &CancellationToken) -> Result<(), SchedulerError> {
        let (mut look, mut collect) = (interval(LOOK_EVERY), interval(COLLECT_EVERY));
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        collect.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut queue = VecDeque::new();
        loop {
            if let Some(task) = queue.pop_front() {
                tokio::select! {
                    () = shutdown.cancelled() => return Ok(()),
                    done = self.perform(&task) => if !done? {
                        queue.push_back(task);
                        sleep(PAUSE).await;
                    },
                }
                while let Ok(task) = self.tasks.try_recv() {
                    queue.push_back(task);
                }
                if look.tick().now_or_never().is_some() {
                    queue.extend(self.look_at_keys().await);
                }
                continue;
            }
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                Some(task) = self.tasks.recv() => queue.push_back(task),
                _ = look.tick() => queue.extend(self.look_at_keys().await),
                _ = collect.tick() => queue.push_back(VaultTask::Collect),
            }
        }
    }

    /// Uses the keys in the folder if they are others than before: the log says so first.
    async fn look_at_keys(&self) -> Option<VaultTask> {
        let ring = match read_keys(&self.key_folder) {
            Ok(ring) => Arc::new(ring),
            Err(error) => {
                tracing::warn!(error = %chain(&error), "the folder of keys cannot be used, going on with the keys from before");
                return None;
            }
        };
        if published_form(&ring) == published_form(&self.keys.borrow()) {
            return None;
        }
        if let Err(error) = publish_keys(&self.log, &ring).await {
            tracing::warn!(error = %chain(&error), "the new keys cannot be published yet");
            return None;
        }
        self.keys.send_replace(ring);
        Some(VaultTask::Sweep)
    }

    /// False if the task is to be tried again.
    pub(crate) async fn perform(&self, task: &VaultTask) -> Result<bool, SchedulerError> {
        match self.try_task(task).await {
            Ok(()) => Ok(true),
            Err(KeeperError::Scheduler(error)) => Err(error),
            Err(KeeperError::Vault(error)) if error.kind() == ErrorKind::Never => {
                tracing::error!(?task, error = %chain(&error), "the vault refused, this is left undone until the next start");
                Ok(true)
            }
            Err(KeeperError::Vault(error)) => {
                tracing::warn!(?task, error = %chain(&error), "the vault does not answer, trying again");
                Ok(false)
            }
        }
    }

    async fn try_task(&self, task: &VaultTask) -> Result<(), KeeperError> {
        match task {
            VaultTask::Withdraw { secret, version, shred } => self.withdraw(secret, *version, *shred).await,
            VaultTask::Check { secret, version } => {
                let ring = self.keys.borrow().clone();
                if ring.earlier().is_empty() {
                    return Ok(());
                }
                let fact = self.snapshot().await?.secret(secret)?;
                self.keep_version(&ring, &version_key(secret, *version), fact.as_ref(), false).await
            }
            VaultTask::Sweep => self.sweep().await,
            VaultTask::Collect => self.collect().await,
        }
    }

    async fn snapshot(&self) -> Result<Snapshot, KeeperError> {
        let projection = self.projection.clone();
        Ok(crate::run_blocking(move || projection.snapshot()).await?)
    }

    /// Erases grants up to a version, and the versions as well if they are shredded. What came after a revocation stays.
    async fn withdraw(&self, secret: &SecretKey, version: u64, shred: bool) -> Result<(), KeeperError> {
        // Grants that were being made from an older picture are there after this.
        drop(self.grants.begin_exclusive_turn().await);
        let (workspace, name) = (secret.workspace.clone(), secret.secret_name.clone());
        let mut keys = self.vault.keys(&VaultFilter::SecretGrants(None, workspace.clone(), name.clone())).await?;
        if shred {
            keys.extend(self.vault.keys(&VaultFilter::Secret(workspace, name)).await?);
        }
        keys.retain(|key| version_of(key) <= version);
        let erased = keys.len();
        self.erase(keys).await?;
        tracing::info!(workspace = %secret.workspace, secret_name = %secret.secret_name, version, shred, erased, "erased what was withdrawn from the vault");
        Ok(())
    }

    async fn erase(&self, keys: Vec<VaultKey>) -> Result<(), KeeperError> {
        let erasing = stream::iter(keys).map(|key| async move { self.vault.erase(&key).await.map(|_| ()) });
        Ok(erasing.buffer_unordered(AT_ONCE).try_collect().await?)
    }

    /// Looks at everything: erases what nobody may or needs to open, and seals again what is not sealed with the present keys.
    pub(crate) async fn sweep(&self) -> Result<(), KeeperError> {
        let ring = self.keys.borrow().clone();
        let keys = self.vault.keys(&VaultFilter::Secrets).await?;
        // Later decisions hand over the head of this moment or a later one.
        let snapshot = self.snapshot().await?;
        let due = snapshot.versions_due()?;
        for key in keys {
            let secret = secret_of(&key);
            let fact = snapshot.secret(&secret)?;
            self.keep_version(&ring, &key, fact.as_ref(), due.contains(&(secret, version_of(&key)))).await?;
        }
        drop(snapshot);
        for key in self.vault.keys(&VaultFilter::Grants(None)).await? {
            self.keep_grant(&key).await?;
        }
        Ok(())
    }

    /// Erases versions that a gateway left when it died between the vault and the log, and grants that no placement uses. A
    /// grant is looked at again in an exclusive turn before it goes.
    async fn collect(&self) -> Result<(), KeeperError> {
        let (versions, now) = (self.vault.keys(&VaultFilter::Secrets).await?, trace::now());
        let grants = self.vault.keys(&VaultFilter::Grants(None)).await?;
        let snapshot = self.snapshot().await?;
        for key in versions {
            let secret = secret_of(&key);
            if snapshot.secret(&secret)?.is_some_and(|fact| version_of(&key) <= fact.version) {
                continue;
            }
            // The projection may be behind, or a message in quarantine: the log itself is asked.
            let subject = Subject::Secret { workspace: secret.workspace, secret: secret.secret_name };
            let head = newest_version(self.log.last(&subject).await.map_err(VaultError::from)?.as_ref());
            match self.vault.get(&key).await {
                Ok(Some(kept)) if is_orphan(version_of(&key), head, kept.at, now) => {
                    tracing::info!(%key, "erasing a version whose event never came");
                    self.erase(vec![key]).await?;
                }
                Ok(_) | Err(VaultError::Entry { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        for key in grants {
            let VaultKey::Grant { worker_id, .. } = &key else { continue };
            if !snapshot.is_used_by(&secret_of(&key), worker_id)? {
                self.keep_grant(&key).await?;
            }
        }
        Ok(())
    }

    /// Erases a version that is shredded, or that a newer one has replaced; seals the head to the present key.
    async fn keep_version(
        &self,
        ring: &KeyRing,
        key: &VaultKey,
        fact: Option<&SecretFact>,
        is_due: bool,
    ) -> Result<(), KeeperError> {
        // The event of a version that is newer, or of a secret that is not known, is still to come.
        let Some(fact) = fact.filter(|fact| version_of(key) <= fact.version) else { return Ok(()) };
        let is_replaced = version_of(key) < fact.version && !is_due;
        if fact.state == SecretState::Shredded || is_replaced {
            return self.erase(vec![key.clone()]).await;
        }
        if version_of(key) == fact.version {
            return self.reseal_version(ring, key, fact).await;
        }
        Ok(())
    }

    async fn reseal_version(&self, ring: &KeyRing, key: &VaultKey, fact: &SecretFact) -> Result<(), KeeperError> {
        let entry = match self.vault.get(key).await {
            Ok(Some(Kept { entry: VaultEntry::Secret(entry), .. })) if !ring.is_present(&entry.sealed) => entry,
            Ok(_) => return Ok(()),
            Err(error @ VaultError::Entry { .. }) => {
                tracing::error!(error = %chain(&error), "an entry of the vault stays as it is");
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        match seal_again(ring, key, fact, &entry) {
            Ok(sealed) => {
                self.vault.put(key, &sealed).await?;
                tracing::info!(%key, "sealed a version to the present key");
            }
            Err(reason) => tracing::error!(%key, reason, "a version cannot be sealed again, it stays as it is"),
        }
        Ok(())
    }

    /// Erases a grant that is withdrawn, replaced or not used by its worker; seals the others with the present key.
    async fn keep_grant(&self, key: &VaultKey) -> Result<(), KeeperError> {
        let VaultKey::Grant { worker_id, version, .. } = key else { return Ok(()) };
        let secret = secret_of(key);
        let turn = self.grants.begin_exclusive_turn().await;
        let snapshot = self.snapshot().await?;
        // Versions that are newer than the projection are another scheduler's that went on.
        let Some(fact) = snapshot.secret(&secret)?.filter(|fact| *version <= fact.version) else { return Ok(()) };
        let is_used = fact.state == SecretState::Active && snapshot.is_used_by(&secret, worker_id)?;
        let Some(worker) = snapshot.worker(worker_id)?.filter(|_| is_used) else { return Ok(turn.erase(key).await?) };
        let head = GrantKey {
            worker_id: worker_id.clone(),
            workspace: secret.workspace,
            secret: secret.secret_name,
            version: fact.version,
            recipient: worker.sealing_key,
        };
        if *version == fact.version {
            return Ok(turn.reseal(&head, &head_version(&fact)).await?);
        }
        // The worker may come to it yet, as long as there is no newer one.
        if self.vault.get(&head.vault_key()).await?.is_some() {
            turn.erase(key).await?;
        }
        Ok(())
    }
}

/// Why a task could not be done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeeperError {
    #[error(transparent)]
    Vault(#[from] VaultError),
    #[error(transparent)]
    Scheduler(#[from] SchedulerError),
}

impl From<crate::projection::ProjectionError> for KeeperError {
    fn from(error: crate::projection::ProjectionError) -> Self {
        Self::Scheduler(error.into())
    }
}

fn seal_again(
    ring: &KeyRing,
    key: &VaultKey,
    fact: &SecretFact,
    entry: &SecretEntry,
) -> Result<VaultEntry, &'static str> {
    let VaultKey::Secret { workspace, secret, version } = key else { return Err("key") };
    if !is_vouched_for(ring, &entry.sealed, &fact.digest) {
        return Err("digest");
    }
    let binding = Binding::Secret {
        workspace: workspace.clone(),
        secret: secret.clone(),
        version: *version,
        registry: fact.registry.clone(),
    };
    let credentials = ring.open(&binding, &entry.sealed).map_err(|error| error.as_str())?;
    let sealed = ring.seal(ring.present(), &binding, &credentials).map_err(|_| "key")?;
    Ok(SecretEntry { sealed, mac: entry.mac.clone() }.into())
}

/// The newest version of a secret that the log names, by the last message on its subject; none where that cannot be read.
fn newest_version(last: Option<&RawMessage>) -> Option<u64> {
    let Some(message) = last else { return Some(0) };
    let recorded = message.decode().ok()?;
    SecretHead::from_event(message.sequence, &recorded.event).map(|head| head.version)
}

/// True if the log names no such version, and it has been in the vault for so long that no gateway will say it any more.
fn is_orphan(version: u64, head: Option<u64>, written: Timestamp, now: Timestamp) -> bool {
    head.is_some_and(|head| version > head) && now.instant() - written.instant() >= GRACE
}

fn version_of(key: &VaultKey) -> u64 {
    match key {
        VaultKey::Secret { version, .. } | VaultKey::Grant { version, .. } => *version,
    }
}

fn secret_of(key: &VaultKey) -> SecretKey {
    let (VaultKey::Secret { workspace, secret, .. } | VaultKey::Grant { workspace, secret, .. }) = key;
    SecretKey { workspace: workspace.clone(), secret_name: secret.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_event_will_name() {
        let at = |text: &str| format!("2030-01-0{text}Z").parse::<Timestamp>().unwrap();
        let cases = [
            ("no event of the secret, and a day later", 1, Some(0), "3T00:00:00", true),
            ("a gateway may still send the event", 1, Some(0), "2T00:59:59", false),
            ("an hour later it will not", 1, Some(0), "2T01:00:00", true),
            ("the scheduler's clock is behind", 1, Some(0), "1T23:55:00", false),
            ("the event named it", 3, Some(3), "3T00:00:00", false),
            ("a later event went past it", 3, Some(4), "3T00:00:00", false),
            ("the number after the newest", 4, Some(3), "3T00:00:00", true),
            ("what the log says cannot be read", 4, None, "3T00:00:00", false),
        ];
        for (name, version, head, now, expected) in cases {
            assert_eq!(is_orphan(version, head, at("2T00:00:00"), at(now)), expected, "{name}");
        }
    }
}
