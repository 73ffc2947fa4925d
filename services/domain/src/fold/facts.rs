//! The rows of the projection. Their JSON form is what the scheduler stores.

use serde::{Deserialize, Serialize};
use uuid::Uuid;
use waybill_schemas::{
    ContainerId, Derivation, Envelope, ImageId, PublicSealingKey, Recorded, RecordedEvent, Sealed, Timestamp, WorkerId,
    WorkspaceId, derived_id,
    v1::{
        AttachSkipReason, ContainerRequested, CredType, CredentialSecretRotated, CredentialSecretSaved, SaveSkipReason,
    },
};

use crate::rotate::is_overtaken;

/// Credential facts are keyed by workspace and image, never by a secret's name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageKey {
    /// Owner of the image.
    pub workspace: WorkspaceId,
    /// The image.
    pub image_id: ImageId,
}

/// A container of a workspace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContainerKey {
    /// Owner of the container.
    pub workspace: WorkspaceId,
    /// The container.
    pub container_id: ContainerId,
}

impl ContainerKey {
    /// The container of a request.
    pub fn of(request: &ContainerRequested) -> Self {
        Self { workspace: request.workspace.clone(), container_id: request.container_id.clone() }
    }
}

/// Where a trace goes on: the W3C headers of the event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceContext {
    /// `traceparent`.
    pub traceparent: String,
    /// `tracestate`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracestate: Option<String>,
}

impl TraceContext {
    /// The context in an event's headers, if it carries one.
    pub fn of(envelope: &Envelope) -> Option<Self> {
        let traceparent = envelope.traceparent.as_ref()?.as_str().to_owned();
        Some(Self { traceparent, tracestate: envelope.tracestate.clone() })
    }
}

/// What builds said of an image. A build that saves nothing does not take back what an earlier one saved.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ImageFact {
    /// The newest saved credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub saved: Option<SavedFact>,
    /// The newest build that saved none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skipped: Option<SkippedFact>,
    /// The newest revocation. It counts as long as nothing is saved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<RevokedFact>,
    /// Sequence of the newest rotation, whether it counted or came too late to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotated: Option<u64>,
}

impl ImageFact {
    /// Whether a rotation comes too late to count.
    pub(super) fn overtakes(&self, rotated: &CredentialSecretRotated) -> bool {
        match (&self.saved, &self.revoked) {
            (Some(saved), _) => is_overtaken(rotated, saved.sequence, &saved.image_ref, &saved.registry),
            (None, Some(revoked)) => is_overtaken(rotated, revoked.sequence, &revoked.image_ref, &revoked.registry),
            (None, None) => false,
        }
    }
}

/// Saved credentials, sealed to the scheduler.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedFact {
    /// Sequence of the saving event.
    pub sequence: u64,
    /// Reference that containers pull.
    pub image_ref: String,
    /// Host the credentials are bound to.
    pub registry: String,
    /// Label for people.
    pub secret_name: String,
    /// Kind of the credentials.
    pub cred_type: CredType,
    /// When they stop working, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// Span that saved them; the attach span links to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<TraceContext>,
    /// The ciphertext as the gateway published it.
    pub credentials: Sealed,
}

impl SavedFact {
    /// What an event saves.
    pub(super) fn of(recorded: &Recorded<RecordedEvent>, saved: &CredentialSecretSaved) -> Self {
        Self {
            sequence: recorded.sequence,
            image_ref: saved.image_ref.clone(),
            registry: saved.registry.clone(),
            secret_name: saved.secret_name.clone(),
            cred_type: saved.cred_type,
            expires_at: saved.expires_at,
            trace: TraceContext::of(&recorded.value.envelope),
            credentials: saved.credentials.clone(),
        }
    }
}

/// A build that saved no credentials.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SkippedFact {
    /// Sequence of the event.
    pub sequence: u64,
    /// Reference that containers pull, where the build named one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_ref: Option<String>,
    /// Its registry host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registry: Option<String>,
    /// Why nothing was saved.
    pub reason: SaveSkipReason,
}

/// A revocation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevokedFact {
    /// Sequence of the revocation.
    pub sequence: u64,
    /// Reference that containers pull.
    pub image_ref: String,
    /// Host the credentials were bound to.
    pub registry: String,
}

/// A worker's newest registration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerFact {
    /// Sequence of the registration.
    pub sequence: u64,
    /// Public key that seals to it.
    pub sealing_key: PublicSealingKey,
}

/// A container request and what was decided about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestFact {
    /// Sequence of the request.
    pub sequence: u64,
    /// Owner of the container.
    pub workspace: WorkspaceId,
    /// The container.
    pub container_id: ContainerId,
    /// The image that it asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_id: Option<ImageId>,
    /// The worker it was placed on.
    pub worker_id: WorkerId,
    /// What was decided, without ciphertext.
    pub outcome: Outcome,
    /// Sequence of the decision's event, once the log holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided_by: Option<u64>,
    /// Sequence of the newest rotation, revocation or end that a further decision was made for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renewed_by: Option<u64>,
}

impl RequestFact {
    /// Sequence of the newest event that something was decided for: the request, a rotation, a revocation or an end.
    pub fn last_decided_for(&self) -> u64 {
        self.renewed_by.unwrap_or(self.sequence).max(self.sequence)
    }
}

/// A container that was given an image's credentials, until it asks again, ends, or they are revoked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServedFact {
    /// Id of the request's event.
    pub request_id: Uuid,
    /// Id of the event that began the chain.
    pub correlation_id: Uuid,
    /// Sequence of the request.
    pub requested_by: u64,
    /// The request.
    pub request: ContainerRequested,
    /// Sequence of the newest event about the container's credentials that the log holds from the scheduler; 0 at first.
    pub decided_by: u64,
}

/// A decision in short.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Credentials of the saving event at this sequence are attached.
    Attached {
        /// Sequence of the saving event.
        saved_by: u64,
    },
    /// None are.
    Skipped {
        /// Why.
        reason: AttachSkipReason,
    },
}

/// Where a decision stands in the outbox, and in the order in which decisions are published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PendingKey {
    /// Sequence of the event that it was made for: the request, or a later rotation, revocation or end.
    pub caused_by: u64,
    /// Sequence of the request.
    pub requested_by: u64,
}

impl PendingKey {
    /// Before every decision.
    pub const START: Self = Self { caused_by: 0, requested_by: 0 };

    /// The key of the decision about a request.
    pub fn first(requested_by: u64) -> Self {
        Self { caused_by: requested_by, requested_by }
    }
}

/// The rotation, revocation or end that a further decision about a request is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renewal {
    /// Id of its event.
    pub id: Uuid,
    /// Its sequence.
    pub sequence: u64,
}

/// A decision that the log does not hold yet: one row of the outbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// Id of the request's event; the decision's id is derived from it.
    pub request_id: Uuid,
    /// Id of the event that began the chain.
    pub correlation_id: Uuid,
    /// Sequence of the request.
    pub requested_by: u64,
    /// What made a further decision necessary; none for the request's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renewal: Option<Renewal>,
    /// The stream's time of the event that the decision is made for.
    pub caused_at: Timestamp,
    /// Sequence of the last decision for this container and worker that the log is known to hold; 0 for none.
    #[serde(default)]
    pub after: u64,
    /// The request.
    pub request: ContainerRequested,
    /// Span that published the event that the decision is made for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<TraceContext>,
    /// What was decided.
    pub decision: Decision,
}

impl Pending {
    /// Its place in the outbox.
    pub fn key(&self) -> PendingKey {
        let caused_by = self.renewal.map_or(self.requested_by, |renewal| renewal.sequence);
        PendingKey { caused_by, requested_by: self.requested_by }
    }

    /// Id of the event that the decision is made for.
    pub fn cause(&self) -> Uuid {
        self.renewal.map_or(self.request_id, |renewal| renewal.id)
    }

    /// Id of the decision's event: the same for ever, so that deciding twice is deciding once.
    pub fn decision_id(&self) -> Uuid {
        match self.renewal {
            Some(renewal) => derived_id(renewal.id, Derivation::Renewal { request: self.request_id }),
            None => derived_id(self.request_id, Derivation::Decision),
        }
    }
}

/// What the scheduler decides about a container request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// Open the saved credentials and seal them to the worker.
    Attach(AttachPlan),
    /// Tell the worker that there are none, and why.
    Skip(SkipPlan),
}

impl Decision {
    /// The decision in short.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Attach(plan) => Outcome::Attached { saved_by: plan.saved.sequence },
            Self::Skip(plan) => Outcome::Skipped { reason: plan.reason },
        }
    }
}

/// Everything that the sealing shell needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachPlan {
    /// The image of the request.
    pub image_id: ImageId,
    /// The credentials to hand over, as they were when the request came.
    pub saved: SavedFact,
    /// The key to seal them to, as it was when the request came.
    pub worker_key: PublicSealingKey,
}

impl AttachPlan {
    /// The skip that is recorded where the credentials cannot be handed over after all.
    pub fn withheld(&self, reason: AttachSkipReason) -> SkipPlan {
        SkipPlan {
            reason,
            image_ref: Some(self.saved.image_ref.clone()),
            registry: Some(self.saved.registry.clone()),
            image_event: Some(self.saved.sequence),
        }
    }
}

/// Everything that the skip event says beyond the request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SkipPlan {
    /// Why nothing is attached.
    pub reason: AttachSkipReason,
    /// Reference to pull, where a build recorded one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_ref: Option<String>,
    /// Its registry host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registry: Option<String>,
    /// Sequence of the build event that was found for the image, or of the container's end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_event: Option<u64>,
}
