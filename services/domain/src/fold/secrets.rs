//! Secrets, images and workers: versions, revocations, names and keys, and the decisions that follow for whoever uses them.

use std::collections::BTreeSet;

use waybill_schemas::{
    Recorded, RecordedEvent, SecretName, WorkerId, WorkspaceId,
    v1::{
        CredType, CredentialSecretRevoked, CredentialSecretShredded, CredentialSecretSkipped, ImageSecretNamed,
        RenewCause, SecretVersion, WithdrawReason, WorkerRegistered,
    },
};

use super::{
    Change, Facts, Folded, ImageFact, ImageKey, Pending, SecretFact, SecretKey, SecretState, TraceContext, Withdrawal,
    WorkerFact, cause_of, placements::withdraw_placement,
};
use crate::decision::{Decision, Outcome};

/// A new version counts for every placement that has the secret: one renewal for each of their workers.
pub(super) fn fold_version<F: Facts>(
    facts: &F,
    recorded: &Recorded<RecordedEvent>,
    workspace: &WorkspaceId,
    secret_name: &SecretName,
    stored: &SecretVersion,
) -> Result<Folded, F::Error> {
    let key = SecretKey { workspace: workspace.clone(), secret_name: secret_name.clone() };
    let trace = TraceContext::from_envelope(&recorded.value.envelope);
    let fact = SecretFact::from_version(recorded.sequence, stored, trace);
    let uses = facts.uses_of_secret(&key)?;
    let workers: BTreeSet<WorkerId> = uses.into_iter().map(|secret_use| secret_use.worker_id).collect();
    let mut changes: Vec<Change> =
        workers.into_iter().map(|worker| renew(recorded, &key, &fact, worker, RenewCause::Rotation)).collect();
    changes.push(Change::PutSecret(key, fact));
    Ok(changes.into())
}

fn renew(
    recorded: &Recorded<RecordedEvent>,
    key: &SecretKey,
    secret: &SecretFact,
    worker_id: WorkerId,
    cause: RenewCause,
) -> Change {
    let decision = Decision {
        worker_id,
        workspace: key.workspace.clone(),
        caused_by: recorded.sequence,
        outcome: Outcome::Renewed { credential: secret.credential(&key.secret_name), cause },
    };
    Change::PutPending(Box::new(Pending {
        decision,
        cause: cause_of(recorded),
        after: 0,
        digest: Some(secret.digest.clone()),
        saved_trace: secret.trace.clone(),
    }))
}

pub(super) fn fold_revoked<F: Facts>(
    facts: &F,
    recorded: &Recorded<RecordedEvent>,
    revoked: &CredentialSecretRevoked,
) -> Result<Folded, F::Error> {
    let key = SecretKey { workspace: revoked.workspace.clone(), secret_name: revoked.secret_name.clone() };
    take_away(facts, recorded, key, (revoked.version, &revoked.registry), SecretState::Revoked)
}

pub(super) fn fold_shredded<F: Facts>(
    facts: &F,
    recorded: &Recorded<RecordedEvent>,
    shredded: &CredentialSecretShredded,
) -> Result<Folded, F::Error> {
    let key = SecretKey { workspace: shredded.workspace.clone(), secret_name: shredded.secret_name.clone() };
    take_away(facts, recorded, key, (shredded.version, &shredded.registry), SecretState::Shredded)
}

/// The secret may not be used any more, and every placement that has it loses it.
fn take_away<F: Facts>(
    facts: &F,
    recorded: &Recorded<RecordedEvent>,
    key: SecretKey,
    (version, registry): (u64, &str),
    state: SecretState,
) -> Result<Folded, F::Error> {
    let reason = match state {
        SecretState::Shredded => WithdrawReason::SecretShredded,
        SecretState::Active | SecretState::Revoked => WithdrawReason::SecretRevoked,
    };
    let withdrawal = Withdrawal { reason, cause: cause_of(recorded) };
    let mut changes = Vec::new();
    for secret_use in facts.uses_of_secret(&key)? {
        if let Some(placement) = facts.placement(secret_use.placement)? {
            changes.extend(withdraw_placement(placement, &withdrawal, false));
        }
    }
    let present = facts.secret(&key)?;
    // A version that could not be read leaves its revocation alone in view.
    let fact = present.unwrap_or_else(|| SecretFact {
        sequence: recorded.sequence,
        saved_by: 0,
        version,
        registry: registry.to_owned(),
        cred_type: CredType::Unknown,
        expires_at: None,
        credentials_length: 0,
        digest: String::new(),
        state,
        trace: None,
    });
    changes.push(Change::PutSecret(key, SecretFact { sequence: recorded.sequence, state, ..fact }));
    Ok(changes.into())
}

pub(super) fn fold_named(recorded: &Recorded<RecordedEvent>, named: &ImageSecretNamed) -> Folded {
    let key = ImageKey { workspace: named.workspace.clone(), image_id: named.image_id.clone() };
    let fact = ImageFact {
        sequence: recorded.sequence,
        image_ref: Some(named.image_ref.clone()),
        registry: Some(named.registry.clone()),
        secret_name: Some(named.secret_name.clone()),
        skipped: None,
    };
    vec![Change::PutImage(key, fact)].into()
}

pub(super) fn fold_skipped(recorded: &Recorded<RecordedEvent>, skipped: &CredentialSecretSkipped) -> Folded {
    let key = ImageKey { workspace: skipped.workspace.clone(), image_id: skipped.image_id.clone() };
    let fact = ImageFact {
        sequence: recorded.sequence,
        image_ref: skipped.image_ref.clone(),
        registry: skipped.registry.clone(),
        secret_name: None,
        skipped: Some(skipped.reason),
    };
    vec![Change::PutImage(key, fact)].into()
}

/// Another key of a worker that is known: it needs a grant of each secret that its placements have.
pub(super) fn fold_registered<F: Facts>(
    facts: &F,
    recorded: &Recorded<RecordedEvent>,
    registered: &WorkerRegistered,
) -> Result<Folded, F::Error> {
    let WorkerRegistered { worker_id, instance, sealing_key } = registered;
    let before = facts.worker(worker_id)?;
    let mut changes = Vec::new();
    if before.is_some_and(|before| before.sealing_key != *sealing_key) {
        for key in facts.secrets_of_worker(worker_id)? {
            if let Some(secret) = facts.secret(&key)?.filter(|secret| secret.state == SecretState::Active) {
                changes.push(renew(recorded, &key, &secret, worker_id.clone(), RenewCause::KeyChange));
            }
        }
    }
    let fact = WorkerFact { sequence: recorded.sequence, instance: *instance, sealing_key: sealing_key.clone() };
    changes.push(Change::PutWorker(worker_id.clone(), fact));
    Ok(changes.into())
}
