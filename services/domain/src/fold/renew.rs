//! Rotation and revocation: which containers have an image's credentials, and what each gets when they change.

use waybill_schemas::{
    Recorded, RecordedEvent,
    v1::{AttachSkipReason, ContainerEnded, ContainerRequested, CredentialSecretRevoked, CredentialSecretSaved},
};

use super::{
    AttachPlan, Change, ContainerKey, Decision, Facts, ImageKey, Outcome, Pending, Renewal, RevokedFact, SavedFact,
    ServedFact, SkipPlan, TraceContext,
};

type Changes<E> = Result<Vec<Change>, E>;

/// A container that asks has the credentials that are decided for it, and no others.
pub(super) fn requested<F: Facts>(
    facts: &F,
    recorded: &Recorded<RecordedEvent>,
    request: &ContainerRequested,
    decision: &Decision,
) -> Changes<F::Error> {
    let container = ContainerKey::of(request);
    let before = facts.served_to(&container)?;
    let mut changes: Vec<Change> =
        before.map(|(image, _)| Change::RemoveServed(image, container)).into_iter().collect();
    if let Decision::Attach(plan) = decision {
        let image = ImageKey { workspace: request.workspace.clone(), image_id: plan.image_id.clone() };
        let envelope = &recorded.value.envelope;
        let served = ServedFact {
            request_id: envelope.id,
            correlation_id: envelope.correlation_id.unwrap_or(envelope.id),
            requested_by: recorded.sequence,
            request: request.clone(),
            decided_by: 0,
        };
        changes.push(Change::PutServed(image, served));
    }
    Ok(changes)
}

/// A container that is gone has nothing any more, and its worker is told to drop what it holds for it.
pub(super) fn ended<F: Facts>(
    facts: &F,
    recorded: &Recorded<RecordedEvent>,
    ended: &ContainerEnded,
) -> Changes<F::Error> {
    let sequence = recorded.sequence;
    let container = ContainerKey { workspace: ended.workspace.clone(), container_id: ended.container_id.clone() };
    let before = facts.served_to(&container)?.filter(|(_, served)| served.requested_by < sequence);
    let last = facts.ended(&container)?.unwrap_or(0).max(sequence);
    let mut changes = vec![Change::PutEnded(container.clone(), last)];
    if let Some((image, served)) = before {
        let plan = SkipPlan {
            reason: AttachSkipReason::ContainerEnded,
            image_ref: None,
            registry: None,
            image_event: Some(sequence),
        };
        changes.extend(again(facts, recorded, &served, Decision::Skip(plan))?);
        changes.push(Change::RemoveServed(image, container));
    }
    Ok(changes)
}

/// Every container that has an image's credentials gets the new ones, sealed to the newest key of its worker.
pub(super) fn rotated<F: Facts>(
    facts: &F,
    recorded: &Recorded<RecordedEvent>,
    secret: &CredentialSecretSaved,
) -> Changes<F::Error> {
    let image = ImageKey { workspace: secret.workspace.clone(), image_id: secret.image_id.clone() };
    let saved = SavedFact::of(recorded, secret);
    let mut changes = Vec::new();
    for served in facts.served(&image)? {
        let skip = |reason| {
            Decision::Skip(SkipPlan {
                reason,
                image_ref: Some(saved.image_ref.clone()),
                registry: Some(saved.registry.clone()),
                image_event: Some(saved.sequence),
            })
        };
        let decision = match facts.worker(&served.request.worker_id)? {
            _ if saved.expires_at.is_some_and(|expiry| expiry <= recorded.at) => skip(AttachSkipReason::SecretExpired),
            None => skip(AttachSkipReason::UnknownWorker),
            Some(worker) => Decision::Attach(AttachPlan {
                image_id: image.image_id.clone(),
                saved: saved.clone(),
                worker_key: worker.sealing_key,
            }),
        };
        changes.extend(again(facts, recorded, &served, decision)?);
    }
    Ok(changes)
}

/// The image has no credentials any more, and every container that has them is told to drop them.
pub(super) fn revoked<F: Facts>(
    facts: &F,
    recorded: &Recorded<RecordedEvent>,
    revoked: &CredentialSecretRevoked,
) -> Changes<F::Error> {
    let key = ImageKey { workspace: revoked.workspace.clone(), image_id: revoked.image_id.clone() };
    let mut image = facts.image(&key)?.unwrap_or_default();
    // What was saved after whoever asked had looked stays.
    image.saved.take_if(|saved| saved.sequence <= revoked.revokes);
    let fact = RevokedFact {
        sequence: recorded.sequence,
        image_ref: revoked.image_ref.clone(),
        registry: revoked.registry.clone(),
    };
    let plan = SkipPlan {
        reason: AttachSkipReason::SecretRevoked,
        image_ref: Some(fact.image_ref.clone()),
        registry: Some(fact.registry.clone()),
        image_event: Some(recorded.sequence),
    };
    image.revoked = Some(fact);
    let mut changes = vec![Change::PutImage(key.clone(), Box::new(image))];
    for served in facts.served(&key)? {
        if version(facts, &served)? > revoked.revokes {
            continue;
        }
        changes.extend(again(facts, recorded, &served, Decision::Skip(plan.clone()))?);
        changes.push(Change::RemoveServed(key.clone(), ContainerKey::of(&served.request)));
    }
    Ok(changes)
}

/// Sequence of the event that saved what a container has.
fn version<F: Facts>(facts: &F, served: &ServedFact) -> Result<u64, F::Error> {
    let Some(request) = facts.request(served.request_id)? else { return Ok(0) };
    let first = match request.outcome {
        Outcome::Attached { saved_by } => saved_by,
        Outcome::Skipped { .. } => 0,
    };
    Ok(request.renewed_by.unwrap_or(0).max(first))
}

/// A further decision about a container's request.
fn again<F: Facts>(
    facts: &F,
    recorded: &Recorded<RecordedEvent>,
    served: &ServedFact,
    decision: Decision,
) -> Changes<F::Error> {
    let pending = Pending {
        request_id: served.request_id,
        correlation_id: served.correlation_id,
        requested_by: served.requested_by,
        renewal: Some(Renewal { id: recorded.value.envelope.id, sequence: recorded.sequence }),
        caused_at: recorded.at,
        after: served.decided_by,
        request: served.request.clone(),
        trace: TraceContext::of(&recorded.value.envelope),
        decision,
    };
    let mut changes = vec![Change::PutPending(Box::new(pending))];
    if let Some(mut request) = facts.request(served.request_id)? {
        request.renewed_by = Some(recorded.sequence);
        changes.push(Change::PutRequest(served.request_id, request));
    }
    Ok(changes)
}

/// Remembers which decision about a container was the last one, as long as it has credentials.
pub(super) fn decided<F: Facts>(facts: &F, sequence: u64, pending: &Pending) -> Changes<F::Error> {
    let served = facts.served_to(&ContainerKey::of(&pending.request))?;
    let mine = served.filter(|(_, served)| served.request_id == pending.request_id);
    let put = |(image, served)| Change::PutServed(image, ServedFact { decided_by: sequence, ..served });
    Ok(mine.map(put).into_iter().collect())
}
