//! The events that report what became of a decision.

use waybill_domain::{
    decision::{Credential, Decision, Outcome},
    provider::Failure,
};
use waybill_platform::{log::NewEvent, trace};
use waybill_registry::pull::PullError;
use waybill_schemas::{
    Derivation, Envelope, Event, RecordedEvent, Subject, Timestamp, Uuid, WorkerId, derived_id,
    v1::{
        ContainerEnded, CredentialProviderAttached, CredentialProviderFailed, ImagePullFailed, ImagePullSucceeded,
        SecretRenewalApplied, SecretRenewalFailed,
    },
};

use crate::{
    source,
    view::{Decided, Placed},
};

/// A decision that the queue delivered, with what its outcomes name of its event.
#[derive(Debug)]
pub(crate) struct Assignment {
    pub(crate) decided: Decided,
    id: Uuid,
    correlation_id: Uuid,
}

/// What became of a provider.
#[derive(Debug)]
pub(crate) struct Provided<'a> {
    pub(crate) name: String,
    /// The version that it uses; none for the default chain.
    pub(crate) credential: Option<&'a Credential>,
    pub(crate) token_expires_at: Option<Timestamp>,
}

impl Assignment {
    /// The decision in an event, if it is one.
    pub(crate) fn from_event(sequence: u64, recorded: &RecordedEvent) -> Option<Self> {
        let decision = Decision::from_event(recorded)?;
        let id = recorded.envelope.id;
        let correlation_id = recorded.envelope.correlation_id.unwrap_or(id);
        Some(Self { decided: Decided { sequence, decision }, id, correlation_id })
    }

    pub(crate) fn decision(&self) -> &Decision {
        &self.decided.decision
    }

    /// The credential that the decision itself names.
    fn credential(&self) -> Option<&Credential> {
        self.decision().credential()
    }

    /// The reference that the placement pulls.
    pub(crate) fn image_ref(&self) -> Option<&str> {
        self.decision().image_ref()
    }

    pub(crate) fn provider_attached(&self, placed: &Placed, provided: &Provided<'_>) -> NewEvent {
        let credential = provided.credential;
        let event = CredentialProviderAttached {
            workspace: placed.container.workspace.clone(),
            container_id: placed.container.container_id.clone(),
            placement: placed.number,
            image_id: self.decision().image_id().cloned(),
            worker_id: self.decision().worker_id.clone(),
            provider_name: provided.name.clone(),
            cred_type: credential.map(|credential| credential.cred_type),
            registry: credential.map(|credential| credential.registry.clone()),
            secret_name: credential.map(|credential| credential.secret_name.clone()),
            version: credential.map(|credential| credential.version),
            token_expires_at: provided.token_expires_at,
            decided_by: self.decided.sequence,
        };
        self.outcome(placed, &Derivation::Provider, event.into())
    }

    pub(crate) fn provider_failed(&self, placed: &Placed, failure: &Failure) -> NewEvent {
        let credential = self.credential();
        let event = CredentialProviderFailed {
            workspace: placed.container.workspace.clone(),
            container_id: placed.container.container_id.clone(),
            placement: placed.number,
            image_id: self.decision().image_id().cloned(),
            worker_id: self.decision().worker_id.clone(),
            cred_type: credential.map(|credential| credential.cred_type),
            registry: credential.map(|credential| credential.registry.clone()),
            reason: failure.reason,
            detail: Some(failure.detail.clone()),
            decided_by: self.decided.sequence,
        };
        self.outcome(placed, &Derivation::Provider, event.into())
    }

    pub(crate) fn pulled(&self, placed: &Placed, pulled: &Result<String, PullError>) -> NewEvent {
        let (workspace, container_id) = (placed.container.workspace.clone(), placed.container.container_id.clone());
        let (image_id, worker_id) = (self.decision().image_id().cloned(), self.decision().worker_id.clone());
        let image_ref = self.image_ref().map(str::to_owned);
        let (placement, decided_by) = (placed.number, self.decided.sequence);
        let event = match pulled {
            Ok(digest) => ImagePullSucceeded {
                workspace,
                container_id,
                placement,
                image_id,
                worker_id,
                image_ref: image_ref.unwrap_or_default(),
                digest: digest.clone(),
                decided_by,
            }
            .into(),
            Err(PullError { reason, detail, .. }) => ImagePullFailed {
                workspace,
                container_id,
                placement,
                image_id,
                worker_id,
                image_ref,
                reason: *reason,
                detail: Some(detail.clone()),
                decided_by,
            }
            .into(),
        };
        self.outcome(placed, &Derivation::Pull, event)
    }

    /// What became of a renewal: the number of placements that use the version, or why none can. None for other decisions.
    pub(crate) fn renewed(&self, outcome: &Result<u64, Failure>) -> Option<NewEvent> {
        let Outcome::Renewed { credential, .. } = &self.decision().outcome else { return None };
        let (workspace, worker_id) = (self.decision().workspace.clone(), self.decision().worker_id.clone());
        let (secret_name, version) = (credential.secret_name.clone(), credential.version);
        let (secret, decided_by) = (secret_name.clone(), self.decided.sequence);
        let subject =
            Subject::SecretOutcome { worker_id: worker_id.clone(), workspace: workspace.clone(), secret, version };
        let event = match outcome {
            Ok(placements) => {
                SecretRenewalApplied { workspace, secret_name, version, worker_id, placements: *placements, decided_by }
                    .into()
            }
            Err(failure) => SecretRenewalFailed {
                workspace,
                secret_name,
                version,
                worker_id,
                reason: failure.reason,
                detail: Some(failure.detail.clone()),
                decided_by,
            }
            .into(),
        };
        Some(NewEvent { subject, envelope: self.envelope(&Derivation::Applied), event })
    }

    fn outcome(&self, placed: &Placed, kind: &Derivation, event: Event) -> NewEvent {
        let subject = outcome_subject(&self.decision().worker_id, placed);
        NewEvent { subject, envelope: self.envelope(kind), event }
    }

    /// The same id however often the outcome is reported.
    fn envelope(&self, kind: &Derivation) -> Envelope {
        Envelope {
            time: Some(trace::now()),
            causation_id: Some(self.id),
            correlation_id: Some(self.correlation_id),
            ..Envelope::new(derived_id(self.id, kind), source(&self.decision().worker_id))
        }
    }
}

/// Where a placement's outcomes stand.
pub(crate) fn outcome_subject(worker_id: &WorkerId, placed: &Placed) -> Subject {
    Subject::ContainerOutcome {
        worker_id: worker_id.clone(),
        workspace: placed.container.workspace.clone(),
        container_id: placed.container.container_id.clone(),
        placement: placed.number,
    }
}

/// The end of a placement, as a program of the node reported it.
pub(crate) fn ended(worker_id: &WorkerId, placed: &Placed) -> NewEvent {
    let event = ContainerEnded {
        workspace: placed.container.workspace.clone(),
        container_id: placed.container.container_id.clone(),
        placement: placed.number,
    };
    let envelope = Envelope { time: Some(trace::now()), ..Envelope::new(Uuid::new_v4(), source(worker_id)) };
    NewEvent { subject: outcome_subject(worker_id, placed), envelope, event: event.into() }
}

/// Sequence of the decision that a renewal's outcome follows.
pub(crate) fn renewal_decided_by(event: &Event) -> Option<u64> {
    match event {
        Event::SecretRenewalApplied(applied) => Some(applied.decided_by),
        Event::SecretRenewalFailed(failed) => Some(failed.decided_by),
        _ => None,
    }
}
