//! The decision: what the scheduler tells a worker, why, and because of which event.
//!
//! One type from the fold to the worker. The fold makes decisions, the outbox keeps them, events state them, `replay --verify`
//! and explain compare a stated one with the one that the log leads to, and the worker acts on it.

use serde::{Deserialize, Serialize};
use waybill_schemas::{
    ContainerId, Derivation, Event, ImageId, RecordedEvent, SecretName, Subject, Timestamp, Uuid, WorkerId,
    WorkspaceId, derived_id,
    v1::{
        AttachSkipReason, ContainerCredentialsAttached, ContainerCredentialsSkipped, ContainerCredentialsWithdrawn,
        CredType, RenewCause, WithdrawReason, WorkerCredentialsRenewed,
    },
};

/// What is decided for one worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// The worker that it is addressed to.
    pub worker_id: WorkerId,
    /// Owner of the container or secret.
    pub workspace: WorkspaceId,
    /// Stream sequence of the event that it follows from.
    pub caused_by: u64,
    /// What is decided.
    pub outcome: Outcome,
}

/// Why something is decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// A container was requested.
    Request,
    /// A secret has a new version.
    Rotation,
    /// A secret was revoked or shredded.
    Revocation,
    /// A placement has ended.
    End,
    /// A newer request placed the container again.
    Superseded,
    /// The worker is no more.
    Retirement,
    /// A worker registered another sealing key.
    KeyChange,
}

/// What is decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// A placement has a secret.
    Attached {
        /// The placement.
        placement: Placement,
        /// What it pulls.
        image: AttachedImage,
        /// The secret's version that it has.
        credential: Credential,
    },
    /// A placement has none.
    Skipped {
        /// The placement.
        placement: Placement,
        /// What the image's newest build said, as far as there is one.
        image: SkippedImage,
        /// Why.
        reason: AttachSkipReason,
    },
    /// A placement has a secret no more.
    Withdrawn {
        /// The placement.
        placement: Placement,
        /// The secret that it had, if any.
        secret_name: Option<SecretName>,
        /// Why.
        reason: WithdrawReason,
    },
    /// Every placement of the worker that has the secret uses this version from now on.
    Renewed {
        /// The version.
        credential: Credential,
        /// What it is renewed for.
        cause: RenewCause,
    },
}

/// One request for one container on one worker.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Placement {
    /// The container.
    pub container_id: ContainerId,
    /// Stream sequence of its request: the fencing token.
    pub number: u64,
}

/// The image of a placement that has credentials.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachedImage {
    /// The image.
    pub image_id: ImageId,
    /// Reference to pull.
    pub image_ref: String,
    /// Stream sequence of the build's event.
    pub image_event: u64,
}

/// The image of a placement that has no credentials, as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SkippedImage {
    /// The image, if the request named one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_id: Option<ImageId>,
    /// Reference to pull, where a build recorded one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_ref: Option<String>,
    /// Its registry host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registry: Option<String>,
    /// The secret that the build named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_name: Option<SecretName>,
    /// Stream sequence of the build's event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_event: Option<u64>,
}

/// A version of a secret, as a worker needs to know it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credential {
    /// The secret.
    pub secret_name: SecretName,
    /// Its version.
    pub version: u64,
    /// Host that it is bound to.
    pub registry: String,
    /// Kind of the credentials.
    pub cred_type: CredType,
    /// Length of the credentials JSON in bytes.
    pub credentials_length: u64,
    /// When they stop working, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// Stream sequence of the event that brought the version.
    pub saved_by: u64,
}

/// The version that an event hands over: attachments and renewals have the same fields for it.
macro_rules! handed_over {
    ($event:ident) => {
        Credential {
            secret_name: $event.secret_name,
            version: $event.version,
            registry: $event.registry,
            cred_type: $event.cred_type,
            credentials_length: $event.credentials_length,
            expires_at: $event.expires_at,
            saved_by: $event.saved_by,
        }
    };
}

impl Decision {
    /// Why it was decided.
    pub fn cause(&self) -> Cause {
        match &self.outcome {
            Outcome::Attached { .. } | Outcome::Skipped { .. } => Cause::Request,
            Outcome::Withdrawn { reason, .. } => match reason {
                WithdrawReason::Superseded => Cause::Superseded,
                WithdrawReason::Ended => Cause::End,
                WithdrawReason::WorkerRetired => Cause::Retirement,
                WithdrawReason::SecretRevoked | WithdrawReason::SecretShredded => Cause::Revocation,
            },
            Outcome::Renewed { cause: RenewCause::Rotation, .. } => Cause::Rotation,
            Outcome::Renewed { cause: RenewCause::KeyChange, .. } => Cause::KeyChange,
        }
    }

    /// The placement that it is about; none for a renewal, which is about all of the worker's that have the secret.
    pub fn placement(&self) -> Option<&Placement> {
        match &self.outcome {
            Outcome::Attached { placement, .. }
            | Outcome::Skipped { placement, .. }
            | Outcome::Withdrawn { placement, .. } => Some(placement),
            Outcome::Renewed { .. } => None,
        }
    }

    /// The version of a secret that it hands over.
    pub fn credential(&self) -> Option<&Credential> {
        match &self.outcome {
            Outcome::Attached { credential, .. } | Outcome::Renewed { credential, .. } => Some(credential),
            Outcome::Skipped { .. } | Outcome::Withdrawn { .. } => None,
        }
    }

    /// The image of the placement, where the decision names one.
    pub fn image_id(&self) -> Option<&ImageId> {
        match &self.outcome {
            Outcome::Attached { image, .. } => Some(&image.image_id),
            Outcome::Skipped { image, .. } => image.image_id.as_ref(),
            Outcome::Withdrawn { .. } | Outcome::Renewed { .. } => None,
        }
    }

    /// The reference that the placement pulls, where the decision names one.
    pub fn image_ref(&self) -> Option<&str> {
        match &self.outcome {
            Outcome::Attached { image, .. } => Some(&image.image_ref),
            Outcome::Skipped { image, .. } => image.image_ref.as_deref(),
            Outcome::Withdrawn { .. } | Outcome::Renewed { .. } => None,
        }
    }

    /// Where it stands in the log.
    pub fn subject(&self) -> Subject {
        let (worker_id, workspace) = (self.worker_id.clone(), self.workspace.clone());
        match &self.outcome {
            Outcome::Attached { placement, .. }
            | Outcome::Skipped { placement, .. }
            | Outcome::Withdrawn { placement, .. } => Subject::ContainerDecision {
                worker_id,
                workspace,
                container_id: placement.container_id.clone(),
                placement: placement.number,
            },
            Outcome::Renewed { credential, .. } => Subject::SecretDecision {
                worker_id,
                workspace,
                secret: credential.secret_name.clone(),
                version: credential.version,
            },
        }
    }

    /// Id of its event: the same for ever, given the id of the event that caused it.
    pub fn event_id(&self, cause_id: Uuid) -> Uuid {
        let derivation = match &self.outcome {
            Outcome::Attached { .. } | Outcome::Skipped { .. } => Derivation::Decision,
            Outcome::Withdrawn { placement, .. } => Derivation::Withdrawal { placement: placement.number },
            Outcome::Renewed { credential, .. } => {
                Derivation::Renewal { worker_id: self.worker_id.clone(), secret: credential.secret_name.clone() }
            }
        };
        derived_id(cause_id, &derivation)
    }

    /// The event that states it.
    pub fn to_event(&self) -> Event {
        let (worker_id, workspace) = (self.worker_id.clone(), self.workspace.clone());
        match self.outcome.clone() {
            Outcome::Attached { placement, image, credential } => ContainerCredentialsAttached {
                workspace,
                container_id: placement.container_id,
                placement: placement.number,
                image_id: image.image_id,
                worker_id,
                image_ref: image.image_ref,
                secret_name: credential.secret_name,
                version: credential.version,
                registry: credential.registry,
                cred_type: credential.cred_type,
                credentials_length: credential.credentials_length,
                expires_at: credential.expires_at,
                saved_by: credential.saved_by,
                image_event: image.image_event,
            }
            .into(),
            Outcome::Skipped { placement, image, reason } => ContainerCredentialsSkipped {
                workspace,
                container_id: placement.container_id,
                placement: placement.number,
                image_id: image.image_id,
                worker_id,
                image_ref: image.image_ref,
                registry: image.registry,
                secret_name: image.secret_name,
                reason,
                image_event: image.image_event,
            }
            .into(),
            Outcome::Withdrawn { placement, secret_name, reason } => ContainerCredentialsWithdrawn {
                workspace,
                container_id: placement.container_id,
                placement: placement.number,
                worker_id,
                secret_name,
                reason,
                caused_by: self.caused_by,
            }
            .into(),
            Outcome::Renewed { credential, cause } => WorkerCredentialsRenewed {
                workspace,
                secret_name: credential.secret_name,
                version: credential.version,
                worker_id,
                registry: credential.registry,
                cred_type: credential.cred_type,
                credentials_length: credential.credentials_length,
                expires_at: credential.expires_at,
                cause,
                caused_by: self.caused_by,
                saved_by: credential.saved_by,
            }
            .into(),
        }
    }

    /// The decision that an event states; none if it is no decision.
    pub fn from_event(recorded: &RecordedEvent) -> Option<Self> {
        let (worker_id, workspace, caused_by, outcome) = match recorded.event.clone() {
            Event::ContainerCredentialsAttached(event) => {
                let credential = handed_over!(event);
                let (image_ref, image_event) = (event.image_ref, event.image_event);
                let image = AttachedImage { image_id: event.image_id, image_ref, image_event };
                let placement = Placement { container_id: event.container_id, number: event.placement };
                let outcome = Outcome::Attached { placement, image, credential };
                (event.worker_id, event.workspace, event.placement, outcome)
            }
            Event::ContainerCredentialsSkipped(event) => {
                let image = SkippedImage {
                    image_id: event.image_id,
                    image_ref: event.image_ref,
                    registry: event.registry,
                    secret_name: event.secret_name,
                    image_event: event.image_event,
                };
                let placement = Placement { container_id: event.container_id, number: event.placement };
                let outcome = Outcome::Skipped { placement, image, reason: event.reason };
                (event.worker_id, event.workspace, event.placement, outcome)
            }
            Event::ContainerCredentialsWithdrawn(event) => {
                let placement = Placement { container_id: event.container_id, number: event.placement };
                let (secret_name, reason) = (event.secret_name, event.reason);
                let outcome = Outcome::Withdrawn { placement, secret_name, reason };
                (event.worker_id, event.workspace, event.caused_by, outcome)
            }
            Event::WorkerCredentialsRenewed(event) => {
                let outcome = Outcome::Renewed { credential: handed_over!(event), cause: event.cause };
                (event.worker_id, event.workspace, event.caused_by, outcome)
            }
            _ => return None,
        };
        Some(Self { worker_id, workspace, caused_by, outcome })
    }
}

/// Names of the fields in which two decisions differ, as their events have them; empty if they are equal.
pub fn differing_fields(one: &Decision, other: &Decision) -> Vec<String> {
    let json = |decision: &Decision| {
        let body = decision.to_event().to_json().ok()?;
        serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(&body).ok()
    };
    let (one_type, other_type) = (one.to_event().event_type(), other.to_event().event_type());
    if one_type != other_type {
        return vec!["outcome".to_owned()];
    }
    let (one, other) = (json(one).unwrap_or_default(), json(other).unwrap_or_default());
    let mut names: Vec<String> = one.keys().chain(other.keys()).cloned().collect();
    names.sort();
    names.dedup();
    names.retain(|name| one.get(name) != other.get(name));
    names
}
