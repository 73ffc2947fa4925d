//! Histories from words: each word is one message of the log.

use uuid::Uuid;
use waybill_domain::explain::{Entry, History, Seen};
use waybill_schemas::{
    ContainerId, Derivation, Envelope, Event, ImageId, Recorded, RecordedEvent, Sealed, Timestamp, TraceParent,
    WorkspaceId, derived_id,
    v1::{self, CredType, CredentialSource, DEFAULT_CHAIN, SaveSkipReason},
};

const KEY: &str = "XAB3NANV3M6N7AHSQP2U5FRWKKUT7EG2ZXXABV4XVXYQRJGM4S2CZGHT";
const NEW_KEY: &str = "XDQ4WDVLFQCTEDNMQUGSLKGRMEGNLEGAAMOSGJFVV5LVQLL7A3DHP4RV";

pub(crate) fn workspace() -> WorkspaceId {
    "ws".parse().unwrap()
}

pub(crate) fn image() -> ImageId {
    "img".parse().unwrap()
}

pub(crate) fn container() -> ContainerId {
    "ctr".parse().unwrap()
}

/// The stream's time at a minute.
pub(crate) fn minute(minute: u64) -> Timestamp {
    format!("2026-01-01T{:02}:{:02}:00Z", minute / 60, minute % 60).parse().unwrap()
}

/// A log that is written word by word.
#[derive(Default)]
pub(crate) struct World {
    entries: Vec<Entry>,
    elsewhere: Vec<WorkspaceId>,
    now: Option<u64>,
    request: Option<(u64, Uuid)>,
    decision: Option<(u64, Uuid)>,
    expires_at: Option<Timestamp>,
    saved_by: u64,
    ended_by: u64,
}

impl World {
    pub(crate) fn of(words: &str) -> Self {
        let mut world = Self::default();
        words.split_whitespace().for_each(|word| world.take(word));
        world
    }

    pub(crate) fn history(&self) -> History {
        History::new(self.entries.clone(), self.elsewhere.clone())
    }

    /// The log as it stood when it had this many messages.
    pub(crate) fn prefix(&self, messages: usize) -> History {
        History::new(self.entries.iter().take(messages).cloned().collect(), Vec::new())
    }

    /// Whether credentials were rotated among the first messages.
    pub(crate) fn is_rotated(&self, messages: usize) -> bool {
        let mut first = self.entries.iter().take(messages);
        first.any(|entry| matches!(&entry.value, Seen::Event(event) if matches!(event.event, Event::CredentialSecretRotated(_))))
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn now(&self) -> Timestamp {
        minute(self.now.unwrap_or(self.next()))
    }

    fn next(&self) -> u64 {
        self.entries.len() as u64 + 1
    }

    pub(crate) fn take(&mut self, word: &str) {
        let (name, detail) = word.split_once(':').unwrap_or((word, ""));
        let until = detail.strip_prefix("until=").map(|at| minute(at.parse().unwrap()));
        match name {
            "elsewhere" => self.elsewhere.push("other".parse().unwrap()),
            "garbage" => self.garbage(detail),
            "registered" => self.fresh(registered(detail)),
            "saved" => {
                (self.expires_at, self.saved_by) = (until, self.next());
                self.fresh(saved(until));
            }
            "moved" => {
                (self.expires_at, self.saved_by) = (None, self.next());
                let moved = v1::CredentialSecretSaved { image_ref: "a.b/team/app:2".to_owned(), ..secret(None) };
                self.fresh(moved.into());
            }
            "skipped" => self.fresh(skipped(detail)),
            "rotated" => {
                (self.expires_at, self.saved_by) = (until, self.next());
                self.fresh(rotated(until));
            }
            "revoked" => {
                let revokes = if detail == "older" { 0 } else { self.saved_by };
                self.saved_by = self.next();
                self.fresh(revoked(revokes));
            }
            "verified" => self.fresh(verified(self.saved_by)),
            "ended" => {
                self.ended_by = self.next();
                self.fresh(v1::ContainerEnded { workspace: workspace(), container_id: container() }.into());
            }
            "renewed" => self.further(self.saved_by, attached(self.saved_by, self.requested_by(), self.expires_at)),
            "dropped" if detail == "ended" => {
                let event = no_credentials("container_ended", self.requested_by(), Some(self.ended_by));
                self.further(self.ended_by, event);
            }
            "dropped" => {
                let reason = if detail.is_empty() { "secret_revoked" } else { detail };
                let event = no_credentials(reason, self.requested_by(), Some(self.saved_by));
                self.further(self.saved_by, event);
            }
            "requested" => self.requested(detail),
            "attached" => self.attached(detail),
            "skip" => self.decided(no_credentials(detail, self.requested_by(), None)),
            "provider" => self.outcome(Derivation::Provider, provider("creds-a.b", until, self.decided_by())),
            "default" => self.outcome(Derivation::Provider, provider(DEFAULT_CHAIN, None, self.decided_by())),
            "failed" => self.outcome(Derivation::Provider, no_provider(detail, self.decided_by())),
            "pulled" => self.outcome(Derivation::Pull, pulled(self.decided_by())),
            "pull" => self.outcome(Derivation::Pull, not_pulled(detail, self.decided_by())),
            other => self.now = Some(other.strip_prefix("now=").expect("a word of the table").parse().unwrap()),
        }
    }

    fn requested_by(&self) -> u64 {
        self.request.map_or(0, |(sequence, _)| sequence)
    }

    fn decided_by(&self) -> u64 {
        self.decision.map_or(0, |(sequence, _)| sequence)
    }

    fn requested(&mut self, detail: &str) {
        let id = match (detail, self.request) {
            ("same", Some((_, id))) => id,
            _ => Uuid::from_u128(u128::from(self.next())),
        };
        if detail != "same" {
            (self.request, self.decision) = (Some((self.next(), id)), None);
        }
        let event = v1::ContainerRequested {
            workspace: workspace(),
            container_id: container(),
            image_id: Some(image()).filter(|_| detail != "no_image"),
            worker_id: "w1".parse().unwrap(),
            build_container: detail == "build",
        };
        self.push(id, event.into());
    }

    fn attached(&mut self, detail: &str) {
        let event = attached(self.saved_by, self.requested_by(), self.expires_at);
        if detail == "foreign" {
            return self.fresh(event);
        }
        self.decided(event);
    }

    /// A further decision about the request, made for the rotation, revocation or end at a sequence.
    fn further(&mut self, cause: u64, event: Event) {
        let cause = Uuid::from_u128(u128::from(cause));
        let request = self.request.map(|(_, id)| id).unwrap_or_default();
        let id = derived_id(cause, Derivation::Renewal { request });
        self.decision = Some((self.next(), id));
        self.push_caused(id, Some(cause), event);
    }

    fn decided(&mut self, event: Event) {
        let id = derived_id(self.request.map(|(_, id)| id).unwrap_or_default(), Derivation::Decision);
        self.decision = Some((self.next(), id));
        self.push(id, event);
    }

    fn outcome(&mut self, kind: Derivation, event: Event) {
        let id = derived_id(self.decision.map(|(_, id)| id).unwrap_or_default(), kind);
        self.push(id, event);
    }

    fn fresh(&mut self, event: Event) {
        self.push(Uuid::from_u128(u128::from(self.next())), event);
    }

    fn push(&mut self, id: Uuid, event: Event) {
        self.push_caused(id, None, event);
    }

    fn push_caused(&mut self, id: Uuid, causation_id: Option<Uuid>, event: Event) {
        let envelope = Envelope {
            id,
            source: "/waybill/test".to_owned(),
            source_version: Some("1.2.3".to_owned()),
            time: None,
            causation_id,
            correlation_id: None,
            traceparent: TraceParent::parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
            tracestate: None,
        };
        self.enter(Seen::Event(Box::new(RecordedEvent { envelope, event })));
    }

    fn garbage(&mut self, of: &str) {
        let subject = match of {
            "image" => "waybill.events.image.ws.img.CredentialSecretSaved",
            "container" => "waybill.events.container.ws.ctr.ContainerRequested",
            _ => "waybill.events.worker.w1.ws.ctr.ContainerCredentialsAttached",
        };
        self.enter(Seen::Unreadable { subject: subject.to_owned(), error: "not JSON".to_owned() });
    }

    fn enter(&mut self, value: Seen) {
        self.entries.push(Recorded { sequence: self.next(), at: minute(self.next()), value });
    }
}

fn sealed(recipient: &str) -> Sealed {
    Sealed { sender: KEY.parse().unwrap(), recipient: recipient.parse().unwrap(), ciphertext: "box".to_owned() }
}

fn registered(detail: &str) -> Event {
    let sealing_key = if detail == "new" { NEW_KEY } else { KEY }.parse().unwrap();
    v1::WorkerRegistered { worker_id: "w1".parse().unwrap(), sealing_key }.into()
}

fn attached(saved_by: u64, requested_by: u64, expires_at: Option<Timestamp>) -> Event {
    v1::ContainerCredentialsAttached {
        workspace: workspace(),
        container_id: container(),
        image_id: image(),
        worker_id: "w1".parse().unwrap(),
        image_ref: "a.b/team/app:1".to_owned(),
        secret_name: "oci-registry-a-b".to_owned(),
        registry: "a.b".to_owned(),
        cred_type: CredType::Basic,
        credentials_length: 42,
        saved_by,
        requested_by,
        expires_at,
        credentials: sealed(KEY),
    }
    .into()
}

fn rotated(expires_at: Option<Timestamp>) -> Event {
    v1::CredentialSecretRotated { replaces: 1, secret: secret(expires_at) }.into()
}

fn revoked(revokes: u64) -> Event {
    v1::CredentialSecretRevoked {
        workspace: workspace(),
        image_id: image(),
        revokes,
        image_ref: "a.b/team/app:1".to_owned(),
        registry: "a.b".to_owned(),
        secret_name: "oci-registry-a-b".to_owned(),
        reason: Some("the account was closed".to_owned()),
    }
    .into()
}

/// A registry that did not take the credentials.
fn verified(saved_by: u64) -> Event {
    v1::CredentialSecretVerified {
        workspace: workspace(),
        image_id: image(),
        saved_by,
        digest: None,
        provider_failure: None,
        pull_failure: Some(v1::PullFailure::Unauthorized),
        detail: None,
    }
    .into()
}

fn saved(expires_at: Option<Timestamp>) -> Event {
    secret(expires_at).into()
}

fn secret(expires_at: Option<Timestamp>) -> v1::CredentialSecretSaved {
    v1::CredentialSecretSaved {
        workspace: workspace(),
        image_id: image(),
        image_ref: "a.b/team/app:1".to_owned(),
        registry: "a.b".to_owned(),
        secret_name: "oci-registry-a-b".to_owned(),
        cred_type: CredType::Basic,
        source: CredentialSource::FromRegistry,
        expires_at,
        credentials: sealed(KEY),
    }
}

/// The word of an enumeration whose `ALL` and `as_str` are the wire's.
fn word<T: Copy>(all: &[T], text: impl Fn(T) -> &'static str, wanted: &str) -> T {
    all.iter().copied().find(|word| text(*word) == wanted).unwrap_or_else(|| panic!("no reason {wanted}"))
}

fn skipped(reason: &str) -> Event {
    let reason = word(SaveSkipReason::ALL, SaveSkipReason::as_str, reason);
    let incomplete = reason == SaveSkipReason::IncompleteCredentials;
    let named = reason != SaveSkipReason::NoImageReference;
    v1::CredentialSecretSkipped {
        workspace: workspace(),
        image_id: image(),
        image_ref: named.then(|| "a.b/team/app:1".to_owned()),
        registry: named.then(|| "a.b".to_owned()),
        secret_name: None,
        cred_type: incomplete.then_some(CredType::Aws),
        source: None,
        reason,
        missing_key: incomplete.then(|| "AWS_SECRET_ACCESS_KEY".to_owned()),
    }
    .into()
}

fn no_credentials(reason: &str, requested_by: u64, image_event: Option<u64>) -> Event {
    v1::ContainerCredentialsSkipped {
        workspace: workspace(),
        container_id: container(),
        image_id: Some(image()),
        worker_id: "w1".parse().unwrap(),
        image_ref: None,
        registry: None,
        reason: word(v1::AttachSkipReason::ALL, v1::AttachSkipReason::as_str, reason),
        image_event,
        requested_by,
    }
    .into()
}

fn provider(name: &str, token_expires_at: Option<Timestamp>, decided_by: u64) -> Event {
    let custom = name != DEFAULT_CHAIN;
    v1::CredentialProviderAttached {
        workspace: workspace(),
        container_id: container(),
        image_id: Some(image()),
        worker_id: "w1".parse().unwrap(),
        provider_name: name.to_owned(),
        cred_type: custom.then_some(CredType::Basic),
        registry: custom.then(|| "a.b".to_owned()),
        token_expires_at,
        decided_by,
    }
    .into()
}

fn no_provider(reason: &str, decided_by: u64) -> Event {
    v1::CredentialProviderFailed {
        workspace: workspace(),
        container_id: container(),
        image_id: Some(image()),
        worker_id: "w1".parse().unwrap(),
        cred_type: Some(CredType::Basic),
        registry: Some("a.b".to_owned()),
        reason: word(v1::ProviderFailure::ALL, v1::ProviderFailure::as_str, reason),
        detail: Some("the cloud's own words".to_owned()),
        decided_by,
    }
    .into()
}

fn pulled(decided_by: u64) -> Event {
    v1::ImagePullSucceeded {
        workspace: workspace(),
        container_id: container(),
        image_id: Some(image()),
        worker_id: "w1".parse().unwrap(),
        image_ref: "a.b/team/app:1".to_owned(),
        digest: format!("sha256:{}", "0".repeat(64)),
        decided_by,
    }
    .into()
}

fn not_pulled(reason: &str, decided_by: u64) -> Event {
    v1::ImagePullFailed {
        workspace: workspace(),
        container_id: container(),
        image_id: Some(image()),
        worker_id: "w1".parse().unwrap(),
        image_ref: Some("a.b/team/app:1".to_owned()),
        reason: word(v1::PullFailure::ALL, v1::PullFailure::as_str, reason),
        detail: None,
        decided_by,
    }
    .into()
}
