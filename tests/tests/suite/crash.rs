//! SIGKILL at any moment: every request ends with one decision and one provider outcome, nothing lost, nothing doubled.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};
use waybill_tests::{
    image::TinyImage,
    login::Login,
    registry::{Registry, Scheme},
    require,
    stack::{Plan, Recorded, Service, Stack},
    wait::eventually,
};

/// Containers of one run, and of each run where there are several.
const MANY: usize = 200;
const FEW: usize = 30;
const PATIENCE: Duration = Duration::from_secs(120);

/// The parts that get killed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Victim {
    Scheduler,
    Worker,
    Gateway,
    Nats,
}

pub(crate) const VICTIMS: [Victim; 4] = [Victim::Scheduler, Victim::Worker, Victim::Gateway, Victim::Nats];

/// A small generator, so that a failing run can be repeated from its seed.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn below(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// `WAYBILL_TEST_SEED` repeats a run; `WAYBILL_TEST_SEEDS` asks for so many short runs, one seed after the other.
#[tokio::test]
async fn every_request_ends_once_whatever_is_killed() {
    let number = |key: &str| std::env::var(key).ok().and_then(|value| value.parse::<u64>().ok());
    let (first, runs) = (number("WAYBILL_TEST_SEED").unwrap_or(20_261_123), number("WAYBILL_TEST_SEEDS").unwrap_or(1));
    for seed in first..first + runs {
        survive(seed, if runs == 1 { MANY } else { FEW }).await;
    }
}

/// Kills parts at random while containers are requested, and checks what the log holds in the end.
async fn survive(seed: u64, containers: usize) {
    let mut dice = Dice(seed);
    let login = Login::new("puller", "pass");
    let registry = Registry::start(Scheme::Basic).unwrap();
    registry.accounts().allow(&login);
    let image = TinyImage::new("crash").unwrap();
    let reference = registry.serve("team/app", "1", &image);
    let mut stack = require!(Plan::default().plain_http(&[&registry.host()]).start().await);
    let credentials = json!({ "USERNAME": login.user(), "PASSWORD": login.password() });
    assert_eq!(stack.build("acme", "img", &reference, credentials).await.status, 201);

    let mut kills = Vec::new();
    let mut until_next = 1 + dice.below(8);
    for number in 0..containers {
        request(&stack, number).await;
        until_next -= 1;
        if until_next == 0 {
            let victim = VICTIMS[usize::try_from(dice.below(4)).unwrap()];
            kill_and_restart(&mut stack, victim).await;
            kills.push(victim);
            until_next = 1 + dice.below(8);
        }
    }
    // The last requests are still under way: every part once more.
    for victim in VICTIMS {
        kill_and_restart(&mut stack, victim).await;
        kills.push(victim);
    }
    assert!(kills.len() > containers / 10, "only {} kills", kills.len());

    let mut last = Vec::new();
    let settled = eventually(PATIENCE, "the outcome of every container", async || {
        last = stack.events().await;
        let pulled = last.iter().filter(|event| event.name.starts_with("ImagePull")).count();
        (pulled >= containers).then_some(())
    });
    let settled = settled.await;
    let tally = tally(&last);
    assert!(settled.is_ok(), "seed {seed}, kills {kills:?}: {tally:#?}");
    let run = format!("seed {seed}, kills {kills:?}");
    check(&last, containers, &run);

    // What was decided between the kills is what the log leads to.
    let replayed = stack.run(&["replay", "--verify", "--json"]).await;
    assert!(replayed.status.success(), "{}{}; {run}", replayed.stdout, replayed.stderr);
    let summary: Value = serde_json::from_str(&replayed.stdout).unwrap();
    let (verified, two_each) = (&summary["verified"], 2 * containers);
    assert_eq!(verified["divergences"], json!([]), "{summary}; {run}");
    for (what, count) in [("requests", containers), ("agreed", containers), ("outcomes", two_each), ("open", 0)] {
        assert_eq!(verified[what], count, "{what}: {summary}; {run}");
    }
}

/// A node comes back with everything on it, the log last.
#[tokio::test]
async fn services_wait_for_the_log() {
    let mut stack = require!(Plan::default().start().await);
    stack.nats().stop().await.unwrap();
    let services = [Service::Gateway, Service::Scheduler, Service::Worker("w1".to_owned())];
    for service in &services {
        stack.sigkill(service);
        stack.spawn(service).unwrap();
    }
    for service in &services {
        let told = eventually(PATIENCE, "readiness that tells", async || {
            (stack.readiness(service).await?.status == 503).then_some(())
        });
        told.await.unwrap();
    }
    stack.nats().restart().await.unwrap();
    for service in &services {
        stack.until_ready(service).await.unwrap();
    }
    stack.container("acme", "c-1", "img", "w1").await;
    stack.wait_for_outcome("c-1").await;
}

/// Requests a container as a client must: again with the same key, until the gateway says that the log has it.
pub(crate) async fn request(stack: &Stack, number: usize) {
    let body = json!({
        "workspace": "acme", "container_id": format!("c-{number}"), "image_id": "img", "worker_id": "w1",
    });
    let (token, key) = (stack.token("acme"), format!("key-{number}"));
    let accepted = eventually(PATIENCE, "an accepted request", async || {
        let answer = stack.post_raw("/v1/containers", &token, &[("Idempotency-Key", &key)], body.to_string()).await?;
        assert!(answer.status == 202 || answer.status == 503, "{answer:?}");
        (answer.status == 202).then_some(())
    });
    accepted.await.unwrap();
}

/// Comes back at once: nobody waits until the part is ready again.
pub(crate) async fn kill_and_restart(stack: &mut Stack, victim: Victim) {
    let service = match victim {
        Victim::Scheduler => Service::Scheduler,
        Victim::Worker => Service::Worker("w1".to_owned()),
        Victim::Gateway => Service::Gateway,
        Victim::Nats => {
            stack.nats().sigkill();
            return stack.nats().restart().await.unwrap();
        }
    };
    stack.sigkill(&service);
    stack.spawn(&service).unwrap();
}

fn tally(events: &[Recorded]) -> BTreeMap<&str, usize> {
    let mut tally = BTreeMap::new();
    events.iter().for_each(|event| *tally.entry(event.name.as_str()).or_default() += 1);
    tally
}

/// One of each for each container, in the order of the chain, and each caused by the one before.
fn check(events: &[Recorded], containers: usize, run: &str) {
    for number in 0..containers {
        let container = format!("c-{number}");
        let story: Vec<&Recorded> = events.iter().filter(|event| event.text("container_id") == container).collect();
        let names: Vec<&str> = story.iter().map(|event| event.name.as_str()).collect();
        let expected =
            ["ContainerRequested", "ContainerCredentialsAttached", "CredentialProviderAttached", "ImagePullSucceeded"];
        assert_eq!(names, expected, "{container}; {run}");
        let id = |event: &Recorded| event.line["id"].clone();
        let cause = |event: &Recorded| event.line["causationid"].clone();
        assert_eq!(cause(story[1]), id(story[0]), "{container}");
        assert_eq!(cause(story[2]), id(story[1]), "{container}");
        assert_eq!(cause(story[3]), id(story[1]), "{container}");
        assert!(story[1..].iter().all(|event| event.data["placement"] == story[0].sequence), "{container}; {run}");
    }
    let ids: std::collections::BTreeSet<String> = events.iter().map(|event| event.line["id"].to_string()).collect();
    assert_eq!(ids.len(), events.len(), "an id twice; {run}");
}
