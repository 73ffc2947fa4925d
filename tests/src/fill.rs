//! Fills a log with many valid events: builds, requests, decisions and outcomes as the services would publish them.
//!
//! Each role publishes its own with its own user, in atomic batches (NATS ADR-50). The secret that all images name is a fact of
//! the log only: the vault holds nothing of it.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test whose fixture fails has failed"
)]

use std::time::Duration;

use async_nats::{Client, HeaderMap, Request};
use bytes::Bytes;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    error::StartError,
    stack::{Plan, Service, Stack, User},
};

/// Containers in one round; the server takes at most 1000 messages in a batch.
const CONTAINERS: u64 = 500;
const BUILDS: u64 = 100;
/// Images that are built again in one round, each once; the first of all at the end, so that their story spans the log.
const REBUILDS: u64 = 10;
/// Of so many containers, one is refused by its registry.
const REFUSED: u64 = 10;
const LIMIT: Duration = Duration::from_secs(60);

/// A message to publish as it is.
#[derive(Debug, Clone)]
pub struct Message {
    /// Its subject.
    pub subject: String,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

/// Appends at most 1000 messages in one atomic batch (NATS ADR-50), whole or not at all. Returns the sequence of the last one.
pub async fn publish_batch(client: &Client, batch: Vec<Message>) -> u64 {
    let id = Uuid::new_v4().simple().to_string();
    let size = batch.len();
    let mut ack = None;
    for (number, Message { subject, mut headers, body }) in (1..).zip(batch) {
        headers.insert("Nats-Batch-Id", id.as_str());
        headers.insert("Nats-Batch-Sequence", number.to_string().as_str());
        if number < size {
            client.publish_with_headers(subject, headers, body).await.expect("the event is sent");
            continue;
        }
        headers.insert("Nats-Batch-Commit", "1");
        let request = Request::new().headers(headers).payload(body).timeout(Some(LIMIT));
        ack = Some(client.send_request(subject, request).await.expect("an acknowledgement").payload);
    }
    let ack: Value = serde_json::from_slice(&ack.expect("a batch")).expect("a JSON answer");
    assert_eq!(ack["count"], size, "the batch was not stored: {ack}");
    ack["seq"].as_u64().expect("a sequence")
}

/// A request for a container, as an orchestrator or the gateway publishes it.
pub fn request(container_id: &str, image_id: &str, worker_id: &str) -> Message {
    let id = Uuid::new_v4();
    let subject = format!("waybill.events.container.acme.{container_id}.{}", id.simple());
    let body = json!({
        "workspace": "acme", "container_id": container_id, "worker_id": worker_id, "image_id": image_id,
    });
    Filling { subject, event: "ContainerRequested", id, cause: None, body }.into()
}

/// A build of an image that names a secret.
pub fn build(image_id: &str, image_ref: &str, secret_name: &str) -> Message {
    named_build(image_id, image_ref, secret_name).into()
}

/// The end of a placement, as an orchestrator or the gateway publishes it.
pub fn end(container_id: &str, placement: u64) -> Message {
    let id = Uuid::new_v4();
    let subject = format!("waybill.events.container.acme.{container_id}.{}", id.simple());
    let body = json!({ "workspace": "acme", "container_id": container_id, "placement": placement });
    Filling { subject, event: "ContainerEnded", id, cause: None, body }.into()
}

/// One event to publish.
struct Filling {
    subject: String,
    event: &'static str,
    id: Uuid,
    cause: Option<Uuid>,
    body: Value,
}

/// What a filled log holds.
#[derive(Debug, Clone, Copy)]
pub struct Filled {
    /// Its last sequence.
    pub last: u64,
    /// Containers, `c-0` and up, in the log's order.
    pub containers: u64,
    /// Images, `img-0` and up, in the order of their first builds.
    pub images: u64,
    /// So many of them, from `img-0` on, were built again, most of them much later.
    pub rebuilt: u64,
}

/// Host that everything here is pulled from.
const REGISTRY: &str = "registry.example.com";
/// The secret that every image names.
const SECRET: &str = "oci-registry-registry-example-com";

/// A stack of which only the server still runs, with a log of at least `events` events.
///
/// # Errors
/// [`StartError`].
pub async fn filled(plan: Plan, events: u64) -> Result<(Stack, Filled), StartError> {
    let mut stack = plan.start().await?;
    for service in [Service::Gateway, Service::Worker("w1".to_owned()), Service::Scheduler] {
        stack.stop(&service).await;
    }
    let filled = fill(&stack, events).await;
    Ok((stack, filled))
}

/// Appends at least `events` events about workspace `acme` and worker `w1`. No scheduler may run meanwhile; `w1` has
/// registered, so that the decisions are those that a scheduler would have made.
async fn fill(stack: &Stack, events: u64) -> Filled {
    let recorded = stack.events().await;
    assert!(recorded.iter().any(|event| event.name == "WorkerRegistered"), "w1 has registered");
    let users = [stack.user("gateway").await, stack.user("scheduler").await, stack.user("worker-w1").await];
    let mut log = Log { last: recorded.last().map_or(0, |event| event.sequence), saved_by: 0, built: Vec::new() };
    let target = log.last + events;
    log.saved_by = log.publish(&users[0], vec![saved()]).await;
    let mut round = 0;
    while log.last < target {
        log.round(&users, round).await;
        round += 1;
    }
    log.rebuild(&users[0], 0).await;
    Filled { last: log.last, containers: round * CONTAINERS, images: round * BUILDS, rebuilt: round * REBUILDS }
}

struct Log {
    last: u64,
    /// Sequence of the event that saved the secret.
    saved_by: u64,
    /// Sequence of the last build of each image.
    built: Vec<u64>,
}

impl Log {
    async fn round(&mut self, [gateway, scheduler, worker]: &[User; 3], round: u64) {
        let first_build = round * BUILDS;
        let built = self.publish(gateway, (first_build..first_build + BUILDS).map(numbered_build).collect()).await;
        self.built.extend(built..=self.last);
        if round > 0 {
            self.rebuild(gateway, round * REBUILDS).await;
        }
        let containers = round * CONTAINERS..(round + 1) * CONTAINERS;
        let requests: Vec<Filling> = containers.clone().map(|n| self.request(n)).collect();
        let ids: Vec<Uuid> = requests.iter().map(|request| request.id).collect();
        let requested = self.publish(gateway, requests).await;
        let numbered = || (requested..).zip(containers.clone().zip(&ids));
        let decisions = numbered().map(|(placement, (n, id))| self.decision(n, *id, placement)).collect();
        let decided = self.publish(scheduler, decisions).await;
        for outcome in [provider, pull] {
            let placed = (decided..).zip(numbered());
            let outcomes = placed.map(|(decided_by, (placement, (n, id)))| outcome(n, *id, placement, decided_by));
            self.publish(worker, outcomes.collect()).await;
        }
    }

    /// Builds some images again: what is decided about later containers rests on these builds.
    async fn rebuild(&mut self, gateway: &User, first: u64) {
        let again = first..first + REBUILDS;
        let built = self.publish(gateway, again.clone().map(numbered_build).collect()).await;
        for (image, sequence) in again.zip(built..) {
            self.built[usize::try_from(image).expect("a small number")] = sequence;
        }
    }

    fn image(&self, container: u64) -> u64 {
        let images = u64::try_from(self.built.len()).expect("a small number");
        container.wrapping_mul(7919) % images
    }

    fn request(&self, number: u64) -> Filling {
        let id = Uuid::new_v4();
        Filling {
            subject: format!("waybill.events.container.acme.c-{number}.{}", id.simple()),
            event: "ContainerRequested",
            id,
            cause: None,
            body: json!({
                "workspace": "acme", "container_id": format!("c-{number}"), "worker_id": "w1",
                "image_id": format!("img-{}", self.image(number)),
            }),
        }
    }

    fn decision(&self, number: u64, request: Uuid, placement: u64) -> Filling {
        let image = self.image(number);
        Filling {
            subject: format!("waybill.events.decision.w1.container.acme.c-{number}.{placement}"),
            event: "ContainerCredentialsAttached",
            id: decision_id(request),
            cause: Some(request),
            body: json!({
                "workspace": "acme", "container_id": format!("c-{number}"), "placement": placement,
                "image_id": format!("img-{image}"), "worker_id": "w1", "image_ref": format!("{REGISTRY}/team/app:1"),
                "secret_name": SECRET, "version": 1, "registry": REGISTRY, "cred_type": "basic",
                "credentials_length": 120, "saved_by": self.saved_by,
                "image_event": self.built[usize::try_from(image).expect("a small number")],
            }),
        }
    }

    /// Appends a batch whole, and returns its first sequence.
    async fn publish(&mut self, user: &User, batch: Vec<Filling>) -> u64 {
        let size = batch.len();
        self.last = publish_batch(&user.client, batch.into_iter().map(Message::from).collect()).await;
        self.last + 1 - u64::try_from(size).expect("a small number")
    }
}

fn saved() -> Filling {
    Filling {
        subject: format!("waybill.events.secret.acme.{SECRET}"),
        event: "CredentialSecretSaved",
        id: Uuid::new_v4(),
        cause: None,
        body: json!({
            "workspace": "acme", "secret_name": SECRET,
            "stored": {
                "version": 1, "registry": REGISTRY, "cred_type": "basic", "credentials_length": 120,
                "digest": format!("sha256:{}", "0".repeat(64)),
            },
        }),
    }
}

fn numbered_build(number: u64) -> Filling {
    named_build(&format!("img-{number}"), &format!("{REGISTRY}/team/app:1"), SECRET)
}

fn named_build(image_id: &str, image_ref: &str, secret_name: &str) -> Filling {
    let id = Uuid::new_v4();
    let registry = image_ref.split('/').next();
    Filling {
        subject: format!("waybill.events.image.acme.{image_id}.{}", id.simple()),
        event: "ImageSecretNamed",
        id,
        cause: None,
        body: json!({
            "workspace": "acme", "image_id": image_id, "image_ref": image_ref, "registry": registry,
            "secret_name": secret_name, "source": "from_registry", "version": 1, "cred_type": "basic",
        }),
    }
}

fn provider(number: u64, request: Uuid, placement: u64, decided_by: u64) -> Filling {
    let body = json!({
        "provider_name": format!("creds-{REGISTRY}"), "cred_type": "basic", "registry": REGISTRY,
        "secret_name": SECRET, "version": 1,
    });
    outcome("CredentialProviderAttached", b"provider", (number, request, placement, decided_by), body)
}

fn pull(number: u64, request: Uuid, placement: u64, decided_by: u64) -> Filling {
    let image_ref = format!("{REGISTRY}/team/app:1");
    let (event, body) = if number % REFUSED == REFUSED - 1 {
        let reason =
            ["unauthorized", "not_found", "rate_limited"][usize::try_from(number / REFUSED % 3).expect("at most 2")];
        ("ImagePullFailed", json!({ "image_ref": image_ref, "reason": reason, "detail": "the registry refused" }))
    } else {
        ("ImagePullSucceeded", json!({ "image_ref": image_ref, "digest": format!("sha256:{}", "0".repeat(64)) }))
    };
    outcome(event, b"pull", (number, request, placement, decided_by), body)
}

fn outcome(
    event: &'static str,
    kind: &[u8],
    (number, request, placement, decided_by): (u64, Uuid, u64, u64),
    mut body: Value,
) -> Filling {
    body["workspace"] = json!("acme");
    body["container_id"] = json!(format!("c-{number}"));
    body["worker_id"] = json!("w1");
    body["placement"] = json!(placement);
    body["decided_by"] = json!(decided_by);
    let cause = decision_id(request);
    let subject = format!("waybill.events.outcome.w1.acme.c-{number}.{placement}");
    Filling { subject, event, id: Uuid::new_v5(&cause, kind), cause: Some(cause), body }
}

fn decision_id(request: Uuid) -> Uuid {
    Uuid::new_v5(&request, b"decision")
}

impl From<Filling> for Message {
    fn from(filling: Filling) -> Self {
        let (headers, body) = (filling.headers(), filling.body.to_string().into());
        Self { subject: filling.subject, headers, body }
    }
}

impl Filling {
    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let (id, ce_type) = (self.id.to_string(), format!("waybill.v1.{}", self.event));
        for (name, value) in [
            ("Nats-Msg-Id", id.as_str()),
            ("ce-id", id.as_str()),
            ("ce-source", "/test/fill"),
            ("ce-specversion", "1.0"),
            ("ce-type", ce_type.as_str()),
            ("ce-datacontenttype", "application/json"),
            ("ce-time", "2026-01-01T00:00:00Z"),
            ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ] {
            headers.insert(name, value);
        }
        if let Some(cause) = self.cause {
            headers.insert("ce-causationid", cause.to_string().as_str());
        }
        headers
    }
}
