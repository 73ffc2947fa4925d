//! NATS subjects of the log. No subject or filter is spelled anywhere else.
//!
//! A subject names what is said and who says it, so that its last message is the whole answer to "has this been said?":
//! appending exactly once is a compare with the last sequence of one exact subject.

use std::{fmt, str::FromStr};

use crate::{ContainerId, EventType, IdError, ImageId, RequestId, SecretName, TokenId, WorkerId, WorkspaceId};

const ROOT: [&str; 2] = ["waybill", "events"];

/// The address of an event in the log.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// `waybill.events.secret.<workspace>.<secret>`: every version, revocation and shredding of a secret.
    Secret {
        /// Owner of the secret.
        workspace: WorkspaceId,
        /// The secret.
        secret: SecretName,
    },
    /// `waybill.events.image.<workspace>.<image_id>.<build>`: what one build said of its image.
    Image {
        /// Owner of the image.
        workspace: WorkspaceId,
        /// The image.
        image_id: ImageId,
        /// The build: derived from its idempotency key, or fresh.
        build: RequestId,
    },
    /// `waybill.events.container.<workspace>.<container_id>.<request>`: one request, and the end of its placement.
    Container {
        /// Owner of the container.
        workspace: WorkspaceId,
        /// The container.
        container_id: ContainerId,
        /// The request: derived from its idempotency key, or fresh.
        request: RequestId,
    },
    /// `waybill.events.decision.<worker_id>.container.<workspace>.<container_id>.<placement>`
    ContainerDecision {
        /// The worker it is for.
        worker_id: WorkerId,
        /// Owner of the container.
        workspace: WorkspaceId,
        /// The container.
        container_id: ContainerId,
        /// Stream sequence of the request.
        placement: u64,
    },
    /// `waybill.events.decision.<worker_id>.secret.<workspace>.<secret>.<version>`
    SecretDecision {
        /// The worker it is for.
        worker_id: WorkerId,
        /// Owner of the secret.
        workspace: WorkspaceId,
        /// The secret.
        secret: SecretName,
        /// Its version.
        version: u64,
    },
    /// `waybill.events.outcome.<worker_id>.<workspace>.<container_id>.<placement>`
    ContainerOutcome {
        /// The worker that reports.
        worker_id: WorkerId,
        /// Owner of the container.
        workspace: WorkspaceId,
        /// The container.
        container_id: ContainerId,
        /// Stream sequence of the request.
        placement: u64,
    },
    /// `waybill.events.outcome.<worker_id>.secret.<workspace>.<secret>.<version>`
    SecretOutcome {
        /// The worker that reports.
        worker_id: WorkerId,
        /// Owner of the secret.
        workspace: WorkspaceId,
        /// The secret.
        secret: SecretName,
        /// Its version.
        version: u64,
    },
    /// `waybill.events.outcome.<worker_id>.question.<workspace>.<container_id>.<placement>`: who asked for its login.
    ContainerQuestion {
        /// The worker that was asked.
        worker_id: WorkerId,
        /// Owner of the container.
        workspace: WorkspaceId,
        /// The container.
        container_id: ContainerId,
        /// Stream sequence of the request.
        placement: u64,
    },
    /// `waybill.events.outcome.<worker_id>.question`: who asked for anything else.
    NodeQuestion {
        /// The worker that was asked.
        worker_id: WorkerId,
    },
    /// `waybill.events.worker.<worker_id>`: registrations of a worker.
    Worker {
        /// The worker.
        worker_id: WorkerId,
    },
    /// `waybill.events.identity.worker.<worker_id>`: that a worker joined, with which key, and that it retired.
    WorkerIdentity {
        /// The worker.
        worker_id: WorkerId,
    },
    /// `waybill.events.identity.workspace.<workspace>`: that there is a workspace.
    Workspace {
        /// The workspace.
        workspace: WorkspaceId,
    },
    /// `waybill.events.identity.token.<token_id>`: a bearer token, and its revocation.
    Token {
        /// Its name.
        token_id: TokenId,
    },
    /// `waybill.events.refused.container.<workspace>.<container_id>`: refused requests about a container.
    RefusedContainer {
        /// Workspace of who asked.
        workspace: WorkspaceId,
        /// The container.
        container_id: ContainerId,
    },
    /// `waybill.events.refused.image.<workspace>.<image_id>`: refused builds of an image.
    RefusedImage {
        /// Workspace of who asked.
        workspace: WorkspaceId,
        /// The image.
        image_id: ImageId,
    },
    /// `waybill.events.refused.secret.<workspace>.<secret>`: refused requests about a secret.
    RefusedSecret {
        /// Workspace of who asked.
        workspace: WorkspaceId,
        /// The secret.
        secret: SecretName,
    },
    /// `waybill.events.refused.workspace.<workspace>`: refused requests that name nothing.
    RefusedWorkspace {
        /// Workspace of who asked.
        workspace: WorkspaceId,
    },
    /// `waybill.events.refused.unowned`: refused requests of no workspace, such as those without a valid token.
    RefusedUnowned,
    /// `waybill.events.scheduler.keys`: the scheduler's public keys.
    SchedulerKeys,
    /// `waybill.events.quarantine.<sequence>`: what the operator says of a message that cannot be read.
    Quarantine {
        /// Stream sequence of the message.
        sequence: u64,
    },
    /// `waybill.events.archive.<run>`: which messages left the log for an archive, in one run.
    Archive {
        /// Number of the run, from 1.
        run: u64,
    },
}

impl Subject {
    /// Types of the events that may stand on the subject.
    pub fn event_types(&self) -> &'static [EventType] {
        use EventType as Type;
        match self {
            Self::Secret { .. } => &[
                Type::CredentialSecretSaved,
                Type::CredentialSecretRotated,
                Type::CredentialSecretRevoked,
                Type::CredentialSecretShredded,
            ],
            Self::Image { .. } => &[Type::ImageSecretNamed, Type::CredentialSecretSkipped],
            Self::Container { .. } => &[Type::ContainerRequested, Type::ContainerEnded],
            Self::ContainerDecision { .. } => &[
                Type::ContainerCredentialsAttached,
                Type::ContainerCredentialsSkipped,
                Type::ContainerCredentialsWithdrawn,
            ],
            Self::SecretDecision { .. } => &[Type::WorkerCredentialsRenewed],
            Self::ContainerOutcome { .. } => &[
                Type::CredentialProviderAttached,
                Type::CredentialProviderFailed,
                Type::ImagePullSucceeded,
                Type::ImagePullFailed,
                Type::ContainerEnded,
            ],
            Self::SecretOutcome { .. } => &[Type::SecretRenewalApplied, Type::SecretRenewalFailed],
            Self::ContainerQuestion { .. } => &[Type::ContainerLoginAsked],
            Self::NodeQuestion { .. } => &[Type::NodeLoginAsked],
            Self::Worker { .. } => &[Type::WorkerRegistered],
            Self::WorkerIdentity { .. } => &[Type::WorkerJoined, Type::WorkerRetired],
            Self::Workspace { .. } => &[Type::WorkspaceAdded],
            Self::Token { .. } => &[Type::TokenCreated, Type::TokenRevoked],
            Self::RefusedContainer { .. }
            | Self::RefusedImage { .. }
            | Self::RefusedSecret { .. }
            | Self::RefusedWorkspace { .. }
            | Self::RefusedUnowned => &[Type::RequestRefused],
            Self::SchedulerKeys => &[Type::SchedulerKeyPublished],
            Self::Quarantine { .. } => &[Type::QuarantineRetried, Type::QuarantineDiscarded],
            Self::Archive { .. } => &[Type::PlacementsArchived],
        }
    }

    /// The subject with its ids left as names, for span names, metrics and AsyncAPI addresses (low cardinality).
    pub fn template(&self) -> &'static str {
        match self {
            Self::Secret { .. } => "waybill.events.secret.{workspace}.{secret}",
            Self::Image { .. } => "waybill.events.image.{workspace}.{image_id}.{build}",
            Self::Container { .. } => "waybill.events.container.{workspace}.{container_id}.{request}",
            Self::ContainerDecision { .. } => {
                "waybill.events.decision.{worker_id}.container.{workspace}.{container_id}.{placement}"
            }
            Self::SecretDecision { .. } => "waybill.events.decision.{worker_id}.secret.{workspace}.{secret}.{version}",
            Self::ContainerOutcome { .. } => {
                "waybill.events.outcome.{worker_id}.{workspace}.{container_id}.{placement}"
            }
            Self::SecretOutcome { .. } => "waybill.events.outcome.{worker_id}.secret.{workspace}.{secret}.{version}",
            Self::ContainerQuestion { .. } => {
                "waybill.events.outcome.{worker_id}.question.{workspace}.{container_id}.{placement}"
            }
            Self::NodeQuestion { .. } => "waybill.events.outcome.{worker_id}.question",
            Self::Worker { .. } => "waybill.events.worker.{worker_id}",
            Self::WorkerIdentity { .. } => "waybill.events.identity.worker.{worker_id}",
            Self::Workspace { .. } => "waybill.events.identity.workspace.{workspace}",
            Self::Token { .. } => "waybill.events.identity.token.{token_id}",
            Self::RefusedContainer { .. } => "waybill.events.refused.container.{workspace}.{container_id}",
            Self::RefusedImage { .. } => "waybill.events.refused.image.{workspace}.{image_id}",
            Self::RefusedSecret { .. } => "waybill.events.refused.secret.{workspace}.{secret}",
            Self::RefusedWorkspace { .. } => "waybill.events.refused.workspace.{workspace}",
            Self::RefusedUnowned => "waybill.events.refused.unowned",
            Self::SchedulerKeys => "waybill.events.scheduler.keys",
            Self::Quarantine { .. } => "waybill.events.quarantine.{sequence}",
            Self::Archive { .. } => "waybill.events.archive.{run}",
        }
    }

    /// The workspace that the event belongs to; none for those of a worker, the scheduler or the operator.
    pub fn workspace(&self) -> Option<&WorkspaceId> {
        match self {
            Self::Secret { workspace, .. }
            | Self::Image { workspace, .. }
            | Self::Container { workspace, .. }
            | Self::ContainerDecision { workspace, .. }
            | Self::SecretDecision { workspace, .. }
            | Self::ContainerOutcome { workspace, .. }
            | Self::SecretOutcome { workspace, .. }
            | Self::ContainerQuestion { workspace, .. }
            | Self::RefusedContainer { workspace, .. }
            | Self::RefusedImage { workspace, .. }
            | Self::RefusedSecret { workspace, .. }
            | Self::RefusedWorkspace { workspace }
            | Self::Workspace { workspace } => Some(workspace),
            Self::NodeQuestion { .. }
            | Self::Worker { .. }
            | Self::WorkerIdentity { .. }
            | Self::Token { .. }
            | Self::RefusedUnowned
            | Self::SchedulerKeys
            | Self::Quarantine { .. }
            | Self::Archive { .. } => None,
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("waybill.events.")?;
        match self {
            Self::Secret { workspace, secret } => write!(f, "secret.{workspace}.{}", secret.token()),
            Self::Image { workspace, image_id, build } => write!(f, "image.{workspace}.{image_id}.{build}"),
            Self::Container { workspace, container_id, request } => {
                write!(f, "container.{workspace}.{container_id}.{request}")
            }
            Self::ContainerDecision { worker_id, workspace, container_id, placement } => {
                write!(f, "decision.{worker_id}.container.{workspace}.{container_id}.{placement}")
            }
            Self::SecretDecision { worker_id, workspace, secret, version } => {
                write!(f, "decision.{worker_id}.secret.{workspace}.{}.{version}", secret.token())
            }
            Self::ContainerOutcome { worker_id, workspace, container_id, placement } => {
                write!(f, "outcome.{worker_id}.{workspace}.{container_id}.{placement}")
            }
            Self::SecretOutcome { worker_id, workspace, secret, version } => {
                write!(f, "outcome.{worker_id}.secret.{workspace}.{}.{version}", secret.token())
            }
            Self::ContainerQuestion { worker_id, workspace, container_id, placement } => {
                write!(f, "outcome.{worker_id}.question.{workspace}.{container_id}.{placement}")
            }
            Self::NodeQuestion { worker_id } => write!(f, "outcome.{worker_id}.question"),
            Self::Worker { worker_id } => write!(f, "worker.{worker_id}"),
            Self::WorkerIdentity { worker_id } => write!(f, "identity.worker.{worker_id}"),
            Self::Workspace { workspace } => write!(f, "identity.workspace.{workspace}"),
            Self::Token { token_id } => write!(f, "identity.token.{token_id}"),
            Self::RefusedContainer { workspace, container_id: id } => write!(f, "refused.container.{workspace}.{id}"),
            Self::RefusedImage { workspace, image_id } => write!(f, "refused.image.{workspace}.{image_id}"),
            Self::RefusedSecret { workspace, secret } => write!(f, "refused.secret.{workspace}.{}", secret.token()),
            Self::RefusedWorkspace { workspace } => write!(f, "refused.workspace.{workspace}"),
            Self::RefusedUnowned => f.write_str("refused.unowned"),
            Self::SchedulerKeys => f.write_str("scheduler.keys"),
            Self::Quarantine { sequence } => write!(f, "quarantine.{sequence}"),
            Self::Archive { run } => write!(f, "archive.{run}"),
        }
    }
}

/// Why a text is not a subject of the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubjectError {
    /// The tokens do not follow any of the forms.
    #[error("the subject has none of the forms of waybill.events.*; see the channels in schemas/asyncapi.yaml")]
    Form,
    /// An id in the subject is not valid.
    #[error("the subject's {} is not an id", .0.field())]
    Id(#[from] IdError),
}

impl FromStr for Subject {
    type Err = SubjectError;

    fn from_str(text: &str) -> Result<Self, SubjectError> {
        let tokens: Vec<&str> = text.split('.').collect();
        let Some((root, rest)) = tokens.split_first_chunk::<2>() else { return Err(SubjectError::Form) };
        if *root != ROOT {
            return Err(SubjectError::Form);
        }
        match *rest {
            ["secret", workspace, secret] => {
                Ok(Self::Secret { workspace: workspace.parse()?, secret: SecretName::from_token(secret)? })
            }
            ["image", workspace, image_id, build] => {
                Ok(Self::Image { workspace: workspace.parse()?, image_id: image_id.parse()?, build: build.parse()? })
            }
            ["container", workspace, container_id, request] => Ok(Self::Container {
                workspace: workspace.parse()?,
                container_id: container_id.parse()?,
                request: request.parse()?,
            }),
            ["decision", worker_id, "container", workspace, container_id, placement] => Ok(Self::ContainerDecision {
                worker_id: worker_id.parse()?,
                workspace: workspace.parse()?,
                container_id: container_id.parse()?,
                placement: number(placement)?,
            }),
            ["decision", worker_id, "secret", workspace, secret, version] => Ok(Self::SecretDecision {
                worker_id: worker_id.parse()?,
                workspace: workspace.parse()?,
                secret: SecretName::from_token(secret)?,
                version: number(version)?,
            }),
            ["outcome", worker_id, workspace, container_id, placement] => Ok(Self::ContainerOutcome {
                worker_id: worker_id.parse()?,
                workspace: workspace.parse()?,
                container_id: container_id.parse()?,
                placement: number(placement)?,
            }),
            ["outcome", worker_id, "secret", workspace, secret, version] => Ok(Self::SecretOutcome {
                worker_id: worker_id.parse()?,
                workspace: workspace.parse()?,
                secret: SecretName::from_token(secret)?,
                version: number(version)?,
            }),
            ["outcome", worker_id, "question", workspace, container_id, placement] => Ok(Self::ContainerQuestion {
                worker_id: worker_id.parse()?,
                workspace: workspace.parse()?,
                container_id: container_id.parse()?,
                placement: number(placement)?,
            }),
            ["outcome", worker_id, "question"] => Ok(Self::NodeQuestion { worker_id: worker_id.parse()? }),
            ["worker", worker_id] => Ok(Self::Worker { worker_id: worker_id.parse()? }),
            ["identity", "worker", worker_id] => Ok(Self::WorkerIdentity { worker_id: worker_id.parse()? }),
            ["identity", "workspace", workspace] => Ok(Self::Workspace { workspace: workspace.parse()? }),
            ["identity", "token", token_id] => Ok(Self::Token { token_id: token_id.parse()? }),
            ["refused", "container", workspace, container_id] => {
                Ok(Self::RefusedContainer { workspace: workspace.parse()?, container_id: container_id.parse()? })
            }
            ["refused", "image", workspace, image_id] => {
                Ok(Self::RefusedImage { workspace: workspace.parse()?, image_id: image_id.parse()? })
            }
            ["refused", "secret", workspace, secret] => {
                Ok(Self::RefusedSecret { workspace: workspace.parse()?, secret: SecretName::from_token(secret)? })
            }
            ["refused", "workspace", workspace] => Ok(Self::RefusedWorkspace { workspace: workspace.parse()? }),
            ["refused", "unowned"] => Ok(Self::RefusedUnowned),
            ["scheduler", "keys"] => Ok(Self::SchedulerKeys),
            ["quarantine", sequence] => Ok(Self::Quarantine { sequence: number(sequence)? }),
            ["archive", run] => Ok(Self::Archive { run: number(run)? }),
            _ => Err(SubjectError::Form),
        }
    }
}

/// A number as it is written, so that one event has one subject.
fn number(token: &str) -> Result<u64, SubjectError> {
    token.parse().ok().filter(|number: &u64| number.to_string() == token).ok_or(SubjectError::Form)
}

#[cfg(test)]
mod tests;
