//! Decisions from delivery to outcome, against the log and the vault in memory, a tiny registry and a tiny ECR.

mod again;
mod grants;
mod node;
mod outcomes;
mod queue;
mod renewals;
mod secrecy;

use serde_json::{Value, json};
use waybill_domain::{
    credentials::Secret,
    decision::{AttachedImage, Credential, SkippedImage},
    fold::ContainerKey,
    reference::RegistryHost,
};
use waybill_platform::{
    log::{Expect, NewEvent},
    sealing::{Binding, PrivateKey, seal},
    testing::{MemoryLog, MemoryVault},
    vault::{GrantEntry, Vault as _, VaultEntry},
};
use waybill_registry::provider::{CloudConfig, TokenCache};
use waybill_schemas::{
    Envelope, Event, PublicSealingKey, Subject, Uuid, VaultKey,
    v1::{AttachSkipReason, CredType, RenewCause, SchedulerKeyPublished, WithdrawReason},
};

use super::*;
use crate::{grants::Grants, testing::FakeEcr};

const PASSWORD: &str = "s3cr3t-password-0123456789";
const ACTOR: &str = "/waybill/scheduler";
const ECR: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";

/// A worker on its node, and the scheduler that grants it secrets.
struct Bench {
    handler: Arc<Handler>,
    log: MemoryLog,
    vault: MemoryVault,
    scheduler: PrivateKey,
    own: PrivateKey,
    /// Where the tiny registry listens.
    host: String,
    /// Its name in references and grants.
    registry: String,
    ecr: CloudConfig,
    node: tempfile::TempDir,
}

impl Bench {
    async fn new(registry: &str) -> Self {
        Self::with_ecr(registry, CloudConfig::default()).await
    }

    /// A registry of ECR's, which is reached at this host.
    async fn ecr(host: &str, ecr: &FakeEcr) -> Self {
        Self::at_ecr(host, CloudConfig { ecr_endpoint: Some(ecr.endpoint()), ..CloudConfig::default() }).await
    }

    async fn at_ecr(host: &str, ecr: CloudConfig) -> Self {
        Self { registry: ECR.to_owned(), ..Self::with_ecr(host, ecr).await }
    }

    async fn with_ecr(host: &str, ecr: CloudConfig) -> Self {
        let (log, vault) = (MemoryLog::new(), MemoryVault::default());
        let (own, scheduler) = (PrivateKey::generate(), PrivateKey::generate());
        let node = tempfile::tempdir().unwrap();
        let handler = start(&log, &vault, &own, host, &ecr, &node);
        let (host, registry) = (host.to_owned(), host.to_owned());
        let bench = Self { handler, log, vault, scheduler, own, host, registry, ecr, node };
        bench.publish_keys(&bench.scheduler, Vec::new()).await;
        bench
    }

    /// The process starts anew, with what is in the log, the vault and the node's folder.
    fn restart(&mut self) {
        self.handler = start(&self.log, &self.vault, &self.own, &self.host, &self.ecr, &self.node);
    }

    async fn publish_keys(&self, present: &PrivateKey, earlier_keys: Vec<PublicSealingKey>) {
        let sealing_key = present.public().unwrap().text().clone();
        self.append(Subject::SchedulerKeys, SchedulerKeyPublished { sealing_key, earlier_keys }).await;
    }

    async fn append(&self, subject: Subject, event: impl Into<Event>) -> u64 {
        let new = NewEvent { subject, envelope: Envelope::new(Uuid::new_v4(), ACTOR), event: event.into() };
        self.log.append(&new, Expect::Anything, None).await.unwrap().sequence().unwrap()
    }

    fn reference(&self) -> String {
        format!("{}/team/app:1", self.registry)
    }

    /// A version of a secret, granted to the worker.
    async fn grant(&self, name: &str, version: u64, cred_type: CredType, values: &Value) -> Credential {
        let text = json!({ "registry": self.registry, "type": cred_type.as_str(), "credentials": values }).to_string();
        self.grant_text(name, version, cred_type, &text).await
    }

    async fn grant_text(&self, name: &str, version: u64, cred_type: CredType, text: &str) -> Credential {
        let credential = credential(&self.registry, name, version, cred_type);
        self.seal_grant(&credential, &self.scheduler, text).await;
        credential
    }

    async fn seal_grant(&self, credential: &Credential, by: &PrivateKey, text: &str) {
        let binding = Binding::Grant {
            worker_id: "w1".parse().unwrap(),
            workspace: "acme".parse().unwrap(),
            secret: credential.secret_name.clone(),
            version: credential.version,
            registry: credential.registry.clone(),
        };
        let sealed = seal(by, &self.own.public().unwrap(), &binding, &Secret::from(text)).unwrap();
        self.put_grant(credential, GrantEntry::Sealed(sealed)).await;
    }

    async fn put_grant(&self, credential: &Credential, entry: GrantEntry) {
        self.vault.put(&grant_key(credential), &VaultEntry::Grant(entry)).await.unwrap();
    }

    /// Ada's login as a version of secret `s`.
    async fn ada(&self, version: u64) -> Credential {
        self.basic(version, PASSWORD).await
    }

    async fn basic(&self, version: u64, password: &str) -> Credential {
        self.grant("s", version, CredType::Basic, &json!({ "USERNAME": "ada", "PASSWORD": password })).await
    }

    async fn aws(&self, name: &str, version: u64) -> Credential {
        let key_id = format!("AKIA{version}");
        let keys = json!({ "AWS_ACCESS_KEY_ID": key_id, "AWS_SECRET_ACCESS_KEY": PASSWORD, "AWS_REGION": "eu-west-1" });
        self.grant(name, version, CredType::Aws, &keys).await
    }

    /// Records a decision, as the scheduler does.
    async fn decide(&self, outcome: Outcome) -> Assignment {
        let decision =
            Decision { worker_id: "w1".parse().unwrap(), workspace: "acme".parse().unwrap(), caused_by: 1, outcome };
        let sequence = self.append(decision.subject(), decision.to_event()).await;
        let message = self.log.message_at(sequence).await.unwrap().unwrap();
        Assignment::from_event(sequence, &message.decode().unwrap()).unwrap()
    }

    async fn attach(&self, container: &str, number: u64, credential: Credential) -> Assignment {
        let image = AttachedImage { image_id: "img".parse().unwrap(), image_ref: self.reference(), image_event: 1 };
        self.decide(Outcome::Attached { placement: placement(container, number), image, credential }).await
    }

    async fn skip(&self, container: &str, number: u64, reason: AttachSkipReason) -> Assignment {
        let image = SkippedImage {
            image_id: Some("img".parse().unwrap()),
            image_ref: Some(self.reference()),
            ..SkippedImage::default()
        };
        self.decide(Outcome::Skipped { placement: placement(container, number), image, reason }).await
    }

    async fn withdraw(&self, container: &str, number: u64, reason: WithdrawReason) -> Assignment {
        let placement = placement(container, number);
        self.decide(Outcome::Withdrawn { placement, secret_name: None, reason }).await
    }

    async fn renew(&self, credential: Credential, cause: RenewCause) -> Assignment {
        self.decide(Outcome::Renewed { credential, cause }).await
    }

    async fn work(&self, assignment: &Assignment) {
        self.handler.work(assignment).await.unwrap();
    }

    /// Names of the outcomes in the log, in order.
    fn outcomes(&self) -> Vec<&'static str> {
        self.reported().iter().map(|(_, recorded)| recorded.event.event_type().as_str()).collect()
    }

    fn reported(&self) -> Vec<(u64, RecordedEvent)> {
        let is_outcome = |recorded: &RecordedEvent| {
            matches!(recorded.subject, Subject::ContainerOutcome { .. } | Subject::SecretOutcome { .. })
        };
        self.log.events().into_iter().filter(|(_, recorded)| is_outcome(recorded)).collect()
    }

    /// Field of the n-th outcome's body.
    fn field(&self, number: usize, name: &str) -> Value {
        let body = self.reported()[number].1.event.to_json().unwrap();
        serde_json::from_slice::<Value>(&body).unwrap()[name].clone()
    }
}

fn start(
    log: &MemoryLog,
    vault: &MemoryVault,
    own: &PrivateKey,
    host: &str,
    ecr: &CloudConfig,
    node: &tempfile::TempDir,
) -> Arc<Handler> {
    let worker_id: WorkerId = "w1".parse().unwrap();
    let (log, vault) = (Arc::new(log.clone()), Arc::new(vault.clone()));
    let grants = Grants::new(log.clone(), vault, worker_id.clone(), own.try_clone().unwrap());
    let providers = Providers::new(grants, TokenCache::new(ecr.clone()));
    let plain_http = vec![RegistryHost::parse(host).unwrap()];
    let endpoints = [(ECR.parse().unwrap(), format!("http://{host}"))].into();
    let pull = PullConfig { plain_http, endpoints, ..PullConfig::default() };
    let running = Running::open(crate::node::NodeDir::open(node.path(), None).unwrap()).unwrap();
    Arc::new(Handler::new(worker_id, log, providers, pull, Some(running)))
}

fn placement(container: &str, number: u64) -> Placement {
    Placement { container_id: container.parse().unwrap(), number }
}

fn placed(container: &str, number: u64) -> Placed {
    let container = ContainerKey { workspace: "acme".parse().unwrap(), container_id: container.parse().unwrap() };
    Placed { container, number }
}

fn credential(registry: &str, name: &str, version: u64, cred_type: CredType) -> Credential {
    Credential {
        secret_name: name.parse().unwrap(),
        version,
        registry: registry.to_owned(),
        cred_type,
        credentials_length: 100,
        expires_at: None,
        saved_by: version,
    }
}

fn grant_key(credential: &Credential) -> VaultKey {
    VaultKey::Grant {
        worker_id: "w1".parse().unwrap(),
        workspace: "acme".parse().unwrap(),
        secret: credential.secret_name.clone(),
        version: credential.version,
    }
}
