//! A fleet whose real state is known: secrets that are renewed in time or not, containers that come and go, workers that retire or
//! die, images that cannot be pulled until somebody mends them. What happens is written to a log as the real services would.

use std::collections::BTreeMap;

use serde_json::json;
use waybill_domain::fleet::{Fleet, ForecastKind};
use waybill_schemas::{Subject, Timestamp, v1};

use crate::{
    log::{image_name, key_name, read, secret_name, token_name, worker_name},
    people::{END, WORKERS},
};

pub(crate) const HOUR: i64 = 60;
pub(crate) const DAY: i64 = 24 * HOUR;

/// The log's time at a minute.
pub(crate) fn time_at(minute: i64) -> Timestamp {
    let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    (start.instant() + time::Duration::minutes(minute)).into()
}

/// Something that was really broken, for a time.
#[derive(Debug, Clone)]
pub(crate) struct Broken {
    pub(crate) kind: ForecastKind,
    pub(crate) id: String,
    pub(crate) from: i64,
    pub(crate) until: Option<i64>,
}

/// What will happen at a minute.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Act {
    Renew(usize),
    /// The version that was the newest when this was planned ends.
    Expire(usize, u64),
    Ask(usize),
    End(usize, u64),
    Spoil(usize),
    Mend(usize),
    Die(usize),
    Bury(usize),
    Retire(usize),
    CreateToken(usize, i64),
    RevokeToken(usize),
    EndToken(usize),
    ReplaceKey(u8),
    /// The key before this one.
    RetireKey(u8),
}

/// Who renews a secret.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Keeper {
    /// A program, two days before each end, until it stops at a minute.
    Program { stops: i64 },
    /// A person, so long before the end; negative for so long after it.
    Person { lead: i64 },
    /// Nobody: it has no end.
    Nobody,
}

pub(crate) struct Secret {
    pub(crate) keeper: Keeper,
    pub(crate) version: u64,
    pub(crate) ends: Option<i64>,
    pub(crate) life: i64,
}

/// How an image is used.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Use {
    /// One container for ever.
    Service,
    /// One container, which ends for good at a minute.
    Leaving { at: i64 },
    /// A container every so often, which runs for a while.
    Batch { every: i64, life: i64 },
}

pub(crate) struct Image {
    pub(crate) secret: usize,
    pub(crate) used: Use,
    pub(crate) spoiled: bool,
    /// The placements that go on, with their workers.
    pub(crate) placements: Vec<(u64, String, usize)>,
    pub(crate) asked: u64,
}

pub(crate) struct Worker {
    pub(crate) alive: bool,
    pub(crate) joined: bool,
}

pub(crate) struct World {
    pub(crate) fleet: Fleet,
    pub(crate) broken: Vec<Broken>,
    pub(crate) now: i64,
    pub(crate) sequence: u64,
    pub(crate) seed: u64,
    pub(crate) plan: BTreeMap<(i64, u64), Act>,
    pub(crate) planned: u64,
    pub(crate) secrets: Vec<Secret>,
    pub(crate) images: Vec<Image>,
    pub(crate) workers: Vec<Worker>,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut world = Self {
            fleet: Fleet::default(),
            broken: Vec::new(),
            now: 0,
            sequence: 0,
            seed,
            plan: BTreeMap::new(),
            planned: 0,
            secrets: Vec::new(),
            images: Vec::new(),
            workers: Vec::new(),
        };
        world.people();
        world
    }

    /// A number below `most`.
    pub(crate) fn roll(&mut self, most: i64) -> i64 {
        // SplitMix64.
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.seed;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % most as u64) as i64
    }

    pub(crate) fn at(&mut self, minute: i64, act: Act) {
        self.planned += 1;
        self.plan.insert((minute.max(self.now), self.planned), act);
    }

    pub(crate) fn run_until(&mut self, minute: i64) {
        while let Some(((at, _), act)) = self.plan.pop_first() {
            if at >= minute {
                self.planned += 1;
                self.plan.insert((at, 0), act);
                break;
            }
            self.now = at;
            self.carry_out(act);
        }
        self.now = minute;
    }

    fn carry_out(&mut self, act: Act) {
        match act {
            Act::Renew(secret) => self.renew(secret),
            Act::Expire(secret, version) if self.secrets[secret].version == version => self.expire(secret),
            Act::Expire(..) => {}
            Act::Ask(image) => self.ask_again(image),
            Act::End(image, placement) => self.end(image, placement),
            Act::Spoil(image) => {
                self.images[image].spoiled = true;
                self.breaks(ForecastKind::PullFails, image_name(image), self.now);
                let when = self.now + 2 * DAY + self.roll(3 * DAY);
                self.at(when, Act::Mend(image));
            }
            Act::Mend(image) => self.mend(image),
            Act::Die(worker) => {
                self.workers[worker].alive = false;
                let stays = |image: &Image| !matches!(image.used, Use::Batch { .. });
                let is_on = |image: &&Image| stays(image) && image.placements.iter().any(|(.., on)| *on == worker);
                if self.images.iter().any(|image| is_on(&image)) {
                    self.breaks(ForecastKind::WorkerAway, worker_name(worker), self.now);
                }
                let when = self.now + 2 * DAY + self.roll(3 * DAY);
                self.at(when, Act::Bury(worker));
            }
            Act::Bury(worker) | Act::Retire(worker) => self.retire(worker),
            Act::CreateToken(token, ends) => self.create_token(token, ends),
            Act::RevokeToken(token) => {
                let hash = "0".repeat(64);
                let event = v1::TokenRevoked { token_id: token_name(token).parse().unwrap(), hash };
                self.say(Subject::Token { token_id: event.token_id.clone() }, event.into());
            }
            Act::ReplaceKey(key) => {
                self.publish_keys(key, true);
                self.breaks(ForecastKind::KeyReplaced, key_name(key - 1), self.now);
                let when = self.now + 2 * DAY + self.roll(DAY);
                self.at(when, Act::RetireKey(key));
                let next = when + DAY + self.roll(2 * DAY);
                self.at(next, Act::ReplaceKey(key + 1));
            }
            Act::RetireKey(key) => {
                self.publish_keys(key, false);
                self.mended(ForecastKind::KeyReplaced, &key_name(key - 1));
            }
            Act::EndToken(token) => self.breaks(ForecastKind::TokenEnds, token_name(token), self.now),
        }
    }

    fn breaks(&mut self, kind: ForecastKind, id: String, from: i64) {
        let goes_on = self.broken.iter().any(|broken| broken.kind == kind && broken.id == id && broken.until.is_none());
        if !goes_on {
            self.broken.push(Broken { kind, id, from, until: None });
        }
    }

    fn mended(&mut self, kind: ForecastKind, id: &str) {
        for broken in self.broken.iter_mut().filter(|broken| broken.kind == kind && broken.id == id) {
            broken.until.get_or_insert(self.now);
        }
    }

    pub(crate) fn renew(&mut self, secret: usize) {
        let (keeper, life) = (self.secrets[secret].keeper, self.secrets[secret].life);
        let version = self.secrets[secret].version + 1;
        let ends = (keeper != Keeper::Nobody).then_some(self.now + life);
        (self.secrets[secret].version, self.secrets[secret].ends) = (version, ends);
        self.mended(ForecastKind::SecretExpires, &secret_name(secret));
        let mut stored = json!({
            "version": version, "registry": "a.b", "cred_type": "basic", "credentials_length": 9, "digest": "sha256:0"
        });
        if let Some(ends) = ends {
            stored["expires_at"] = json!(time_at(ends));
            self.at(ends, Act::Expire(secret, version));
            let next = match keeper {
                Keeper::Program { stops } if ends - 2 * DAY < stops => ends - 2 * DAY - self.roll(3 * HOUR),
                // Somebody sees what broke, and renews it by hand; the program stays away.
                Keeper::Program { .. } => ends + DAY,
                Keeper::Person { lead } => ends - lead,
                Keeper::Nobody => END,
            };
            self.at(next, Act::Renew(secret));
        }
        let body = json!({"workspace": "ws", "secret_name": secret_name(secret), "stored": stored});
        let subject =
            Subject::Secret { workspace: "ws".parse().unwrap(), secret: secret_name(secret).parse().unwrap() };
        match version {
            1 => self.say(subject, read::<v1::CredentialSecretSaved>(body)),
            _ => self.say(subject, read::<v1::CredentialSecretRotated>(body)),
        }
    }

    fn expire(&mut self, secret: usize) {
        if self.images.iter().any(|image| image.secret == secret && !image.placements.is_empty()) {
            self.breaks(ForecastKind::SecretExpires, secret_name(secret), self.now);
        }
    }

    fn ask_again(&mut self, image: usize) {
        self.ask(image);
        match self.images[image].used {
            Use::Service => {
                // It moves now and then.
                let next = self.now + 8 * DAY + self.roll(6 * DAY);
                self.at(next, Act::Ask(image));
            }
            Use::Leaving { at } => {
                if let Some((placement, ..)) = self.images[image].placements.first() {
                    let placement = *placement;
                    self.at(at, Act::End(image, placement));
                }
            }
            Use::Batch { every, .. } => {
                let next = self.now + every - 30 + self.roll(60);
                // Some sleep at night.
                let hour = next % DAY / HOUR;
                let next = if image.is_multiple_of(2) && hour < 5 {
                    next - next % DAY + 5 * HOUR + self.roll(HOUR)
                } else {
                    next
                };
                self.at(next, Act::Ask(image));
            }
        }
    }

    pub(crate) fn ask(&mut self, image: usize) {
        let worker = loop {
            let worker = self.roll(WORKERS as i64) as usize;
            if self.workers[worker].joined {
                break worker;
            }
        };
        let Image { secret, used, spoiled, .. } = self.images[image];
        let is_batch = matches!(used, Use::Batch { .. });
        self.images[image].asked += 1;
        let container = match is_batch {
            true => format!("c-{image}-{}", self.images[image].asked),
            false => format!("c-{image}"),
        };
        let (placement, worker_id) = (self.sequence + 1, worker_name(worker));
        let mut body = json!({
            "workspace": "ws", "container_id": container, "image_id": image_name(image), "worker_id": worker_id,
            "build_container": false
        });
        let subject = Subject::Container {
            workspace: "ws".parse().unwrap(),
            container_id: container.parse().unwrap(),
            request: "r".parse().unwrap(),
        };
        self.say(subject, read::<v1::ContainerRequested>(body.clone()));
        body.as_object_mut().unwrap().remove("build_container");
        body["placement"] = json!(placement);
        if !is_batch {
            self.images[image].placements.clear();
        }
        self.images[image].placements.push((placement, container, worker));
        if let Use::Batch { life, .. } = used {
            self.at(self.now + life, Act::End(image, placement));
        }
        let is_over = self.secrets[secret].ends.is_some_and(|ends| ends <= self.now);
        if is_over {
            let ends = self.secrets[secret].ends.unwrap();
            self.breaks(ForecastKind::SecretExpires, secret_name(secret), ends);
        }
        self.decide(&body, secret, is_over);
        if !self.workers[worker].alive {
            self.breaks(ForecastKind::WorkerAway, worker_name(worker), self.now);
        }
        if self.workers[worker].alive && !is_over {
            let failure = match self.roll(100) {
                _ if spoiled => Some("unauthorized"),
                0 => Some("unreachable"),
                _ => None,
            };
            self.report(&body, failure);
        }
    }

    pub(crate) fn end(&mut self, image: usize, placement: u64) {
        let Some(at) = self.images[image].placements.iter().position(|(number, ..)| *number == placement) else {
            return;
        };
        let (_, container, _) = self.images[image].placements.remove(at);
        let body = json!({"workspace": "ws", "container_id": container, "placement": placement});
        let subject = Subject::Container {
            workspace: "ws".parse().unwrap(),
            container_id: container.parse().unwrap(),
            request: "r".parse().unwrap(),
        };
        self.say(subject, read::<v1::ContainerEnded>(body));
    }

    /// By a new build, a new version of its secret, or at the registry, whereupon somebody tries again.
    fn mend(&mut self, image: usize) {
        self.images[image].spoiled = false;
        self.mended(ForecastKind::PullFails, &image_name(image));
        match self.roll(3) {
            0 => self.build(image),
            1 => self.renew(self.images[image].secret),
            _ => self.ask(image),
        }
    }

    /// What is on it is placed elsewhere, and it is no more.
    fn retire(&mut self, worker: usize) {
        self.workers[worker].joined = false;
        let moved = self.images.iter().enumerate().flat_map(|(at, image)| {
            image.placements.iter().filter(|(.., on)| *on == worker).map(move |(number, ..)| (at, *number))
        });
        for (image, placement) in moved.collect::<Vec<_>>() {
            self.end(image, placement);
            if !matches!(self.images[image].used, Use::Batch { .. }) {
                self.ask(image);
                if let Use::Leaving { at } = self.images[image].used {
                    let placement = self.images[image].placements[0].0;
                    self.at(at, Act::End(image, placement));
                }
            }
        }
        let subject = Subject::WorkerIdentity { worker_id: worker_name(worker).parse().unwrap() };
        self.say(subject, read::<v1::WorkerRetired>(json!({"worker_id": worker_name(worker)})));
        self.mended(ForecastKind::WorkerAway, &worker_name(worker));
    }
}
