//! A decision about a request, as it is recorded or as the fold makes it: what two of them are compared by.

use serde::Serialize;
use uuid::Uuid;
use waybill_schemas::{
    ContainerId, Event, ImageId, PublicSealingKey, RecordedEvent, Timestamp, WorkerId, WorkspaceId,
    v1::{AttachSkipReason, CredType},
};

use crate::fold::{AttachPlan, Decision, Pending, SkipPlan};

/// A decision as its event states it, without the credentials.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Decided {
    /// Id of the decision's event.
    pub id: Uuid,
    /// Owner of the container.
    pub workspace: WorkspaceId,
    /// The container.
    pub container_id: ContainerId,
    /// Its image.
    pub image_id: Option<ImageId>,
    /// The worker that the decision is addressed to.
    pub worker_id: WorkerId,
    /// Sequence of the request.
    pub requested_by: u64,
    /// `attached` or `skipped`.
    pub outcome: &'static str,
    /// Why nothing is attached.
    pub reason: Option<AttachSkipReason>,
    /// Sequence of the build event that it rests on.
    pub saved_by: Option<u64>,
    /// Reference to pull.
    pub image_ref: Option<String>,
    /// Its registry host.
    pub registry: Option<String>,
    /// Label of the secret.
    pub secret_name: Option<String>,
    /// Kind of the credentials.
    pub cred_type: Option<CredType>,
    /// When they stop working.
    pub expires_at: Option<Timestamp>,
    /// The key that they are sealed to.
    pub sealed_to: Option<PublicSealingKey>,
}

impl Decided {
    /// What an event states; none if it is no decision.
    pub fn recorded(recorded: &RecordedEvent) -> Option<Self> {
        let id = recorded.envelope.id;
        match recorded.event.clone() {
            Event::ContainerCredentialsAttached(event) => Some(Self {
                id,
                workspace: event.workspace,
                container_id: event.container_id,
                image_id: Some(event.image_id),
                worker_id: event.worker_id,
                requested_by: event.requested_by,
                outcome: "attached",
                reason: None,
                saved_by: Some(event.saved_by),
                image_ref: Some(event.image_ref),
                registry: Some(event.registry),
                secret_name: Some(event.secret_name),
                cred_type: Some(event.cred_type),
                expires_at: event.expires_at,
                sealed_to: Some(event.credentials.recipient),
            }),
            Event::ContainerCredentialsSkipped(event) => Some(Self {
                id,
                workspace: event.workspace,
                container_id: event.container_id,
                image_id: event.image_id,
                worker_id: event.worker_id,
                requested_by: event.requested_by,
                outcome: "skipped",
                reason: Some(event.reason),
                saved_by: event.image_event,
                image_ref: event.image_ref,
                registry: event.registry,
                secret_name: None,
                cred_type: None,
                expires_at: None,
                sealed_to: None,
            }),
            _ => None,
        }
    }

    /// What the fold decided.
    pub(super) fn again(pending: &Pending) -> Self {
        match &pending.decision {
            Decision::Attach(plan) => Self::attached(pending, plan),
            Decision::Skip(plan) => Self::skipped(pending, plan),
        }
    }

    fn attached(pending: &Pending, plan: &AttachPlan) -> Self {
        let saved = &plan.saved;
        Self {
            outcome: "attached",
            image_id: Some(plan.image_id.clone()),
            saved_by: Some(saved.sequence),
            image_ref: Some(saved.image_ref.clone()),
            registry: Some(saved.registry.clone()),
            secret_name: Some(saved.secret_name.clone()),
            cred_type: Some(saved.cred_type),
            expires_at: saved.expires_at,
            sealed_to: Some(plan.worker_key.clone()),
            ..Self::of_request(pending)
        }
    }

    pub(super) fn skipped(pending: &Pending, plan: &SkipPlan) -> Self {
        Self {
            outcome: "skipped",
            reason: Some(plan.reason),
            saved_by: plan.image_event,
            image_ref: plan.image_ref.clone(),
            registry: plan.registry.clone(),
            ..Self::of_request(pending)
        }
    }

    fn of_request(pending: &Pending) -> Self {
        let request = &pending.request;
        Self {
            id: pending.decision_id(),
            workspace: request.workspace.clone(),
            container_id: request.container_id.clone(),
            image_id: request.image_id.clone(),
            worker_id: request.worker_id.clone(),
            requested_by: pending.requested_by,
            outcome: "",
            reason: None,
            saved_by: None,
            image_ref: None,
            registry: None,
            secret_name: None,
            cred_type: None,
            expires_at: None,
            sealed_to: None,
        }
    }

    /// Names of the fields in which two decisions differ.
    pub(super) fn differences(&self, other: &Self) -> Vec<&'static str> {
        let fields = [
            ("id", self.id == other.id),
            ("workspace", self.workspace == other.workspace),
            ("container_id", self.container_id == other.container_id),
            ("image_id", self.image_id == other.image_id),
            ("worker_id", self.worker_id == other.worker_id),
            ("requested_by", self.requested_by == other.requested_by),
            ("outcome", self.outcome == other.outcome),
            ("reason", self.reason == other.reason),
            ("saved_by", self.saved_by == other.saved_by),
            ("image_ref", self.image_ref == other.image_ref),
            ("registry", self.registry == other.registry),
            ("secret_name", self.secret_name == other.secret_name),
            ("cred_type", self.cred_type == other.cred_type),
            ("expires_at", self.expires_at == other.expires_at),
            ("sealed_to", self.sealed_to == other.sealed_to),
        ];
        fields.into_iter().filter(|(_, same)| !same).map(|(name, _)| name).collect()
    }
}
