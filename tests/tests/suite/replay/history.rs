//! A random history on a real stack, while the services are at work.

use serde_json::{Value, json};
use uuid::Uuid;
use waybill_tests::stack::{Stack, User, event_headers};

use crate::crash::Dice;

/// Container to which whatever cannot be read is addressed.
const POISON: &str = "poison";

/// Builds, rotations, revocations, registrations, requests, ends, and what cannot be read, in random order.
pub(crate) struct History {
    pub(crate) stack: Stack,
    pub(crate) dice: Dice,
    /// What the dice began with: `WAYBILL_TEST_SEED`, or the same each time.
    pub(crate) seed: u64,
    /// Every container that was asked for, and [`POISON`] where something was addressed to it.
    pub(crate) containers: Vec<String>,
    orchestrator: User,
    worker: User,
    operator: User,
    keys: Vec<Value>,
    /// A request that was published, to publish again.
    request: Option<(Uuid, Value)>,
    /// Sequences of what cannot be read and is not given up.
    unreadable: Vec<u64>,
}

impl History {
    pub(crate) async fn start(stack: Stack) -> Self {
        let seed = std::env::var("WAYBILL_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_261_125);
        let (orchestrator, worker) = (stack.user("orchestrator-acme").await, stack.user("worker-w1").await);
        let operator = stack.user("operator").await;
        let registered = |events: &[waybill_tests::stack::Recorded]| {
            Some(events.iter().find(|event| event.name == "WorkerRegistered")?.data["sealing_key"].clone())
        };
        let good = stack.wait_for("a registration", registered).await;
        let bad = json!(format!("X{}", "A".repeat(55)));
        Self {
            stack,
            dice: Dice(seed),
            seed,
            containers: Vec::new(),
            orchestrator,
            worker,
            operator,
            keys: vec![good, bad],
            request: None,
            unreadable: Vec::new(),
        }
    }

    pub(crate) async fn step(&mut self) {
        let image = format!("img-{}", self.dice.below(6));
        match self.dice.below(24) {
            0..3 => drop(self.stack.build("acme", &image, "a.b/team/app:1", json!("user:secret")).await),
            3 | 4 => drop(self.stack.build("acme", &image, "a.b/team/app:2", Value::Null).await),
            5 => self.register().await,
            6 => self.poison().await,
            7 if self.request.is_some() => self.publish_request().await,
            8 | 9 => self.change("rotate", json!({ "image_id": image, "credentials": "user:other" })).await,
            10 | 11 => self.change("revoke", json!({ "image_id": image, "reason": "by chance" })).await,
            12 if !self.containers.is_empty() => self.end().await,
            13 | 14 if !self.unreadable.is_empty() => self.retry_or_discard().await,
            _ => {
                let worker = if self.dice.below(5) == 0 { "nobody" } else { "w1" };
                let id = Uuid::new_v4();
                let container = format!("c-{}", id.simple());
                let body = json!({
                    "workspace": "acme", "container_id": container, "image_id": image, "worker_id": worker,
                });
                self.request = Some((id, body));
                self.containers.push(container);
                self.publish_request().await;
            }
        }
    }

    /// Whether every kind of event that a step can lead to is there.
    pub(crate) async fn assert_varied(&self) {
        let events = self.stack.events().await;
        let kinds = [
            "CredentialSecretSaved",
            "CredentialSecretSkipped",
            "CredentialSecretRotated",
            "CredentialSecretRevoked",
            "WorkerRegistered",
            "ContainerRequested",
            "ContainerEnded",
            "ContainerCredentialsAttached",
            "ContainerCredentialsSkipped",
            "QuarantineRetried",
            "QuarantineDiscarded",
            "",
        ];
        let few = kinds.into_iter().filter(|kind| events.iter().filter(|event| event.name == *kind).count() < 2);
        assert_eq!(few.collect::<Vec<_>>(), [""; 0], "seed {}: too few of these", self.seed);
    }

    /// Has the gateway change an image's credentials; it refuses where there are none.
    async fn change(&self, how: &str, mut body: Value) {
        body["workspace"] = json!("acme");
        let answer = self.stack.post(&format!("/v1/secrets/{how}"), &body).await;
        assert!(!answer.status.is_server_error(), "{answer:?}");
    }

    async fn poison(&mut self) {
        let subject = format!("waybill.events.container.acme.{POISON}.ContainerRequested");
        self.unreadable.push(self.orchestrator.publish(&subject, &[], "{").await.expect("it is stored"));
        self.containers.push(POISON.to_owned());
    }

    async fn end(&mut self) {
        let among = u64::try_from(self.containers.len()).unwrap();
        let container = &self.containers[usize::try_from(self.dice.below(among)).unwrap()];
        let id = Uuid::new_v4().to_string();
        let body = json!({ "workspace": "acme", "container_id": container }).to_string();
        let subject = format!("waybill.events.container.acme.{container}.ContainerEnded");
        let headers = event_headers(&id, "waybill.v1.ContainerEnded");
        self.orchestrator.publish(&subject, &headers, body).await.expect("it is stored");
    }

    /// Has something read again, which nobody can yet, or gives it up.
    async fn retry_or_discard(&mut self) {
        let among = u64::try_from(self.unreadable.len()).unwrap();
        let place = usize::try_from(self.dice.below(among)).unwrap();
        let (event, sequence) = match self.dice.below(2) {
            0 => ("QuarantineRetried", self.unreadable[place]),
            _ => ("QuarantineDiscarded", self.unreadable.swap_remove(place)),
        };
        let id = Uuid::new_v4().to_string();
        let ce_type = format!("waybill.v1.{event}");
        let subject = format!("waybill.events.quarantine.{sequence}.{event}");
        let body = json!({ "sequence": sequence }).to_string();
        self.operator.publish(&subject, &event_headers(&id, &ce_type), body).await.expect("it is stored");
    }

    async fn register(&mut self) {
        let key = self.keys[usize::try_from(self.dice.below(2)).unwrap()].clone();
        let id = Uuid::new_v4().to_string();
        let headers = event_headers(&id, "waybill.v1.WorkerRegistered");
        let body = json!({ "worker_id": "w1", "sealing_key": key }).to_string();
        self.worker.publish("waybill.events.worker.w1.registered", &headers, body).await.expect("it is stored");
    }

    async fn publish_request(&self) {
        let (id, body) = self.request.as_ref().unwrap();
        let id = id.to_string();
        let headers = event_headers(&id, "waybill.v1.ContainerRequested");
        let container = body["container_id"].as_str().unwrap();
        let subject = format!("waybill.events.container.acme.{container}.ContainerRequested");
        // The same request twice is stored twice.
        let headers: Vec<_> = headers.into_iter().filter(|(name, _)| *name != "Nats-Msg-Id").collect();
        self.orchestrator.publish(&subject, &headers, body.to_string()).await.expect("it is stored");
    }
}
