//! Fills a log with many valid events: builds, requests, decisions and outcomes as the services would publish them.
//!
//! Each role publishes its own with its own user, in atomic batches (NATS ADR-50). Ciphertext is made up.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test whose fixture fails has failed"
)]

use std::time::Duration;

use async_nats::{HeaderMap, Request};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::stack::{Stack, User};

/// Containers in one round; the server takes at most 1000 messages in a batch.
const CONTAINERS: u64 = 500;
const BUILDS: u64 = 100;
/// Images that are built again in one round, each once; the first of all at the end, so that their story spans the log.
const REBUILDS: u64 = 10;
const LIMIT: Duration = Duration::from_secs(60);

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

/// Appends at least `events` events about workspace `acme` and worker `w1`. No scheduler may run meanwhile; `w1` has
/// registered, so that the decisions are those that a scheduler would have made.
pub async fn fill(stack: &Stack, events: u64) -> Filled {
    let recorded = stack.events().await;
    let registered = recorded.iter().find(|event| event.name == "WorkerRegistered").expect("w1 has registered");
    let key = registered.text("sealing_key").to_owned();
    let users = [stack.user("gateway").await, stack.user("scheduler").await, stack.user("worker-w1").await];
    let mut log = Log { key, last: recorded.last().map_or(0, |event| event.sequence), saved: Vec::new() };
    let target = log.last + events;
    let mut round = 0;
    while log.last < target {
        log.round(&users, round).await;
        round += 1;
    }
    log.rebuild(&users[0], 0).await;
    Filled { last: log.last, containers: round * CONTAINERS, images: round * BUILDS, rebuilt: round * REBUILDS }
}

struct Log {
    key: String,
    last: u64,
    /// Sequence of the last build of each image.
    saved: Vec<u64>,
}

impl Log {
    async fn round(&mut self, [gateway, scheduler, worker]: &[User; 3], round: u64) {
        let first_build = round * BUILDS;
        let built = self.publish(gateway, (first_build..first_build + BUILDS).map(|n| self.build(n)).collect()).await;
        self.saved.extend(built..=self.last);
        if round > 0 {
            self.rebuild(gateway, round * REBUILDS).await;
        }
        let containers = round * CONTAINERS..(round + 1) * CONTAINERS;
        let requests: Vec<Filling> = containers.clone().map(|n| self.request(n)).collect();
        let ids: Vec<Uuid> = requests.iter().map(|request| request.id).collect();
        let requested = self.publish(gateway, requests).await;
        let numbered = || containers.clone().zip(&ids);
        let decisions = (requested..).zip(numbered()).map(|(at, (n, id))| self.decision(n, *id, at)).collect();
        let decided = self.publish(scheduler, decisions).await;
        for outcome in [Self::provider, Self::pull] {
            let outcomes = (decided..).zip(numbered()).map(|(at, (n, id))| outcome(n, *id, at)).collect();
            self.publish(worker, outcomes).await;
        }
    }

    /// Builds some images again: what is attached to later containers is from these builds.
    async fn rebuild(&mut self, gateway: &User, first: u64) {
        let again = first..first + REBUILDS;
        let built = self.publish(gateway, again.clone().map(|n| self.build(n)).collect()).await;
        for (image, sequence) in again.zip(built..) {
            self.saved[usize::try_from(image).expect("a small number")] = sequence;
        }
    }

    fn image(&self, container: u64) -> u64 {
        let images = u64::try_from(self.saved.len()).expect("a small number");
        container.wrapping_mul(7919) % images
    }

    fn build(&self, number: u64) -> Filling {
        let image_id = format!("img-{}", number);
        Filling {
            subject: format!("waybill.events.image.acme.{image_id}.CredentialSecretSaved"),
            event: "CredentialSecretSaved",
            id: Uuid::new_v4(),
            cause: None,
            body: json!({
                "workspace": "acme", "image_id": image_id, "image_ref": "registry.example.com/team/app:1",
                "registry": "registry.example.com", "secret_name": "oci-registry-registry-example-com",
                "cred_type": "basic", "source": "from_registry", "credentials": self.sealed(),
            }),
        }
    }

    fn request(&self, number: u64) -> Filling {
        Filling {
            subject: format!("waybill.events.container.acme.c-{number}.ContainerRequested"),
            event: "ContainerRequested",
            id: Uuid::new_v4(),
            cause: None,
            body: json!({
                "workspace": "acme", "container_id": format!("c-{number}"), "worker_id": "w1",
                "image_id": format!("img-{}", self.image(number)),
            }),
        }
    }

    fn decision(&self, number: u64, request: Uuid, requested_by: u64) -> Filling {
        let image = self.image(number);
        Filling {
            subject: format!("waybill.events.worker.w1.acme.c-{number}.ContainerCredentialsAttached"),
            event: "ContainerCredentialsAttached",
            id: decision_id(request),
            cause: Some(request),
            body: json!({
                "workspace": "acme", "container_id": format!("c-{number}"), "image_id": format!("img-{image}"),
                "worker_id": "w1", "image_ref": "registry.example.com/team/app:1",
                "secret_name": "oci-registry-registry-example-com", "registry": "registry.example.com",
                "cred_type": "basic", "credentials_length": 120, "requested_by": requested_by,
                "saved_by": self.saved[usize::try_from(image).expect("a small number")],
                "credentials": self.sealed(),
            }),
        }
    }

    fn provider(number: u64, request: Uuid, decided_by: u64) -> Filling {
        outcome(
            number,
            request,
            "CredentialProviderAttached",
            b"provider",
            json!({
                "provider_name": "creds-registry.example.com", "cred_type": "basic", "registry": "registry.example.com",
                "decided_by": decided_by,
            }),
        )
    }

    fn pull(number: u64, request: Uuid, decided_by: u64) -> Filling {
        outcome(
            number,
            request,
            "ImagePullSucceeded",
            b"pull",
            json!({
                "image_ref": "registry.example.com/team/app:1", "digest": format!("sha256:{}", "0".repeat(64)),
                "decided_by": decided_by,
            }),
        )
    }

    fn sealed(&self) -> Value {
        json!({ "sender": self.key, "recipient": self.key, "ciphertext": "A".repeat(320) })
    }

    /// Appends a batch whole, and returns its first sequence.
    async fn publish(&mut self, user: &User, batch: Vec<Filling>) -> u64 {
        let id = Uuid::new_v4().simple().to_string();
        let size = batch.len();
        let mut ack = None;
        for (number, filling) in (1..).zip(&batch) {
            let mut headers = filling.headers();
            headers.insert("Nats-Batch-Id", id.as_str());
            headers.insert("Nats-Batch-Sequence", number.to_string().as_str());
            let body = filling.body.to_string();
            if number < size {
                let sent = user.client.publish_with_headers(filling.subject.clone(), headers, body.into());
                sent.await.expect("the event is sent");
                continue;
            }
            headers.insert("Nats-Batch-Commit", "1");
            let request = Request::new().headers(headers).payload(body.into()).timeout(Some(LIMIT));
            let answer = user.client.send_request(filling.subject.clone(), request).await;
            ack = Some(answer.expect("an acknowledgement").payload);
        }
        let ack: Value = serde_json::from_slice(&ack.expect("a batch")).expect("a JSON answer");
        self.last = ack["seq"].as_u64().unwrap_or_else(|| panic!("the batch was not stored: {ack}"));
        assert_eq!(ack["count"], size, "{ack}");
        self.last + 1 - u64::try_from(size).expect("a small number")
    }
}

fn outcome(number: u64, request: Uuid, event: &'static str, kind: &[u8], mut body: Value) -> Filling {
    body["workspace"] = json!("acme");
    body["container_id"] = json!(format!("c-{number}"));
    body["worker_id"] = json!("w1");
    let cause = decision_id(request);
    let subject = format!("waybill.events.container.acme.c-{number}.{event}");
    Filling { subject, event, id: Uuid::new_v5(&cause, kind), cause: Some(cause), body }
}

fn decision_id(request: Uuid) -> Uuid {
    Uuid::new_v5(&request, b"decision")
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
