//! Decisions from delivery to outcome, against a log in memory, a tiny registry and a tiny ECR.

mod again;
mod node;
mod outcomes;
mod rotated;
mod secrecy;

use serde_json::{Value, json};
use uuid::Uuid;
use waybill_domain::{credentials::Secret, reference::RegistryHost};
use waybill_platform::sealing::{Binding, PrivateKey, seal};
use waybill_registry::provider::{EcrConfig, TokenCache};
use waybill_schemas::{
    Envelope, derived_id,
    v1::{AttachSkipReason, ContainerCredentialsAttached, ContainerCredentialsSkipped, CredType},
};

use super::*;
use crate::testing::{FakeEcr, FakeLog};

const PASSWORD: &str = "s3cr3t-password-0123456789";
const ECR: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";
/// Sequences of the request and of the decision.
const REQUESTED: u64 = 10;
const DECIDED: u64 = 12;

/// A worker, and the scheduler that seals for it.
struct Bench {
    handler: Handler<FakeLog>,
    scheduler: PrivateKey,
    registry: String,
}

impl Bench {
    fn new(registry: &str) -> Self {
        Self::with_ecr(registry, EcrConfig::default())
    }

    fn with_ecr(registry: &str, ecr: EcrConfig) -> Self {
        let (own, scheduler) = (PrivateKey::generate(), PrivateKey::generate());
        let keys = Keys { own, scheduler: scheduler.public().unwrap(), tokens: TokenCache::new(ecr) };
        let plain_http = vec![RegistryHost::parse(registry).unwrap()];
        let pull = PullConfig { plain_http, ..PullConfig::default() };
        let handler = Handler { log: FakeLog::starting_at(100), keys, pull, running: None };
        Self { handler, scheduler, registry: registry.to_owned() }
    }

    /// ECR's registry, which is reached at this host.
    fn ecr(registry: &str, ecr: &FakeEcr) -> Self {
        Self::at_ecr(registry, EcrConfig { endpoint: Some(ecr.endpoint()), ..EcrConfig::default() })
    }

    fn at_ecr(registry: &str, ecr: EcrConfig) -> Self {
        let mut bench = Self::with_ecr(registry, ecr);
        bench.handler.pull.endpoints = [(ECR.parse().unwrap(), format!("http://{registry}"))].into();
        Self { registry: ECR.to_owned(), ..bench }
    }

    fn reference(&self) -> String {
        format!("{}/team/app:1", self.registry)
    }

    /// Credentials for a container, as the scheduler attaches them.
    fn attached(&self, container: &str, cred_type: CredType, values: &Value) -> ContainerCredentialsAttached {
        let text = json!({ "registry": self.registry, "type": cred_type.as_str(), "credentials": values }).to_string();
        self.attached_text(container, cred_type, &text)
    }

    fn attached_text(&self, container: &str, cred_type: CredType, text: &str) -> ContainerCredentialsAttached {
        let binding = Binding::Container {
            workspace: "acme".parse().unwrap(),
            container_id: container.parse().unwrap(),
            registry: self.registry.clone(),
        };
        let to = self.handler.keys.own.public().unwrap();
        ContainerCredentialsAttached {
            workspace: "acme".parse().unwrap(),
            container_id: container.parse().unwrap(),
            image_id: "img".parse().unwrap(),
            worker_id: "w1".parse().unwrap(),
            image_ref: self.reference(),
            secret_name: "oci-registry-x".to_owned(),
            registry: self.registry.clone(),
            cred_type,
            credentials_length: u64::try_from(text.len()).unwrap(),
            saved_by: 5,
            requested_by: REQUESTED,
            expires_at: None,
            credentials: seal(&self.scheduler, &to, &binding, &Secret::from(text)).unwrap(),
        }
    }

    fn ada(&self, container: &str) -> ContainerCredentialsAttached {
        self.attached(container, CredType::Basic, &json!({ "USERNAME": "ada", "PASSWORD": PASSWORD }))
    }

    fn aws(&self, container: &str) -> ContainerCredentialsAttached {
        let keys = json!({ "AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": PASSWORD, "AWS_REGION": "eu-west-1" });
        self.attached(container, CredType::Aws, &keys)
    }

    fn skipped(&self, reason: AttachSkipReason) -> ContainerCredentialsSkipped {
        ContainerCredentialsSkipped {
            workspace: "acme".parse().unwrap(),
            container_id: "c-1".parse().unwrap(),
            image_id: Some("img".parse().unwrap()),
            worker_id: "w1".parse().unwrap(),
            image_ref: Some(self.reference()),
            registry: Some(self.registry.clone()),
            reason,
            image_event: None,
            requested_by: REQUESTED,
        }
    }

    /// What follows from the container's end at a sequence.
    fn ended(&self, sequence: u64) -> ContainerCredentialsSkipped {
        let ended = self.skipped(AttachSkipReason::ContainerEnded);
        ContainerCredentialsSkipped { image_ref: None, registry: None, image_event: Some(sequence), ..ended }
    }

    /// Handles it as a first delivery.
    async fn first(&self, said: impl Into<Event>) {
        self.handler.work(&decision(said), false).await.unwrap();
    }

    /// Handles it as a redelivery.
    async fn again(&self, said: impl Into<Event>) {
        self.handler.work(&decision(said), true).await.unwrap();
    }

    /// Field of the n-th stored event's body.
    fn field(&self, number: usize, name: &str) -> Value {
        let body = self.handler.log.stored()[number].event.event.to_json().unwrap();
        serde_json::from_slice::<Value>(&body).unwrap()[name].clone()
    }
}

const CORRELATION: Uuid = Uuid::from_u128(7);

/// The decision, as it was delivered; each container's has an id of its own.
fn decision(said: impl Into<Event>) -> Decision {
    let event = said.into();
    let envelope = Envelope {
        id: Uuid::new_v5(&CORRELATION, event.subject().to_string().as_bytes()),
        source: "/waybill/scheduler".to_owned(),
        source_version: None,
        time: None,
        causation_id: None,
        correlation_id: Some(CORRELATION),
        traceparent: None,
        tracestate: None,
    };
    Decision::of(DECIDED, RecordedEvent { envelope, event }).unwrap()
}

fn outcome_id(decision: &Decision, kind: Derivation) -> Uuid {
    derived_id(decision.id, kind)
}
