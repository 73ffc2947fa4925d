//! Stories: a few words a line, each an event at the next place of a log, and what the fold makes of it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    reason = "tests fail by panicking"
)]
#![allow(unreachable_pub, dead_code, reason = "shared by several test crates, each of which uses a part")]

use std::fmt::Write as _;

use waybill_domain::{
    decision::{Decision, Outcome},
    fold::{Anomaly, Change, Facts, Folded, MemoryFacts, Pending, PendingKey, PlacementState, SecretKey, fold},
    verify::Verifier,
};
use waybill_schemas::{
    Envelope, Event, Recorded, RecordedEvent, RequestId, Subject, Timestamp, Uuid, WorkerId,
    v1::{self, CredType, ProviderFailure, PullFailure, SecretVersion},
};

/// A log that is folded while it is told.
#[derive(Debug, Default)]
pub struct Story {
    /// What the log says so far.
    pub facts: MemoryFacts,
    /// Every event.
    pub log: Vec<Recorded<RecordedEvent>>,
    /// What diverges.
    pub verifier: Verifier,
}

impl Story {
    /// Sequence of the next event.
    pub fn next(&self) -> u64 {
        self.log.len() as u64 + 1
    }

    /// Appends an event and folds it.
    pub fn append(&mut self, subject: Subject, id: Uuid, event: impl Into<Event>) -> Folded {
        let sequence = self.next();
        let envelope = Envelope::new(id, "/test");
        let event = event.into();
        assert!(event.belongs_on(&subject), "{subject} {event:?}");
        let value = RecordedEvent { subject, envelope, event };
        let recorded = Recorded { sequence, at: time_at(sequence), value };
        let Ok(folded) = fold(&self.facts, &recorded);
        self.verifier.observe(&recorded, folded.anomaly.as_ref());
        folded.changes.iter().cloned().for_each(|change| self.facts.apply(change));
        self.log.push(recorded);
        folded
    }

    /// Publishes the first decision of the outbox.
    pub fn publish(&mut self, key: &PendingKey) -> Folded {
        let pending = self.facts.pending[key].clone();
        self.state(&pending)
    }

    /// Appends the event that states a decision.
    pub fn state(&mut self, pending: &Pending) -> Folded {
        let decision = &pending.decision;
        self.append(decision.subject(), pending.event_id(), decision.to_event())
    }

    /// Runs one line.
    pub fn tell(&mut self, line: &str) -> Folded {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (subject, event) = self.event(&words);
        let id = Uuid::from_u128(u128::from(self.next()));
        self.append(subject, id, event)
    }

    fn event(&self, words: &[&str]) -> (Subject, Event) {
        let workspace = || "ws".parse().unwrap();
        let secret = |name: &str| Subject::Secret { workspace: workspace(), secret: name.parse().unwrap() };
        let next = RequestId::try_from(format!("r{}", self.next())).unwrap();
        match *words {
            ["worker", worker] => (worker_subject(worker), registered(worker, "A").into()),
            ["retire", worker] => {
                let worker_id: WorkerId = worker.parse().unwrap();
                let retired =
                    v1::WorkerRetired { worker_id: worker_id.clone(), token_id: None, revoked_keys: Vec::new() };
                (Subject::WorkerIdentity { worker_id }, retired.into())
            }
            ["worker", worker, key] => (worker_subject(worker), registered(worker, key).into()),
            ["save", name, registry] => {
                let stored = self.version(name, registry, None);
                let saved = v1::CredentialSecretSaved {
                    workspace: workspace(),
                    secret_name: name.parse().unwrap(),
                    image_id: None,
                    stored,
                };
                (secret(name), saved.into())
            }
            ["save", name, registry, "until", sequence] => {
                let stored = self.version(name, registry, Some(time_at(sequence.parse().unwrap())));
                let saved = v1::CredentialSecretSaved {
                    workspace: workspace(),
                    secret_name: name.parse().unwrap(),
                    image_id: None,
                    stored,
                };
                (secret(name), saved.into())
            }
            ["rotate", name, registry] => {
                let stored = self.version(name, registry, None);
                let (workspace, secret_name) = (workspace(), name.parse().unwrap());
                (secret(name), v1::CredentialSecretRotated { workspace, secret_name, stored }.into())
            }
            ["revoke", name] => {
                let (version, registry) = self.present(name);
                let (workspace, secret_name) = (workspace(), name.parse().unwrap());
                let (account, reason) = (None, None);
                let event = v1::CredentialSecretRevoked { workspace, secret_name, version, registry, account, reason };
                (secret(name), event.into())
            }
            ["shred", name] => {
                let (version, registry) = self.present(name);
                let (workspace, secret_name) = (workspace(), name.parse().unwrap());
                let (account, reason) = (None, None);
                let event = v1::CredentialSecretShredded { workspace, secret_name, version, registry, account, reason };
                (secret(name), event.into())
            }
            ["name", image, name, registry] => {
                let named = v1::ImageSecretNamed {
                    workspace: workspace(),
                    image_id: image.parse().unwrap(),
                    image_ref: format!("{registry}/{image}:1"),
                    registry: registry.to_owned(),
                    secret_name: name.parse().unwrap(),
                    source: v1::CredentialSource::FromRegistry,
                    version: None,
                    cred_type: None,
                };
                let image_id = image.parse().unwrap();
                (Subject::Image { workspace: workspace(), image_id, build: next }, named.into())
            }
            ["skip", image, reason, ref registry @ ..] => {
                let registry = registry.first().map(|registry| (*registry).to_owned());
                let skipped = v1::CredentialSecretSkipped {
                    workspace: workspace(),
                    image_id: image.parse().unwrap(),
                    image_ref: registry.as_ref().map(|registry| format!("{registry}/{image}:1")),
                    registry,
                    secret_name: None,
                    cred_type: None,
                    source: None,
                    reason: *v1::SaveSkipReason::ALL.iter().find(|word| word.as_str() == reason).unwrap(),
                    missing_key: None,
                    detail: None,
                };
                let image_id = image.parse().unwrap();
                (Subject::Image { workspace: workspace(), image_id, build: next }, skipped.into())
            }
            ["request", container, image, worker, ref build @ ..] => {
                let request = v1::ContainerRequested {
                    workspace: workspace(),
                    container_id: container.parse().unwrap(),
                    image_id: (image != "-").then(|| image.parse().unwrap()),
                    worker_id: worker.parse().unwrap(),
                    build_container: *build == ["build"],
                };
                let container_id = container.parse().unwrap();
                (Subject::Container { workspace: workspace(), container_id, request: next }, request.into())
            }
            ["end", container, placement] => {
                let (container_id, placement) = (container.parse().unwrap(), placement.parse().unwrap());
                let request = RequestId::try_from(format!("r{placement}")).unwrap();
                let subject = Subject::Container { workspace: workspace(), container_id, request };
                let container_id = container.parse().unwrap();
                (subject, v1::ContainerEnded { workspace: workspace(), container_id, placement }.into())
            }
            [what, worker, container, placement] => {
                let placement: u64 = placement.parse().unwrap();
                let subject = Subject::ContainerOutcome {
                    worker_id: worker.parse().unwrap(),
                    workspace: workspace(),
                    container_id: container.parse().unwrap(),
                    placement,
                };
                (subject, outcome(what, worker, container, placement))
            }
            _ => panic!("no such line: {words:?}"),
        }
    }

    fn version(&self, name: &str, registry: &str, expires_at: Option<Timestamp>) -> SecretVersion {
        let before = self.secret(name).map_or(0, |(version, _)| version);
        SecretVersion {
            version: before + 1,
            registry: registry.to_owned(),
            cred_type: CredType::Basic,
            account: None,
            expires_at,
            credentials_length: 40,
            digest: format!("sha256:{name}{}", before + 1),
            note: None,
            verified: None,
        }
    }

    fn secret(&self, name: &str) -> Option<(u64, String)> {
        let key = SecretKey { workspace: "ws".parse().unwrap(), secret_name: name.parse().unwrap() };
        let Ok(fact) = self.facts.secret(&key);
        fact.map(|fact| (fact.version, fact.registry))
    }

    fn present(&self, name: &str) -> (u64, String) {
        self.secret(name).unwrap_or((1, "a.b".to_owned()))
    }

    /// The placements that are not over, in a line.
    pub fn placements(&self) -> String {
        let line = self.facts.placements.values().map(|fact| {
            let state = match &fact.state {
                PlacementState::Requested { then: None } => "requested",
                PlacementState::Requested { .. } => "requested, then withdrawn",
                PlacementState::Decided { .. } => "decided",
                PlacementState::Withdrawing { .. } => "withdrawing",
                PlacementState::Withdrawn => "withdrawn",
            };
            format!("{}@{} on {}: {state}", fact.container_id, fact.number, fact.worker_id)
        });
        Some(line.collect::<Vec<_>>().join("; ")).filter(|line| !line.is_empty()).unwrap_or("none".to_owned())
    }
}

fn worker_subject(worker: &str) -> Subject {
    Subject::Worker { worker_id: worker.parse().unwrap() }
}

fn registered(worker: &str, key: &str) -> v1::WorkerRegistered {
    v1::WorkerRegistered {
        worker_id: worker.parse().unwrap(),
        instance: Uuid::from_u128(7),
        sealing_key: format!("X{}", key.repeat(55)).parse().unwrap(),
    }
}

fn outcome(what: &str, worker: &str, container: &str, placement: u64) -> Event {
    let (workspace, container_id) = ("ws".parse().unwrap(), container.parse().unwrap());
    let (worker_id, image_id, decided_by) = (worker.parse().unwrap(), None, 1);
    let (what, reason) = what.split_once(':').unwrap_or((what, ""));
    let provider_reason = ProviderFailure::ALL.iter().find(|word| word.as_str() == reason);
    let pull_reason = PullFailure::ALL.iter().find(|word| word.as_str() == reason);
    match what {
        "provided" => v1::CredentialProviderAttached {
            workspace,
            container_id,
            placement,
            image_id,
            worker_id,
            provider_name: "creds-a.b".to_owned(),
            cred_type: None,
            registry: None,
            secret_name: None,
            version: None,
            token_expires_at: None,
            decided_by,
        }
        .into(),
        "unprovided" => v1::CredentialProviderFailed {
            workspace,
            container_id,
            placement,
            image_id,
            worker_id,
            cred_type: None,
            registry: None,
            reason: provider_reason.copied().unwrap_or(ProviderFailure::SecretMissing),
            detail: None,
            decided_by,
        }
        .into(),
        "pulled" => v1::ImagePullSucceeded {
            workspace,
            container_id,
            placement,
            image_id,
            worker_id,
            image_ref: "a.b/i:1".to_owned(),
            digest: "sha256:0".to_owned(),
            decided_by,
        }
        .into(),
        "unpulled" => v1::ImagePullFailed {
            workspace,
            container_id,
            placement,
            image_id,
            worker_id,
            image_ref: None,
            reason: pull_reason.copied().unwrap_or(PullFailure::NotFound),
            detail: None,
            decided_by,
        }
        .into(),
        "ended" => v1::ContainerEnded { workspace, container_id, placement }.into(),
        _ => panic!("no such outcome: {what}"),
    }
}

/// The stream's time at a sequence: one second a message.
pub fn time_at(sequence: u64) -> Timestamp {
    let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    let seconds = std::time::Duration::from_secs(sequence);
    (start.instant() + seconds).into()
}

/// A decision in a few words.
pub fn in_words(decision: &Decision) -> String {
    let worker = &decision.worker_id;
    match &decision.outcome {
        Outcome::Attached { placement, credential, .. } => format!(
            "attach {}@{} {} v{} on {worker}",
            placement.container_id, placement.number, credential.secret_name, credential.version
        ),
        Outcome::Skipped { placement, reason, .. } => {
            format!("skip {}@{} {reason} on {worker}", placement.container_id, placement.number)
        }
        Outcome::Withdrawn { placement, reason, .. } => {
            format!("withdraw {}@{} {reason} on {worker}", placement.container_id, placement.number)
        }
        Outcome::Renewed { credential, cause } => {
            format!("renew {} v{} {cause} on {worker}", credential.secret_name, credential.version)
        }
    }
}

/// What a line came to: decisions with `>`, anomalies with `!`.
pub fn transcript(folded: &Folded) -> String {
    let mut text = String::new();
    for change in &folded.changes {
        if let Change::PutPending(pending) = change {
            writeln!(text, "> {}", in_words(&pending.decision)).unwrap();
        }
    }
    match &folded.anomaly {
        None => {}
        Some(Anomaly::UnexpectedDecision) => text.push_str("! unexpected decision\n"),
        Some(Anomaly::DecisionDiffers { expected }) => writeln!(text, "! differs from {}", in_words(expected)).unwrap(),
        Some(Anomaly::ForeignOutcome { placed_on }) => writeln!(text, "! placed on {placed_on}").unwrap(),
        Some(Anomaly::RepeatedOutcome) => text.push_str("! repeated outcome\n"),
    }
    text
}
