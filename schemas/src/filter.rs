//! Filters over the log's subjects, and the vault's keys: what readers, permissions and consumers are made of.

use std::fmt;

use crate::{ContainerId, ImageId, SecretName, Subject, WorkerId, WorkspaceId};

/// A set of subjects of the log. `None` stands for every id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Filter {
    /// Every event.
    All,
    /// One subject.
    Subject(Subject),
    /// Secrets of a workspace.
    Secrets(Option<WorkspaceId>),
    /// Builds of an image.
    Image(Option<WorkspaceId>, Option<ImageId>),
    /// Requests and ends of a container.
    Container(Option<WorkspaceId>, Option<ContainerId>),
    /// Everything addressed to a worker: its consumer's filter.
    Decisions(Option<WorkerId>),
    /// Decisions about a container of a workspace.
    ContainerDecisions(Option<WorkerId>, Option<WorkspaceId>, Option<ContainerId>),
    /// Renewals of a secret.
    SecretDecisions(Option<WorkerId>, Option<WorkspaceId>, Option<SecretName>),
    /// Everything that a worker reports.
    Outcomes(Option<WorkerId>),
    /// What workers report of a container.
    ContainerOutcomes(Option<WorkerId>, Option<WorkspaceId>, Option<ContainerId>),
    /// What workers report of a secret's renewals.
    SecretOutcomes(Option<WorkerId>, Option<WorkspaceId>, Option<SecretName>),
    /// What programs of nodes asked of a container.
    ContainerQuestions(Option<WorkerId>, Option<WorkspaceId>, Option<ContainerId>),
    /// Refused requests about things of a workspace. Those that name nothing have subjects of their own.
    Refusals(Option<WorkspaceId>),
    /// Refused requests about a container.
    RefusedContainer(Option<WorkspaceId>, ContainerId),
    /// Refused builds of an image.
    RefusedImage(Option<WorkspaceId>, ImageId),
    /// Refused requests about a secret.
    RefusedSecret(Option<WorkspaceId>, SecretName),
    /// Every refused request.
    AllRefusals,
    /// Registrations.
    Workers(Option<WorkerId>),
    /// Workers that joined or retired, workspaces, and tokens.
    Identities,
    /// Workers that joined or retired.
    WorkerIdentities,
    /// Workspaces.
    Workspaces,
    /// Bearer tokens.
    Tokens,
    /// What the operator says of quarantined messages.
    Quarantine,
    /// What left the log for an archive.
    Archives,
}

/// An id as a token, or the wildcard.
fn token(id: Option<impl fmt::Display>) -> String {
    id.map_or_else(|| "*".to_owned(), |id| id.to_string())
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("waybill.events.>"),
            Self::Subject(subject) => subject.fmt(f),
            Self::Secrets(workspace) => write!(f, "waybill.events.secret.{}.*", token(workspace.as_ref())),
            Self::Image(workspace, image) => {
                write!(f, "waybill.events.image.{}.{}.*", token(workspace.as_ref()), token(image.as_ref()))
            }
            Self::Container(workspace, container) => {
                write!(f, "waybill.events.container.{}.{}.*", token(workspace.as_ref()), token(container.as_ref()))
            }
            Self::Decisions(worker) => write!(f, "waybill.events.decision.{}.>", token(worker.as_ref())),
            Self::ContainerDecisions(worker, workspace, container) => {
                let [worker, workspace] = [token(worker.as_ref()), token(workspace.as_ref())];
                write!(f, "waybill.events.decision.{worker}.container.{workspace}.{}.*", token(container.as_ref()))
            }
            Self::SecretDecisions(worker, workspace, secret) => {
                let [worker, workspace] = [token(worker.as_ref()), token(workspace.as_ref())];
                let secret = token(secret.as_ref().map(SecretName::token));
                write!(f, "waybill.events.decision.{worker}.secret.{workspace}.{secret}.*")
            }
            Self::Outcomes(worker) => write!(f, "waybill.events.outcome.{}.>", token(worker.as_ref())),
            Self::ContainerOutcomes(worker, workspace, container) => {
                let [worker, workspace] = [token(worker.as_ref()), token(workspace.as_ref())];
                write!(f, "waybill.events.outcome.{worker}.{workspace}.{}.*", token(container.as_ref()))
            }
            Self::SecretOutcomes(worker, workspace, secret) => {
                let [worker, workspace] = [token(worker.as_ref()), token(workspace.as_ref())];
                let secret = token(secret.as_ref().map(SecretName::token));
                write!(f, "waybill.events.outcome.{worker}.secret.{workspace}.{secret}.*")
            }
            Self::ContainerQuestions(worker, workspace, container) => {
                let [worker, workspace] = [token(worker.as_ref()), token(workspace.as_ref())];
                write!(f, "waybill.events.outcome.{worker}.question.{workspace}.{}.*", token(container.as_ref()))
            }
            Self::Refusals(workspace) => write!(f, "waybill.events.refused.*.{}.*", token(workspace.as_ref())),
            Self::RefusedContainer(workspace, container) => {
                write!(f, "waybill.events.refused.container.{}.{container}", token(workspace.as_ref()))
            }
            Self::RefusedImage(workspace, image) => {
                write!(f, "waybill.events.refused.image.{}.{image}", token(workspace.as_ref()))
            }
            Self::RefusedSecret(workspace, secret) => {
                write!(f, "waybill.events.refused.secret.{}.{}", token(workspace.as_ref()), secret.token())
            }
            Self::AllRefusals => f.write_str("waybill.events.refused.>"),
            Self::Workers(worker) => write!(f, "waybill.events.worker.{}", token(worker.as_ref())),
            Self::Identities => f.write_str("waybill.events.identity.>"),
            Self::WorkerIdentities => f.write_str("waybill.events.identity.worker.*"),
            Self::Workspaces => f.write_str("waybill.events.identity.workspace.*"),
            Self::Tokens => f.write_str("waybill.events.identity.token.*"),
            Self::Quarantine => f.write_str("waybill.events.quarantine.*"),
            Self::Archives => f.write_str("waybill.events.archive.*"),
        }
    }
}

impl From<Subject> for Filter {
    fn from(subject: Subject) -> Self {
        Self::Subject(subject)
    }
}

/// True if every subject that matches `inner` matches `outer`, by NATS's rules: `*` is one token, `>` all that follow.
pub fn covers(outer: &str, inner: &str) -> bool {
    let (mut outer, mut inner) = (outer.split('.'), inner.split('.'));
    loop {
        match (outer.next(), inner.next()) {
            (None, None) | (Some(">"), Some(_)) => return true,
            (Some("*"), Some(token)) if token != ">" => {}
            (Some(expected), Some(token)) if expected == token => {}
            _ => return false,
        }
    }
}

/// Root of the subjects on which the gateway answers questions as a NATS service; no events stand there.
pub const SERVICE_PREFIX: &str = "waybill.gateway";
/// Name of the vault: a JetStream key-value bucket.
pub const VAULT_BUCKET: &str = "WAYBILL_VAULT";

/// A key of the vault.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum VaultKey {
    /// `secret.<workspace>.<secret>.<version>`: a version, sealed to the scheduler.
    Secret {
        /// Owner of the secret.
        workspace: WorkspaceId,
        /// The secret.
        secret: SecretName,
        /// Its version.
        version: u64,
    },
    /// `grant.<worker_id>.<workspace>.<secret>.<version>`: a version, sealed to one worker.
    Grant {
        /// The worker.
        worker_id: WorkerId,
        /// Owner of the secret.
        workspace: WorkspaceId,
        /// The secret.
        secret: SecretName,
        /// Its version.
        version: u64,
    },
}

impl fmt::Display for VaultKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Secret { workspace, secret, version } => write!(f, "secret.{workspace}.{}.{version}", secret.token()),
            Self::Grant { worker_id, workspace, secret, version } => {
                write!(f, "grant.{worker_id}.{workspace}.{}.{version}", secret.token())
            }
        }
    }
}

impl VaultKey {
    /// Reads a key of the bucket; none for a key that is not Waybill's.
    pub fn parse(text: &str) -> Option<Self> {
        let number = |token: &str| token.parse().ok().filter(|number: &u64| number.to_string() == token);
        match *text.split('.').collect::<Vec<_>>() {
            ["secret", workspace, secret, version] => Some(Self::Secret {
                workspace: workspace.parse().ok()?,
                secret: SecretName::from_token(secret).ok()?,
                version: number(version)?,
            }),
            ["grant", worker_id, workspace, secret, version] => Some(Self::Grant {
                worker_id: worker_id.parse().ok()?,
                workspace: workspace.parse().ok()?,
                secret: SecretName::from_token(secret).ok()?,
                version: number(version)?,
            }),
            _ => None,
        }
    }

    /// The NATS subject of the key in its bucket's stream.
    pub fn subject(&self) -> String {
        format!("$KV.{VAULT_BUCKET}.{self}")
    }
}

/// A set of keys of the vault, as the subject filter of its stream. `None` stands for every id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum VaultFilter {
    /// Every key.
    All,
    /// Every version of every secret.
    Secrets,
    /// Every version of a secret.
    Secret(WorkspaceId, SecretName),
    /// Every grant of a worker.
    Grants(Option<WorkerId>),
    /// Grants of a secret, to a worker or to all.
    SecretGrants(Option<WorkerId>, WorkspaceId, SecretName),
}

impl fmt::Display for VaultFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "$KV.{VAULT_BUCKET}.")?;
        match self {
            Self::All => f.write_str(">"),
            Self::Secrets => f.write_str("secret.>"),
            Self::Secret(workspace, secret) => write!(f, "secret.{workspace}.{}.*", secret.token()),
            Self::Grants(worker) => write!(f, "grant.{}.>", token(worker.as_ref())),
            Self::SecretGrants(worker, workspace, secret) => {
                write!(f, "grant.{}.{workspace}.{}.*", token(worker.as_ref()), secret.token())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_subjects_with_wildcards() {
        let (worker, workspace) = (Some("w1".parse().unwrap()), Some("ws".parse().unwrap()));
        let secret: SecretName = "a.b".parse().unwrap();
        let cases = [
            (Filter::Decisions(worker.clone()), "waybill.events.decision.w1.>"),
            (Filter::ContainerDecisions(None, workspace.clone(), None), "waybill.events.decision.*.container.ws.*.*"),
            (
                Filter::SecretDecisions(worker.clone(), workspace.clone(), Some(secret.clone())),
                "waybill.events.decision.w1.secret.ws.a=b.*",
            ),
            (Filter::ContainerOutcomes(None, workspace.clone(), None), "waybill.events.outcome.*.ws.*.*"),
            (
                Filter::SecretOutcomes(None, workspace.clone(), Some(secret.clone())),
                "waybill.events.outcome.*.secret.ws.a=b.*",
            ),
            (Filter::ContainerQuestions(None, workspace.clone(), None), "waybill.events.outcome.*.question.ws.*.*"),
            (Filter::Refusals(workspace.clone()), "waybill.events.refused.*.ws.*"),
            (Filter::RefusedSecret(None, secret.clone()), "waybill.events.refused.secret.*.a=b"),
            (Filter::AllRefusals, "waybill.events.refused.>"),
            (Filter::Workers(None), "waybill.events.worker.*"),
            (Filter::Secrets(workspace.clone()), "waybill.events.secret.ws.*"),
        ];
        for (filter, expected) in cases {
            assert_eq!(filter.to_string(), expected);
        }
        let grants = VaultFilter::SecretGrants(None, "ws".parse().unwrap(), secret);
        assert_eq!(grants.to_string(), "$KV.WAYBILL_VAULT.grant.*.ws.a=b.*");
    }

    #[test]
    fn subjects_cover_as_in_nats() {
        let cases = [
            ("a.>", "a.b", true),
            ("a.>", "a.*.>", true),
            ("a.>", "a", false),
            ("a.*", "a.b", true),
            ("a.*", "a.*", true),
            ("a.*", "a.>", false),
            ("a.*", "a.b.c", false),
            ("a.b", "a.*", false),
            ("a.b", "a.b", true),
            ("a.b.c", "a.b", false),
        ];
        for (outer, inner, expected) in cases {
            assert_eq!(covers(outer, inner), expected, "{outer} {inner}");
        }
    }

    #[test]
    fn a_vault_key_is_read_as_it_is_written() {
        for text in ["secret.ws.a=b.3", "grant.w1.ws.s.12"] {
            assert_eq!(VaultKey::parse(text).unwrap().to_string(), text);
        }
        for text in ["secret.ws.s", "secret.ws.s.01", "grant.w1.ws.s.x", "other.ws.s.1", ""] {
            assert_eq!(VaultKey::parse(text), None, "{text}");
        }
    }
}
