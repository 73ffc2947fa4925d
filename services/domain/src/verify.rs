//! `replay --verify`: each recorded decision against the one that the log leads to, and each outcome against its placement.

use serde::Serialize;
use waybill_schemas::{EventType, Recorded, RecordedEvent, WorkerId};

use crate::{
    decision::{Decision, differing_fields},
    fold::{Anomaly, Pending},
};

/// What is wrong with an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Problem {
    /// The log leads to another decision, which differs in these fields.
    Differs(Vec<String>),
    /// A decision that answers nothing that is open: said twice, or made up.
    Unexpected,
    /// An outcome of a worker that the placement is not on.
    ForeignOutcome {
        /// The worker that the placement is on.
        placed_on: WorkerId,
    },
    /// An outcome that was reported before.
    RepeatedOutcome,
}

/// An event that the log does not lead to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Divergence {
    /// Its sequence.
    pub sequence: u64,
    /// What is wrong with it.
    pub problem: Problem,
    /// The decision as recorded; none for an outcome.
    pub recorded: Option<Decision>,
    /// The decision that the log leads to, where there is one.
    pub expected: Option<Decision>,
}

/// What was compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Tally {
    /// Requests.
    pub requests: u64,
    /// Recorded decisions that agree.
    pub agreed: u64,
    /// Outcomes that their own worker reported once.
    pub outcomes: u64,
    /// Decisions that the log leads to and does not hold at its end: not published yet.
    pub open: u64,
}

/// Compares what is recorded with what the fold comes to.
#[derive(Debug, Default)]
pub struct Verifier {
    found: Vec<Divergence>,
    tally: Tally,
}

impl Verifier {
    /// Looks at an event and at what the fold found odd about it.
    pub fn observe(&mut self, recorded: &Recorded<RecordedEvent>, anomaly: Option<&Anomaly>) {
        let decision = Decision::from_event(&recorded.value);
        let (problem, expected) = match anomaly {
            None => return self.count(&recorded.value, decision.is_some()),
            Some(Anomaly::UnexpectedDecision) => (Problem::Unexpected, None),
            Some(Anomaly::DecisionDiffers { expected }) => {
                let fields = decision.as_ref().map(|decision| differing_fields(decision, expected));
                (Problem::Differs(fields.unwrap_or_default()), Some((**expected).clone()))
            }
            Some(Anomaly::ForeignOutcome { placed_on }) => {
                (Problem::ForeignOutcome { placed_on: placed_on.clone() }, None)
            }
            Some(Anomaly::RepeatedOutcome) => (Problem::RepeatedOutcome, None),
        };
        self.found.push(Divergence { sequence: recorded.sequence, problem, recorded: decision, expected });
    }

    fn count(&mut self, recorded: &RecordedEvent, is_decision: bool) {
        let counted = match recorded.event.event_type() {
            _ if is_decision => &mut self.tally.agreed,
            EventType::ContainerRequested => &mut self.tally.requests,
            EventType::CredentialProviderAttached
            | EventType::CredentialProviderFailed
            | EventType::ImagePullSucceeded
            | EventType::ImagePullFailed => &mut self.tally.outcomes,
            _ => return,
        };
        *counted = counted.saturating_add(1);
    }

    /// Counts a decision that is still in the outbox at the end of the log.
    pub fn count_open(&mut self, _pending: &Pending) {
        self.tally.open = self.tally.open.saturating_add(1);
    }

    /// What diverges so far, by sequence.
    pub fn divergences(&self) -> &[Divergence] {
        &self.found
    }

    /// At the end of the log: everything that diverges, by sequence, and what was compared.
    pub fn finish(self) -> (Vec<Divergence>, Tally) {
        (self.found, self.tally)
    }
}
