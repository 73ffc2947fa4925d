//! A random history on a real stack, while the services are at work.

use serde_json::{Value, json};
use uuid::Uuid;
use waybill_tests::{
    error::StartError,
    stack::{Plan, Service, Stack, User, event_headers},
};

use crate::crash::Dice;

/// Container to which whatever cannot be read is addressed.
const POISON: &str = "poison";
/// A worker that registers by this history's hand, and of which no process runs.
const PUPPET: &str = "w2";

/// A request that was published.
#[derive(Clone)]
struct Request {
    id: Uuid,
    subject: String,
    body: Value,
    /// Sequence of its newest publication: its placement.
    placement: u64,
}

/// Builds, named secrets and what becomes of them, registrations, requests, moves, ends, and what cannot be read, in random
/// order.
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
    /// Sealing keys of the puppet: its own, and one that nothing can be sealed to.
    keys: [Value; 2],
    requests: Vec<Request>,
    /// Sequences of what cannot be read and is not given up.
    unreadable: Vec<u64>,
}

impl History {
    /// Starts a stack of one worker that works and one that does not.
    pub(crate) async fn start() -> Result<Self, StartError> {
        let mut stack = Plan::default().workers(&["w1", PUPPET]).start().await?;
        stack.stop(&Service::Worker(PUPPET.to_owned())).await;
        let seed = std::env::var("WAYBILL_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_261_125);
        let (orchestrator, worker) = (stack.user("orchestrator-acme").await, stack.user("worker-w2").await);
        let operator = stack.user("operator").await;
        let registered = |events: &[waybill_tests::stack::Recorded]| {
            let mut registrations = events.iter().filter(|event| event.name == "WorkerRegistered");
            Some(registrations.find(|event| event.text("worker_id") == PUPPET)?.data["sealing_key"].clone())
        };
        let good = stack.wait_for("a registration", registered).await;
        let bad = json!(format!("X{}", "A".repeat(55)));
        Ok(Self {
            stack,
            dice: Dice(seed),
            seed,
            containers: Vec::new(),
            orchestrator,
            worker,
            operator,
            keys: [good, bad],
            requests: Vec::new(),
            unreadable: Vec::new(),
        })
    }

    pub(crate) async fn step(&mut self) {
        match self.dice.below(28) {
            0..4 => self.build().await,
            4 => {
                let image = self.image();
                drop(self.stack.build("acme", &image, "a.b/team/app:2", Value::Null).await);
            }
            5 => self.register().await,
            6 => self.poison().await,
            7 if !self.requests.is_empty() => self.repeat_request().await,
            8 | 9 => self.change("rotate", json!({ "credentials": "user:other" })).await,
            10 | 11 => self.change("revoke", json!({ "reason": "by chance" })).await,
            12 => self.change("shred", json!({ "reason": "by chance" })).await,
            13 => self.put().await,
            14 if !self.requests.is_empty() => self.end().await,
            15 | 16 if !self.unreadable.is_empty() => self.retry_or_discard().await,
            17 | 18 if !self.requests.is_empty() => {
                let container = self.any_request().body["container_id"].as_str().unwrap().to_owned();
                self.request(container).await;
            }
            _ => self.request(format!("c-{}", Uuid::new_v4().simple())).await,
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
            "CredentialSecretShredded",
            "ImageSecretNamed",
            "WorkerRegistered",
            "ContainerRequested",
            "ContainerEnded",
            "ContainerCredentialsAttached",
            "ContainerCredentialsSkipped",
            "ContainerCredentialsWithdrawn",
            "WorkerCredentialsRenewed",
            "QuarantineRetried",
            "QuarantineDiscarded",
            "",
        ];
        let few = kinds.into_iter().filter(|kind| events.iter().filter(|event| event.name == *kind).count() < 2);
        assert_eq!(few.collect::<Vec<_>>(), [""; 0], "seed {}: too few of these", self.seed);
    }

    fn image(&mut self) -> String {
        format!("img-{}", self.dice.below(6))
    }

    fn secret(&mut self) -> String {
        format!("secret-{}", self.dice.below(3))
    }

    fn any_request(&mut self) -> &mut Request {
        let among = u64::try_from(self.requests.len()).unwrap();
        let place = usize::try_from(self.dice.below(among)).unwrap();
        &mut self.requests[place]
    }

    /// A build that brings credentials, or only names their secret.
    async fn build(&mut self) {
        let (image, secret) = (self.image(), self.secret());
        let mut body = json!({
            "workspace": "acme", "image_id": image, "existing_image_uri": "a.b/team/app:1", "existing_image_secret": secret,
        });
        if self.dice.below(4) != 0 {
            body["existing_image_creds"] = json!(format!("user:secret-{}", self.dice.below(3)));
        }
        let answer = self.stack.post("/v1/builds", &body).await;
        assert!(answer.status.is_success(), "{answer:?}");
    }

    async fn put(&mut self) {
        let secret = self.secret();
        let body = json!({ "registry": "a.b", "credentials": format!("user:put-{}", self.dice.below(3)) });
        let answer = self.stack.put_secret("acme", &secret, &body).await;
        assert!(answer.status.is_success(), "{answer:?}");
    }

    /// Has the gateway change a secret; it refuses where there is none.
    async fn change(&mut self, how: &str, body: Value) {
        let secret = self.secret();
        let answer = self.stack.change_secret("acme", &secret, how, &body).await;
        assert!(!answer.status.is_server_error(), "{answer:?}");
    }

    async fn poison(&mut self) {
        let subject = format!("waybill.events.container.acme.{POISON}.{}", Uuid::new_v4().simple());
        self.unreadable.push(self.orchestrator.publish(&subject, &[], "{").await.expect("it is stored"));
        self.containers.push(POISON.to_owned());
    }

    /// Ends a placement, which may be over already.
    async fn end(&mut self) {
        let Request { subject, body, placement, .. } = self.any_request().clone();
        let id = Uuid::new_v4().to_string();
        let ended = json!({ "workspace": "acme", "container_id": body["container_id"], "placement": placement });
        let headers = event_headers(&id, "waybill.v1.ContainerEnded");
        self.orchestrator.publish(&subject, &headers, ended.to_string()).await.expect("it is stored");
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
        let subject = format!("waybill.events.quarantine.{sequence}");
        let body = json!({ "sequence": sequence }).to_string();
        self.operator.publish(&subject, &event_headers(&id, &ce_type), body).await.expect("it is stored");
    }

    async fn register(&mut self) {
        let key = self.keys[usize::try_from(self.dice.below(2)).unwrap()].clone();
        let id = Uuid::new_v4().to_string();
        let headers = event_headers(&id, "waybill.v1.WorkerRegistered");
        let body = json!({ "worker_id": PUPPET, "instance": Uuid::new_v4(), "sealing_key": key }).to_string();
        self.worker.publish("waybill.events.worker.w2", &headers, body).await.expect("it is stored");
    }

    async fn request(&mut self, container: String) {
        let worker = match self.dice.below(8) {
            0 => "nobody",
            1 | 2 => PUPPET,
            _ => "w1",
        };
        let (id, image) = (Uuid::new_v4(), self.image());
        let mut request = Request {
            id,
            subject: format!("waybill.events.container.acme.{container}.{}", id.simple()),
            body: json!({
                "workspace": "acme", "container_id": container, "image_id": image, "worker_id": worker,
            }),
            placement: 0,
        };
        request.placement = self.publish_request(&request).await;
        self.containers.push(container);
        self.requests.push(request);
    }

    async fn repeat_request(&mut self) {
        let request = self.any_request().clone();
        let placement = self.publish_request(&request).await;
        self.requests.push(Request { placement, ..request });
    }

    async fn publish_request(&self, request: &Request) -> u64 {
        let id = request.id.to_string();
        let headers = event_headers(&id, "waybill.v1.ContainerRequested");
        // The same request twice is stored twice.
        let headers: Vec<_> = headers.into_iter().filter(|(name, _)| *name != "Nats-Msg-Id").collect();
        self.orchestrator.publish(&request.subject, &headers, request.body.to_string()).await.expect("it is stored")
    }
}
