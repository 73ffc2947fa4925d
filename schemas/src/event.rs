//! The events: one variant a fact, in its newest version.

use std::{fmt, str::FromStr};

use serde::{Serialize, de::DeserializeOwned};

use crate::{ContainerId, ImageId, SecretName, Subject, TokenId, WorkerId, WorkspaceId, v1};

macro_rules! events {
    ($($name:ident,)+) => {
        /// Kind of an event, without its version.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum EventType {
            $(#[doc = concat!("[`v1::", stringify!($name), "`]")] $name,)+
        }

        impl EventType {
            /// Every kind, in the order in which a chain goes.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The name as it stands in `ce-type`.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)+ }
            }
        }

        /// One fact of the log.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Event {
            $(#[doc = concat!("[`v1::", stringify!($name), "`]")] $name(v1::$name),)+
        }

        impl Event {
            /// Kind of the event.
            pub fn event_type(&self) -> EventType {
                match self { $(Self::$name(_) => EventType::$name,)+ }
            }

            /// The JSON body.
            ///
            /// # Errors
            /// None for these types: they hold strings, numbers and lists only.
            pub fn to_json(&self) -> serde_json::Result<Vec<u8>> {
                match self { $(Self::$name(body) => to_json(body),)+ }
            }

            pub(crate) fn decode_v1(event_type: EventType, body: &[u8]) -> serde_json::Result<Self> {
                match event_type { $(EventType::$name => from_json(body).map(Self::$name),)+ }
            }
        }

        $(impl From<v1::$name> for Event {
            fn from(body: v1::$name) -> Self {
                Self::$name(body)
            }
        })+
    };
}

/// Hands the name of every event to a macro, in the order in which a chain goes.
#[macro_export]
macro_rules! for_events {
    ($macro:ident) => {
        $macro! {
            CredentialSecretSaved,
            CredentialSecretRotated,
            CredentialSecretRevoked,
            CredentialSecretShredded,
            ImageSecretNamed,
            CredentialSecretSkipped,
            ContainerRequested,
            ContainerEnded,
            WorkspaceAdded,
            TokenCreated,
            TokenRevoked,
            WorkerJoined,
            WorkerRetired,
            WorkerRegistered,
            SchedulerKeyPublished,
            ContainerCredentialsAttached,
            ContainerCredentialsSkipped,
            ContainerCredentialsWithdrawn,
            WorkerCredentialsRenewed,
            CredentialProviderAttached,
            CredentialProviderFailed,
            ImagePullSucceeded,
            ImagePullFailed,
            SecretRenewalApplied,
            SecretRenewalFailed,
            ContainerLoginAsked,
            NodeLoginAsked,
            RequestRefused,
            QuarantineRetried,
            QuarantineDiscarded,
            PlacementsArchived,
        }
    };
}
for_events!(events);

fn to_json<T: Serialize>(body: &T) -> serde_json::Result<Vec<u8>> {
    serde_json::to_vec(body)
}

fn from_json<T: DeserializeOwned>(body: &[u8]) -> serde_json::Result<T> {
    serde_json::from_slice(body)
}

impl EventType {
    /// `ce-type` of the version that is written now, such as `waybill.v1.ContainerRequested`.
    pub fn ce_type(self) -> String {
        format!("waybill.v1.{self}")
    }

    /// `ce-dataschema`: an absolute URI that names the JSON Schema in `schemas/json/`.
    pub fn dataschema(self) -> String {
        format!("urn:waybill:schema:v1:{self}")
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text names no kind of event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no such event type; the known ones are {}", EventType::ALL.iter().map(|t| t.as_str()).collect::<Vec<_>>().join(", "))]
pub struct UnknownEventType;

impl FromStr for EventType {
    type Err = UnknownEventType;

    fn from_str(text: &str) -> Result<Self, UnknownEventType> {
        Self::ALL.iter().copied().find(|kind| kind.as_str() == text).ok_or(UnknownEventType)
    }
}

/// A field of the events that have it, and of those that may have it.
macro_rules! member {
    ($event:ident . $field:ident of $($name:ident)*, or $($optional:ident)*) => {
        match $event {
            $(Event::$name(body) => Some(&body.$field),)*
            $(Event::$optional(body) => body.$field.as_ref(),)*
            _ => None,
        }
    };
}

impl Event {
    /// The version of a secret that the event brings.
    pub fn stored_version(&self) -> Option<&v1::SecretVersion> {
        match self {
            Self::CredentialSecretSaved(saved) => Some(&saved.stored),
            Self::CredentialSecretRotated(rotated) => Some(&rotated.stored),
            _ => None,
        }
    }

    /// True if the event may stand on the subject: the subject takes its type, and the ids of both agree.
    pub fn belongs_on(&self, subject: &Subject) -> bool {
        subject.event_types().contains(&self.event_type()) && self.ids_agree(subject)
    }

    fn ids_agree(&self, subject: &Subject) -> bool {
        match subject {
            Subject::Secret { workspace, secret } => {
                self.workspace() == Some(workspace) && self.secret_name() == Some(secret)
            }
            Subject::Image { workspace, image_id, .. } => {
                self.workspace() == Some(workspace) && self.image_id() == Some(image_id)
            }
            Subject::Container { workspace, container_id, .. } => {
                self.workspace() == Some(workspace) && self.container_id() == Some(container_id)
            }
            Subject::ContainerDecision { worker_id, workspace, container_id, placement }
            | Subject::ContainerOutcome { worker_id, workspace, container_id, placement }
            | Subject::ContainerQuestion { worker_id, workspace, container_id, placement } => {
                self.workspace() == Some(workspace)
                    && self.container_id() == Some(container_id)
                    && self.placement() == Some(*placement)
                    // The end of a placement names no worker: its subject does.
                    && self.worker_id().is_none_or(|worker| worker == worker_id)
            }
            Subject::SecretDecision { worker_id, workspace, secret, version }
            | Subject::SecretOutcome { worker_id, workspace, secret, version } => {
                self.workspace() == Some(workspace)
                    && self.secret_name() == Some(secret)
                    && self.version() == Some(*version)
                    && self.worker_id() == Some(worker_id)
            }
            Subject::Worker { worker_id } | Subject::NodeQuestion { worker_id } => self.worker_id() == Some(worker_id),
            Subject::WorkerIdentity { worker_id } => self.worker_id() == Some(worker_id),
            Subject::Workspace { workspace } => self.workspace() == Some(workspace),
            Subject::Token { token_id } => self.token_id() == Some(token_id),
            Subject::RefusedContainer { workspace, container_id } => {
                self.workspace() == Some(workspace) && self.container_id() == Some(container_id)
            }
            Subject::RefusedImage { workspace, image_id } => {
                self.workspace() == Some(workspace) && self.image_id() == Some(image_id)
            }
            Subject::RefusedSecret { workspace, secret } => {
                self.workspace() == Some(workspace) && self.secret_name() == Some(secret)
            }
            Subject::RefusedWorkspace { workspace } => self.workspace() == Some(workspace) && !self.names_a_thing(),
            Subject::RefusedUnowned => self.workspace().is_none() && !self.names_a_thing(),
            Subject::SchedulerKeys => true,
            Subject::Quarantine { sequence } => self.quarantined() == Some(*sequence),
            Subject::Archive { run } => self.archive_run() == Some(*run),
        }
    }

    fn names_a_thing(&self) -> bool {
        self.container_id().is_some() || self.image_id().is_some() || self.secret_name().is_some()
    }

    /// The workspace that the event names.
    pub fn workspace(&self) -> Option<&WorkspaceId> {
        member!(self.workspace of
            CredentialSecretSaved CredentialSecretRotated CredentialSecretRevoked CredentialSecretShredded
            ImageSecretNamed CredentialSecretSkipped ContainerRequested ContainerEnded
            ContainerCredentialsAttached ContainerCredentialsSkipped ContainerCredentialsWithdrawn
            WorkerCredentialsRenewed CredentialProviderAttached CredentialProviderFailed
            ImagePullSucceeded ImagePullFailed SecretRenewalApplied SecretRenewalFailed ContainerLoginAsked
            WorkspaceAdded,
            or NodeLoginAsked RequestRefused)
    }

    /// The secret that the event is about or names.
    pub fn secret_name(&self) -> Option<&SecretName> {
        member!(self.secret_name of
            CredentialSecretSaved CredentialSecretRotated CredentialSecretRevoked CredentialSecretShredded
            ImageSecretNamed ContainerCredentialsAttached WorkerCredentialsRenewed
            SecretRenewalApplied SecretRenewalFailed,
            or CredentialSecretSkipped ContainerCredentialsSkipped ContainerCredentialsWithdrawn
            CredentialProviderAttached RequestRefused)
    }

    /// The version of a secret that the event is about.
    pub fn version(&self) -> Option<u64> {
        let version = member!(self.version of
            CredentialSecretRevoked CredentialSecretShredded ContainerCredentialsAttached
            WorkerCredentialsRenewed SecretRenewalApplied SecretRenewalFailed,
            or ImageSecretNamed CredentialProviderAttached);
        version.copied().or_else(|| self.stored_version().map(|stored| stored.version))
    }

    /// The image that the event is about or names.
    pub fn image_id(&self) -> Option<&ImageId> {
        member!(self.image_id of
            ImageSecretNamed CredentialSecretSkipped ContainerCredentialsAttached,
            or CredentialSecretSaved ContainerRequested ContainerCredentialsSkipped
            CredentialProviderAttached CredentialProviderFailed ImagePullSucceeded ImagePullFailed RequestRefused)
    }

    /// The container that the event is about.
    pub fn container_id(&self) -> Option<&ContainerId> {
        member!(self.container_id of
            ContainerRequested ContainerEnded ContainerCredentialsAttached ContainerCredentialsSkipped
            ContainerCredentialsWithdrawn CredentialProviderAttached CredentialProviderFailed
            ImagePullSucceeded ImagePullFailed ContainerLoginAsked, or RequestRefused)
    }

    /// The placement that the event is about: the stream sequence of its request. A request names none, since its own
    /// sequence is the placement.
    pub fn placement(&self) -> Option<u64> {
        let placement = member!(self.placement of
            ContainerEnded ContainerCredentialsAttached ContainerCredentialsSkipped
            ContainerCredentialsWithdrawn CredentialProviderAttached CredentialProviderFailed
            ImagePullSucceeded ImagePullFailed ContainerLoginAsked, or);
        placement.copied()
    }

    /// The worker that the event names.
    pub fn worker_id(&self) -> Option<&WorkerId> {
        member!(self.worker_id of
            ContainerRequested WorkerJoined WorkerRetired WorkerRegistered ContainerCredentialsAttached ContainerCredentialsSkipped
            ContainerCredentialsWithdrawn WorkerCredentialsRenewed CredentialProviderAttached
            CredentialProviderFailed ImagePullSucceeded ImagePullFailed SecretRenewalApplied
            SecretRenewalFailed ContainerLoginAsked NodeLoginAsked, or)
    }

    /// The bearer token that the event is about.
    pub fn token_id(&self) -> Option<&TokenId> {
        match self {
            Self::TokenCreated(body) => Some(&body.token_id),
            Self::TokenRevoked(body) => Some(&body.token_id),
            _ => None,
        }
    }

    /// Number of the run of the archive that the event is about.
    pub fn archive_run(&self) -> Option<u64> {
        member!(self.run of PlacementsArchived, or).copied()
    }

    /// Sequence of the quarantined message that the event is about.
    pub fn quarantined(&self) -> Option<u64> {
        member!(self.sequence of QuarantineRetried QuarantineDiscarded, or).copied()
    }
}
