//! As-of answers are those that the live scheduler gave at that moment, at a hundred points of a random history.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use uuid::Uuid;
use waybill_scheduler::projection::{Projection, ReadProjection, Row};
use waybill_tests::{
    require,
    stack::{Plan, Stack, User, event_headers},
};

use super::json;
use crate::crash::Dice;

const POINTS: usize = 100;
/// Points at which rows are compared byte for byte, and those at which a time is asked for.
const BYTES: usize = 10;

#[tokio::test]
async fn the_past_is_answered_as_it_was() {
    let seed = std::env::var("WAYBILL_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_261_125);
    println!("seed {seed}");
    let mut history = History::start(require!(Plan::default().start().await), seed).await;
    let file = history.stack.home().join("data/projection.redb");
    let mut lines = BTreeMap::<u64, String>::new();
    let mut rows = BTreeMap::<u64, Vec<Row>>::new();
    while lines.len() < POINTS || rows.len() < BYTES {
        for _ in 0..=history.dice.below(3) {
            history.step().await;
        }
        // The flow is not stopped: all that is read comes from one transaction, which says where it stands.
        if history.dice.below(8) == 0 {
            let live = ReadProjection::open(&file).unwrap().snapshot().unwrap();
            rows.insert(live.position().unwrap().unwrap().sequence, live.rows().unwrap());
        }
        let live = history.stack.run(&["projection", "--json"]).await;
        assert!(live.status.success(), "{}", live.stderr);
        lines.insert(position(&live.stdout)["sequence"].as_u64().unwrap(), live.stdout);
    }

    let stack = &history.stack;
    for (number, (sequence, live)) in lines.iter().enumerate() {
        let asked = |at: String| async move { stack.run(&["projection", "--json", "--at", &at]).await };
        let again = asked(sequence.to_string()).await;
        assert_eq!(&again.stdout, live, "seed {seed}, sequence {sequence}: {}", again.stderr);
        if number % (POINTS / BYTES) == 0 {
            let again = asked(position(live)["at"].as_str().unwrap().to_owned()).await;
            assert_eq!(&again.stdout, live, "seed {seed}, time of {sequence}: {}", again.stderr);
        }
    }
    for (sequence, live) in rows {
        let out = history.stack.dir().join(format!("replayed-{sequence}.redb"));
        let until = sequence.to_string();
        json(&history.stack, &["replay", "--until-sequence", &until, "--out", out.to_str().unwrap()]).await;
        assert_eq!(Projection::open(&out).unwrap().rows().unwrap(), live, "seed {seed}, sequence {sequence}");
    }
    let outcomes = history.stack.events().await;
    for name in ["ContainerCredentialsAttached", "ContainerCredentialsSkipped", "WorkerRegistered", ""] {
        assert!(outcomes.iter().filter(|event| event.name == name).count() > 1, "seed {seed}: too few {name:?}");
    }
}

fn position(lines: &str) -> Value {
    let lines = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.into_iter().find(|line| line["table"] == "meta").expect("a position")["value"].clone()
}

/// Builds, registrations and requests in random order.
struct History {
    stack: Stack,
    dice: Dice,
    orchestrator: User,
    worker: User,
    keys: Vec<Value>,
    /// A request that was published, to publish again.
    request: Option<(Uuid, Value)>,
}

impl History {
    async fn start(stack: Stack, seed: u64) -> Self {
        let (orchestrator, worker) = (stack.user("orchestrator-acme").await, stack.user("worker-w1").await);
        let registered = |events: &[waybill_tests::stack::Recorded]| {
            Some(events.iter().find(|event| event.name == "WorkerRegistered")?.data["sealing_key"].clone())
        };
        let good = stack.wait_for("a registration", registered).await;
        let bad = json!(format!("X{}", "A".repeat(55)));
        Self { stack, dice: Dice(seed), orchestrator, worker, keys: vec![good, bad], request: None }
    }

    async fn step(&mut self) {
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
