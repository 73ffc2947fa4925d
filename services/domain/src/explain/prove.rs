//! Proving a remedy: the log is folded with the events that the remedy would bring, and the verdict that follows is shown.
//!
//! What a remedy does at a registry, on a node or in a network leaves no event: the log cannot tell whether it helps, and says so.

use serde::Serialize;
use waybill_schemas::{
    ContainerId, Envelope, Event, ImageId, PublicSealingKey, Recorded, RecordedEvent, RequestId, SecretName, Subject,
    Timestamp, Uuid, WorkspaceId,
    v1::{
        AttachSkipReason, ContainerRequested, CredType, CredentialSecretRotated, CredentialSource, ImageSecretNamed,
        SecretVersion, WorkerRegistered,
    },
};

use super::{
    Asked, Case, Code, History, Readers, Seen, State, Verdict, again::Again, explain_container, replay::Replay,
};
use crate::{
    decision::Outcome,
    fold::{ImageKey, MemoryFacts, SecretKey},
};

/// What a remedy comes to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "proof", rename_all = "snake_case")]
pub enum Proof {
    /// Its events lead to another verdict.
    Proven {
        /// Names of the events that it brings, in their order.
        events: Vec<&'static str>,
        /// The verdict on the container then.
        verdict: Verdict,
    },
    /// What it does leaves no event.
    OutsideTheLog {
        /// What the log cannot tell.
        why: &'static str,
    },
    /// There is no remedy, since nothing is broken.
    NothingToDo,
}

/// More than any remedy takes.
const MOST_DEEDS: usize = 6;
/// Any public key: what it opens is no matter of the log.
const SOME_KEY: &str = "XAB3NANV3M6N7AHSQP2U5FRWKKUT7EG2ZXXABV4XVXYQRJGM4S2CZGHT";
const REGISTRY: &str = "registry.invalid";

/// Applies the remedy of a container's verdict to its history.
pub fn prove_remedy(case: &Case) -> Proof {
    let Asked::Container(container_id) = &case.asked else {
        return Proof::OutsideTheLog { why: "a remedy is proven on a container that asks" };
    };
    let verdict = case.explain().verdict;
    let first = match (verdict.state, first_deed(verdict.code)) {
        (State::Healthy, _) => return Proof::NothingToDo,
        (State::InFlight, _) => {
            return Proof::OutsideTheLog { why: "whether somebody who has not reported yet does so" };
        }
        (State::Broken, Err(why)) => return Proof::OutsideTheLog { why },
        (State::Broken, Ok(first)) => first,
    };
    let world = World::new(case, container_id);
    world.and_then(|mut world| world.prove(first)).unwrap_or(Proof::OutsideTheLog { why: "what to ask for" })
}

/// Something that brings one event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deed {
    /// A new version of the secret.
    Rotate,
    /// A build that names a secret for the image.
    Build,
    /// The worker starts.
    Register,
    /// The container asks again, as one that runs the image.
    Ask,
}

/// What mends the cause of a verdict, besides what a new request meets on its way.
fn first_deed(code: Code) -> Result<Option<Deed>, &'static str> {
    Ok(match code {
        Code::Unauthorized
        | Code::ExpiredBeforePull
        | Code::UnparsableCredentials
        | Code::TokenExchangeFailed
        | Code::SecretMissing
        | Code::UnsealFailed => Some(Deed::Rotate),
        Code::NotFound | Code::InvalidReference | Code::NoImageReference | Code::NoPlatform => Some(Deed::Build),
        Code::NotRequested | Code::NoImageId => return Err("which image the orchestrator asks for"),
        Code::Quarantined | Code::DecisionDiffers => return Err("what the message would have said"),
        Code::Unsupported | Code::CredentialsWithheld | Code::Storage | Code::NoLogin => {
            return Err("what is put right on the worker's node");
        }
        Code::Denied
        | Code::UnsupportedChallenge
        | Code::Unreachable
        | Code::Tls
        | Code::TlsUnknownAuthority
        | Code::TlsWrongHost
        | Code::TlsExpired
        | Code::PlainHttp
        | Code::Proxy
        | Code::RateLimited
        | Code::RegistryError
        | Code::DigestMismatch
        | Code::TokenExchangeUnreachable => return Err("what the registry answers, and the way to it"),
        Code::LogFull | Code::LostByScheduler | Code::LostByWorker => return Err("whether a process goes on"),
        // What a new request meets is mended as it is met.
        _ => None,
    })
}

/// A log that goes on with what did not happen.
struct World {
    workspace: WorkspaceId,
    container_id: ContainerId,
    request: ContainerRequested,
    entries: Vec<Recorded<Seen>>,
    elsewhere: Vec<WorkspaceId>,
    complete_from: u64,
    sequence: u64,
    now: Timestamp,
    done: Vec<&'static str>,
}

impl World {
    fn new(case: &Case, container_id: &ContainerId) -> Option<Self> {
        let entries = case.history.entries().to_vec();
        let mut request = case.history.events().filter_map(|recorded| match &recorded.value.event {
            Event::ContainerRequested(request) if request.container_id == *container_id => Some(request.clone()),
            _ => None,
        });
        let mut request = request.next_back()?;
        // A container that builds images is given none, whatever is mended.
        request.build_container = false;
        let sequence = entries.last()?.sequence;
        Some(Self {
            workspace: case.workspace.clone(),
            container_id: container_id.clone(),
            request,
            entries,
            elsewhere: case.history.elsewhere().to_vec(),
            complete_from: case.history.is_complete_from(),
            sequence,
            now: case.now,
            done: Vec::new(),
        })
    }

    fn history(&self) -> History {
        History::new(self.entries.clone(), self.elsewhere.clone()).complete_from(self.complete_from)
    }

    /// Does what is needed until a request is given credentials, and then asks.
    fn prove(&mut self, first: Option<Deed>) -> Option<Proof> {
        let mut next = first;
        for _ in 0..MOST_DEEDS {
            let history = self.history();
            let facts = Replay::from_history(&history).facts;
            let deed = match next.take() {
                Some(deed) => deed,
                None => match next_deed(&Again::ask(&history, &facts, &self.request, self.now)) {
                    Ok(deed) => deed,
                    Err(why) => return Some(Proof::OutsideTheLog { why }),
                },
            };
            self.apply(deed, &facts)?;
            if deed == Deed::Ask {
                return Some(self.conclude());
            }
        }
        None
    }

    fn conclude(&mut self) -> Proof {
        let facts = Replay::from_history(&self.history()).facts;
        for pending in facts.pending.values() {
            let decision = &pending.decision;
            self.append(pending.event_id(), decision.subject(), decision.to_event());
        }
        let history = self.history();
        let readers = Readers::unknown();
        let verdict = explain_container(&history, &self.workspace, &self.container_id, &readers, self.now).verdict;
        // Decisions are nobody's remedy: they follow.
        Proof::Proven { events: self.done.clone(), verdict }
    }

    fn append(&mut self, id: Uuid, subject: Subject, event: Event) {
        self.sequence = self.sequence.saturating_add(1);
        let value = RecordedEvent { subject, envelope: Envelope::new(id, "/proof"), event };
        let value = Seen::Event(Box::new(value));
        self.entries.push(Recorded { sequence: self.sequence, at: self.now, value });
    }

    fn apply(&mut self, deed: Deed, facts: &MemoryFacts) -> Option<()> {
        let workspace = self.workspace.clone();
        let image_id = self.request.image_id.clone();
        let key = image_id.clone().map(|image_id| ImageKey { workspace: workspace.clone(), image_id });
        let image = key.and_then(|key| facts.images.get(&key));
        let registry = image.and_then(|image| image.registry.clone()).unwrap_or_else(|| REGISTRY.to_owned());
        let named = image.and_then(|image| image.secret_name.clone());
        let (subject, event): (Subject, Event) = match deed {
            Deed::Rotate => {
                let secret_name = named?;
                let key = SecretKey { workspace: workspace.clone(), secret_name: secret_name.clone() };
                let present = facts.secrets.get(&key);
                let registry = present.map_or(registry, |secret| secret.registry.clone());
                let stored = version(present.map_or(0, |secret| secret.version), registry);
                let subject = Subject::Secret { workspace: workspace.clone(), secret: secret_name.clone() };
                (subject, CredentialSecretRotated { workspace, secret_name, stored }.into())
            }
            Deed::Build => {
                let image_id = image_id?;
                let secret_name = free_name(facts, &workspace, named, &registry)?;
                let subject =
                    Subject::Image { workspace: workspace.clone(), image_id: image_id.clone(), build: token("proof")? };
                (subject, build(workspace, image_id, secret_name, registry).into())
            }
            Deed::Register => {
                let worker_id = self.request.worker_id.clone();
                let sealing_key: PublicSealingKey = SOME_KEY.parse().ok()?;
                let registered = WorkerRegistered { worker_id: worker_id.clone(), instance: Uuid::nil(), sealing_key };
                (Subject::Worker { worker_id }, registered.into())
            }
            Deed::Ask => {
                let (container_id, request) = (self.container_id.clone(), token("proof")?);
                (Subject::Container { workspace, container_id, request }, self.request.clone().into())
            }
        };
        self.done.push(event.event_type().as_str());
        self.append(Uuid::from_u128(u128::from(self.sequence)), subject, event);
        Some(())
    }
}

fn token(text: &str) -> Option<RequestId> {
    text.parse().ok()
}

fn version(before: u64, registry: String) -> SecretVersion {
    SecretVersion {
        version: before.saturating_add(1),
        registry,
        cred_type: CredType::Basic,
        account: None,
        expires_at: None,
        credentials_length: 0,
        digest: String::new(),
        note: None,
        verified: None,
    }
}

/// The secret that the image names, unless that is for another registry.
fn free_name(
    facts: &MemoryFacts,
    workspace: &WorkspaceId,
    named: Option<SecretName>,
    registry: &str,
) -> Option<SecretName> {
    let fits = |secret_name: &SecretName| {
        let key = SecretKey { workspace: workspace.clone(), secret_name: secret_name.clone() };
        facts.secrets.get(&key).is_none_or(|secret| secret.registry == registry)
    };
    named.filter(fits).or_else(|| "proof".parse().ok())
}

fn build(workspace: WorkspaceId, image_id: ImageId, secret_name: SecretName, registry: String) -> ImageSecretNamed {
    ImageSecretNamed {
        workspace,
        image_ref: format!("{registry}/{image_id}:proof"),
        image_id,
        registry,
        secret_name,
        source: CredentialSource::FromRegistry,
        version: None,
        cred_type: None,
    }
}

/// What is in the way of a request, mended; asking, where nothing is.
fn next_deed(again: &Again<'_>) -> Result<Deed, &'static str> {
    let Outcome::Skipped { reason, .. } = again.outcome() else { return Ok(Deed::Ask) };
    match reason {
        AttachSkipReason::NoImageId => Err("which image the orchestrator asks for"),
        AttachSkipReason::BuildContainer => Ok(Deed::Ask),
        AttachSkipReason::NoSecretForImage
        | AttachSkipReason::CredentialsUnusable
        | AttachSkipReason::RegistryMismatch => Ok(Deed::Build),
        AttachSkipReason::UnknownWorker => Ok(Deed::Register),
        AttachSkipReason::SecretNotFound
        | AttachSkipReason::SecretExpired
        | AttachSkipReason::SecretRevoked
        | AttachSkipReason::SecretShredded => Ok(Deed::Rotate),
    }
}
