//! The row of a placement: there is one for each container that runs, so it is short.

use serde::{Deserialize, Serialize};
use waybill_domain::fold::{PlacementFact, PlacementState};
use waybill_schemas::{ContainerId, SecretName, WorkerId, WorkspaceId};

use super::{
    ProjectionError, checksum,
    tables::{PLACEMENTS, number_key, read_number},
};

/// A placement as an array: workspace, container, worker, secret, what was reported, and how far it is. Its number is its key.
#[derive(Serialize, Deserialize)]
struct Short(WorkspaceId, ContainerId, WorkerId, Option<SecretName>, Reported, State);

/// What its worker has reported: 0 nothing, 1 a provider, 2 nothing is left, 3 both.
type Reported = u8;
const PROVIDED: Reported = 1;
const SETTLED: Reported = 2;

/// How far it is: the sequence of its first decision, as most have it, or in words.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum State {
    Decided(u64),
    Other(PlacementState),
}

pub(super) fn encode(fact: PlacementFact) -> Result<(String, Vec<u8>), ProjectionError> {
    let key = number_key(fact.number);
    let state = match fact.state {
        PlacementState::Decided { decided_by } => State::Decided(decided_by),
        other => State::Other(other),
    };
    let provided = if fact.provided { PROVIDED } else { 0 };
    let settled = if fact.settled { SETTLED } else { 0 };
    let short = Short(fact.workspace, fact.container_id, fact.worker_id, fact.secret_name, provided | settled, state);
    let value = checksum::encode(PLACEMENTS, &key, &short)?;
    Ok((key, value))
}

pub(super) fn decode(key: &str, value: &[u8]) -> Result<PlacementFact, ProjectionError> {
    let Short(workspace, container_id, worker_id, secret_name, reported, state) =
        checksum::decode(PLACEMENTS, key, value)?;
    let state = match state {
        State::Decided(decided_by) => PlacementState::Decided { decided_by },
        State::Other(other) => other,
    };
    Ok(PlacementFact {
        number: read_number(PLACEMENTS, key)?,
        workspace,
        container_id,
        worker_id,
        secret_name,
        state,
        provided: reported & PROVIDED != 0,
        settled: reported & SETTLED != 0,
    })
}

/// The placement with the names of its fields.
pub(super) fn to_json(key: &str, value: &[u8]) -> Result<Vec<u8>, ProjectionError> {
    serde_json::to_vec(&decode(key, value)?).map_err(|source| ProjectionError::Row { table: PLACEMENTS, source })
}

#[cfg(test)]
mod tests {
    use waybill_domain::fold::{CauseEvent, Withdrawal};
    use waybill_schemas::{Uuid, v1::WithdrawReason};

    use super::*;

    #[test]
    fn a_placement_is_read_as_it_was_written() {
        let cause = CauseEvent {
            sequence: 9,
            subject: "waybill.events.worker.w".to_owned(),
            id: Uuid::from_u128(1),
            correlation_id: Uuid::from_u128(1),
            at: "2026-01-01T00:00:00Z".parse().unwrap(),
            trace: None,
        };
        let states = [
            PlacementState::Requested { then: None },
            PlacementState::Requested { then: Some(Withdrawal { reason: WithdrawReason::Ended, cause }) },
            PlacementState::Decided { decided_by: 1_234_567 },
            PlacementState::Withdrawing { over: true },
            PlacementState::Withdrawn,
        ];
        for state in states {
            for (provided, settled) in [(false, false), (true, false), (false, true), (true, true)] {
                let fact = PlacementFact {
                    number: 1_234_567,
                    workspace: "ws".parse().unwrap(),
                    container_id: "container-000001".parse().unwrap(),
                    worker_id: "worker-01".parse().unwrap(),
                    secret_name: Some("oci-registry-registry-example-com".parse().unwrap()),
                    state: state.clone(),
                    provided,
                    settled,
                };
                let (key, value) = encode(fact.clone()).unwrap();
                assert_eq!(decode(&key, &value).unwrap(), fact);
                assert_eq!(serde_json::from_slice::<PlacementFact>(&to_json(&key, &value).unwrap()).unwrap(), fact);
                if matches!(state, PlacementState::Decided { .. }) {
                    assert!(key.len() + value.len() < 120, "{} bytes", key.len() + value.len());
                }
            }
        }
    }
}
