//! The fold: what the log says so far, and what each further event changes in it.
//!
//! [`fold`] reads the facts it needs through [`Facts`] and returns [`Change`]s as data. Whoever holds the facts (redb in
//! the scheduler, maps in a replay or a test) applies the changes together with the position, in one transaction.

mod attach;
mod facts;
mod memory;
mod reinstate;
mod renew;

use uuid::Uuid;
use waybill_schemas::{Event, Recorded, RecordedEvent, v1};

pub use attach::decide_attach;
pub use facts::{
    AttachPlan, ContainerKey, Decision, ImageFact, ImageKey, Outcome, Pending, PendingKey, Renewal, RequestFact,
    RevokedFact, SavedFact, ServedFact, SkipPlan, SkippedFact, TraceContext, WorkerFact,
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

    /// A decision that the log does not hold yet.
    ///
    /// # Errors
    /// The store's own.
    fn pending(&self, key: PendingKey) -> Result<Option<Pending>, Self::Error>;

    /// The containers that have an image's credentials, by the order of their ids.
    ///
    /// # Errors
    /// The store's own.
    fn served(&self, image: &ImageKey) -> Result<Vec<ServedFact>, Self::Error>;

    /// What a container has: whose credentials, and since which request.
    ///
    /// # Errors
    /// The store's own.
    fn served_to(&self, container: &ContainerKey) -> Result<Option<(ImageKey, ServedFact)>, Self::Error>;

    /// Sequence of the newest end of a container.
    ///
    /// # Errors
    /// The store's own.
    fn ended(&self, container: &ContainerKey) -> Result<Option<u64>, Self::Error>;

    /// Shows each request that came, or was decided about again, after a sequence, in any order. Only a retry of a
    /// quarantined event asks, so it may take its time.
    ///
    /// # Errors
    /// The store's own.
    fn each_request_after(&self, sequence: u64, show: &mut dyn FnMut(&RequestFact)) -> Result<(), Self::Error>;
}

/// One row that an event changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// What builds said of an image.
    PutImage(ImageKey, Box<ImageFact>),
    /// A worker's registration.
    PutWorker(waybill_schemas::WorkerId, WorkerFact),
    /// A container request and what was decided.
    PutRequest(Uuid, RequestFact),
    /// A decision that the log does not hold yet.
    PutPending(Box<Pending>),
    /// The log now holds this decision.
    RemovePending(PendingKey),
    /// A container has an image's credentials.
    PutServed(ImageKey, ServedFact),
    /// A container no longer has an image's credentials.
    RemoveServed(ImageKey, ContainerKey),
    /// A container ended, at this sequence.
    PutEnded(ContainerKey, u64),
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
        Event::CredentialSecretRotated(rotated) => fold_rotated(facts, recorded, rotated),
        Event::CredentialSecretRevoked(revoked) => Ok(Folded::changes(renew::revoked(facts, recorded, revoked)?)),
        Event::WorkerRegistered(v1::WorkerRegistered { worker_id, sealing_key }) => {
            let fact = WorkerFact { sequence: recorded.sequence, sealing_key: sealing_key.clone() };
            Ok(Folded::changes(vec![Change::PutWorker(worker_id.clone(), fact)]))
        }
        Event::ContainerRequested(request) => fold_requested(facts, recorded, request),
        Event::ContainerEnded(ended) => Ok(Folded::changes(renew::ended(facts, recorded, ended)?)),
        Event::ContainerCredentialsAttached(e) => {
            let key = decided_key(e.requested_by, Some(e.saved_by));
            fold_decided(facts, recorded, key, Outcome::Attached { saved_by: e.saved_by })
        }
        Event::ContainerCredentialsSkipped(e) => {
            let key = decided_key(e.requested_by, e.image_event);
            fold_decided(facts, recorded, key, Outcome::Skipped { reason: e.reason })
        }
        Event::CredentialSecretVerified(_)
        | Event::CredentialProviderAttached(_)
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
    image.saved = Some(SavedFact::of(recorded, saved));
    Ok(Folded::changes(vec![Change::PutImage(key, Box::new(image))]))
}

/// A rotation counts unless the image has become another one since whoever asked for it had looked.
fn fold_rotated<F: Facts>(
    facts: &F,
    recorded: &Recorded<RecordedEvent>,
    rotated: &v1::CredentialSecretRotated,
) -> Result<Folded, F::Error> {
    let secret = &rotated.secret;
    let key = ImageKey { workspace: secret.workspace.clone(), image_id: secret.image_id.clone() };
    let mut image = facts.image(&key)?.unwrap_or_default();
    let overtaken = image.overtakes(rotated);
    image.rotated = Some(recorded.sequence);
    if overtaken {
        return Ok(Folded::changes(vec![Change::PutImage(key, Box::new(image))]));
    }
    image.saved = Some(SavedFact::of(recorded, secret));
    let mut changes = vec![Change::PutImage(key, Box::new(image))];
    changes.extend(renew::rotated(facts, recorded, secret)?);
    Ok(Folded::changes(changes))
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
    Ok(Folded::changes(vec![Change::PutImage(key, Box::new(image))]))
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
        renewed_by: None,
    };
    let correlation_id = envelope.correlation_id.unwrap_or(envelope.id);
    let mut changes = vec![Change::PutRequest(envelope.id, fact)];
    changes.extend(renew::requested(facts, recorded, request, &decision)?);
    let pending = Pending {
        request_id: envelope.id,
        correlation_id,
        requested_by: recorded.sequence,
        renewal: None,
        caused_at: recorded.at,
        after: 0,
        request: request.clone(),
        trace: TraceContext::of(envelope),
        decision,
    };
    changes.push(Change::PutPending(Box::new(pending)));
    Ok(Folded::changes(changes))
}

/// A decision that rests on something after its request is a further one, made for that.
pub(crate) fn decided_key(requested_by: u64, rests_on: Option<u64>) -> PendingKey {
    PendingKey { caused_by: rests_on.map_or(requested_by, |sequence| sequence.max(requested_by)), requested_by }
}

fn fold_decided<F: Facts>(
    facts: &F,
    recorded: &Recorded<RecordedEvent>,
    key: PendingKey,
    outcome: Outcome,
) -> Result<Folded, F::Error> {
    let envelope = &recorded.value.envelope;
    let expected = facts
        .pending(key)?
        .filter(|pending| envelope.causation_id == Some(pending.cause()) && envelope.id == pending.decision_id());
    let Some(pending) = expected else { return Ok(Folded::anomaly(Anomaly::UnexpectedDecision)) };
    let mut changes = vec![Change::RemovePending(key)];
    if pending.renewal.is_none()
        && let Some(mut request) = facts.request(pending.request_id)?
    {
        request.decided_by = Some(recorded.sequence);
        // Sealing can still fail after the decision to attach; the recorded outcome is what the worker acts on.
        request.outcome = outcome;
        changes.push(Change::PutRequest(pending.request_id, request));
    }
    changes.extend(renew::decided(facts, recorded.sequence, &pending)?);
    Ok(Folded::changes(changes))
}
