//! Explanations for the tests of pages.

use waybill_domain::explain::{Code, Explanation, Hop, State, Step, StepOutcome, Verdict};
use waybill_schemas::Timestamp;

/// `acme`'s `c-1`, with a verdict.
pub(super) fn explanation(kind: &'static str, hop: Hop, state: State, timeline: Vec<Step>) -> Explanation {
    let remedy = if state == State::Healthy { "" } else { "Ask again, or `waybill secrets rotate a --creds FILE`." };
    Explanation {
        kind,
        workspace: "acme".parse().unwrap(),
        id: "c-1".to_owned(),
        placement: None,
        worker_id: None,
        verdict: Verdict {
            state,
            hop,
            code: Code::Unauthorized,
            sentence: "it broke".to_owned(),
            remedy: remedy.to_owned(),
            sequence: timeline.last().map(|step| step.sequence),
            since: timeline.last().map(|step| step.time),
        },
        timeline,
        earlier: Vec::new(),
        notes: Vec::new(),
    }
}

/// An event that did what it should, some milliseconds after noon.
pub(super) fn step(hop: Hop, sequence: u64, ms: i64) -> Step {
    let noon: Timestamp = "2026-01-31T12:00:00Z".parse().unwrap();
    let time = Timestamp::from(noon.instant() + std::time::Duration::from_millis(ms.unsigned_abs()));
    Step {
        hop,
        outcome: StepOutcome::Done,
        sequence,
        time,
        after_ms: None,
        event: "ImagePullSucceeded",
        service: "/waybill/worker".to_owned(),
        actor: None,
        version: None,
        reason: None,
        says: "as it should".to_owned(),
        trace_id: None,
    }
}
