//! NATS subjects: the reader's key first, so that every consumer needs exactly one prefix filter.

use std::{fmt, str::FromStr};

use crate::{ContainerId, EventType, IdError, ImageId, WorkerId, WorkspaceId};

/// Every subject of the log.
pub const ALL_SUBJECTS: &str = "waybill.events.>";

const ROOT: [&str; 2] = ["waybill", "events"];

/// The address of one event in the log.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// `waybill.events.image.<workspace>.<image_id>.<event>`
    Image {
        /// Owner of the image.
        workspace: WorkspaceId,
        /// The image.
        image_id: ImageId,
        /// What happened.
        event: EventType,
    },
    /// `waybill.events.container.<workspace>.<container_id>.<event>`
    Container {
        /// Owner of the container.
        workspace: WorkspaceId,
        /// The container.
        container_id: ContainerId,
        /// What happened.
        event: EventType,
    },
    /// `waybill.events.worker.<worker_id>.<workspace>.<container_id>.<event>`: a decision addressed to a worker.
    Decision {
        /// The worker it is for.
        worker_id: WorkerId,
        /// Owner of the container.
        workspace: WorkspaceId,
        /// The container it is about.
        container_id: ContainerId,
        /// What was decided.
        event: EventType,
    },
    /// `waybill.events.worker.<worker_id>.registered`
    Registered {
        /// The worker.
        worker_id: WorkerId,
    },
    /// `waybill.events.quarantine.<sequence>.<event>`: what the operator says of a message that cannot be read.
    Quarantine {
        /// Stream sequence of the message.
        sequence: u64,
        /// What was said.
        event: EventType,
    },
}

impl Subject {
    /// Filter for all events of the same image, of the same container, or of the same decision's address.
    ///
    /// Exactly-once appends compare the last sequence below this filter.
    pub fn siblings(&self) -> String {
        match self {
            Self::Image { workspace, image_id, .. } => format!("waybill.events.image.{workspace}.{image_id}.>"),
            Self::Container { workspace, container_id, .. } => {
                format!("waybill.events.container.{workspace}.{container_id}.>")
            }
            Self::Decision { worker_id, workspace, container_id, .. } => {
                format!("waybill.events.worker.{worker_id}.{workspace}.{container_id}.>")
            }
            Self::Registered { .. } => self.to_string(),
            Self::Quarantine { sequence, .. } => format!("waybill.events.quarantine.{sequence}.>"),
        }
    }

    /// Filter for everything addressed to a worker: its one consumer's filter.
    pub fn of_worker(worker_id: &WorkerId) -> String {
        format!("waybill.events.worker.{worker_id}.>")
    }

    /// The subject with its ids left as names, for span names and metrics (low cardinality).
    pub fn template(&self) -> String {
        match self {
            Self::Image { event, .. } => format!("waybill.events.image.{{workspace}}.{{image_id}}.{event}"),
            Self::Container { event, .. } => format!("waybill.events.container.{{workspace}}.{{container_id}}.{event}"),
            Self::Decision { event, .. } => {
                format!("waybill.events.worker.{{worker_id}}.{{workspace}}.{{container_id}}.{event}")
            }
            Self::Registered { .. } => "waybill.events.worker.{worker_id}.registered".to_owned(),
            Self::Quarantine { event, .. } => format!("waybill.events.quarantine.{{sequence}}.{event}"),
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Image { workspace, image_id, event } => {
                write!(f, "waybill.events.image.{workspace}.{image_id}.{event}")
            }
            Self::Container { workspace, container_id, event } => {
                write!(f, "waybill.events.container.{workspace}.{container_id}.{event}")
            }
            Self::Decision { worker_id, workspace, container_id, event } => {
                write!(f, "waybill.events.worker.{worker_id}.{workspace}.{container_id}.{event}")
            }
            Self::Registered { worker_id } => write!(f, "waybill.events.worker.{worker_id}.registered"),
            Self::Quarantine { sequence, event } => write!(f, "waybill.events.quarantine.{sequence}.{event}"),
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
            ["image", workspace, image_id, event] => Ok(Self::Image {
                workspace: workspace.parse()?,
                image_id: image_id.parse()?,
                event: event_in(event, EventType::OF_IMAGE)?,
            }),
            ["container", workspace, container_id, event] => Ok(Self::Container {
                workspace: workspace.parse()?,
                container_id: container_id.parse()?,
                event: event_in(event, EventType::OF_CONTAINER)?,
            }),
            ["worker", worker_id, workspace, container_id, event] => Ok(Self::Decision {
                worker_id: worker_id.parse()?,
                workspace: workspace.parse()?,
                container_id: container_id.parse()?,
                event: event_in(event, EventType::DECISIONS)?,
            }),
            ["worker", worker_id, "registered"] => Ok(Self::Registered { worker_id: worker_id.parse()? }),
            ["quarantine", sequence, event] => Ok(Self::Quarantine {
                sequence: number(sequence).ok_or(SubjectError::Form)?,
                event: event_in(event, EventType::OF_QUARANTINE)?,
            }),
            _ => Err(SubjectError::Form),
        }
    }
}

/// A sequence as it is written, so that one message has one subject.
fn number(token: &str) -> Option<u64> {
    token.parse().ok().filter(|number: &u64| number.to_string() == token)
}

fn event_in(token: &str, allowed: &[EventType]) -> Result<EventType, SubjectError> {
    allowed.iter().copied().find(|event| event.as_str() == token).ok_or(SubjectError::Form)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_read_as_it_is_written() {
        for text in [
            "waybill.events.image.ws1.img-1.CredentialSecretSaved",
            "waybill.events.image.ws1.img-1.CredentialSecretSkipped",
            "waybill.events.image.ws1.img-1.CredentialSecretRotated",
            "waybill.events.image.ws1.img-1.CredentialSecretRevoked",
            "waybill.events.container.ws1.c_1.ContainerRequested",
            "waybill.events.container.ws1.c_1.ContainerEnded",
            "waybill.events.container.ws1.c_1.ImagePullFailed",
            "waybill.events.worker.w1.ws1.c_1.ContainerCredentialsAttached",
            "waybill.events.worker.w1.registered",
            "waybill.events.quarantine.12.QuarantineDiscarded",
        ] {
            assert_eq!(text.parse::<Subject>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "waybill",
            "waybill.events",
            "other.events.worker.w1.registered",
            "waybill.events.image.ws1.img-1.ContainerRequested",
            "waybill.events.container.ws1.c1.CredentialSecretSaved",
            "waybill.events.worker.w1.ws1.c1.ImagePullFailed",
            "waybill.events.worker.w1.registered.more",
            "waybill.events.image.ws1.i.x.CredentialSecretSaved",
            "waybill.events.quarantine.012.QuarantineDiscarded",
            "waybill.events.quarantine.w1.QuarantineRetried",
        ] {
            assert_eq!(text.parse::<Subject>(), Err(SubjectError::Form), "{text}");
        }
        for text in ["waybill.events.image..i.CredentialSecretSaved", "waybill.events.worker.*.registered"] {
            assert!(matches!(text.parse::<Subject>(), Err(SubjectError::Id(_))), "{text}");
        }
    }

    #[test]
    fn siblings_share_the_readers_key() {
        let subject: Subject = "waybill.events.worker.w1.ws1.c1.ContainerCredentialsSkipped".parse().unwrap();
        assert_eq!(subject.siblings(), "waybill.events.worker.w1.ws1.c1.>");
        assert_eq!(
            subject.template(),
            "waybill.events.worker.{worker_id}.{workspace}.{container_id}.ContainerCredentialsSkipped"
        );
    }
}
