//! One placement, with everything that followed from its request.

use waybill_schemas::{
    Event, Recorded, RecordedEvent, Subject, WorkerId,
    v1::{
        ContainerRequested, CredentialProviderAttached, CredentialProviderFailed, ImagePullFailed, ImagePullSucceeded,
        LoginQuestion, SecretRenewalFailed, WithdrawReason,
    },
};

use crate::{
    decision::{Credential, Decision, Outcome},
    fold::{MemoryFacts, PlacementState},
};

/// A placement, as far as the log goes.
#[derive(Debug)]
pub(super) struct Story<'h> {
    pub(super) request: Recorded<&'h ContainerRequested>,
    /// The request's subject: its end stands there as well.
    pub(super) subject: &'h Subject,
    /// What the fold decided about the request.
    pub(super) expected: Option<Decision>,
    /// The first decision, as recorded.
    pub(super) decision: Option<Recorded<Decision>>,
    pub(super) withdrawal: Option<Recorded<Decision>>,
    pub(super) provider: Option<Recorded<Provided<'h>>>,
    pub(super) pull: Option<Recorded<Pulled<'h>>>,
    pub(super) ended: Option<Recorded<()>>,
    /// What programs of the node asked of it.
    pub(super) asked: Vec<Recorded<&'h LoginQuestion>>,
    /// Number of the newer placement.
    pub(super) superseded_by: Option<u64>,
    /// New versions that it got while it had the secret.
    pub(super) renewals: Vec<Renewal<'h>>,
    /// Events that are not believed, and why.
    pub(super) ignored: Vec<(Recorded<&'h RecordedEvent>, String)>,
    /// Everything that is believed, as it stands in the log.
    pub(super) events: Vec<Recorded<&'h RecordedEvent>>,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Provided<'h> {
    Attached(&'h CredentialProviderAttached),
    Failed(&'h CredentialProviderFailed),
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Pulled<'h> {
    Succeeded(&'h ImagePullSucceeded),
    Failed(&'h ImagePullFailed),
}

/// A version that the placement's worker gets for it.
#[derive(Debug)]
pub(super) struct Renewal<'h> {
    /// The version's event, or the worker's registration.
    pub(super) cause: Recorded<()>,
    pub(super) credential: Credential,
    pub(super) decision: Option<Recorded<()>>,
    /// What the worker made of it: nothing wrong, or the failure.
    pub(super) outcome: Option<Recorded<Option<&'h SecretRenewalFailed>>>,
}

/// What takes a placement's credentials away, recorded or on its way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Withdrawing {
    pub(super) reason: WithdrawReason,
    /// Sequence of the newer request, the end, the revocation or the shredding.
    pub(super) caused_by: u64,
    /// Sequence of the decision, once the log holds it.
    pub(super) recorded: Option<u64>,
}

impl<'h> Story<'h> {
    pub(super) fn new(
        recorded: Recorded<&'h RecordedEvent>,
        request: &'h ContainerRequested,
        expected: Option<Decision>,
    ) -> Self {
        Self {
            request: Recorded { sequence: recorded.sequence, at: recorded.at, value: request },
            subject: &recorded.value.subject,
            expected,
            decision: None,
            withdrawal: None,
            provider: None,
            pull: None,
            ended: None,
            asked: Vec::new(),
            superseded_by: None,
            renewals: Vec::new(),
            ignored: Vec::new(),
            events: vec![recorded],
        }
    }

    pub(super) fn number(&self) -> u64 {
        self.request.sequence
    }

    pub(super) fn worker(&self) -> &'h WorkerId {
        &self.request.value.worker_id
    }

    /// The version that the first decision attached.
    pub(super) fn credential(&self) -> Option<&Credential> {
        self.decision.as_ref().and_then(|decision| decision.value.credential())
    }

    pub(super) fn is_pulled(&self) -> bool {
        matches!(&self.pull, Some(Recorded { value: Pulled::Succeeded(_), .. }))
    }

    /// Sequence of the worker's report that the provider or the pull failed.
    pub(super) fn failed_at(&self) -> Option<u64> {
        match (&self.provider, &self.pull) {
            (Some(Recorded { sequence, value: Provided::Failed(_), .. }), _)
            | (_, Some(Recorded { sequence, value: Pulled::Failed(_), .. })) => Some(*sequence),
            _ => None,
        }
    }

    /// What takes the credentials away, as the fold has it at the end.
    pub(super) fn withdrawing(&self, facts: &MemoryFacts) -> Option<Withdrawing> {
        let from_decision = |decision: &Decision, recorded| match decision.outcome {
            Outcome::Withdrawn { reason, ref placement, .. } if placement.number == self.number() => {
                Some(Withdrawing { reason, caused_by: decision.caused_by, recorded })
            }
            _ => None,
        };
        if let Some(withdrawal) = &self.withdrawal {
            return from_decision(&withdrawal.value, Some(withdrawal.sequence));
        }
        let pending = facts.pending.values().find_map(|pending| from_decision(&pending.decision, None));
        let waiting = || match &facts.placements.get(&self.number())?.state {
            PlacementState::Requested { then: Some(then) } => {
                Some(Withdrawing { reason: then.reason, caused_by: then.cause.sequence, recorded: None })
            }
            _ => None,
        };
        pending.or_else(waiting)
    }

    /// Takes an outcome of the placement's own worker. The first one of its kind counts, as it does for the fold.
    pub(super) fn take_outcome(&mut self, recorded: Recorded<&'h RecordedEvent>) {
        let Recorded { sequence, at, value } = recorded;
        let taken = match &value.event {
            Event::CredentialProviderAttached(event) => {
                set(&mut self.provider, Recorded { sequence, at, value: Provided::Attached(event) })
            }
            Event::CredentialProviderFailed(event) => {
                set(&mut self.provider, Recorded { sequence, at, value: Provided::Failed(event) })
            }
            Event::ImagePullSucceeded(event) => {
                set(&mut self.pull, Recorded { sequence, at, value: Pulled::Succeeded(event) })
            }
            Event::ImagePullFailed(event) => {
                set(&mut self.pull, Recorded { sequence, at, value: Pulled::Failed(event) })
            }
            Event::ContainerLoginAsked(event) => {
                self.asked.push(Recorded { sequence, at, value: &event.asked });
                true
            }
            Event::ContainerEnded(_) => set(&mut self.ended, Recorded { sequence, at, value: () }),
            _ => false,
        };
        match taken {
            true => self.events.push(recorded),
            false => self.ignored.push((recorded, "it was reported before".to_owned())),
        }
    }
}

pub(super) fn set<T>(place: &mut Option<T>, value: T) -> bool {
    let free = place.is_none();
    if free {
        *place = Some(value);
    }
    free
}
