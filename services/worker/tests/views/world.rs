//! Builders, orchestrators, workers and a scheduler that do anything at any time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use waybill_domain::{
    decision::{Decision, Outcome},
    fold::{ContainerKey, PlacementState},
};
use waybill_schemas::{SecretName, Subject};
use waybill_worker::{
    progress::Progress,
    view::{Decided, Effect, Found, Input, Placed, Purpose, View},
};

use crate::{random::Random, support::Story};

pub(crate) const WORKERS: [&str; 3] = ["w1", "w2", "w3"];
pub(crate) const CONTAINERS: [&str; 3] = ["c1", "c2", "c3"];
pub(crate) const IMAGES: [&str; 3] = ["i1", "i2", "i3"];
pub(crate) const SECRETS: [&str; 2] = ["s1", "s2"];

/// A worker: its view, its access files, and how far its consumer is in what is addressed to it.
#[derive(Debug, Default)]
pub(crate) struct Worker {
    pub(crate) view: View,
    pub(crate) files: BTreeSet<Placed>,
    pub(crate) next: usize,
    pub(crate) registered: bool,
}

/// A container's newest request, told from the history alone.
#[derive(Debug, Clone)]
pub(crate) struct Requested {
    pub(crate) placement: u64,
    pub(crate) worker: &'static str,
    /// The secret that the image's build named, if it could be attached then.
    pub(crate) secret: Option<&'static str>,
    pub(crate) over: bool,
}

#[derive(Default)]
pub(crate) struct World {
    pub(crate) story: Story,
    pub(crate) workers: BTreeMap<&'static str, Worker>,
    pub(crate) images: BTreeMap<&'static str, Option<&'static str>>,
    pub(crate) secrets: BTreeMap<&'static str, (u64, bool)>,
    pub(crate) requested: BTreeMap<&'static str, Requested>,
    pub(crate) placements: Vec<(u64, &'static str, &'static str)>,
    pub(crate) withdrawn: BTreeSet<(&'static str, &'static str, u64)>,
    pub(crate) keys: u8,
}

impl World {
    pub(crate) fn step(&mut self, random: &mut Random) {
        match random.below(24) {
            0 => self.register(random),
            1 | 2 => self.build(random),
            3 | 4 => self.save(random),
            5 => self.withdraw_secret(random),
            6..=9 => self.request(random),
            10 => self.end_by_orchestrator(random),
            11 => self.end_by_worker(random),
            12 => self.forge(random),
            13..=17 => self.publish(random),
            18..=20 => self.deliver(random),
            21 => self.redeliver(random),
            22 => self.lose_consumer(random),
            _ => self.restart(random),
        }
    }

    pub(crate) fn register(&mut self, random: &mut Random) {
        let name = *random.pick(&WORKERS);
        let key_changed = random.below(2) == 1;
        self.keys = (self.keys + u8::from(key_changed)) % 20;
        let (key, sequence) = (char::from(b'A' + self.keys), self.story.next());
        self.story.tell(&format!("worker {name} {key}"));
        self.worker(name).registered = true;
        self.tell(name, Input::Registered { sequence, key_changed });
    }

    pub(crate) fn worker(&mut self, name: &'static str) -> &mut Worker {
        self.workers.entry(name).or_default()
    }

    /// Tells a view something, and does what it says as the worker would.
    pub(crate) fn tell(&mut self, name: &'static str, input: Input) {
        let mut effects: VecDeque<Effect> = self.worker(name).view.apply(input).into();
        while let Some(effect) = effects.pop_front() {
            match effect {
                Effect::LookUp { placed, purpose } => {
                    let found = self.look_up(name, &placed);
                    effects.extend(self.worker(name).view.apply(Input::LookedUp {
                        placed,
                        found: Box::new(found),
                        purpose,
                    }));
                }
                Effect::Admit(placed) => drop(self.worker(name).files.insert(placed)),
                Effect::Drop(placed) => drop(self.worker(name).files.remove(&placed)),
                Effect::Provide(placed) => self.provide(name, &placed),
                Effect::Pull { placed, .. } => self.say(name, "pulled", &placed),
                Effect::Renew(_) | Effect::Forget(_) => {}
            }
        }
    }

    /// Reports a provider and a pull, unless the process dies in between.
    pub(crate) fn provide(&mut self, name: &'static str, placed: &Placed) {
        match placed.number % 4 {
            0 => {}
            1 => self.say(name, "unprovided", placed),
            2 => self.say(name, "provided", placed),
            _ => {
                self.say(name, "provided", placed);
                self.say(name, "pulled", placed);
            }
        }
    }

    pub(crate) fn say(&mut self, name: &str, what: &str, placed: &Placed) {
        self.story.tell(&format!("{what} {name} {} {}", placed.container.container_id, placed.number));
    }

    /// What the log says of a placement to its worker.
    pub(crate) fn look_up(&self, name: &str, placed: &Placed) -> Found {
        let queue = self.queue(name);
        let mut of_container = queue.iter().filter_map(|decided| {
            let found = Placed::from_decision(&decided.decision)?;
            (found.container == placed.container).then_some((found.number, decided))
        });
        let newest = of_container.clone().map(|(number, _)| number).max().unwrap_or(0);
        let last = of_container.rfind(|(number, _)| *number == placed.number).map(|(_, decided)| decided.clone());
        let secret = last.as_ref().and_then(|last| last.decision.credential()).map(|one| one.secret_name.clone());
        let renewed = secret.and_then(|secret| newest_renewal(&queue, &secret));
        Found { newest, last, renewed, progress: self.progress(name, placed) }
    }

    pub(crate) fn progress(&self, name: &str, placed: &Placed) -> Progress {
        let mine = |subject: &Subject| match subject {
            Subject::ContainerOutcome { worker_id, container_id, placement, .. } => {
                (worker_id.as_str(), container_id, *placement) == (name, &placed.container.container_id, placed.number)
            }
            _ => false,
        };
        let last = self.story.log.iter().rev().find(|recorded| mine(&recorded.value.subject));
        Progress::from_last(last.map(|recorded| (recorded.sequence, Some(&recorded.value.event))))
    }

    /// What a program of the node is given for a container: the worker asks the log where it has not yet.
    pub(crate) fn login(&mut self, name: &'static str, container: &str) -> Option<(u64, String, u64)> {
        for placed in self.worker(name).view.unread() {
            let found = self.look_up(name, &placed);
            self.tell(name, Input::LookedUp { placed, found: Box::new(found), purpose: Purpose::Answer });
        }
        let granted = self.worker(name).view.granted();
        let of_container = |placed: &Placed| placed.container.container_id.as_str() == container;
        let mut held = granted.into_iter().filter(|(placed, _)| of_container(placed));
        let found = held.next().map(|(placed, (secret, version))| {
            assert!(self.workers[name].files.contains(&placed), "{placed:?} has an access file");
            (placed.number, secret.secret_name.to_string(), version)
        });
        assert!(held.next().is_none(), "one placement of a container is in force");
        found
    }

    pub(crate) fn build(&mut self, random: &mut Random) {
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

    pub(crate) fn save(&mut self, random: &mut Random) {
        let secret = *random.pick(&SECRETS);
        let verb = *random.pick(&["save", "rotate"]);
        self.story.tell(&format!("{verb} {secret} a.b"));
        let version = self.secrets.get(secret).map_or(0, |(version, _)| *version) + 1;
        self.secrets.insert(secret, (version, true));
    }

    pub(crate) fn withdraw_secret(&mut self, random: &mut Random) {
        let secret = *random.pick(&SECRETS);
        let Some((version, active)) = self.secrets.get(secret).copied() else { return };
        let verb = if active { *random.pick(&["revoke", "shred"]) } else { "shred" };
        self.story.tell(&format!("{verb} {secret}"));
        self.secrets.insert(secret, (version, false));
        for requested in self.requested.values_mut().filter(|requested| requested.secret == Some(secret)) {
            requested.secret = None;
        }
    }

    pub(crate) fn request(&mut self, random: &mut Random) {
        let (container, image, worker) = (*random.pick(&CONTAINERS), *random.pick(&IMAGES), *random.pick(&WORKERS));
        let placement = self.story.next();
        self.story.tell(&format!("request {container} {image} {worker}"));
        let named = self.images.get(image).copied().flatten();
        let usable = named.filter(|secret| self.secrets.get(secret).is_some_and(|(_, active)| *active));
        let secret = usable.filter(|_| self.workers.get(worker).is_some_and(|worker| worker.registered));
        self.requested.insert(container, Requested { placement, worker, secret, over: false });
        self.placements.push((placement, container, worker));
    }

    pub(crate) fn end_by_orchestrator(&mut self, random: &mut Random) {
        if self.placements.is_empty() {
            return;
        }
        let (placement, container, _) = *random.pick(&self.placements);
        self.story.tell(&format!("end {container} {placement}"));
        self.end(placement, container);
    }

    /// A worker ends what it has heard of, in its own name; what it tries in another's is refused by the server.
    pub(crate) fn end_by_worker(&mut self, random: &mut Random) {
        if self.placements.is_empty() {
            return;
        }
        let (placement, container, worker) = *random.pick(&self.placements);
        self.story.tell(&format!("ended {worker} {container} {placement}"));
        let (workspace, container_id) = ("ws".parse().unwrap(), container.parse().unwrap());
        let container_key = ContainerKey { workspace, container_id };
        self.tell(worker, Input::Ended(Placed { container: container_key, number: placement }));
        self.end(placement, container);
    }

    pub(crate) fn end(&mut self, placement: u64, container: &'static str) {
        if let Some(requested) = self.requested.get_mut(container).filter(|newest| newest.placement == placement) {
            requested.over = true;
        }
    }

    /// What a worker says of a placement that is on another.
    pub(crate) fn forge(&mut self, random: &mut Random) {
        if self.placements.is_empty() {
            return;
        }
        let (placement, container, placed_on) = *random.pick(&self.placements);
        let worker = *random.pick(&WORKERS);
        if worker != placed_on {
            let what = *random.pick(&["provided", "unprovided", "pulled", "ended"]);
            self.story.tell(&format!("{what} {worker} {container} {placement}"));
        }
    }

    /// Publishes what stands first, and sometimes something else: another scheduler may be ahead.
    pub(crate) fn publish(&mut self, random: &mut Random) {
        let keys: Vec<_> = self.story.facts.pending.keys().cloned().collect();
        if keys.is_empty() {
            return;
        }
        let index = if random.below(3) == 0 { random.below(keys.len()) } else { 0 };
        self.story.publish(&keys[index]);
    }

    /// What is addressed to a worker, in the log's order.
    pub(crate) fn queue(&self, worker: &str) -> Vec<Decided> {
        let mine = |subject: &Subject| match subject {
            Subject::ContainerDecision { worker_id, .. } | Subject::SecretDecision { worker_id, .. } => {
                worker_id.as_str() == worker
            }
            _ => false,
        };
        let events = self.story.log.iter().filter(|recorded| mine(&recorded.value.subject));
        let decided = events.filter_map(|recorded| {
            Some(Decided { sequence: recorded.sequence, decision: Decision::from_event(&recorded.value)? })
        });
        decided.collect()
    }

    pub(crate) fn deliver(&mut self, random: &mut Random) {
        let worker = *random.pick(&WORKERS);
        self.deliver_to(worker);
    }

    pub(crate) fn deliver_to(&mut self, name: &'static str) -> bool {
        let queue = self.queue(name);
        let next = self.worker(name).next;
        let Some(decided) = queue.get(next) else { return false };
        self.worker(name).next += 1;
        self.tell(name, Input::Delivered(decided.clone()));
        if let Outcome::Withdrawn { placement, .. } = &decided.decision.outcome {
            let container = CONTAINERS.iter().find(|name| **name == placement.container_id.as_str()).unwrap();
            self.withdrawn.insert((name, container, placement.number));
        }
        true
    }

    pub(crate) fn redeliver(&mut self, random: &mut Random) {
        let name = *random.pick(&WORKERS);
        let (queue, next) = (self.queue(name), self.worker(name).next);
        if next > 0 {
            self.tell(name, Input::Delivered(queue[random.below(next)].clone()));
        }
    }

    /// The consumer is rewound, or lost and made anew where the scheduler starts it: at the first decision whose placement has
    /// no final outcome, and at the end of the log if there is none.
    pub(crate) fn lose_consumer(&mut self, random: &mut Random) {
        let name = *random.pick(&WORKERS);
        let next = self.worker(name).next;
        if random.below(2) == 0 {
            self.worker(name).next = random.below(next + 1);
            return;
        }
        let open = self.story.facts.placements.values().filter(|fact| fact.worker_id.as_str() == name && !fact.settled);
        let start = open.filter_map(|fact| match fact.state {
            PlacementState::Decided { decided_by } => Some(decided_by),
            _ => None,
        });
        let start = start.min().unwrap_or(u64::MAX);
        let queue = self.queue(name);
        let index = queue.iter().position(|decided| decided.sequence >= start).unwrap_or(queue.len());
        self.worker(name).next = index;
        self.tell(name, Input::QueueRemade);
    }

    /// The view is gone; access files are there.
    pub(crate) fn restart(&mut self, random: &mut Random) {
        let name = *random.pick(&WORKERS);
        self.worker(name).view = View::default();
        for placed in self.worker(name).files.clone() {
            self.tell(name, Input::Remembered(placed));
        }
    }
}

/// The last renewal of a secret, and from there on the next version's while there is one, as the worker reads them.
fn newest_renewal(queue: &[Decided], secret: &SecretName) -> Option<Decided> {
    let version = |decided: &Decided| match &decided.decision.outcome {
        Outcome::Renewed { credential, .. } if credential.secret_name == *secret => Some(credential.version),
        _ => None,
    };
    let mut newest = queue.iter().rfind(|decided| version(decided).is_some())?;
    while let Some(newer) = queue.iter().rfind(|decided| version(decided) == version(newest).map(|version| version + 1))
    {
        newest = newer;
    }
    Some(newest.clone())
}
