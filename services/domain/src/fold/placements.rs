//! Placements: requests, ends, the decisions about them as the log comes to hold them, and what workers report of them.

use waybill_schemas::{
    Event, Recorded, RecordedEvent, Subject,
    v1::{ContainerEnded, ContainerRequested, WithdrawReason, WorkerRetired},
};

use super::{
    Anomaly, Change, ContainerKey, Facts, Folded, ImageFact, ImageKey, Known, Pending, PendingKey, PlacementFact,
    PlacementState, SecretFact, SecretKey, Withdrawal, cause_of, decide_request,
};
use crate::decision::{Decision, Outcome};

/// A request makes a placement, which supersedes the container's older one.
pub(super) fn fold_requested<F: Facts>(
    facts: &F,
    recorded: &Recorded<RecordedEvent>,
    request: &ContainerRequested,
) -> Result<Folded, F::Error> {
    let container = ContainerKey { workspace: request.workspace.clone(), container_id: request.container_id.clone() };
    let mut changes = Vec::new();
    if let Some(older) = facts.newest_placement(&container)?
        && let Some(older) = facts.placement(older)?
    {
        let withdrawal = Withdrawal { reason: WithdrawReason::Superseded, cause: cause_of(recorded) };
        changes.extend(withdraw_placement(older, &withdrawal, true));
    }
    let (image, secret) = image_and_secret(facts, request)?;
    let worker = facts.worker(&request.worker_id)?;
    let known = Known { image: image.as_ref(), secret: secret.as_ref(), worker: worker.as_ref() };
    let outcome = decide_request(request, recorded.sequence, recorded.at, known);
    let attached = match &outcome {
        Outcome::Attached { credential, .. } => Some(credential.secret_name.clone()),
        _ => None,
    };
    let placement = PlacementFact {
        number: recorded.sequence,
        workspace: request.workspace.clone(),
        container_id: request.container_id.clone(),
        worker_id: request.worker_id.clone(),
        secret_name: attached.clone(),
        state: PlacementState::Requested { then: None },
        provided: false,
        settled: false,
    };
    let decision = Decision {
        worker_id: request.worker_id.clone(),
        workspace: request.workspace.clone(),
        caused_by: recorded.sequence,
        outcome,
    };
    let handed_over = secret.filter(|_| attached.is_some());
    changes.push(Change::PutPending(Box::new(Pending {
        decision,
        cause: cause_of(recorded),
        after: 0,
        digest: handed_over.as_ref().map(|secret| secret.digest.clone()),
        saved_trace: handed_over.and_then(|secret| secret.trace),
    })));
    changes.extend(placement.secret_use().map(Change::PutUse));
    changes.push(Change::PutNewest(container, recorded.sequence));
    changes.push(Change::PutPlacement(Box::new(placement)));
    Ok(changes.into())
}

type ImageAndSecret = (Option<ImageFact>, Option<SecretFact>);

fn image_and_secret<F: Facts>(facts: &F, request: &ContainerRequested) -> Result<ImageAndSecret, F::Error> {
    let Some(image_id) = &request.image_id else { return Ok((None, None)) };
    let workspace = request.workspace.clone();
    let image = facts.image(&ImageKey { workspace: workspace.clone(), image_id: image_id.clone() })?;
    let secret = match image.as_ref().and_then(|image| image.secret_name.clone()) {
        Some(secret_name) => facts.secret(&SecretKey { workspace, secret_name })?,
        None => None,
    };
    Ok((image, secret))
}

/// Takes a placement's credentials away. `over` says that the placement is, too, so that its row goes once its worker is told.
///
/// Before the first decision is recorded, the withdrawal waits for it: the log holds them in this order, each expecting the
/// other (invariant 5).
pub(super) fn withdraw_placement(placement: PlacementFact, withdrawal: &Withdrawal, over: bool) -> Vec<Change> {
    let mut changes: Vec<Change> = placement.secret_use().map(Change::RemoveUse).into_iter().collect();
    match placement.state.clone() {
        PlacementState::Requested { then } => {
            // What makes the placement over goes before what only takes its credentials away.
            let then = then.filter(|then| !over || is_over(then.reason)).unwrap_or_else(|| withdrawal.clone());
            let state = PlacementState::Requested { then: Some(then) };
            changes.push(Change::PutPlacement(Box::new(PlacementFact { state, ..placement })));
        }
        PlacementState::Decided { decided_by } => {
            changes.push(withdrawal_of(&placement, withdrawal, decided_by));
            let state = PlacementState::Withdrawing { over };
            changes.push(Change::PutPlacement(Box::new(PlacementFact { secret_name: None, state, ..placement })));
        }
        PlacementState::Withdrawing { over: before } => {
            let state = PlacementState::Withdrawing { over: before || over };
            changes.push(Change::PutPlacement(Box::new(PlacementFact { state, ..placement })));
        }
        PlacementState::Withdrawn if over => changes.push(Change::RemovePlacement(placement.number)),
        PlacementState::Withdrawn => {}
    }
    changes
}

fn is_over(reason: WithdrawReason) -> bool {
    matches!(reason, WithdrawReason::Superseded | WithdrawReason::Ended | WithdrawReason::WorkerRetired)
}

fn withdrawal_of(placement: &PlacementFact, withdrawal: &Withdrawal, decided_by: u64) -> Change {
    let decision = Decision {
        worker_id: placement.worker_id.clone(),
        workspace: placement.workspace.clone(),
        caused_by: withdrawal.cause.sequence,
        outcome: Outcome::Withdrawn {
            placement: placement.placement(),
            secret_name: placement.secret_name.clone(),
            reason: withdrawal.reason,
        },
    };
    let cause = withdrawal.cause.clone();
    Change::PutPending(Box::new(Pending { decision, cause, after: decided_by, digest: None, saved_trace: None }))
}

/// The end of a placement. One that is superseded or unknown is over already; an end changes nothing there.
pub(super) fn fold_ended<F: Facts>(
    facts: &F,
    recorded: &Recorded<RecordedEvent>,
    ended: &ContainerEnded,
) -> Result<Folded, F::Error> {
    let Some(placement) = facts.placement(ended.placement)? else { return Ok(Folded::default()) };
    if placement.workspace != ended.workspace || placement.container_id != ended.container_id {
        return Ok(Folded::default());
    }
    let by_worker = match &recorded.value.subject {
        Subject::ContainerOutcome { worker_id, .. } if *worker_id != placement.worker_id => {
            return Ok(Anomaly::ForeignOutcome { placed_on: placement.worker_id }.into());
        }
        Subject::ContainerOutcome { .. } => true,
        _ => false,
    };
    let container = placement.container();
    let mut changes = Vec::new();
    if facts.newest_placement(&container)? == Some(placement.number) {
        changes.push(Change::RemoveNewest(container));
    }
    // The worker knows of the end that it reports itself; nobody else needs to be told.
    if by_worker && matches!(placement.state, PlacementState::Decided { .. }) {
        changes.extend(placement.secret_use().map(Change::RemoveUse));
        changes.push(Change::RemovePlacement(placement.number));
        return Ok(changes.into());
    }
    let withdrawal = Withdrawal { reason: WithdrawReason::Ended, cause: cause_of(recorded) };
    changes.extend(withdraw_placement(placement, &withdrawal, true));
    Ok(changes.into())
}

/// A worker is no more: every placement on it is over, and a request for it is one for a worker that nobody knows.
pub(super) fn fold_retired<F: Facts>(
    facts: &F,
    recorded: &Recorded<RecordedEvent>,
    retired: &WorkerRetired,
) -> Result<Folded, F::Error> {
    let mut changes = vec![Change::RemoveWorker(retired.worker_id.clone())];
    let withdrawal = Withdrawal { reason: WithdrawReason::WorkerRetired, cause: cause_of(recorded) };
    for placement in facts.placements_on(&retired.worker_id)? {
        let container = placement.container();
        if facts.newest_placement(&container)? == Some(placement.number) {
            changes.push(Change::RemoveNewest(container));
        }
        changes.extend(withdraw_placement(placement, &withdrawal, true));
    }
    Ok(changes.into())
}

/// A decision comes to stand in the log: it leaves the outbox, and what waited for it goes on.
pub(super) fn fold_decision<F: Facts>(facts: &F, recorded: &Recorded<RecordedEvent>) -> Result<Folded, F::Error> {
    let (sequence, event) = (recorded.sequence, &recorded.value.event);
    let Some(decision) = Decision::from_event(&recorded.value) else { return Ok(Folded::default()) };
    let key = PendingKey::from_decision(&decision);
    let expected = facts.pending(&key)?.filter(|pending| recorded.value.envelope.id == pending.event_id());
    let Some(pending) = expected else { return take_back(facts, recorded, decision) };
    let mut changes = vec![Change::RemovePending(key)];
    if let Some(placement) = decision.placement()
        && let Some(fact) = facts.placement(placement.number)?
    {
        match event {
            Event::ContainerCredentialsWithdrawn(_) => changes.extend(withdrawn(fact)),
            _ => changes.extend(decided(fact, sequence)),
        }
    }
    let differs = pending.decision != decision;
    let anomaly = differs.then(|| Anomaly::DecisionDiffers { expected: Box::new(pending.decision) });
    Ok(Folded { changes, anomaly })
}

/// A decision that answers nothing open. One that gives a placement which is over something is withdrawn at once: a scheduler
/// that hung for longer than events are kept may find the subject empty on which the decision was said long ago.
fn take_back<F: Facts>(facts: &F, recorded: &Recorded<RecordedEvent>, decision: Decision) -> Result<Folded, F::Error> {
    let mut folded = Folded::from(Anomaly::UnexpectedDecision);
    let secret_name = decision.credential().map(|credential| credential.secret_name.clone());
    let (Outcome::Attached { placement, .. } | Outcome::Skipped { placement, .. }) = decision.outcome else {
        return Ok(folded);
    };
    if facts.placement(placement.number)?.is_none() {
        let outcome = Outcome::Withdrawn { placement, secret_name, reason: WithdrawReason::Ended };
        let decision = Decision { caused_by: recorded.sequence, outcome, ..decision };
        let (cause, after) = (cause_of(recorded), recorded.sequence);
        folded.changes.push(Change::PutPending(Box::new(Pending {
            decision,
            cause,
            after,
            digest: None,
            saved_trace: None,
        })));
    }
    Ok(folded)
}

/// The first decision is recorded: what withdraws the placement, if anything came meanwhile, follows.
fn decided(fact: PlacementFact, decided_by: u64) -> Vec<Change> {
    let waiting = match &fact.state {
        PlacementState::Requested { then } => then.clone(),
        _ => return Vec::new(),
    };
    let Some(withdrawal) = waiting else {
        let state = PlacementState::Decided { decided_by };
        return vec![Change::PutPlacement(Box::new(PlacementFact { state, ..fact }))];
    };
    let over = is_over(withdrawal.reason);
    let state = PlacementState::Withdrawing { over };
    vec![
        withdrawal_of(&fact, &withdrawal, decided_by),
        Change::PutPlacement(Box::new(PlacementFact { secret_name: None, state, ..fact })),
    ]
}

/// The withdrawal is recorded: a placement that is over leaves the projection (invariant 13).
fn withdrawn(fact: PlacementFact) -> Vec<Change> {
    match fact.state {
        PlacementState::Withdrawing { over: false } => {
            vec![Change::PutPlacement(Box::new(PlacementFact { state: PlacementState::Withdrawn, ..fact }))]
        }
        PlacementState::Withdrawing { over: true } => vec![Change::RemovePlacement(fact.number)],
        _ => Vec::new(),
    }
}

/// Folds the outcome of a provider or of a pull. Placements that are over are not looked at: their rows are gone.
pub(super) fn fold_outcome<F: Facts>(facts: &F, recorded: &RecordedEvent) -> Result<Folded, F::Error> {
    let Subject::ContainerOutcome { worker_id, placement, .. } = &recorded.subject else {
        return Ok(Folded::default());
    };
    let Some(fact) = facts.placement(*placement)? else { return Ok(Folded::default()) };
    // Invariant: the subject says who reports, and the server lets a worker write below its own id only.
    if fact.worker_id != *worker_id {
        return Ok(Anomaly::ForeignOutcome { placed_on: fact.worker_id }.into());
    }
    if recorded.event.container_id() != Some(&fact.container_id) {
        return Ok(Anomaly::RepeatedOutcome.into());
    }
    let (repeated, settles) = match &recorded.event {
        Event::CredentialProviderAttached(_) => (fact.provided, false),
        Event::CredentialProviderFailed(_) => (fact.provided, true),
        _ => (fact.settled, true),
    };
    if repeated {
        return Ok(Anomaly::RepeatedOutcome.into());
    }
    let settled = fact.settled || settles;
    Ok(vec![Change::PutPlacement(Box::new(PlacementFact { provided: true, settled, ..fact }))].into())
}
