//! Verification: what the log records about each request, against what its events decide again.
//!
//! [`Verifier`] sees every event just before it is folded, while the facts still hold what the fold decided. It keeps only
//! decisions whose request has not come yet. Ciphertext is not compared: sealing needs keys, which are not in the log.

use std::collections::BTreeMap;

use serde::Serialize;
use uuid::Uuid;
use waybill_schemas::{
    ContainerId, Event, ImageId, PublicSealingKey, Recorded, RecordedEvent, Timestamp, WorkerId, WorkspaceId,
    v1::{AttachSkipReason, CredType},
};

use crate::fold::{AttachPlan, Decision, Facts, Pending, PendingKey, SkipPlan, decided_key};

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
    fn again(pending: &Pending) -> Self {
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

    fn skipped(pending: &Pending, plan: &SkipPlan) -> Self {
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
    fn differences(&self, other: &Self) -> Vec<&'static str> {
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

/// How a recorded decision is not the one that the log leads to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Problem {
    /// It differs in these fields.
    Differs(Vec<&'static str>),
    /// The request was decided before, at this sequence.
    Second(u64),
    /// It was recorded before its request, which came at this sequence.
    BeforeRequest(u64),
    /// It answers no request.
    NoRequest,
}

/// A recorded decision that is not the one that the log leads to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Divergence {
    /// Sequence of the recorded decision.
    pub sequence: u64,
    /// What is wrong with it.
    pub problem: Problem,
    /// The decision as recorded.
    pub recorded: Decided,
    /// The decision that the log leads to; none where there is nothing to decide.
    pub expected: Option<Decided>,
}

/// What was compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Tally {
    /// Requests, each counted once.
    pub requests: u64,
    /// Decisions that agree, those that could not be sealed included.
    pub agreed: u64,
    /// Decisions to attach for which a failure to open or seal is recorded.
    pub unsealed: u64,
}

/// Compares each recorded decision with the one that the fold made.
#[derive(Debug)]
pub struct Verifier {
    /// Whether something can be sealed to a key: only then is `unknown_worker` after a decision to attach a divergence.
    usable: fn(&PublicSealingKey) -> bool,
    /// Decisions whose request has not come, by its id.
    early: BTreeMap<Uuid, Vec<(u64, Decided)>>,
    found: Vec<Divergence>,
    tally: Tally,
}

impl Verifier {
    /// A verifier at the start of the log. `usable` tells whether something can be sealed to a key.
    pub fn new(usable: fn(&PublicSealingKey) -> bool) -> Self {
        Self { usable, early: BTreeMap::new(), found: Vec::new(), tally: Tally::default() }
    }

    /// Looks at the next event, with the facts as they are before it is folded.
    ///
    /// # Errors
    /// Those of `facts`.
    pub fn see<F: Facts>(&mut self, facts: &F, recorded: &Recorded<RecordedEvent>) -> Result<(), F::Error> {
        let envelope = &recorded.value.envelope;
        if let Event::ContainerRequested(_) = recorded.value.event {
            let new = facts.request(envelope.id)?.is_none();
            self.tally.requests = self.tally.requests.saturating_add(u64::from(new));
            for (sequence, decided) in self.early.remove(&envelope.id).unwrap_or_default() {
                self.note(sequence, Problem::BeforeRequest(recorded.sequence), decided, None);
            }
        }
        match Decided::recorded(&recorded.value) {
            Some(decided) => self.decision(facts, recorded.sequence, envelope.causation_id, decided),
            None => Ok(()),
        }
    }

    /// At the end of the log: everything that diverges, by sequence, and what was compared.
    pub fn finish(mut self) -> (Vec<Divergence>, Tally) {
        for (sequence, decided) in std::mem::take(&mut self.early).into_values().flatten() {
            self.note(sequence, Problem::NoRequest, decided, None);
        }
        self.found.sort_by_key(|divergence| divergence.sequence);
        (self.found, self.tally)
    }

    fn decision<F: Facts>(
        &mut self,
        facts: &F,
        sequence: u64,
        cause: Option<Uuid>,
        recorded: Decided,
    ) -> Result<(), F::Error> {
        let Some(cause) = cause else {
            self.note(sequence, Problem::NoRequest, recorded, None);
            return Ok(());
        };
        match facts.request(cause)? {
            None => {
                let key = decided_key(recorded.requested_by, recorded.saved_by);
                match facts.pending(key)?.filter(|pending| pending.cause() == cause) {
                    Some(pending) => self.compare(sequence, recorded, &pending),
                    None => self.early.entry(cause).or_default().push((sequence, recorded)),
                }
            }
            Some(request) => match (request.decided_by, facts.pending(PendingKey::first(request.sequence))?) {
                (None, Some(pending)) => self.compare(sequence, recorded, &pending),
                (first, _) => self.note(sequence, Problem::Second(first.unwrap_or(0)), recorded, None),
            },
        }
        Ok(())
    }

    fn compare(&mut self, sequence: u64, recorded: Decided, pending: &Pending) {
        let unsealed = self.unsealed(&recorded, pending);
        let failed = unsealed.is_some();
        let expected = unsealed.unwrap_or_else(|| Decided::again(pending));
        let differences = recorded.differences(&expected);
        if differences.is_empty() {
            self.tally.agreed = self.tally.agreed.saturating_add(1);
            self.tally.unsealed = self.tally.unsealed.saturating_add(u64::from(failed));
        } else {
            self.note(sequence, Problem::Differs(differences), recorded, Some(expected));
        }
    }

    fn note(&mut self, sequence: u64, problem: Problem, recorded: Decided, expected: Option<Decided>) {
        self.found.push(Divergence { sequence, problem, recorded, expected });
    }

    /// The decision to attach as it is recorded where sealing failed, if that is what may have happened.
    fn unsealed(&self, recorded: &Decided, pending: &Pending) -> Option<Decided> {
        let Decision::Attach(plan) = &pending.decision else { return None };
        let reason = recorded.reason.filter(|reason| match reason {
            AttachSkipReason::UnsealFailed => true,
            AttachSkipReason::UnknownWorker => !(self.usable)(&plan.worker_key),
            _ => false,
        })?;
        Some(Decided::skipped(pending, &plan.withheld(reason)))
    }
}
