//! Invariant 8: after a withdrawal no worker's view holds the login, and none lacks what is attached.
//!
//! Random histories of builds, requests, moves, rotations, revocations, shreddings, ends (early, late, of older placements), lost
//! and rewound consumers, key changes and restarts. What each view must hold in the end is told from the history alone,
//! without the fold.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

mod support;

use std::collections::{BTreeMap, BTreeSet};

use support::Story;
use waybill_domain::{
    decision::{Decision, Outcome},
    fold::{PlacementState, SecretState},
};
use waybill_schemas::{Event, Subject, WorkerId};

const WORKERS: [&str; 3] = ["w1", "w2", "w3"];
const CONTAINERS: [&str; 3] = ["c1", "c2", "c3"];
const IMAGES: [&str; 3] = ["i1", "i2", "i3"];
const SECRETS: [&str; 2] = ["s1", "s2"];

/// SplitMix64 (Steele, Lea and Flood, 2014): a seed repeats its history.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn pick<'p, T>(&mut self, from: &'p [T]) -> &'p T {
        &from[self.below(from.len())]
    }
}

/// What a worker holds of one container.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Held {
    placement: u64,
    secret: Option<String>,
}

/// A worker's view, as it is specified: the newest placement of each container, and the newest version of each secret.
#[derive(Debug, Default, Clone)]
struct View {
    containers: BTreeMap<String, Held>,
    versions: BTreeMap<String, u64>,
}

impl View {
    fn deliver(&mut self, decision: &Decision) {
        match &decision.outcome {
            Outcome::Attached { placement, credential, .. } => {
                let secret = credential.secret_name.to_string();
                self.raise(&secret, credential.version);
                self.place(placement.container_id.as_str(), placement.number, Some(secret));
            }
            Outcome::Skipped { placement, .. } => self.place(placement.container_id.as_str(), placement.number, None),
            Outcome::Withdrawn { placement, .. } => self.withdraw(placement.container_id.as_str(), placement.number),
            Outcome::Renewed { credential, .. } => {
                self.raise(credential.secret_name.as_str(), credential.version);
            }
        }
    }

    fn raise(&mut self, secret: &str, version: u64) {
        let known = self.versions.entry(secret.to_owned()).or_default();
        *known = (*known).max(version);
    }

    /// The fencing token: an older placement never replaces a newer one, and what was withdrawn never comes back.
    fn place(&mut self, container: &str, placement: u64, secret: Option<String>) {
        let newer = self.containers.get(container).is_none_or(|held| held.placement < placement);
        if newer {
            self.containers.insert(container.to_owned(), Held { placement, secret });
        }
    }

    fn withdraw(&mut self, container: &str, placement: u64) {
        let held = self.containers.entry(container.to_owned()).or_insert(Held { placement, secret: None });
        if held.placement <= placement {
            *held = Held { placement, secret: None };
        }
    }

    fn login(&self, container: &str) -> Option<(u64, String, u64)> {
        let held = self.containers.get(container)?;
        let secret = held.secret.clone()?;
        let version = self.versions.get(&secret).copied().unwrap_or(0);
        Some((held.placement, secret, version))
    }
}

/// A worker: its view, and how far its consumer is in what is addressed to it.
#[derive(Debug, Default)]
struct Worker {
    view: View,
    next: usize,
    registered: bool,
}

/// A container's newest request, told from the history alone.
#[derive(Debug, Clone)]
struct Requested {
    placement: u64,
    worker: &'static str,
    /// The secret that the image's build named, if it could be attached then.
    secret: Option<&'static str>,
    over: bool,
}

#[derive(Default)]
struct World {
    story: Story,
    workers: BTreeMap<&'static str, Worker>,
    images: BTreeMap<&'static str, Option<&'static str>>,
    secrets: BTreeMap<&'static str, (u64, bool)>,
    requested: BTreeMap<&'static str, Requested>,
    placements: Vec<(u64, &'static str, &'static str)>,
    withdrawn: BTreeSet<(&'static str, &'static str, u64)>,
    keys: u8,
}

impl World {
    fn step(&mut self, random: &mut Random) {
        match random.below(24) {
            0 => self.register(random),
            1 | 2 => self.build(random),
            3 | 4 => self.save(random),
            5 => self.withdraw_secret(random),
            6..=9 => self.request(random),
            10 => self.end_by_orchestrator(random),
            11 => self.end_by_worker(random),
            12 => self.report(random),
            13..=17 => self.publish(random),
            18..=20 => self.deliver(random),
            21 => self.redeliver(random),
            22 => self.lose_consumer(random),
            _ => self.restart(random),
        }
    }

    fn register(&mut self, random: &mut Random) {
        let worker = *random.pick(&WORKERS);
        self.keys = (self.keys + u8::try_from(random.below(2)).unwrap()) % 20;
        let key = char::from(b'A' + self.keys);
        self.story.tell(&format!("worker {worker} {key}"));
        self.workers.entry(worker).or_default().registered = true;
    }

    fn build(&mut self, random: &mut Random) {
        let image = *random.pick(&IMAGES);
        if random.below(4) == 0 {
            self.story.tell(&format!("skip {image} no_credentials_provided"));
            self.images.insert(image, None);
        } else {
            let secret = *random.pick(&SECRETS);
            self.story.tell(&format!("name {image} {secret} a.b"));
            self.images.insert(image, Some(secret));
        }
    }

    fn save(&mut self, random: &mut Random) {
        let secret = *random.pick(&SECRETS);
        let verb = *random.pick(&["save", "rotate"]);
        self.story.tell(&format!("{verb} {secret} a.b"));
        let version = self.secrets.get(secret).map_or(0, |(version, _)| *version) + 1;
        self.secrets.insert(secret, (version, true));
    }

    fn withdraw_secret(&mut self, random: &mut Random) {
        let secret = *random.pick(&SECRETS);
        let Some((version, active)) = self.secrets.get(secret).copied() else { return };
        let verb = if active { *random.pick(&["revoke", "shred"]) } else { "shred" };
        self.story.tell(&format!("{verb} {secret}"));
        self.secrets.insert(secret, (version, false));
        for requested in self.requested.values_mut().filter(|requested| requested.secret == Some(secret)) {
            requested.secret = None;
        }
    }

    fn request(&mut self, random: &mut Random) {
        let (container, image, worker) = (*random.pick(&CONTAINERS), *random.pick(&IMAGES), *random.pick(&WORKERS));
        let placement = self.story.next();
        self.story.tell(&format!("request {container} {image} {worker}"));
        let named = self.images.get(image).copied().flatten();
        let usable = named.filter(|secret| self.secrets.get(secret).is_some_and(|(_, active)| *active));
        let secret = usable.filter(|_| self.workers.get(worker).is_some_and(|worker| worker.registered));
        self.requested.insert(container, Requested { placement, worker, secret, over: false });
        self.placements.push((placement, container, worker));
    }

    fn end_by_orchestrator(&mut self, random: &mut Random) {
        if self.placements.is_empty() {
            return;
        }
        let (placement, container, _) = *random.pick(&self.placements);
        self.story.tell(&format!("end {container} {placement}"));
        self.end(placement, container);
    }

    /// A worker ends what it has heard of, in its own name; what it tries in another's is refused by the server.
    fn end_by_worker(&mut self, random: &mut Random) {
        if self.placements.is_empty() {
            return;
        }
        let (placement, container, worker) = *random.pick(&self.placements);
        self.story.tell(&format!("ended {worker} {container} {placement}"));
        self.workers.entry(worker).or_default().view.withdraw(container, placement);
        self.end(placement, container);
    }

    fn end(&mut self, placement: u64, container: &'static str) {
        if let Some(requested) = self.requested.get_mut(container).filter(|newest| newest.placement == placement) {
            requested.over = true;
        }
    }

    fn report(&mut self, random: &mut Random) {
        if self.placements.is_empty() {
            return;
        }
        let (placement, container, placed_on) = *random.pick(&self.placements);
        let worker = if random.below(4) == 0 { *random.pick(&WORKERS) } else { placed_on };
        let what = *random.pick(&["provided", "unprovided", "pulled", "unpulled"]);
        self.story.tell(&format!("{what} {worker} {container} {placement}"));
    }

    /// Publishes what stands first, and sometimes something else: another scheduler may be ahead.
    fn publish(&mut self, random: &mut Random) {
        let keys: Vec<_> = self.story.facts.pending.keys().cloned().collect();
        if keys.is_empty() {
            return;
        }
        let index = if random.below(3) == 0 { random.below(keys.len()) } else { 0 };
        self.story.publish(&keys[index]);
    }

    /// What is addressed to a worker, in the log's order.
    fn queue(&self, worker: &str) -> Vec<Decision> {
        let mine = |subject: &Subject| match subject {
            Subject::ContainerDecision { worker_id, .. } | Subject::SecretDecision { worker_id, .. } => {
                worker_id.as_str() == worker
            }
            _ => false,
        };
        let events = self.story.log.iter().filter(|recorded| mine(&recorded.value.subject));
        events.filter_map(|recorded| Decision::from_event(&recorded.value)).collect()
    }

    fn deliver(&mut self, random: &mut Random) {
        let worker = *random.pick(&WORKERS);
        self.deliver_to(worker);
    }

    fn deliver_to(&mut self, name: &'static str) -> bool {
        let queue = self.queue(name);
        let worker = self.workers.entry(name).or_default();
        let Some(decision) = queue.get(worker.next) else { return false };
        worker.next += 1;
        worker.view.deliver(decision);
        if let Outcome::Withdrawn { placement, .. } = &decision.outcome {
            let container = CONTAINERS.iter().find(|name| **name == placement.container_id.as_str()).unwrap();
            self.withdrawn.insert((name, container, placement.number));
        }
        true
    }

    fn redeliver(&mut self, random: &mut Random) {
        let name = *random.pick(&WORKERS);
        let queue = self.queue(name);
        let worker = self.workers.entry(name).or_default();
        if worker.next > 0 {
            worker.view.deliver(&queue[random.below(worker.next)]);
        }
    }

    fn lose_consumer(&mut self, random: &mut Random) {
        let worker = self.workers.entry(*random.pick(&WORKERS)).or_default();
        worker.next = random.below(worker.next + 1);
    }

    /// The view is gone; what was delivered is looked up again: the last decision about each container and secret.
    fn restart(&mut self, random: &mut Random) {
        let name = *random.pick(&WORKERS);
        let queue = self.queue(name);
        let worker = self.workers.entry(name).or_default();
        worker.view = View::default();
        let mut last: BTreeMap<String, &Decision> = BTreeMap::new();
        for decision in &queue[..worker.next] {
            let key = match &decision.outcome {
                Outcome::Renewed { credential, .. } => format!("secret {}", credential.secret_name),
                _ => format!("container {}", decision.placement().unwrap().container_id),
            };
            last.insert(key, decision);
        }
        last.into_values().for_each(|decision| worker.view.deliver(decision));
        // What was ended here stays ended: the end stands on the outcome subject, where it is looked up as well.
        let ends: Vec<(String, u64)> = self.ends_of(name);
        let worker = self.workers.entry(name).or_default();
        ends.iter().for_each(|(container, placement)| worker.view.withdraw(container, *placement));
    }

    fn ends_of(&self, name: &str) -> Vec<(String, u64)> {
        let ended = |event: &Event| match event {
            Event::ContainerEnded(ended) => Some((ended.container_id.to_string(), ended.placement)),
            _ => None,
        };
        let mine = self.story.log.iter().filter(|recorded| match &recorded.value.subject {
            Subject::ContainerOutcome { worker_id, .. } => worker_id.as_str() == name,
            _ => false,
        });
        mine.filter_map(|recorded| ended(&recorded.value.event)).collect()
    }

    /// After every step: nothing that a view was told to drop is in it.
    fn check_withdrawn(&self) {
        for (worker, container, placement) in &self.withdrawn {
            if let Some((held, ..)) = self.workers[worker].view.login(container) {
                assert!(held > *placement, "{worker} holds {container}@{placement}, which was withdrawn");
            }
        }
    }

    /// With everything published and delivered, views hold what the history says, and nothing else.
    fn check_end(&mut self) {
        while let Some(key) = self.story.facts.pending.keys().next().cloned() {
            self.story.publish(&key);
        }
        for worker in WORKERS {
            while self.deliver_to(worker) {}
        }
        self.check_withdrawn();
        for container in CONTAINERS {
            for worker in WORKERS {
                let held = self.workers[worker].view.login(container);
                let expected = self.requested.get(container).and_then(|requested| {
                    let secret = requested.secret.filter(|_| requested.worker == worker && !requested.over)?;
                    Some((requested.placement, secret.to_owned(), self.secrets[secret].0))
                });
                assert_eq!(held, expected, "{worker} {container}");
            }
        }
        self.check_rows();
    }

    /// What is over is forgotten, and what is kept is what runs.
    fn check_rows(&self) {
        let facts = &self.story.facts;
        for fact in facts.placements.values() {
            let requested = self.requested.values().find(|requested| requested.placement == fact.number);
            assert!(requested.is_some_and(|requested| !requested.over), "{fact:?} is over");
            assert!(matches!(fact.state, PlacementState::Decided { .. } | PlacementState::Withdrawn), "{fact:?}");
        }
        let running = self.requested.values().filter(|requested| !requested.over).count();
        assert_eq!((facts.placements.len(), facts.newest.len()), (running, running));
        for secret_use in &facts.uses {
            let secret = &facts.secrets[&secret_use.secret];
            assert_eq!(secret.state, SecretState::Active, "{secret_use:?}");
            assert!(facts.placements.contains_key(&secret_use.placement), "{secret_use:?}");
        }
        assert!(facts.pending.is_empty());
    }

    /// Every recorded decision is decided again. Outcomes here are made up, so theirs are the only divergences.
    fn check_verifier(self) {
        let (found, _) = self.story.verifier.finish();
        for divergence in found {
            assert_eq!(divergence.recorded, None, "{divergence:?}");
        }
    }
}

fn run(seed: u64) {
    let mut random = Random(seed);
    let mut world = World::default();
    for worker in WORKERS {
        world.workers.insert(worker, Worker::default());
    }
    let steps = 20 + random.below(60);
    for _ in 0..steps {
        world.step(&mut random);
        world.check_withdrawn();
    }
    world.check_end();
    world.check_verifier();
}

/// Each history names its seed when it fails.
fn run_all(seeds: std::ops::Range<u64>) {
    for seed in seeds {
        if let Err(panic) = std::panic::catch_unwind(|| run(seed)) {
            eprintln!("seed {seed}");
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn views_hold_what_is_attached_and_nothing_that_was_withdrawn() {
    let histories = std::env::var("WAYBILL_TEST_HISTORIES").ok().and_then(|text| text.parse().ok()).unwrap_or(100_000);
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) as u64;
    let share = histories / threads + 1;
    std::thread::scope(|scope| {
        for thread in 0..threads {
            scope.spawn(move || run_all(thread * share..(thread + 1) * share));
        }
    });
}

/// The worker in a subject is one of the world's.
#[test]
fn workers_are_ids() {
    assert!(WORKERS.iter().all(|name| name.parse::<WorkerId>().is_ok()));
}
