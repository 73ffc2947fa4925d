//! The rows of the projection. Their JSON form is what the scheduler stores.

use serde::{Deserialize, Serialize};
use waybill_schemas::{
    ContainerId, Envelope, ImageId, PublicSealingKey, SecretName, Timestamp, Uuid, WorkerId, WorkspaceId,
    v1::{CredType, SaveSkipReason, SecretVersion, WithdrawReason},
};

use crate::decision::{Credential, Decision, Outcome, Placement};

/// An image of a workspace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageKey {
    /// Owner of the image.
    pub workspace: WorkspaceId,
    /// The image.
    pub image_id: ImageId,
}

/// A secret of a workspace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SecretKey {
    /// Owner of the secret.
    pub workspace: WorkspaceId,
    /// The secret.
    pub secret_name: SecretName,
}

/// A container of a workspace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContainerKey {
    /// Owner of the container.
    pub workspace: WorkspaceId,
    /// The container.
    pub container_id: ContainerId,
}

/// Where a trace goes on: the W3C headers of an event.
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
    pub fn from_envelope(envelope: &Envelope) -> Option<Self> {
        let traceparent = envelope.traceparent.as_ref()?.as_str().to_owned();
        Some(Self { traceparent, tracestate: envelope.tracestate.clone() })
    }
}

/// What an image's newest build said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageFact {
    /// Sequence of the build's event.
    pub sequence: u64,
    /// Reference that containers pull, where the build named one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_ref: Option<String>,
    /// Its registry host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registry: Option<String>,
    /// The secret that the build named or saved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_name: Option<SecretName>,
    /// Why there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skipped: Option<SaveSkipReason>,
}

/// Whether a secret may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecretState {
    /// It may.
    Active,
    /// It is withdrawn until a new version comes.
    Revoked,
    /// It is withdrawn, and its versions are erased.
    Shredded,
}

/// A secret's newest version, and whether it may be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretFact {
    /// Sequence of the newest event about the secret.
    pub sequence: u64,
    /// Sequence of the event that brought the version.
    pub saved_by: u64,
    /// Number of the version.
    pub version: u64,
    /// Host that the credentials are bound to.
    pub registry: String,
    /// Kind of the credentials.
    pub cred_type: CredType,
    /// When they stop working, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// Length of the credentials JSON in bytes.
    pub credentials_length: u64,
    /// Digest of the sealed bytes in the vault.
    pub digest: String,
    /// Whether it may be used.
    pub state: SecretState,
    /// Span that brought the version; attach spans link to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<TraceContext>,
}

impl SecretFact {
    /// A version that an event at `sequence` brings.
    pub(super) fn from_version(sequence: u64, stored: &SecretVersion, trace: Option<TraceContext>) -> Self {
        Self {
            sequence,
            saved_by: sequence,
            version: stored.version,
            registry: stored.registry.clone(),
            cred_type: stored.cred_type,
            expires_at: stored.expires_at,
            credentials_length: stored.credentials_length,
            digest: stored.digest.clone(),
            state: SecretState::Active,
            trace,
        }
    }

    /// The version as decisions state it.
    pub fn credential(&self, secret_name: &SecretName) -> Credential {
        Credential {
            secret_name: secret_name.clone(),
            version: self.version,
            registry: self.registry.clone(),
            cred_type: self.cred_type,
            credentials_length: self.credentials_length,
            expires_at: self.expires_at,
            saved_by: self.saved_by,
        }
    }
}

/// A worker's newest registration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerFact {
    /// Sequence of the registration.
    pub sequence: u64,
    /// The process that registered.
    pub instance: Uuid,
    /// Public key that seals to it.
    pub sealing_key: PublicSealingKey,
}

/// How far a placement is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlacementState {
    /// Its first decision is not in the log yet. What would withdraw it meanwhile waits for that.
    Requested {
        /// What withdraws the placement once the first decision is recorded.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        then: Option<Withdrawal>,
    },
    /// Its first decision is recorded.
    Decided {
        /// Sequence of the decision.
        decided_by: u64,
    },
    /// Its withdrawal is decided and not in the log yet.
    Withdrawing {
        /// True if the placement is over, so that its row goes with the withdrawal.
        over: bool,
    },
    /// Its withdrawal is recorded, and it goes on without credentials.
    Withdrawn,
}

/// What withdraws a placement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Withdrawal {
    /// Why.
    pub reason: WithdrawReason,
    /// The event that it follows from.
    pub cause: CauseEvent,
}

/// The event that a decision follows from, as far as the decision's own event needs it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CauseEvent {
    /// Its sequence.
    pub sequence: u64,
    /// Its subject, for the span that goes on from it.
    pub subject: String,
    /// Its id.
    pub id: Uuid,
    /// Id of the event that began its chain.
    pub correlation_id: Uuid,
    /// The stream's time of it.
    pub at: Timestamp,
    /// Its span.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<TraceContext>,
}

/// A placement that is not over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlacementFact {
    /// Its number: the sequence of its request.
    pub number: u64,
    /// Owner of the container.
    pub workspace: WorkspaceId,
    /// The container.
    pub container_id: ContainerId,
    /// The worker it is on.
    pub worker_id: WorkerId,
    /// The secret that it has, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_name: Option<SecretName>,
    /// How far it is.
    pub state: PlacementState,
    /// True once the worker has reported a provider.
    #[serde(default, skip_serializing_if = "is_false")]
    pub provided: bool,
    /// True once the worker has nothing left to report of the first decision.
    #[serde(default, skip_serializing_if = "is_false")]
    pub settled: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
fn is_false(value: &bool) -> bool {
    !value
}

impl PlacementFact {
    /// Its container.
    pub fn container(&self) -> ContainerKey {
        ContainerKey { workspace: self.workspace.clone(), container_id: self.container_id.clone() }
    }

    /// Its address in decisions.
    pub fn placement(&self) -> Placement {
        Placement { container_id: self.container_id.clone(), number: self.number }
    }

    /// Its entry in the index of a secret's users, if it has one.
    pub fn secret_use(&self) -> Option<SecretUse> {
        let secret = SecretKey { workspace: self.workspace.clone(), secret_name: self.secret_name.as_ref()?.clone() };
        Some(SecretUse { secret, worker_id: self.worker_id.clone(), placement: self.number })
    }
}

/// A placement that has a secret.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SecretUse {
    /// The secret.
    pub secret: SecretKey,
    /// The worker.
    pub worker_id: WorkerId,
    /// The placement's number.
    pub placement: u64,
}

/// Order in which decisions are published. What takes credentials away goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lane {
    /// Withdrawals.
    Withdrawals,
    /// First decisions about requests.
    Requests,
    /// Renewals of grants.
    Renewals,
}

impl Lane {
    /// Every lane, in the order of publishing.
    pub const ALL: [Self; 3] = [Self::Withdrawals, Self::Requests, Self::Renewals];

    /// The lane of a decision.
    pub fn of_outcome(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Withdrawn { .. } => Self::Withdrawals,
            Outcome::Attached { .. } | Outcome::Skipped { .. } => Self::Requests,
            Outcome::Renewed { .. } => Self::Renewals,
        }
    }
}

/// Where a decision stands in the outbox.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PendingKey {
    /// Its lane.
    pub lane: Lane,
    /// The workspace, so that workspaces can take turns.
    pub workspace: WorkspaceId,
    /// Sequence of the event that it follows from.
    pub caused_by: u64,
    /// Its subject.
    pub subject: String,
}

impl PendingKey {
    /// The key of a decision.
    pub fn from_decision(decision: &Decision) -> Self {
        Self {
            lane: Lane::of_outcome(&decision.outcome),
            workspace: decision.workspace.clone(),
            caused_by: decision.caused_by,
            subject: decision.subject().to_string(),
        }
    }
}

/// A decision that the log does not hold yet: one row of the outbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// What is decided.
    pub decision: Decision,
    /// The event that it follows from.
    pub cause: CauseEvent,
    /// Sequence of the last event on the decision's subject; 0 for none. A renewal's is found out when it is published.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub after: u64,
    /// Digest of the sealed bytes of the version that the decision hands over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Span that brought the version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub saved_trace: Option<TraceContext>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
fn is_zero(value: &u64) -> bool {
    *value == 0
}

impl Pending {
    /// Its place in the outbox.
    pub fn key(&self) -> PendingKey {
        PendingKey::from_decision(&self.decision)
    }

    /// Id of the decision's event.
    pub fn event_id(&self) -> Uuid {
        self.decision.event_id(self.cause.id)
    }
}
