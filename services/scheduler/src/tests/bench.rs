//! A log and a vault in memory, what gateways, orchestrators and workers write there, and the scheduler's loops step by step.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use tempfile::TempDir;
use tokio::sync::{mpsc, watch};
use waybill_domain::{credentials::Secret, fold::SecretKey};
use waybill_platform::{
    log::{Administration, Appended, Expect, Log as _, MemoryLog, NewEvent},
    sealing::{Binding, KeyRing, PrivateKey, Senders, digest, open, seal_once},
    vault::{GrantEntry, Kept, MemoryVault, SecretEntry, Vault as _, VaultEntry},
};
use waybill_schemas::{
    Envelope, Event, RecordedEvent, Sealed, Subject, Uuid, VaultFilter, VaultKey, v1,
    v1::{CredType, CredentialSource, SecretVersion},
};

use crate::{
    aside::Aside,
    grants::Grants,
    keeper::{Keeper, VaultTask},
    projection::{Entry, FoldReport, Projection},
    publisher::{Publisher, Round},
    standing::Standing,
};

pub(super) const CANARY: &str = "canary-5up3r-s3cr3t";
pub(super) const REGISTRY: &str = "registry.example.com";

/// Everything around one scheduler. Ids of workspaces, secrets and so on are given as text.
pub(super) struct Bench {
    pub(super) log: MemoryLog,
    pub(super) vault: MemoryVault,
    pub(super) home: TempDir,
    pub(super) keys: watch::Sender<Arc<KeyRing>>,
    pub(super) projection: Arc<Projection>,
    pub(super) grants: Arc<Grants>,
    pub(super) aside: Arc<Aside>,
    folded: watch::Sender<u64>,
    workers: BTreeMap<String, PrivateKey>,
}

impl Bench {
    pub(super) fn new() -> Self {
        Self::with_log(MemoryLog::new())
    }

    pub(super) fn with_log(log: MemoryLog) -> Self {
        let home = tempfile::tempdir().unwrap();
        let vault = MemoryVault::default();
        let keys = watch::channel(Arc::new(KeyRing::new(PrivateKey::generate(), Vec::new()).unwrap())).0;
        let projection = Arc::new(Projection::open(&home.path().join("projection.redb")).unwrap());
        let grants = Arc::new(Grants::new(Arc::new(vault.clone()), keys.subscribe()));
        let (folded, aside) = (watch::channel(0).0, Arc::default());
        Self { log, vault, home, keys, projection, grants, aside, folded, workers: BTreeMap::new() }
    }

    /// The scheduler's process dies and starts again: nothing but the file, the log and the vault stays.
    pub(super) fn restart(self) -> Self {
        let Self { log, vault, home, keys, projection, folded, workers, grants, .. } = self;
        let path = projection.path().to_owned();
        drop((projection, grants));
        let projection = Arc::new(Projection::open(&path).unwrap());
        let grants = Arc::new(Grants::new(Arc::new(vault.clone()), keys.subscribe()));
        Self { log, vault, home, keys, projection, grants, aside: Arc::default(), folded, workers }
    }

    pub(super) fn path(&self) -> PathBuf {
        self.projection.path().to_owned()
    }

    pub(super) fn administration(&self) -> Arc<dyn Administration> {
        Arc::new(self.log.clone())
    }

    pub(super) async fn append(&self, subject: &str, event: impl Into<Event>) -> u64 {
        let subject: Subject = format!("waybill.events.{subject}").parse().unwrap();
        let envelope = Envelope::new(Uuid::new_v4(), "/waybill/test");
        let new = NewEvent { subject, envelope, event: event.into() };
        match self.log.append(&new, Expect::Anything, None).await.unwrap() {
            Appended::Stored { sequence, .. } => sequence,
            Appended::Conflict { .. } => panic!("nothing was expected"),
        }
    }

    /// A version in the vault and its event, as the gateway writes them. Returns the event's sequence.
    pub(super) async fn save(&self, workspace: &str, secret: &str, version: u64) -> u64 {
        let sealed = self.seal_version(workspace, secret, version);
        let digest = digest(&sealed);
        let entry = SecretEntry { sealed, mac: "00".to_owned() };
        self.vault.put(&secret_key(workspace, secret, version), &entry.into()).await.unwrap();
        self.say_saved(workspace, secret, version, digest).await
    }

    pub(super) fn seal_version(&self, workspace: &str, secret: &str, version: u64) -> Sealed {
        let binding = version_binding(workspace, secret, version);
        seal_once(self.keys.borrow().present(), &binding, &Secret::new(credentials(version))).unwrap()
    }

    pub(super) async fn say_saved(&self, workspace: &str, secret: &str, version: u64, digest: String) -> u64 {
        let event = v1::CredentialSecretSaved {
            workspace: workspace.parse().unwrap(),
            secret_name: secret.parse().unwrap(),
            image_id: None,
            stored: SecretVersion {
                version,
                registry: REGISTRY.to_owned(),
                cred_type: CredType::Basic,
                account: None,
                expires_at: None,
                credentials_length: 40,
                digest,
                note: None,
                verified: None,
            },
        };
        self.append(&format!("secret.{workspace}.{}", token(secret)), event).await
    }

    pub(super) async fn name(&self, workspace: &str, image: &str, secret: &str) -> u64 {
        let event = v1::ImageSecretNamed {
            workspace: workspace.parse().unwrap(),
            image_id: image.parse().unwrap(),
            image_ref: format!("{REGISTRY}/team/{image}:1"),
            registry: REGISTRY.to_owned(),
            secret_name: secret.parse().unwrap(),
            source: CredentialSource::BaseImage,
            version: None,
            cred_type: None,
        };
        self.append(&format!("image.{workspace}.{image}.b{}", Uuid::new_v4().simple()), event).await
    }

    /// Registers a worker with a new key.
    pub(super) async fn register(&mut self, worker: &str) -> u64 {
        let key = PrivateKey::generate();
        let sealing_key = key.public().unwrap().text().clone();
        self.workers.insert(worker.to_owned(), key);
        let event = v1::WorkerRegistered { worker_id: worker.parse().unwrap(), instance: Uuid::new_v4(), sealing_key };
        self.append(&format!("worker.{worker}"), event).await
    }

    pub(super) async fn request(&self, workspace: &str, container: &str, image: &str, worker: &str) -> u64 {
        let event = v1::ContainerRequested {
            workspace: workspace.parse().unwrap(),
            container_id: container.parse().unwrap(),
            image_id: Some(image.parse().unwrap()),
            worker_id: worker.parse().unwrap(),
            build_container: false,
        };
        self.append(&format!("container.{workspace}.{container}.r{}", Uuid::new_v4().simple()), event).await
    }

    pub(super) async fn end(&self, workspace: &str, container: &str, placement: u64) -> u64 {
        let event = v1::ContainerEnded {
            workspace: workspace.parse().unwrap(),
            container_id: container.parse().unwrap(),
            placement,
        };
        self.append(&format!("container.{workspace}.{container}.e{placement}"), event).await
    }

    pub(super) async fn revoke(&self, workspace: &str, secret: &str, version: u64) -> u64 {
        let event = v1::CredentialSecretRevoked {
            workspace: workspace.parse().unwrap(),
            secret_name: secret.parse().unwrap(),
            version,
            registry: REGISTRY.to_owned(),
            account: None,
            reason: None,
        };
        self.append(&format!("secret.{workspace}.{}", token(secret)), event).await
    }

    pub(super) async fn shred(&self, workspace: &str, secret: &str, version: u64) -> u64 {
        let event = v1::CredentialSecretShredded {
            workspace: workspace.parse().unwrap(),
            secret_name: secret.parse().unwrap(),
            version,
            registry: REGISTRY.to_owned(),
            account: None,
            reason: None,
        };
        self.append(&format!("secret.{workspace}.{}", token(secret)), event).await
    }

    /// The usual beginning: workspace `ws` with secret `s.t` at version 1, named for image `i`, and worker `w`.
    pub(super) async fn begin(&mut self) {
        self.save("ws", "s.t", 1).await;
        self.name("ws", "i", "s.t").await;
        self.register("w").await;
    }

    pub(super) async fn created(&self) -> waybill_schemas::Timestamp {
        self.log.stream_state().await.unwrap().unwrap().created
    }

    /// Folds what is in the log and not folded yet.
    pub(super) async fn fold(&self) -> FoldReport {
        self.fold_but(&[]).await
    }

    /// Folds as a version of this program that cannot read the messages at some sequences.
    pub(super) async fn fold_but(&self, unreadable: &[u64]) -> FoldReport {
        let from = self.projection.position().unwrap().map_or(0, |position| position.sequence);
        let entries = self.entries_after(from, unreadable);
        let report = self.projection.fold(self.created().await, &entries).unwrap();
        self.folded.send_replace(self.log.messages().last().map_or(0, |message| message.sequence));
        report
    }

    /// The log from a sequence on, as a version of this program sees it that cannot read some messages.
    pub(super) fn entries_after(&self, sequence: u64, unreadable: &[u64]) -> Vec<Entry> {
        let messages = self.log.messages();
        let new = messages.iter().filter(|message| message.sequence > sequence);
        let entries = new.map(|message| match unreadable.contains(&message.sequence) {
            true => Entry::poison(message, "of a later version".to_owned()),
            false => Entry::of(message),
        });
        entries.collect()
    }

    /// Folds the next message alone. False if there is none.
    pub(super) async fn fold_one(&self) -> bool {
        let from = self.projection.position().unwrap().map_or(0, |position| position.sequence);
        let messages = self.log.messages();
        let Some(next) = messages.iter().find(|message| message.sequence > from) else { return false };
        self.projection.fold(self.created().await, &[Entry::of(next)]).unwrap();
        self.folded.send_replace(next.sequence);
        true
    }

    pub(super) fn publisher(&self) -> Publisher {
        let log = self.administration();
        let (folded, new) = (self.folded.subscribe(), mpsc::channel(1).1);
        let (projection, grants, aside) = (self.projection.clone(), self.grants.clone(), self.aside.clone());
        Publisher::new(log, projection, grants, aside, folded, new, Standing::default())
    }

    /// Folds and publishes until nothing is left to do.
    pub(super) async fn settle(&self) {
        let mut publisher = self.publisher();
        loop {
            self.fold().await;
            if publisher.publish_round().await.unwrap() == Round::Idle {
                return;
            }
        }
    }

    /// The keeper, and what it is told to do.
    pub(super) fn keeper(&self) -> (Keeper, mpsc::UnboundedSender<VaultTask>) {
        let (sender, tasks) = mpsc::unbounded_channel();
        let keeper = Keeper {
            log: self.administration(),
            vault: Arc::new(self.vault.clone()),
            projection: self.projection.clone(),
            grants: self.grants.clone(),
            key_folder: self.home.path().join("keys"),
            keys: self.keys.clone(),
            tasks,
        };
        (keeper, sender)
    }

    /// What the scheduler has said, in the log's order: `attached c 4`, `renewed w s.t 2`.
    pub(super) fn decisions(&self) -> Vec<String> {
        let said = |event: &RecordedEvent| match &event.event {
            Event::ContainerCredentialsAttached(it) => {
                Some(format!("attached {} {} v{}", it.container_id, it.placement, it.version))
            }
            Event::ContainerCredentialsSkipped(it) => {
                Some(format!("skipped {} {} {}", it.container_id, it.placement, it.reason))
            }
            Event::ContainerCredentialsWithdrawn(it) => {
                Some(format!("withdrawn {} {} {}", it.container_id, it.placement, it.reason))
            }
            Event::WorkerCredentialsRenewed(it) => {
                Some(format!("renewed {} {} v{} {}", it.worker_id, it.secret_name, it.version, it.cause))
            }
            _ => None,
        };
        self.log.events().iter().filter_map(|(_, event)| said(event)).collect()
    }

    pub(super) async fn vault_keys(&self) -> Vec<String> {
        self.vault.keys(&VaultFilter::All).await.unwrap().iter().map(ToString::to_string).collect()
    }

    pub(super) async fn entry(&self, key: &str) -> Option<Kept> {
        self.vault.get(&VaultKey::parse(key).unwrap()).await.unwrap()
    }

    /// The credentials in a grant, opened as its worker does it; none if there is no grant that opens.
    pub(super) async fn open_grant(&self, worker: &str, secret: &str, version: u64) -> Option<String> {
        let kept = self.entry(&format!("grant.{worker}.ws.{}.{version}", token(secret))).await?;
        let VaultEntry::Grant(GrantEntry::Sealed(sealed)) = kept.entry else { return None };
        let binding = Binding::Grant {
            worker_id: worker.parse().unwrap(),
            workspace: "ws".parse().unwrap(),
            secret: secret.parse().unwrap(),
            version,
            registry: REGISTRY.to_owned(),
        };
        let ring = self.keys.borrow().clone();
        let mut senders = ring.earlier();
        senders.push(ring.present().text().clone());
        let opened = open(&self.workers[worker], Senders::OneOf(&senders), &binding, &sealed);
        opened.ok().map(|credentials| credentials.expose().to_owned())
    }
}

pub(super) fn credentials(version: u64) -> String {
    format!("{{\"password\":\"{CANARY}-{version}\"}}")
}

pub(super) fn version_binding(workspace: &str, secret: &str, version: u64) -> Binding {
    Binding::Secret {
        workspace: workspace.parse().unwrap(),
        secret: secret.parse().unwrap(),
        version,
        registry: REGISTRY.to_owned(),
    }
}

pub(super) fn secret_key(workspace: &str, secret: &str, version: u64) -> VaultKey {
    VaultKey::parse(&format!("secret.{workspace}.{}.{version}", token(secret))).unwrap()
}

pub(super) fn secret_of(workspace: &str, secret: &str) -> SecretKey {
    SecretKey { workspace: workspace.parse().unwrap(), secret_name: secret.parse().unwrap() }
}

fn token(secret: &str) -> String {
    secret.replace('.', "=")
}
