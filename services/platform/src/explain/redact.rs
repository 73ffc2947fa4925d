//! A case without names: each is replaced by a hash with a salt of its own, so that two names stay apart and none can be guessed.
//! Free text of people and programs is left out.

use ring::digest::{Context, SHA256};
use serde_json::{Map, Value};
use waybill_domain::explain::{Asked, Case, Entry, History, Seen};
use waybill_schemas::{
    ContainerId, ImageId, Recorded, RecordedEvent, SecretName, Subject, Uuid, WorkerId, WorkspaceId, decode,
};

/// Members that hold an id.
const IDS: [&str; 7] =
    ["workspace", "container_id", "image_id", "worker_id", "secret_name", "namespace", "service_account"];
/// Members that hold words.
const WORDS: [&str; 3] = ["detail", "note", "account"];
/// Events whose `reason` is words of a person; of the others it is a code.
const REASONED: [&str; 3] = ["CredentialSecretRevoked", "CredentialSecretShredded", "QuarantineDiscarded"];

pub(super) fn redact(case: &Case) -> Case {
    let names = Names { salt: Uuid::new_v4().to_string() };
    let entries = case.history.entries().iter().filter_map(|entry| names.entry(entry)).collect();
    let elsewhere = case.history.elsewhere().iter().filter_map(|workspace| names.id(workspace.as_str())).collect();
    let history = History::new(entries, elsewhere).complete_from(case.history.is_complete_from());
    let asked = match &case.asked {
        Asked::Container(id) => names.id(id.as_str()).map(Asked::Container),
        Asked::Image(id) => names.id(id.as_str()).map(Asked::Image),
        Asked::Secret(name) => names.id(name.as_str()).map(Asked::Secret),
    };
    let mut redacted = case.clone();
    redacted.history = history;
    if let (Some(asked), Some(workspace)) = (asked, names.id(case.workspace.as_str())) {
        (redacted.asked, redacted.workspace) = (asked, workspace);
    }
    redacted
}

struct Names {
    salt: String,
}

impl Names {
    fn hash(&self, name: &str) -> String {
        let mut context = Context::new(&SHA256);
        context.update(self.salt.as_bytes());
        context.update(name.as_bytes());
        context.finish().as_ref().iter().take(6).map(|byte| format!("{byte:02x}")).collect()
    }

    /// Hexadecimal digits are a valid id of each kind.
    fn id<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        self.hash(name).parse().ok()
    }

    fn host(&self, host: &str) -> String {
        format!("{}.invalid", self.hash(host))
    }

    /// An entry that cannot be written without names is left out.
    fn entry(&self, entry: &Entry) -> Option<Entry> {
        let Recorded { sequence, at, value } = entry;
        let value = match value {
            Seen::Event(recorded) => Seen::Event(Box::new(self.event(recorded)?)),
            Seen::Unreadable { subject, error } => {
                let subject = self.subject(&subject.parse().ok()?)?.to_string();
                Seen::Unreadable { subject, error: error.clone() }
            }
        };
        Some(Recorded { sequence: *sequence, at: *at, value })
    }

    fn event(&self, recorded: &RecordedEvent) -> Option<RecordedEvent> {
        let RecordedEvent { subject, envelope, event } = recorded;
        let kind = event.event_type();
        let mut body: Value = serde_json::from_slice(&event.to_json().ok()?).ok()?;
        self.members(body.as_object_mut()?, REASONED.contains(&kind.as_str()));
        let subject = self.subject(subject)?;
        let mut envelope = envelope.clone();
        envelope.actor = envelope.actor.map(|actor| self.hash(&actor));
        let headers: Vec<(String, String)> =
            envelope.to_headers(kind, &subject).into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        decode(&subject.to_string(), headers.as_slice(), body.to_string().as_bytes()).ok()
    }

    fn members(&self, members: &mut Map<String, Value>, reasoned: bool) {
        let is_words = |name: &str| WORDS.contains(&name) || (reasoned && name == "reason");
        members.retain(|name, _| !is_words(name));
        for (name, member) in members.iter_mut() {
            let replaced = match (name.as_str(), &*member) {
                (name, Value::String(text)) if IDS.contains(&name) => Some(self.hash(text)),
                ("registry", Value::String(host)) => Some(self.host(host)),
                ("image_ref" | "image", Value::String(image)) => {
                    let (host, rest) = image.split_once('/').unwrap_or((image, ""));
                    Some(format!("{}/{}", self.host(host), self.hash(rest)))
                }
                ("provider_name", Value::String(provider)) => {
                    provider.strip_prefix("creds-").map(|host| format!("creds-{}", self.host(host)))
                }
                _ => None,
            };
            if let Some(text) = replaced {
                *member = Value::String(text);
            } else if let Value::Object(below) = member {
                self.members(below, reasoned);
            }
        }
    }

    fn subject(&self, subject: &Subject) -> Option<Subject> {
        let workspace = |id: &WorkspaceId| self.id::<WorkspaceId>(id.as_str());
        let worker = |id: &WorkerId| self.id::<WorkerId>(id.as_str());
        let container = |id: &ContainerId| self.id::<ContainerId>(id.as_str());
        let secret_name = |name: &SecretName| self.id::<SecretName>(name.as_str());
        Some(match subject {
            Subject::Secret { workspace: owner, secret } => {
                Subject::Secret { workspace: workspace(owner)?, secret: secret_name(secret)? }
            }
            Subject::Image { workspace: owner, image_id, build } => Subject::Image {
                workspace: workspace(owner)?,
                image_id: self.id::<ImageId>(image_id.as_str())?,
                build: self.id(build.as_str())?,
            },
            Subject::Container { workspace: owner, container_id, request } => Subject::Container {
                workspace: workspace(owner)?,
                container_id: container(container_id)?,
                request: self.id(request.as_str())?,
            },
            Subject::ContainerDecision { worker_id, workspace: owner, container_id, placement } => {
                Subject::ContainerDecision {
                    worker_id: worker(worker_id)?,
                    workspace: workspace(owner)?,
                    container_id: container(container_id)?,
                    placement: *placement,
                }
            }
            Subject::ContainerOutcome { worker_id, workspace: owner, container_id, placement } => {
                Subject::ContainerOutcome {
                    worker_id: worker(worker_id)?,
                    workspace: workspace(owner)?,
                    container_id: container(container_id)?,
                    placement: *placement,
                }
            }
            Subject::ContainerQuestion { worker_id, workspace: owner, container_id, placement } => {
                Subject::ContainerQuestion {
                    worker_id: worker(worker_id)?,
                    workspace: workspace(owner)?,
                    container_id: container(container_id)?,
                    placement: *placement,
                }
            }
            Subject::SecretDecision { worker_id, workspace: owner, secret, version } => Subject::SecretDecision {
                worker_id: worker(worker_id)?,
                workspace: workspace(owner)?,
                secret: secret_name(secret)?,
                version: *version,
            },
            Subject::SecretOutcome { worker_id, workspace: owner, secret, version } => Subject::SecretOutcome {
                worker_id: worker(worker_id)?,
                workspace: workspace(owner)?,
                secret: secret_name(secret)?,
                version: *version,
            },
            Subject::Worker { worker_id } => Subject::Worker { worker_id: worker(worker_id)? },
            Subject::RefusedContainer { workspace: owner, container_id } => {
                Subject::RefusedContainer { workspace: workspace(owner)?, container_id: container(container_id)? }
            }
            Subject::RefusedImage { workspace: owner, image_id } => {
                let image_id = self.id::<ImageId>(image_id.as_str())?;
                Subject::RefusedImage { workspace: workspace(owner)?, image_id }
            }
            Subject::RefusedSecret { workspace: owner, secret } => {
                Subject::RefusedSecret { workspace: workspace(owner)?, secret: secret_name(secret)? }
            }
            Subject::RefusedWorkspace { workspace: owner } => {
                Subject::RefusedWorkspace { workspace: workspace(owner)? }
            }
            Subject::RefusedUnowned => Subject::RefusedUnowned,
            Subject::NodeQuestion { worker_id } => Subject::NodeQuestion { worker_id: worker(worker_id)? },
            Subject::WorkerIdentity { worker_id } => Subject::WorkerIdentity { worker_id: worker(worker_id)? },
            // No case rests on who may come in by which token.
            Subject::Workspace { .. } | Subject::Token { .. } | Subject::Archive { .. } => return None,
            Subject::SchedulerKeys | Subject::Quarantine { .. } => subject.clone(),
        })
    }
}
