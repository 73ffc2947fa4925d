//! The fold: what the log says so far, and what each further event changes in it.
//!
//! [`fold`] reads the facts it needs through [`Facts`] and returns [`Change`]s as data. Whoever holds the facts (redb in
//! the scheduler, maps in a replay or a test) applies the changes together with the position, in one transaction.

mod attach;
mod facts;
mod memory;
mod reinstate;

use uuid::Uuid;
use waybill_schemas::{Derivation, Event, Recorded, RecordedEvent, derived_id, v1};

pub use attach::decide_attach;
pub use facts::{
    AttachPlan, Decision, ImageFact, ImageKey, Outcome, Pending, RequestFact, SavedFact, SkipPlan, SkippedFact,
    TraceContext, WorkerFact,
};
pub use memory::MemoryFacts;
pub use reinstate::{Obstacle, reinstate};

/// What the log says so far, by key.
pub trait Facts {
    /// Why a fact could not be read.
    type Error;

    /// What builds said of an image.
    ///
    /// # Errors
    /// The store's own.
    fn image(&self, key: &ImageKey) -> Result<Option<ImageFact>, Self::Error>;

    /// A worker's newest registration.
    ///
    /// # Errors
    /// The store's own.
    fn worker(&self, id: &waybill_schemas::WorkerId) -> Result<Option<WorkerFact>, Self::Error>;

    /// A container request, by the id of its event.
    ///
    /// # Errors
    /// The store's own.
    fn request(&self, id: Uuid) -> Result<Option<RequestFact>, Self::Error>;

    /// A decision that the log does not hold yet, by the sequence of its request.
    ///
    /// # Errors
    /// The store's own.
    fn pending(&self, requested_by: u64) -> Result<Option<Pending>, Self::Error>;

    /// Requests after a sequence, in any order. Only a retry of a quarantined event asks, so it may take its time.
    ///
    /// # Errors
    /// The store's own.
    fn requests_after(&self, sequence: u64) -> Result<Vec<RequestFact>, Self::Error>;
}

/// One row that an event changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// What builds said of an image.
    PutImage(ImageKey, ImageFact),
    /// A worker's registration.
    PutWorker(waybill_schemas::WorkerId, WorkerFact),
    /// A container request and what was decided.
    PutRequest(Uuid, RequestFact),
    /// A decision that the log does not hold yet, by the sequence of its request.
    PutPending(u64, Pending),
    /// The log now holds the decision about the request at this sequence.
    RemovePending(u64),
}

/// Something in the log that the fold passes over, for an operator to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Anomaly {
    /// A request with an id that an earlier request has; it is the same event and is decided once.
    DuplicateRequest {
        /// Sequence of the first one.
        first: u64,
    },
    /// A decision that answers no request, or one that was answered before, or under an id that is not its own.
    UnexpectedDecision,
}

/// What an event changes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Folded {
    /// Rows to write, all or none.
    pub changes: Vec<Change>,
    /// What was passed over.
    pub anomaly: Option<Anomaly>,
}

impl Folded {
    fn changes(changes: Vec<Change>) -> Self {
        Self { changes, anomaly: None }
    }

    fn anomaly(anomaly: Anomaly) -> Self {
        Self { changes: Vec::new(), anomaly: Some(anomaly) }
    }
}

/// Folds the event at its place in the log into the facts before it.
///
/// # Errors
/// Those of `facts`.
pub fn fold<F: Facts>(facts: &F, recorded: &Recorded<RecordedEvent>) -> Result<Folded, F::Error> {
    match &recorded.value.event {
        Event::CredentialSecretSaved(saved) => fold_saved(facts, recorded, saved),
        Event::CredentialSecretSkipped(skipped) => fold_skipped(facts, recorded, skipped),
        Event::WorkerRegistered(v1::WorkerRegistered { worker_id, sealing_key }) => {
            let fact = WorkerFact { sequence: recorded.sequence, sealing_key: sealing_key.clone() };
            Ok(Folded::changes(vec![Change::PutWorker(worker_id.clone(), fact)]))
        }
        Event::ContainerRequested(request) => fold_requested(facts, recorded, request),
        Event::ContainerCredentialsAttached(v1::ContainerCredentialsAttached { requested_by, saved_by, .. }) => {
            fold_decided(facts, recorded, *requested_by, Outcome::Attached { saved_by: *saved_by })
        }
        Event::ContainerCredentialsSkipped(v1::ContainerCredentialsSkipped { requested_by, reason, .. }) => {
            fold_decided(facts, recorded, *requested_by, Outcome::Skipped { reason: *reason })
        }
        Event::CredentialProviderAttached(_)
        | Event::CredentialProviderFailed(_)
        | Event::ImagePullSucceeded(_)
        | Event::ImagePullFailed(_)
        // Whoever keeps the quarantine acts on these: see `reinstate`.
        | Event::QuarantineRetried(_)
        | Event::QuarantineDiscarded(_) => Ok(Folded::default()),
    }
}

fn fold_saved<F: Facts>(
    facts: &F,
    recorded: &Recorded<RecordedEvent>,
    saved: &v1::CredentialSecretSaved,
) -> Result<Folded, F::Error> {
    let key = ImageKey { workspace: saved.workspace.clone(), image_id: saved.image_id.clone() };
    let mut image = facts.image(&key)?.unwrap_or_default();
    image.saved = Some(SavedFact {
        sequence: recorded.sequence,
        image_ref: saved.image_ref.clone(),
        registry: saved.registry.clone(),
        secret_name: saved.secret_name.clone(),
        cred_type: saved.cred_type,
        expires_at: saved.expires_at,
        trace: TraceContext::of(&recorded.value.envelope),
        credentials: saved.credentials.clone(),
    });
    Ok(Folded::changes(vec![Change::PutImage(key, image)]))
}

fn fold_skipped<F: Facts>(
    facts: &F,
    recorded: &Recorded<RecordedEvent>,
    skipped: &v1::CredentialSecretSkipped,
) -> Result<Folded, F::Error> {
    let key = ImageKey { workspace: skipped.workspace.clone(), image_id: skipped.image_id.clone() };
    let mut image = facts.image(&key)?.unwrap_or_default();
    image.skipped = Some(SkippedFact {
        sequence: recorded.sequence,
        image_ref: skipped.image_ref.clone(),
        registry: skipped.registry.clone(),
        reason: skipped.reason,
    });
    Ok(Folded::changes(vec![Change::PutImage(key, image)]))
}

fn fold_requested<F: Facts>(
    facts: &F,
    recorded: &Recorded<RecordedEvent>,
    request: &v1::ContainerRequested,
) -> Result<Folded, F::Error> {
    let envelope = &recorded.value.envelope;
    if let Some(earlier) = facts.request(envelope.id)? {
        return Ok(Folded::anomaly(Anomaly::DuplicateRequest { first: earlier.sequence }));
    }
    let image = match &request.image_id {
        Some(image_id) => {
            facts.image(&ImageKey { workspace: request.workspace.clone(), image_id: image_id.clone() })?
        }
        None => None,
    };
    let worker = facts.worker(&request.worker_id)?;
    let decision = decide_attach(request, recorded.at, image.as_ref(), worker.as_ref());
    let fact = RequestFact {
        sequence: recorded.sequence,
        workspace: request.workspace.clone(),
        container_id: request.container_id.clone(),
        image_id: request.image_id.clone(),
        worker_id: request.worker_id.clone(),
        outcome: decision.outcome(),
        decided_by: None,
    };
    let pending = Pending {
        request_id: envelope.id,
        correlation_id: envelope.correlation_id.unwrap_or(envelope.id),
        requested_by: recorded.sequence,
        requested_at: recorded.at,
        request: request.clone(),
        trace: TraceContext::of(envelope),
        decision,
    };
    Ok(Folded::changes(vec![Change::PutRequest(envelope.id, fact), Change::PutPending(recorded.sequence, pending)]))
}

fn fold_decided<F: Facts>(
    facts: &F,
    recorded: &Recorded<RecordedEvent>,
    requested_by: u64,
    outcome: Outcome,
) -> Result<Folded, F::Error> {
    let envelope = &recorded.value.envelope;
    let Some(request_id) = envelope.causation_id else { return Ok(Folded::anomaly(Anomaly::UnexpectedDecision)) };
    let expected = facts.request(request_id)?.filter(|request| {
        request.sequence == requested_by
            && request.decided_by.is_none()
            && envelope.id == derived_id(request_id, Derivation::Decision)
    });
    let Some(mut request) = expected else { return Ok(Folded::anomaly(Anomaly::UnexpectedDecision)) };
    request.decided_by = Some(recorded.sequence);
    // Sealing can still fail after the decision to attach; the recorded outcome is what the worker acts on.
    request.outcome = outcome;
    Ok(Folded::changes(vec![Change::PutRequest(request_id, request), Change::RemovePending(requested_by)]))
}
