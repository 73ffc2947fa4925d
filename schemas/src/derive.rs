//! Deterministic ids: the id of an event that follows from another one.

use uuid::Uuid;

/// What an event is to the one that caused it. A cause has at most one event of each kind (and request).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Derivation {
    /// The scheduler's decision about a container request.
    Decision,
    /// The scheduler's decision about the container of a request, after its image's credentials were rotated or revoked.
    Renewal {
        /// Id of the request's event.
        request: Uuid,
    },
    /// What the registry said of credentials when they were saved.
    Verification,
    /// The worker's provider outcome for a decision.
    Provider,
    /// The worker's pull outcome for a decision.
    Pull,
}

/// `UUIDv5(cause, kind)` (RFC 9562, section 5.5): the same cause and kind give the same id for ever, so that a retry
/// after a crash is recognised as the same event.
pub fn derived_id(cause: Uuid, kind: Derivation) -> Uuid {
    let renewal;
    let name = match kind {
        Derivation::Decision => "decision",
        Derivation::Renewal { request } => {
            renewal = format!("renewal:{request}");
            &renewal
        }
        Derivation::Verification => "verification",
        Derivation::Provider => "provider",
        Derivation::Pull => "pull",
    };
    Uuid::new_v5(&cause, name.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_fixed_for_ever() {
        let cause = Uuid::from_u128(0x0123_4567_89ab_4cde_8f01_2345_6789_abcd);
        let renewal = Derivation::Renewal { request: Uuid::from_u128(1) };
        let ids = [Derivation::Decision, Derivation::Provider, Derivation::Pull, renewal, Derivation::Verification]
            .map(|kind| derived_id(cause, kind).to_string());
        assert_eq!(
            ids,
            [
                "422b00f4-eb3e-51e3-b27b-f77767916ab7",
                "6c41ffce-f2d0-5801-9034-7505e7189142",
                "58849be8-e72d-598e-a805-e15985d06572",
                "bed4c8ed-05eb-5860-a3dd-804b0ba14c34",
                "f483b0f1-179f-5952-ad5d-ef446649b050"
            ]
        );
    }
}
