//! The fold: what the log says so far, and what each further event changes in it.
//!
//! [`fold`] reads the facts it needs through [`Facts`] and returns [`Change`]s as data. Whoever holds the facts (redb in
//! the scheduler, maps in an explanation or a test) applies the changes together with the position, in one transaction.

mod decide;
mod facts;
mod memory;
mod placements;
mod secrets;

use waybill_schemas::{Event, Recorded, RecordedEvent, WorkerId};

pub use decide::{Known, decide_request, find_credential};
pub use facts::{
    CauseEvent, ContainerKey, ImageFact, ImageKey, Lane, Pending, PendingKey, PlacementFact, PlacementState,
    SecretFact, SecretKey, SecretState, SecretUse, TraceContext, Withdrawal, WorkerFact,
};
pub use memory::MemoryFacts;

use crate::decision::Decision;

/// What the log says so far, by key.
pub trait Facts {
    /// Why a fact could not be read.
    type Error;

    /// What the newest build of an image said.
    ///
    /// # Errors
    /// The store's own.
    fn image(&self, key: &ImageKey) -> Result<Option<ImageFact>, Self::Error>;

    /// A secret's newest version.
    ///
    /// # Errors
    /// The store's own.
    fn secret(&self, key: &SecretKey) -> Result<Option<SecretFact>, Self::Error>;

    /// A worker's newest registration.
    ///
    /// # Errors
    /// The store's own.
    fn worker(&self, id: &WorkerId) -> Result<Option<WorkerFact>, Self::Error>;

    /// A placement that is not over.
    ///
    /// # Errors
    /// The store's own.
    fn placement(&self, number: u64) -> Result<Option<PlacementFact>, Self::Error>;

    /// Number of a container's newest placement.
    ///
    /// # Errors
    /// The store's own.
    fn newest_placement(&self, container: &ContainerKey) -> Result<Option<u64>, Self::Error>;

    /// The placements that have a secret, by worker and number.
    ///
    /// # Errors
    /// The store's own.
    fn uses_of_secret(&self, secret: &SecretKey) -> Result<Vec<SecretUse>, Self::Error>;

    /// The secrets that a worker's placements have, by name.
    ///
    /// # Errors
    /// The store's own.
    fn secrets_of_worker(&self, id: &WorkerId) -> Result<Vec<SecretKey>, Self::Error>;

    /// The placements on a worker that are not over. Rare, so that it may look at every placement.
    ///
    /// # Errors
    /// The store's own.
    fn placements_on(&self, id: &WorkerId) -> Result<Vec<PlacementFact>, Self::Error>;

    /// A decision that the log does not hold yet.
    ///
    /// # Errors
    /// The store's own.
    fn pending(&self, key: &PendingKey) -> Result<Option<Pending>, Self::Error>;
}

/// One row that an event changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// What the newest build of an image said.
    PutImage(ImageKey, ImageFact),
    /// A secret's newest version.
    PutSecret(SecretKey, SecretFact),
    /// A worker's registration.
    PutWorker(WorkerId, WorkerFact),
    /// A worker is no more.
    RemoveWorker(WorkerId),
    /// A placement.
    PutPlacement(Box<PlacementFact>),
    /// A placement is over.
    RemovePlacement(u64),
    /// Number of a container's newest placement.
    PutNewest(ContainerKey, u64),
    /// A container has no placement.
    RemoveNewest(ContainerKey),
    /// A placement has a secret.
    PutUse(SecretUse),
    /// A placement has a secret no more.
    RemoveUse(SecretUse),
    /// A decision that the log does not hold yet.
    PutPending(Box<Pending>),
    /// The log now holds this decision.
    RemovePending(PendingKey),
}

/// Something in the log that is not as it should be. The fold goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Anomaly {
    /// A decision that answers nothing that is open: said twice, or made up.
    UnexpectedDecision,
    /// A decision that is not the one that the log leads to.
    DecisionDiffers {
        /// The one that the log leads to.
        expected: Box<Decision>,
    },
    /// An outcome of a worker that the placement is not on.
    ForeignOutcome {
        /// The worker that the placement is on.
        placed_on: WorkerId,
    },
    /// An outcome that was reported before.
    RepeatedOutcome,
}

/// What an event changes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Folded {
    /// Rows to write, all or none.
    pub changes: Vec<Change>,
    /// What is not as it should be.
    pub anomaly: Option<Anomaly>,
}

impl From<Vec<Change>> for Folded {
    fn from(changes: Vec<Change>) -> Self {
        Self { changes, anomaly: None }
    }
}

impl From<Anomaly> for Folded {
    fn from(anomaly: Anomaly) -> Self {
        Self { changes: Vec::new(), anomaly: Some(anomaly) }
    }
}

/// Folds the event at its place in the log into the facts before it.
///
/// # Errors
/// Those of `facts`.
pub fn fold<F: Facts>(facts: &F, recorded: &Recorded<RecordedEvent>) -> Result<Folded, F::Error> {
    match &recorded.value.event {
        Event::CredentialSecretSaved(saved) => {
            secrets::fold_version(facts, recorded, &saved.workspace, &saved.secret_name, &saved.stored)
        }
        Event::CredentialSecretRotated(rotated) => {
            secrets::fold_version(facts, recorded, &rotated.workspace, &rotated.secret_name, &rotated.stored)
        }
        Event::CredentialSecretRevoked(revoked) => secrets::fold_revoked(facts, recorded, revoked),
        Event::CredentialSecretShredded(shredded) => secrets::fold_shredded(facts, recorded, shredded),
        Event::ImageSecretNamed(named) => Ok(secrets::fold_named(recorded, named)),
        Event::CredentialSecretSkipped(skipped) => Ok(secrets::fold_skipped(recorded, skipped)),
        Event::WorkerRegistered(registered) => secrets::fold_registered(facts, recorded, registered),
        Event::WorkerRetired(retired) => placements::fold_retired(facts, recorded, retired),
        Event::ContainerRequested(request) => placements::fold_requested(facts, recorded, request),
        Event::ContainerEnded(ended) => placements::fold_ended(facts, recorded, ended),
        Event::ContainerCredentialsAttached(_)
        | Event::ContainerCredentialsSkipped(_)
        | Event::ContainerCredentialsWithdrawn(_)
        | Event::WorkerCredentialsRenewed(_) => placements::fold_decision(facts, recorded),
        Event::CredentialProviderAttached(_)
        | Event::CredentialProviderFailed(_)
        | Event::ImagePullSucceeded(_)
        | Event::ImagePullFailed(_) => placements::fold_outcome(facts, &recorded.value),
        // Who may do what is the servers' and the gateways' business.
        Event::WorkspaceAdded(_)
        | Event::TokenCreated(_)
        | Event::TokenRevoked(_)
        | Event::WorkerJoined(_)
        | Event::SchedulerKeyPublished(_)
        | Event::SecretRenewalApplied(_)
        | Event::SecretRenewalFailed(_)
        // What programs of a node ask is for people: no decision depends on it.
        | Event::ContainerLoginAsked(_)
        | Event::NodeLoginAsked(_)
        // What was refused is not there.
        | Event::RequestRefused(_)
        // Whoever keeps the quarantine acts on these.
        | Event::QuarantineRetried(_)
        | Event::QuarantineDiscarded(_)
        // What left the log changed nothing that is still known: readers leave it out before the fold.
        | Event::PlacementsArchived(_) => Ok(Folded::default()),
    }
}

/// The event as the cause of decisions.
fn cause_of(recorded: &Recorded<RecordedEvent>) -> CauseEvent {
    let envelope = &recorded.value.envelope;
    CauseEvent {
        sequence: recorded.sequence,
        subject: recorded.value.subject.to_string(),
        id: envelope.id,
        correlation_id: envelope.correlation_id.unwrap_or(envelope.id),
        at: recorded.at,
        trace: TraceContext::from_envelope(envelope),
    }
}
