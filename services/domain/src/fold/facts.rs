//! The rows of the projection. Their JSON form is what the scheduler stores.

use serde::{Deserialize, Serialize};
use uuid::Uuid;
use waybill_schemas::{
    ContainerId, Envelope, ImageId, PublicSealingKey, Sealed, Timestamp, WorkerId, WorkspaceId,
    v1::{AttachSkipReason, ContainerRequested, CredType, SaveSkipReason},
};

/// Credential facts are keyed by workspace and image, never by a secret's name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageKey {
    /// Owner of the image.
    pub workspace: WorkspaceId,
    /// The image.
    pub image_id: ImageId,
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

/// A decision that the log does not hold yet: one row of the outbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// Id of the request's event; the decision's id is derived from it.
    pub request_id: Uuid,
    /// Id of the event that began the chain.
    pub correlation_id: Uuid,
    /// Sequence of the request.
    pub requested_by: u64,
    /// The stream's time of the request.
    pub requested_at: Timestamp,
    /// The request.
    pub request: ContainerRequested,
    /// Span that published the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<TraceContext>,
    /// What was decided.
    pub decision: Decision,
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
    /// Sequence of the build event that was found for the image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_event: Option<u64>,
}
