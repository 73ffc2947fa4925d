//! A random history on a real stack, while the services are at work.

use serde_json::{Value, json};
use uuid::Uuid;
use waybill_tests::stack::{Stack, User, event_headers};

use crate::crash::Dice;

/// Builds, registrations and requests in random order.
pub(crate) struct History {
    pub(crate) stack: Stack,
    pub(crate) dice: Dice,
    /// What the dice began with: `WAYBILL_TEST_SEED`, or the same each time.
    pub(crate) seed: u64,
    /// Every container that was asked for.
    pub(crate) containers: Vec<String>,
    orchestrator: User,
    worker: User,
    keys: Vec<Value>,
    /// A request that was published, to publish again.
    request: Option<(Uuid, Value)>,
}

impl History {
    pub(crate) async fn start(stack: Stack) -> Self {
        let seed = std::env::var("WAYBILL_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_261_125);
        let (orchestrator, worker) = (stack.user("orchestrator-acme").await, stack.user("worker-w1").await);
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
            keys: vec![good, bad],
            request: None,
        }
    }

    pub(crate) async fn step(&mut self) {
        let image = format!("img-{}", self.dice.below(6));
        match self.dice.below(12) {
            0 | 1 => drop(self.stack.build("acme", &image, "a.b/team/app:1", json!("user:secret")).await),
            2 => drop(self.stack.build("acme", &image, "a.b/team/app:2", Value::Null).await),
            3 => self.register().await,
            4 => {
                let subject = "waybill.events.container.acme.poison.ContainerRequested";
                self.orchestrator.publish(subject, &[], "{").await.expect("it is stored");
            }
            5 if self.request.is_some() => self.publish_request().await,
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
