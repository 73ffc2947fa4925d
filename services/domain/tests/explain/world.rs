//! Histories from words: each word is one message of the log, or one for each decision that the fold has waiting.

use uuid::Uuid;
use waybill_domain::{
    decision::Outcome,
    explain::{Entry, History, Seen},
    fold::{MemoryFacts, fold},
};
use waybill_schemas::{
    ContainerId, Derivation, Envelope, Event, ImageId, Recorded, RecordedEvent, SecretName, Subject, Timestamp,
    TraceParent, WorkerId, WorkspaceId, derived_id,
    v1::{self, CredType, CredentialSource, DEFAULT_CHAIN},
};

use crate::bodies::{Report, declined, question, skipped, skipped_instead, word};

const KEY: &str = "XAB3NANV3M6N7AHSQP2U5FRWKKUT7EG2ZXXABV4XVXYQRJGM4S2CZGHT";
const NEW_KEY: &str = "XDQ4WDVLFQCTEDNMQUGSLKGRMEGNLEGAAMOSGJFVV5LVQLL7A3DHP4RV";

/// Between two messages there is room for others.
pub(crate) const STEP: u64 = 10;

pub(crate) fn workspace() -> WorkspaceId {
    "ws".parse().unwrap()
}

pub(crate) fn image() -> ImageId {
    "img".parse().unwrap()
}

pub(crate) fn container() -> ContainerId {
    "ctr".parse().unwrap()
}

pub(crate) fn secret() -> SecretName {
    "s".to_owned().try_into().unwrap()
}

fn worker(id: &str) -> WorkerId {
    id.parse().unwrap()
}

/// The stream's time at a minute.
pub(crate) fn minute(minute: u64) -> Timestamp {
    format!("2026-01-01T{:02}:{:02}:00Z", minute / 60, minute % 60).parse().unwrap()
}

/// A request in the log.
#[derive(Clone)]
struct Request {
    number: u64,
    subject: Subject,
    worker: WorkerId,
}

/// A log that is written word by word, a minute and ten sequences apart.
#[derive(Default)]
pub(crate) struct World {
    entries: Vec<Entry>,
    elsewhere: Vec<WorkspaceId>,
    facts: MemoryFacts,
    now: Option<u64>,
    version: u64,
    request: Option<Request>,
    decision: Option<(u64, Uuid)>,
    renewal: Option<(u64, Uuid, u64)>,
}

impl World {
    pub(crate) fn of(words: &str) -> Self {
        let mut world = Self::default();
        words.split_whitespace().for_each(|word| world.take(word));
        world
    }

    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    pub(crate) fn history(&self) -> History {
        History::new(self.entries.clone(), self.elsewhere.clone())
    }

    /// The log as it stood when it had this many messages.
    pub(crate) fn prefix(&self, messages: usize) -> History {
        History::new(self.entries.iter().take(messages).cloned().collect(), Vec::new())
    }

    pub(crate) fn now(&self) -> Timestamp {
        minute(self.now.unwrap_or(self.entries.len() as u64 + 1))
    }

    fn next(&self) -> u64 {
        (self.entries.len() as u64 + 1) * STEP
    }

    pub(crate) fn take(&mut self, word: &str) {
        let (name, detail) = word.split_once(':').unwrap_or((word, ""));
        let until = detail.strip_prefix("until=").map(|at| minute(at.parse().unwrap()));
        match name {
            "elsewhere" => self.elsewhere.push("other".parse().unwrap()),
            "garbage" => self.garbage(detail),
            "registered" => self.registered(detail),
            "built" => {
                self.version(false, until, "a.b");
                self.named("s", "a.b/team/app:1");
            }
            "saved" => self.version(false, until, if detail.contains('.') { detail } else { "a.b" }),
            "refused" => self.unverified(),
            "named" => self.named(if detail.is_empty() { "s" } else { detail }, "a.b/team/app:1"),
            "moved" => self.named("s", "a.b/team/app:2"),
            "rotated" => self.version(true, until, "a.b"),
            "revoked" => self.revoked(),
            "shredded" => self.shredded(),
            "retired" => self.retired(),
            "skipped" => self.fresh(image_subject(), skipped(detail)),
            "requested" => self.requested(detail),
            "decided" => self.decide(),
            "differs" => self.decide_differently(detail),
            "forged" => self.forge(),
            "provider" | "default" | "failed" | "pulled" | "pull" => self.outcome(name, detail, until),
            "applied" | "unusable" => self.renewed(name, detail),
            "ended" => self.ended(detail),
            "asked" | "other" => self.asked(name, detail),
            "declined" => self.fresh(declined(detail).0, declined(detail).1),
            other => self.now = Some(other.strip_prefix("now=").expect("a word of the table").parse().unwrap()),
        }
    }

    fn registered(&mut self, detail: &str) {
        let (id, key) = match detail {
            "new" => ("w1", NEW_KEY),
            "w2" => ("w2", KEY),
            _ => ("w1", KEY),
        };
        let (worker_id, instance) = (worker(id), Uuid::from_u128(u128::from(self.next())));
        let sealing_key = key.parse().unwrap();
        let event = v1::WorkerRegistered { worker_id: worker_id.clone(), instance, sealing_key }.into();
        self.fresh(Subject::Worker { worker_id }, event);
    }

    fn stored(&mut self, expires_at: Option<Timestamp>, registry: &str) -> v1::SecretVersion {
        self.version += 1;
        v1::SecretVersion {
            version: self.version,
            registry: registry.to_owned(),
            cred_type: CredType::Basic,
            account: None,
            expires_at,
            credentials_length: 42,
            digest: format!("sha256:{}", "0".repeat(64)),
            note: None,
            verified: None,
        }
    }

    fn version(&mut self, rotated: bool, expires_at: Option<Timestamp>, registry: &str) {
        let (workspace, secret_name, stored) = (workspace(), secret(), self.stored(expires_at, registry));
        let event = match rotated {
            true => v1::CredentialSecretRotated { workspace, secret_name, stored }.into(),
            false => v1::CredentialSecretSaved { workspace, secret_name, image_id: Some(image()), stored }.into(),
        };
        self.fresh(secret_subject(), event);
    }

    /// A version that the registry does not take.
    fn unverified(&mut self) {
        let verified = v1::Verified {
            digest: None,
            provider_failure: None,
            pull_failure: Some(v1::PullFailure::Unauthorized),
            detail: Some("a.b answered 401".to_owned()),
        };
        let stored = v1::SecretVersion { verified: Some(verified), ..self.stored(None, "a.b") };
        let (workspace, secret_name) = (workspace(), secret());
        let event = v1::CredentialSecretSaved { workspace, secret_name, image_id: None, stored };
        self.fresh(secret_subject(), event.into());
    }

    fn named(&mut self, name: &str, image_ref: &str) {
        let event = v1::ImageSecretNamed {
            workspace: workspace(),
            image_id: image(),
            image_ref: image_ref.to_owned(),
            registry: "a.b".to_owned(),
            secret_name: name.to_owned().try_into().unwrap(),
            source: CredentialSource::FromRegistry,
            version: None,
            cred_type: None,
        };
        self.fresh(image_subject(), event.into());
    }

    fn revoked(&mut self) {
        let event = v1::CredentialSecretRevoked {
            workspace: workspace(),
            secret_name: secret(),
            version: self.version,
            registry: "a.b".to_owned(),
            account: None,
            reason: Some("the account was closed".to_owned()),
        };
        self.fresh(secret_subject(), event.into());
    }

    fn retired(&mut self) {
        let worker_id = worker("w1");
        let event = v1::WorkerRetired { worker_id: worker_id.clone(), token_id: None, revoked_keys: Vec::new() };
        self.fresh(Subject::WorkerIdentity { worker_id }, event.into());
    }

    fn shredded(&mut self) {
        let event = v1::CredentialSecretShredded {
            workspace: workspace(),
            secret_name: secret(),
            version: self.version,
            registry: "a.b".to_owned(),
            account: None,
            reason: None,
        };
        self.fresh(secret_subject(), event.into());
    }

    fn requested(&mut self, detail: &str) {
        let number = self.next();
        let worker_id = worker(if detail == "w2" { "w2" } else { "w1" });
        let request = format!("r{number}").parse().unwrap();
        let subject = Subject::Container { workspace: workspace(), container_id: container(), request };
        let event = v1::ContainerRequested {
            workspace: workspace(),
            container_id: container(),
            image_id: Some(image()).filter(|_| detail != "no_image"),
            worker_id: worker_id.clone(),
            build_container: detail == "build",
        };
        self.request = Some(Request { number, subject: subject.clone(), worker: worker_id });
        self.decision = None;
        self.fresh(subject, event.into());
    }

    /// Publishes everything that the fold has waiting, in its order.
    fn decide(&mut self) {
        while let Some(pending) = self.facts.pending.values().next().cloned() {
            let (id, next) = (pending.event_id(), self.next());
            match &pending.decision.outcome {
                Outcome::Renewed { credential, .. } => self.renewal = Some((next, id, credential.version)),
                Outcome::Withdrawn { .. } => {}
                _ => self.decision = Some((next, id)),
            }
            self.push(id, pending.decision.subject(), pending.decision.to_event());
        }
    }

    /// Publishes the first waiting decision as it is not.
    fn decide_differently(&mut self, detail: &str) {
        let pending = self.facts.pending.values().next().cloned().expect("a decision to change");
        let mut decision = pending.decision.clone();
        match &mut decision.outcome {
            Outcome::Attached { image, .. } if detail.is_empty() => image.image_ref = "c.d/other:1".to_owned(),
            _ => decision = skipped_instead(&pending.decision, detail),
        }
        self.decision = Some((self.next(), pending.event_id()));
        self.push(pending.event_id(), decision.subject(), decision.to_event());
    }

    /// A decision that nothing leads to.
    fn forge(&mut self) {
        let pending = self.facts.pending.values().next().cloned();
        if let Some(pending) = pending {
            self.fresh(pending.decision.subject(), pending.decision.to_event());
        }
    }

    fn request(&self) -> Request {
        let request = "r1".parse().unwrap();
        let subject = Subject::Container { workspace: workspace(), container_id: container(), request };
        self.request.clone().unwrap_or(Request { number: 1, subject, worker: worker("w1") })
    }

    /// What a worker reports; `name@w2` by another one than the placement's.
    fn outcome(&mut self, name: &str, detail: &str, until: Option<Timestamp>) {
        let request = self.request();
        let (reporter, detail) = match detail.strip_prefix('@') {
            Some(reporter) if name == "pull" => (worker(reporter), "denied"),
            Some(reporter) => (worker(reporter), "unsupported"),
            None => (request.worker.clone(), detail),
        };
        let (decided_by, decision) = self.decision.unwrap_or_default();
        let report = Report { worker: reporter.clone(), placement: request.number, decided_by };
        let (kind, event) = match name {
            "provider" => (Derivation::Provider, report.provider("creds-a.b", until)),
            "default" => (Derivation::Provider, report.provider(DEFAULT_CHAIN, None)),
            "failed" => (Derivation::Provider, report.no_provider(detail)),
            "pulled" => (Derivation::Pull, report.pulled()),
            _ => (Derivation::Pull, report.not_pulled(detail)),
        };
        self.push(derived_id(decision, &kind), outcome_subject(reporter, request.number), event);
    }

    fn renewed(&mut self, name: &str, reason: &str) {
        let (decided_by, id, version) = self.renewal.unwrap_or_default();
        let (workspace, secret_name, worker_id) = (workspace(), secret(), worker("w1"));
        let event = match name {
            "applied" => {
                v1::SecretRenewalApplied { workspace, secret_name, version, worker_id, placements: 1, decided_by }
                    .into()
            }
            _ => v1::SecretRenewalFailed {
                workspace,
                secret_name,
                version,
                worker_id,
                reason: word(v1::ProviderFailure::ALL, v1::ProviderFailure::as_str, reason),
                detail: Some("the cloud's own words".to_owned()),
                decided_by,
            }
            .into(),
        };
        let (workspace, worker_id) = (self::workspace(), worker("w1"));
        let subject = Subject::SecretOutcome { worker_id, workspace, secret: secret(), version };
        self.push(derived_id(id, &Derivation::Applied), subject, event);
    }

    fn ended(&mut self, by: &str) {
        let request = self.request();
        let event = v1::ContainerEnded { workspace: workspace(), container_id: container(), placement: request.number };
        let subject = match by {
            "" => request.subject,
            "worker" => outcome_subject(request.worker, request.number),
            other => outcome_subject(worker(other), request.number),
        };
        self.fresh(subject, event.into());
    }

    /// A program of the node asks: for this container, or with something else (`other`). `asked:reason`, or given.
    fn asked(&mut self, name: &str, reason: &str) {
        let request = self.request();
        let (worker_id, placement) = (request.worker, request.number);
        let asked = question(name == "other", reason);
        let (workspace, container_id) = (workspace(), container());
        if name == "other" {
            let event = v1::NodeLoginAsked { worker_id: worker_id.clone(), workspace: None, asked };
            return self.fresh(Subject::NodeQuestion { worker_id }, event.into());
        }
        let subject = Subject::ContainerQuestion {
            worker_id: worker_id.clone(),
            workspace: workspace.clone(),
            container_id: container_id.clone(),
            placement,
        };
        self.fresh(subject, v1::ContainerLoginAsked { workspace, container_id, placement, worker_id, asked }.into());
    }

    fn garbage(&mut self, of: &str) {
        let request = self.request();
        let subject = match of {
            "image" => "waybill.events.image.ws.img.garbage".to_owned(),
            "secret" => "waybill.events.secret.ws.s".to_owned(),
            "container" => "waybill.events.container.ws.ctr.garbage".to_owned(),
            "decision" => format!("waybill.events.decision.w1.container.ws.ctr.{}", request.number),
            _ => format!("waybill.events.outcome.w1.ws.ctr.{}", request.number),
        };
        self.enter(Seen::Unreadable { subject, error: "not JSON".to_owned() });
    }

    fn fresh(&mut self, subject: Subject, event: Event) {
        self.push(Uuid::from_u128(u128::from(self.next())), subject, event);
    }

    fn push(&mut self, id: Uuid, subject: Subject, event: Event) {
        let mut envelope = Envelope::new(id, "/waybill/test");
        envelope.source_version = Some("1.2.3".to_owned());
        envelope.traceparent = TraceParent::parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
        assert!(event.belongs_on(&subject), "{event:?} on {subject}");
        let value = RecordedEvent { subject, envelope, event };
        let at = minute(self.entries.len() as u64 + 1);
        let recorded = Recorded { sequence: self.next(), at, value };
        let folded = fold(&self.facts, &recorded).unwrap();
        folded.changes.into_iter().for_each(|change| self.facts.apply(change));
        self.enter(Seen::Event(Box::new(recorded.value)));
    }

    fn enter(&mut self, value: Seen) {
        let at = minute(self.entries.len() as u64 + 1);
        self.entries.push(Recorded { sequence: self.next(), at, value });
    }
}

fn image_subject() -> Subject {
    Subject::Image { workspace: workspace(), image_id: image(), build: "b1".parse().unwrap() }
}

fn secret_subject() -> Subject {
    Subject::Secret { workspace: workspace(), secret: secret() }
}

fn outcome_subject(worker_id: WorkerId, placement: u64) -> Subject {
    Subject::ContainerOutcome { worker_id, workspace: workspace(), container_id: container(), placement }
}
