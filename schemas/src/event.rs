//! The events: one variant a fact, in its newest version.

use std::{fmt, str::FromStr};

use serde::{Serialize, de::DeserializeOwned};

use crate::{Subject, v1};

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

            /// The name as it stands in subjects and in `ce-type`.
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

events! {
    CredentialSecretSaved,
    CredentialSecretSkipped,
    CredentialSecretRotated,
    CredentialSecretRevoked,
    CredentialSecretVerified,
    ContainerRequested,
    ContainerEnded,
    WorkerRegistered,
    ContainerCredentialsAttached,
    ContainerCredentialsSkipped,
    CredentialProviderAttached,
    CredentialProviderFailed,
    ImagePullSucceeded,
    ImagePullFailed,
    QuarantineRetried,
    QuarantineDiscarded,
}

fn to_json<T: Serialize>(body: &T) -> serde_json::Result<Vec<u8>> {
    serde_json::to_vec(body)
}

fn from_json<T: DeserializeOwned>(body: &[u8]) -> serde_json::Result<T> {
    serde_json::from_slice(body)
}

impl EventType {
    /// Events on an image's own subject.
    pub const OF_IMAGE: &'static [Self] = &[
        Self::CredentialSecretSaved,
        Self::CredentialSecretSkipped,
        Self::CredentialSecretRotated,
        Self::CredentialSecretRevoked,
        Self::CredentialSecretVerified,
    ];
    /// Events on a container's own subject.
    pub const OF_CONTAINER: &'static [Self] = &[
        Self::ContainerRequested,
        Self::ContainerEnded,
        Self::CredentialProviderAttached,
        Self::CredentialProviderFailed,
        Self::ImagePullSucceeded,
        Self::ImagePullFailed,
    ];
    /// What a worker reports on a container's subject.
    pub const OUTCOMES: &'static [Self] = &[
        Self::CredentialProviderAttached,
        Self::CredentialProviderFailed,
        Self::ImagePullSucceeded,
        Self::ImagePullFailed,
    ];
    /// The scheduler's decisions.
    pub const DECISIONS: &'static [Self] = &[Self::ContainerCredentialsAttached, Self::ContainerCredentialsSkipped];

    /// What the operator says of a message that cannot be read.
    pub const OF_QUARANTINE: &'static [Self] = &[Self::QuarantineRetried, Self::QuarantineDiscarded];

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

impl Event {
    /// The credentials that the event saves, whether after a build or in place of others.
    pub fn saved(&self) -> Option<&v1::CredentialSecretSaved> {
        match self {
            Self::CredentialSecretSaved(saved) => Some(saved),
            Self::CredentialSecretRotated(rotated) => Some(&rotated.secret),
            _ => None,
        }
    }

    /// Where the event belongs: fully determined by its body.
    pub fn subject(&self) -> Subject {
        let event = self.event_type();
        match self {
            Self::CredentialSecretSaved(v1::CredentialSecretSaved { workspace, image_id, .. })
            | Self::CredentialSecretSkipped(v1::CredentialSecretSkipped { workspace, image_id, .. })
            | Self::CredentialSecretRevoked(v1::CredentialSecretRevoked { workspace, image_id, .. })
            | Self::CredentialSecretVerified(v1::CredentialSecretVerified { workspace, image_id, .. })
            | Self::CredentialSecretRotated(v1::CredentialSecretRotated {
                secret: v1::CredentialSecretSaved { workspace, image_id, .. },
                ..
            }) => Subject::Image { workspace: workspace.clone(), image_id: image_id.clone(), event },
            Self::ContainerRequested(v1::ContainerRequested { workspace, container_id, .. })
            | Self::ContainerEnded(v1::ContainerEnded { workspace, container_id })
            | Self::CredentialProviderAttached(v1::CredentialProviderAttached { workspace, container_id, .. })
            | Self::CredentialProviderFailed(v1::CredentialProviderFailed { workspace, container_id, .. })
            | Self::ImagePullSucceeded(v1::ImagePullSucceeded { workspace, container_id, .. })
            | Self::ImagePullFailed(v1::ImagePullFailed { workspace, container_id, .. }) => {
                Subject::Container { workspace: workspace.clone(), container_id: container_id.clone(), event }
            }
            Self::ContainerCredentialsAttached(v1::ContainerCredentialsAttached {
                worker_id,
                workspace,
                container_id,
                ..
            })
            | Self::ContainerCredentialsSkipped(v1::ContainerCredentialsSkipped {
                worker_id,
                workspace,
                container_id,
                ..
            }) => Subject::Decision {
                worker_id: worker_id.clone(),
                workspace: workspace.clone(),
                container_id: container_id.clone(),
                event,
            },
            Self::WorkerRegistered(v1::WorkerRegistered { worker_id, .. }) => {
                Subject::Registered { worker_id: worker_id.clone() }
            }
            Self::QuarantineRetried(v1::QuarantineRetried { sequence })
            | Self::QuarantineDiscarded(v1::QuarantineDiscarded { sequence, .. }) => {
                Subject::Quarantine { sequence: *sequence, event }
            }
        }
    }
}
