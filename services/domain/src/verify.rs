//! Verification: what the log records about each request, against what its events decide again.
//!
//! [`Verifier`] sees every event just before it is folded, while the facts still hold what the fold decided. It keeps only
//! decisions whose request has not come yet. Ciphertext is not compared: sealing needs keys, which are not in the log.

mod decided;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use uuid::Uuid;
use waybill_schemas::{
    Event, PublicSealingKey, Recorded, RecordedEvent,
    v1::{AttachSkipReason, QuarantineRetried},
};

use crate::fold::{Change, Decision, Facts, Pending, PendingKey, decided_key, fold};

pub use decided::Decided;

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
    /// It answers nothing that is open: no request, rotation or revocation.
    NoRequest,
    /// There is none, although one that comes later in the order of decisions is recorded, at this sequence.
    Missing(u64),
}

/// A recorded decision that is not the one that the log leads to, or that is missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Divergence {
    /// Sequence of the recorded decision; of a missing one, that of the event that it should have been made for.
    pub sequence: u64,
    /// What is wrong with it.
    pub problem: Problem,
    /// The decision as recorded; none where it is missing.
    pub recorded: Option<Decided>,
    /// The decision that the log leads to; none where there is nothing to decide. For a second one the first, once it
    /// was looked up.
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
    /// The last decision in the order in which they are made, and its sequence.
    furthest: Option<(PendingKey, u64)>,
    /// Sequences of events that came back from quarantine: what is decided for them comes out of order.
    retried: BTreeSet<u64>,
    found: Vec<Divergence>,
    tally: Tally,
}

impl Verifier {
    /// A verifier at the start of the log. `usable` tells whether something can be sealed to a key.
    pub fn new(usable: fn(&PublicSealingKey) -> bool) -> Self {
        Self {
            usable,
            early: BTreeMap::new(),
            furthest: None,
            retried: BTreeSet::new(),
            found: Vec::new(),
            tally: Tally::default(),
        }
    }

    /// Looks at the next event, with the facts as they are before it is folded.
    ///
    /// # Errors
    /// Those of `facts`.
    pub fn see<F: Facts>(&mut self, facts: &F, recorded: &Recorded<RecordedEvent>) -> Result<(), F::Error> {
        let envelope = &recorded.value.envelope;
        match &recorded.value.event {
            Event::ContainerRequested(_) => {
                let new = facts.request(envelope.id)?.is_none();
                self.tally.requests = self.tally.requests.saturating_add(u64::from(new));
                if let Some(early) = self.early.remove(&envelope.id) {
                    self.too_early(facts, recorded, early)?;
                }
            }
            Event::QuarantineRetried(QuarantineRetried { sequence }) => drop(self.retried.insert(*sequence)),
            _ => {}
        }
        match Decided::recorded(&recorded.value) {
            Some(decided) => self.decision(facts, recorded.sequence, envelope.causation_id, decided),
            None => Ok(()),
        }
    }

    /// At the end of the log, looks at a decision that it does not hold, in the order of the outbox. False when this one and
    /// those that follow only wait for their turn: decisions are recorded in order.
    pub fn open(&mut self, pending: &Pending) -> bool {
        let key = pending.key();
        let Some((_, later)) = self.furthest.filter(|(furthest, _)| key < *furthest) else { return false };
        if !self.retried.contains(&key.caused_by) && !tells_an_end(pending) {
            let expected = Some(Decided::again(pending));
            self.found.push(Divergence {
                sequence: key.caused_by,
                problem: Problem::Missing(later),
                recorded: None,
                expected,
            });
        }
        true
    }

    /// At the end of the log: everything that diverges, by sequence, and what was compared.
    pub fn finish(mut self) -> (Vec<Divergence>, Tally) {
        for (sequence, decided) in std::mem::take(&mut self.early).into_values().flatten() {
            self.note(sequence, Problem::NoRequest, decided, None);
        }
        self.found.sort_by_key(|divergence| divergence.sequence);
        (self.found, self.tally)
    }

    /// Decisions that stand before the request, with the one that the request leads to.
    fn too_early<F: Facts>(
        &mut self,
        facts: &F,
        request: &Recorded<RecordedEvent>,
        early: Vec<(u64, Decided)>,
    ) -> Result<(), F::Error> {
        let decided = fold(facts, request)?.changes.into_iter().find_map(|change| match change {
            Change::PutPending(pending) => Some(Decided::again(&pending)),
            _ => None,
        });
        for (sequence, recorded) in early {
            self.note(sequence, Problem::BeforeRequest(request.sequence), recorded, decided.clone());
        }
        Ok(())
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
        if self.furthest.is_none_or(|(furthest, _)| furthest < pending.key()) {
            self.furthest = Some((pending.key(), sequence));
        }
        let unsealed = self.unsealed(&recorded, pending);
        let failed = unsealed.is_some();
        let mut expected = unsealed.unwrap_or_else(|| Decided::again(pending));
        if is_the_older_word(recorded.reason, expected.reason) {
            expected.reason = recorded.reason;
        }
        let differences = recorded.differences(&expected);
        if differences.is_empty() {
            self.tally.agreed = self.tally.agreed.saturating_add(1);
            self.tally.unsealed = self.tally.unsealed.saturating_add(u64::from(failed));
        } else {
            self.note(sequence, Problem::Differs(differences), recorded, Some(expected));
        }
    }

    fn note(&mut self, sequence: u64, problem: Problem, recorded: Decided, expected: Option<Decided>) {
        self.found.push(Divergence { sequence, problem, recorded: Some(recorded), expected });
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

/// `credentials_unusable` is a later word: versions before it gave `no_secret_for_image` for every image without credentials.
fn is_the_older_word(recorded: Option<AttachSkipReason>, expected: Option<AttachSkipReason>) -> bool {
    recorded == Some(AttachSkipReason::NoSecretForImage) && expected == Some(AttachSkipReason::CredentialsUnusable)
}

/// Versions before `container_ended` told no worker of an end, so that an older log lacks the decision.
fn tells_an_end(pending: &Pending) -> bool {
    matches!(&pending.decision, Decision::Skip(plan) if plan.reason == AttachSkipReason::ContainerEnded)
}
