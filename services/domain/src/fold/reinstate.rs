//! Putting a quarantined event back in its place, after events that followed it were folded without it.
//!
//! The rows afterwards are those of a fold that could read the event from the start, or nothing changes and the obstacle is
//! named: decisions that are published stay as they are.

use waybill_schemas::{
    Event, Recorded, RecordedEvent,
    v1::{
        AttachSkipReason, ContainerEnded, ContainerRequested, CredentialSecretRevoked, CredentialSecretRotated,
        CredentialSecretSaved, CredentialSecretSkipped, WorkerRegistered,
    },
};

use super::{Change, ContainerKey, Facts, Folded, ImageFact, ImageKey, Outcome, RequestFact, fold};

/// Why an event cannot be put back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Obstacle {
    /// A request that follows it was decided without it.
    #[error(
        "the request at sequence {request} was decided without this event, which may have changed the decision; publish the event anew, then ask for the container again"
    )]
    DecidedWithout {
        /// Sequence of the request.
        request: u64,
    },
    /// It is a rotation or a revocation, and containers had the credentials.
    #[error(
        "the request at sequence {request} got the credentials that this event changes, and nobody was told in time; rotate or revoke them again"
    )]
    InUse {
        /// Sequence of the request.
        request: u64,
    },
    /// It is a request, and what it would have been decided from is no longer known; or a build, and what it saved was revoked.
    #[error(
        "what follows from this event has changed since, at sequence {changed}; publish it anew, or ask for the container again"
    )]
    FactsChanged {
        /// Sequence of the event that changed it.
        changed: u64,
    },
    /// It is a request, and the same one was decided later.
    #[error("the same request came again at sequence {again} and was decided then; discard this one")]
    DecidedLater {
        /// Sequence of the other one.
        again: u64,
    },
}

/// What an event changes that stands before events which are folded already.
///
/// # Errors
/// Those of `facts`; inside, [`Obstacle`].
pub fn reinstate<F: Facts>(
    facts: &F,
    recorded: &Recorded<RecordedEvent>,
) -> Result<Result<Folded, Obstacle>, F::Error> {
    match &recorded.value.event {
        Event::CredentialSecretSaved(CredentialSecretSaved { workspace, image_id, .. })
        | Event::CredentialSecretSkipped(CredentialSecretSkipped { workspace, image_id, .. }) => {
            let key = ImageKey { workspace: workspace.clone(), image_id: image_id.clone() };
            build(facts, recorded, &key)
        }
        Event::CredentialSecretRotated(CredentialSecretRotated {
            secret: CredentialSecretSaved { workspace, image_id, .. },
            ..
        })
        | Event::CredentialSecretRevoked(CredentialSecretRevoked { workspace, image_id, .. }) => {
            let key = ImageKey { workspace: workspace.clone(), image_id: image_id.clone() };
            changed(facts, recorded, &key)
        }
        Event::WorkerRegistered(registered) => registration(facts, recorded, registered),
        Event::ContainerRequested(request) => requested(facts, recorded, request),
        Event::ContainerEnded(end) => ended(facts, recorded, end),
        // Decisions are found by their request, wherever they stand; the others change no row.
        _ => Ok(Ok(fold(facts, recorded)?)),
    }
}

type Outcomes<E> = Result<Result<Folded, Obstacle>, E>;

fn build<F: Facts>(facts: &F, recorded: &Recorded<RecordedEvent>, key: &ImageKey) -> Outcomes<F::Error> {
    let saves = !matches!(recorded.value.event, Event::CredentialSecretSkipped(_));
    let affected = |request: &RequestFact| match request.outcome {
        // What a later rotation or revocation met would have been another.
        _ if saves && request.renewed_by > Some(recorded.sequence) => true,
        _ if request.sequence < recorded.sequence => false,
        // Newer credentials were used, or credentials at all.
        Outcome::Attached { saved_by } => saves && saved_by <= recorded.sequence,
        Outcome::Skipped { .. } => true,
    };
    if let Some(obstacle) = first(facts, recorded, |request| is_of(request, key) && affected(request))? {
        return Ok(Err(obstacle));
    }
    let present = facts.image(key)?.unwrap_or_default();
    let revoked = present.revoked.as_ref().map_or(0, |revoked| revoked.sequence);
    if saves && revoked > recorded.sequence {
        return Ok(Err(Obstacle::FactsChanged { changed: revoked }));
    }
    // Whether a rotation counts depends on what was saved and withdrawn before it.
    if saves && let Some(changed) = present.rotated.filter(|rotated| *rotated > recorded.sequence) {
        return Ok(Err(Obstacle::FactsChanged { changed }));
    }
    let newer = newest(&present, saves) > recorded.sequence;
    Ok(Ok(match recorded.value.event {
        // A revocation is remembered whatever is saved since.
        Event::CredentialSecretRevoked(_) => fold(facts, recorded)?,
        Event::CredentialSecretRotated(_) if newer => {
            let remembered = ImageFact { rotated: Some(recorded.sequence), ..present };
            Folded { changes: vec![Change::PutImage(key.clone(), Box::new(remembered))], anomaly: None }
        }
        _ if newer => Folded::default(),
        _ => fold(facts, recorded)?,
    }))
}

/// A rotation or a revocation. Whoever had the credentials would have been told when it came.
fn changed<F: Facts>(facts: &F, recorded: &Recorded<RecordedEvent>, key: &ImageKey) -> Outcomes<F::Error> {
    let had = |request: &RequestFact| {
        let attached = matches!(request.outcome, Outcome::Attached { .. });
        is_of(request, key) && (attached || request.renewed_by.is_some()) && request.sequence < recorded.sequence
    };
    if let Some(request) = lowest(facts, 0, |request| had(request).then_some(request.sequence))? {
        return Ok(Err(Obstacle::InUse { request }));
    }
    build(facts, recorded, key)
}

/// The end of a container. Its worker would have been told, and of nothing that came after.
fn ended<F: Facts>(facts: &F, recorded: &Recorded<RecordedEvent>, end: &ContainerEnded) -> Outcomes<F::Error> {
    let (mut had, mut later) = (false, None::<u64>);
    facts.each_request_after(0, &mut |request| {
        if request.workspace != end.workspace || request.container_id != end.container_id {
            return;
        }
        let earlier = request.sequence < recorded.sequence;
        had |= earlier && (matches!(request.outcome, Outcome::Attached { .. }) || request.renewed_by.is_some());
        let told = request.last_decided_for();
        later = Some(told).filter(|told| *told > recorded.sequence).into_iter().chain(later).min();
    })?;
    match later.filter(|_| had) {
        // It got something, or was told of a change, that it would have got or heard otherwise.
        Some(changed) => Ok(Err(Obstacle::FactsChanged { changed })),
        None => Ok(Ok(fold(facts, recorded)?)),
    }
}

fn is_of(request: &RequestFact, key: &ImageKey) -> bool {
    request.workspace == key.workspace && request.image_id.as_ref() == Some(&key.image_id)
}

/// Sequence of the newest build of a kind.
fn newest(image: &ImageFact, saves: bool) -> u64 {
    let saved = image.saved.as_ref().map_or(0, |saved| saved.sequence);
    let skipped = image.skipped.as_ref().map_or(0, |skipped| skipped.sequence);
    if saves { saved } else { skipped }
}

fn registration<F: Facts>(
    facts: &F,
    recorded: &Recorded<RecordedEvent>,
    registered: &WorkerRegistered,
) -> Outcomes<F::Error> {
    let present = facts.worker(&registered.worker_id)?.map_or(0, |worker| worker.sequence);
    let asks_for_key = |request: &RequestFact| match request.outcome {
        Outcome::Attached { .. } => true,
        Outcome::Skipped { reason } => {
            matches!(reason, AttachSkipReason::UnknownWorker | AttachSkipReason::UnsealFailed)
        }
    };
    let affected = |request: &RequestFact| {
        // A registration between this one and the request is the one that counted.
        let superseded =
            present > recorded.sequence && request.sequence > present && request.sequence > recorded.sequence;
        request.worker_id == registered.worker_id && asks_for_key(request) && !superseded
    };
    if let Some(obstacle) = first(facts, recorded, affected)? {
        return Ok(Err(obstacle));
    }
    Ok(Ok(if present > recorded.sequence { Folded::default() } else { fold(facts, recorded)? }))
}

fn requested<F: Facts>(
    facts: &F,
    recorded: &Recorded<RecordedEvent>,
    request: &ContainerRequested,
) -> Outcomes<F::Error> {
    let again = facts.request(recorded.value.envelope.id)?.map(|again| again.sequence);
    if let Some(again) = again.filter(|again| *again > recorded.sequence) {
        return Ok(Err(Obstacle::DecidedLater { again }));
    }
    let image = match &request.image_id {
        Some(image_id) => {
            facts.image(&ImageKey { workspace: request.workspace.clone(), image_id: image_id.clone() })?
        }
        None => None,
    };
    let image = image.unwrap_or_default();
    let worker = facts.worker(&request.worker_id)?.map_or(0, |worker| worker.sequence);
    let revoked = image.revoked.as_ref().map_or(0, |revoked| revoked.sequence);
    let changed = newest(&image, true).max(newest(&image, false)).max(revoked).max(worker);
    if changed > recorded.sequence {
        return Ok(Err(Obstacle::FactsChanged { changed }));
    }
    let mut asked_again = false;
    let changed = lowest(facts, recorded.sequence, |other| {
        let mine = other.workspace == request.workspace && other.container_id == request.container_id;
        asked_again |= mine;
        other.renewed_by.filter(|_| mine && other.sequence < recorded.sequence)
    })?;
    if let Some(changed) = changed {
        // The container would have had other credentials by then.
        return Ok(Err(Obstacle::FactsChanged { changed }));
    }
    let mut folded = fold(facts, recorded)?;
    let serves = folded.changes.iter().any(|change| matches!(change, Change::PutServed(..)));
    if let Some(changed) = facts.ended(&ContainerKey::of(request))?
        && serves
        && changed > recorded.sequence
    {
        // Its worker would have been told to drop what the request got.
        return Ok(Err(Obstacle::FactsChanged { changed }));
    }
    if asked_again {
        // What the container has is what it asked for last.
        folded.changes.retain(|change| !matches!(change, Change::PutServed(..) | Change::RemoveServed(..)));
    }
    Ok(Ok(folded))
}

/// The first request after the event that it may have been decided otherwise with.
fn first<F: Facts>(
    facts: &F,
    recorded: &Recorded<RecordedEvent>,
    affected: impl Fn(&RequestFact) -> bool,
) -> Result<Option<Obstacle>, F::Error> {
    let first = lowest(facts, recorded.sequence, |request| affected(request).then_some(request.sequence))?;
    Ok(first.map(|request| Obstacle::DecidedWithout { request }))
}

/// The lowest sequence that is picked from the requests that came, or were decided about again, after a sequence.
fn lowest<F: Facts>(
    facts: &F,
    after: u64,
    mut pick: impl FnMut(&RequestFact) -> Option<u64>,
) -> Result<Option<u64>, F::Error> {
    let mut lowest: Option<u64> = None;
    facts.each_request_after(after, &mut |request| {
        lowest = pick(request).into_iter().chain(lowest).min();
    })?;
    Ok(lowest)
}
