//! `Idempotency-Key`: the same request again is the same event.
//!
//! A build or a container request with a key has one subject, derived from the key: what stands there is what the key was used
//! for. An operation on a secret has an id derived from its subject and the key, and is recognised while its event is the
//! secret's newest: no history is read.

use sha2::{Digest as _, Sha256};
use uuid::Uuid;
use waybill_domain::save::{BuildDecision, SavePlan, SaveSkip, Target};
use waybill_schemas::{
    Event, RequestId, Subject,
    v1::{CredentialSecretSkipped, ImageSecretNamed, SaveSkipReason},
};

/// Namespace of ids derived from keys.
const NAMESPACE: Uuid = Uuid::from_u128(0x5b0c_6a53_1d6e_4a0f_9e3b_7f1c_2d84_a6e1);

const MAX_LENGTH: usize = 128;

/// Hexadecimal digits of a request id that is derived from a key.
const ID_DIGITS: usize = 32;

/// A key as a client gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IdempotencyKey(String);

impl IdempotencyKey {
    /// 1 to 128 visible ASCII characters.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let valid = (1..=MAX_LENGTH).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic);
        let text = std::str::from_utf8(bytes).ok().filter(|_| valid)?;
        Some(Self(text.to_owned()))
    }
}

/// The last token of a build's or a request's subject: derived from the key, or fresh. Neither part can hold a line break.
pub(crate) fn request_id(operation: &str, key: Option<&IdempotencyKey>) -> Option<RequestId> {
    let text = match key {
        Some(IdempotencyKey(key)) => {
            let digest = Sha256::digest(format!("{operation}\n{key}").as_bytes());
            digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>().chars().take(ID_DIGITS).collect()
        }
        None => Uuid::new_v4().simple().to_string(),
    };
    RequestId::try_from(text).ok()
}

/// Id of the event of an operation on a secret: derived from the key, or fresh.
pub(crate) fn operation_event_id(operation: &str, subject: &Subject, key: Option<&IdempotencyKey>) -> Uuid {
    match key {
        Some(IdempotencyKey(key)) => Uuid::new_v5(&NAMESPACE, format!("{operation}\n{subject}\n{key}").as_bytes()),
        None => Uuid::new_v4(),
    }
}

/// Id of the event by which a build saves a version: the same for each try of the build, so that a try after a crash finds the
/// version of the one before.
pub(crate) fn saved_event_id(build: &Subject, secret: &Subject) -> Uuid {
    Uuid::new_v5(&NAMESPACE, format!("{build}\n{secret}").as_bytes())
}

/// Default names that a repeated build may have got.
const NAMES: u32 = 128;

/// True if a recorded build comes of the same request as a decision. The values of credentials are not compared, and the time of
/// asking does not count: credentials that were saved may have expired when the request comes again.
pub(crate) fn is_same_build(recorded: &Event, decision: &BuildDecision) -> bool {
    match (recorded, decision) {
        (Event::ImageSecretNamed(named), BuildDecision::Save(plan)) => is_same_saved(named, plan),
        (Event::ImageSecretNamed(named), BuildDecision::Name { target, secret_name }) => {
            named.version.is_none() && is_named_target(named, target) && named.secret_name == *secret_name
        }
        (Event::ImageSecretNamed(named), BuildDecision::Skip(skip)) => is_expired_since(named, skip),
        (Event::CredentialSecretSkipped(skipped), BuildDecision::Save(plan)) => {
            is_decided_later(skipped) && is_skipped_target(skipped, Some(&plan.target))
        }
        (Event::CredentialSecretSkipped(skipped), BuildDecision::Name { target, secret_name }) => {
            is_decided_later(skipped)
                && is_skipped_target(skipped, Some(target))
                && skipped.secret_name.as_ref() == Some(secret_name)
        }
        (Event::CredentialSecretSkipped(skipped), BuildDecision::Skip(skip)) => {
            skipped.reason == skip.reason
                && is_skipped_target(skipped, skip.target.as_ref())
                && skipped.cred_type == skip.cred_type
                && skipped.missing_key == skip.missing_key
                && skipped.secret_name == skip.secret_name
        }
        _ => false,
    }
}

fn is_same_saved(named: &ImageSecretNamed, plan: &SavePlan) -> bool {
    let candidates = (0..NAMES).map_while(|index| plan.naming.candidate(index));
    named.version.is_some()
        && named.cred_type == Some(plan.new.cred_type)
        && is_named_target(named, &plan.target)
        && candidates.into_iter().any(|name| name == named.secret_name)
}

fn is_expired_since(named: &ImageSecretNamed, skip: &SaveSkip) -> bool {
    let target = skip.target.as_ref();
    skip.reason == SaveSkipReason::ExpiredCredentials
        && named.version.is_some()
        && named.cred_type == skip.cred_type
        && target.is_some_and(|target| is_named_target(named, target))
        && skip.secret_name.as_ref().is_none_or(|name| *name == named.secret_name)
}

/// Reasons that come of the secret or the registry, not of the request alone.
fn is_decided_later(skipped: &CredentialSecretSkipped) -> bool {
    matches!(skipped.reason, SaveSkipReason::RegistryMismatch | SaveSkipReason::VerificationFailed)
}

fn is_named_target(named: &ImageSecretNamed, target: &Target) -> bool {
    named.image_ref == target.reference.to_string() && named.source == target.source
}

fn is_skipped_target(skipped: &CredentialSecretSkipped, target: Option<&Target>) -> bool {
    skipped.image_ref == target.map(|target| target.reference.to_string())
        && skipped.source == target.map(|target| target.source)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_visible_ascii() {
        let (longest, too_long) = ([b'x'; 128], [b'x'; 129]);
        let cases: [(&[u8], bool); 8] = [
            (b"a", true),
            (b"6f2a-!~", true),
            (&longest, true),
            (&too_long, false),
            (b"", false),
            (b"a b", false),
            (b"a\n", false),
            (b"\xff", false),
        ];
        for (bytes, valid) in cases {
            assert_eq!(IdempotencyKey::parse(bytes).is_some(), valid, "{bytes:?}");
        }
    }

    fn key(text: &str) -> IdempotencyKey {
        IdempotencyKey::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_request_id_is_the_operation_and_the_key() {
        let id = |operation, text| request_id(operation, Some(&key(text))).unwrap().to_string();
        // Clients hold keys across upgrades: the derivation is part of the contract. `printf 'builds\nk' | sha256sum`
        assert_eq!(id("builds", "k"), "29175b26c3a42fe7405570cf45178834");
        assert_ne!(id("builds", "k"), id("containers", "k"));
        assert_ne!(id("builds", "k"), id("builds", "l"));
        assert_ne!(request_id("builds", None), request_id("builds", None), "each request is its own");
    }

    #[test]
    fn an_operations_id_is_the_secret_and_the_key() {
        let id =
            |operation, text, subject: &str| operation_event_id(operation, &subject.parse().unwrap(), Some(&key(text)));
        let first = id("rotate", "k", "waybill.events.secret.ws.s");
        assert_eq!(first, id("rotate", "k", "waybill.events.secret.ws.s"));
        let others = [
            id("rotate", "l", "waybill.events.secret.ws.s"),
            id("revoke", "k", "waybill.events.secret.ws.s"),
            id("rotate", "k", "waybill.events.secret.ws.s=t"),
            id("rotate", "k", "waybill.events.secret.w2.s"),
        ];
        assert!(!others.contains(&first));
    }
}
