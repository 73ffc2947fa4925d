//! What is left to do for a decision, given what the log already holds: the worker may have died in the middle.

use uuid::Uuid;
use waybill_schemas::{Derivation, Event, RecordedEvent, derived_id};

/// What to do next for a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing is recorded: build the provider and report it.
    Provide,
    /// The provider is recorded at this sequence: build it again and pull.
    Pull {
        /// Sequence of the recorded provider.
        provided_by: u64,
    },
    /// Everything is recorded.
    Done,
}

/// Looks for the decision's outcomes among the events of its container.
pub(crate) fn next_step<'e>(decision_id: Uuid, recorded: impl IntoIterator<Item = (u64, &'e RecordedEvent)>) -> Step {
    let (provider, pull) = (derived_id(decision_id, Derivation::Provider), derived_id(decision_id, Derivation::Pull));
    let mut step = Step::Provide;
    for (sequence, RecordedEvent { envelope, event }) in recorded {
        match event {
            Event::CredentialProviderFailed(_) if envelope.id == provider => return Step::Done,
            Event::ImagePullSucceeded(_) | Event::ImagePullFailed(_) if envelope.id == pull => return Step::Done,
            Event::CredentialProviderAttached(_) if envelope.id == provider => {
                step = Step::Pull { provided_by: sequence };
            }
            _ => {}
        }
    }
    step
}

#[cfg(test)]
mod tests {
    use waybill_schemas::{Envelope, v1};

    use super::*;

    fn recorded(id: Uuid, event: impl Into<Event>) -> RecordedEvent {
        let envelope = Envelope {
            id,
            source: "/test".to_owned(),
            source_version: None,
            time: None,
            causation_id: None,
            correlation_id: None,
            traceparent: None,
            tracestate: None,
        };
        RecordedEvent { envelope, event: event.into() }
    }

    fn attached() -> v1::CredentialProviderAttached {
        v1::CredentialProviderAttached {
            workspace: "ws".parse().unwrap(),
            container_id: "c".parse().unwrap(),
            image_id: None,
            worker_id: "w".parse().unwrap(),
            provider_name: "default-chain".to_owned(),
            cred_type: None,
            registry: None,
            token_expires_at: None,
            decided_by: 1,
        }
    }

    fn failed() -> v1::CredentialProviderFailed {
        v1::CredentialProviderFailed {
            workspace: "ws".parse().unwrap(),
            container_id: "c".parse().unwrap(),
            image_id: None,
            worker_id: "w".parse().unwrap(),
            cred_type: None,
            registry: None,
            reason: v1::ProviderFailure::UnsealFailed,
            detail: None,
            decided_by: 1,
        }
    }

    fn pulled() -> v1::ImagePullFailed {
        v1::ImagePullFailed {
            workspace: "ws".parse().unwrap(),
            container_id: "c".parse().unwrap(),
            image_id: None,
            worker_id: "w".parse().unwrap(),
            image_ref: None,
            reason: v1::PullFailure::NotFound,
            detail: None,
            decided_by: 1,
        }
    }

    #[test]
    fn what_is_recorded_is_not_done_again() {
        let (this, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let id = derived_id;
        let (provider, pull) = (id(this, Derivation::Provider), id(this, Derivation::Pull));
        let cases = [
            ("nothing", vec![], Step::Provide),
            ("another decision's", vec![(5, recorded(id(other, Derivation::Provider), attached()))], Step::Provide),
            ("the provider", vec![(5, recorded(provider, attached()))], Step::Pull { provided_by: 5 }),
            ("a failed provider", vec![(5, recorded(provider, failed()))], Step::Done),
            ("the pull", vec![(5, recorded(provider, attached())), (6, recorded(pull, pulled()))], Step::Done),
            ("the pull alone in view", vec![(6, recorded(pull, pulled()))], Step::Done),
            (
                "another's pull after this provider",
                vec![(5, recorded(provider, attached())), (6, recorded(id(other, Derivation::Pull), pulled()))],
                Step::Pull { provided_by: 5 },
            ),
        ];
        for (name, events, step) in cases {
            let events = events.iter().map(|(sequence, event)| (*sequence, event));
            assert_eq!(next_step(this, events), step, "{name}");
        }
    }
}
