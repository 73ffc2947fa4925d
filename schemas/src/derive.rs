//! Deterministic ids: the id of an event that follows from another one.

use uuid::Uuid;

use crate::{SecretName, WorkerId};

/// What an event is to the one that caused it. A cause has at most one event of each derivation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Derivation {
    /// The scheduler's decision about a request.
    Decision,
    /// The withdrawal of a placement.
    Withdrawal {
        /// The placement.
        placement: u64,
    },
    /// The renewal of a worker's grant of a secret.
    Renewal {
        /// The worker.
        worker_id: WorkerId,
        /// The secret.
        secret: SecretName,
    },
    /// The image event of a build that also saved a version, whose event is the cause.
    Naming,
    /// The worker's provider outcome for a decision.
    Provider,
    /// The worker's pull outcome for a decision.
    Pull,
    /// The worker's outcome for a renewal.
    Applied,
}

/// `UUIDv5(cause, derivation)` (RFC 9562, section 5.5): the same cause and derivation give the same id for ever, so that a
/// retry after a crash is recognised as the same event.
pub fn derived_id(cause: Uuid, derivation: &Derivation) -> Uuid {
    let name = match derivation {
        Derivation::Decision => "decision".to_owned(),
        Derivation::Withdrawal { placement } => format!("withdrawal:{placement}"),
        Derivation::Renewal { worker_id, secret } => format!("renewal:{worker_id}:{secret}"),
        Derivation::Naming => "naming".to_owned(),
        Derivation::Provider => "provider".to_owned(),
        Derivation::Pull => "pull".to_owned(),
        Derivation::Applied => "applied".to_owned(),
    };
    Uuid::new_v5(&cause, name.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_fixed_for_ever() {
        let cause = Uuid::from_u128(0x0123_4567_89ab_4cde_8f01_2345_6789_abcd);
        let [worker_id, secret] = ["w1", "team.registry"];
        let renewal = Derivation::Renewal { worker_id: worker_id.parse().unwrap(), secret: secret.parse().unwrap() };
        let cases = [
            (Derivation::Decision, "422b00f4-eb3e-51e3-b27b-f77767916ab7"),
            (Derivation::Withdrawal { placement: 17 }, "86e2b037-7262-591a-a8d7-9e87aa061a96"),
            (renewal, "ea714e52-80ea-5b60-adf5-c0d1beda99f8"),
            (Derivation::Naming, "544c0426-2dad-5600-9d72-0ee5565efcf4"),
            (Derivation::Provider, "6c41ffce-f2d0-5801-9034-7505e7189142"),
            (Derivation::Pull, "58849be8-e72d-598e-a805-e15985d06572"),
            (Derivation::Applied, "aba41155-4148-5ea7-b601-92c253723e1a"),
        ];
        for (derivation, id) in cases {
            assert_eq!(derived_id(cause, &derivation).to_string(), id, "{derivation:?}");
        }
    }
}
