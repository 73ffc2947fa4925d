//! `Idempotency-Key`: the same request again is the same event.
//!
//! The event's id is derived from the operation, the workspace, the image or container, and the key: that is the scope in
//! which a key must not be used for something else.

use uuid::Uuid;
use waybill_schemas::{Event, Subject, v1};

/// Namespace of ids derived from keys.
const NAMESPACE: Uuid = Uuid::from_u128(0x5b0c_6a53_1d6e_4a0f_9e3b_7f1c_2d84_a6e1);

const MAX_LENGTH: usize = 128;

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

    /// The id of the event that this key stands for: `operation`, workspace, image or container, and key, a line each.
    pub(crate) fn event_id(&self, operation: &str, subject: &Subject) -> Uuid {
        let (workspace, about) = match subject {
            Subject::Image { workspace, image_id, .. } => (workspace.as_str(), image_id.as_str()),
            Subject::Container { workspace, container_id, .. } | Subject::Decision { workspace, container_id, .. } => {
                (workspace.as_str(), container_id.as_str())
            }
            Subject::Registered { worker_id } => ("", worker_id.as_str()),
            Subject::Quarantine { .. } => ("", ""),
        };
        // None of the parts can hold a line break.
        Uuid::new_v5(&NAMESPACE, format!("{operation}\n{workspace}\n{about}\n{}", self.0).as_bytes())
    }
}

/// Whether two events come of the same request.
///
/// The ciphertext is not compared, since it differs whenever the same credentials are sealed. Nor does the time of
/// asking count: credentials that were saved may have expired when the request comes again.
pub(crate) fn same_request(recorded: &Event, asked: &Event) -> bool {
    match (recorded, asked) {
        (Event::CredentialSecretSaved(recorded), Event::CredentialSecretSaved(asked)) => {
            let resealed = v1::CredentialSecretSaved { credentials: recorded.credentials.clone(), ..asked.clone() };
            *recorded == resealed
        }
        (Event::CredentialSecretSaved(recorded), Event::CredentialSecretSkipped(asked)) => {
            recorded.expires_at.is_some() && *asked == expired(recorded)
        }
        (Event::CredentialSecretRotated(recorded), Event::CredentialSecretRotated(asked)) => {
            let credentials = recorded.secret.credentials.clone();
            let resealed = v1::CredentialSecretSaved { credentials, ..asked.secret.clone() };
            recorded.replaces == asked.replaces && recorded.secret == resealed
        }
        (recorded, asked) => recorded == asked,
    }
}

/// What is said of the same credentials once they have expired.
fn expired(saved: &v1::CredentialSecretSaved) -> v1::CredentialSecretSkipped {
    v1::CredentialSecretSkipped {
        workspace: saved.workspace.clone(),
        image_id: saved.image_id.clone(),
        image_ref: Some(saved.image_ref.clone()),
        registry: Some(saved.registry.clone()),
        secret_name: Some(saved.secret_name.clone()),
        cred_type: Some(saved.cred_type),
        source: Some(saved.source),
        reason: v1::SaveSkipReason::ExpiredCredentials,
        missing_key: None,
    }
}

#[cfg(test)]
mod tests {
    use waybill_schemas::Sealed;

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

    #[test]
    fn an_id_is_the_operation_the_thing_and_the_key() {
        let id = |key: &str, operation: &str, subject: &str| {
            IdempotencyKey::parse(key.as_bytes()).unwrap().event_id(operation, &subject.parse().unwrap())
        };
        let first = id("k", "builds", "waybill.events.image.ws.i.CredentialSecretSaved");
        assert_eq!(
            first,
            id("k", "builds", "waybill.events.image.ws.i.CredentialSecretSkipped"),
            "whatever is decided"
        );
        let others = [
            id("l", "builds", "waybill.events.image.ws.i.CredentialSecretSaved"),
            id("k", "builds", "waybill.events.image.ws.j.CredentialSecretSaved"),
            id("k", "builds", "waybill.events.image.w2.i.CredentialSecretSaved"),
            id("k", "containers", "waybill.events.image.ws.i.CredentialSecretSaved"),
        ];
        assert!(!others.contains(&first));
        // Clients hold keys across upgrades: the derivation is part of the contract.
        assert_eq!(first.to_string(), "736ef0e4-ccb4-5f58-93bf-1a6901c8c4fe");
    }

    fn sealed(ciphertext: &str) -> Sealed {
        let key: waybill_schemas::PublicSealingKey = format!("X{}", "A".repeat(55)).parse().unwrap();
        Sealed { sender: key.clone(), recipient: key, ciphertext: ciphertext.to_owned() }
    }

    fn saved(expires_at: Option<&str>) -> v1::CredentialSecretSaved {
        v1::CredentialSecretSaved {
            workspace: "ws".parse().unwrap(),
            image_id: "i".parse().unwrap(),
            image_ref: "a.b/app".to_owned(),
            registry: "a.b".to_owned(),
            secret_name: "oci-registry-a-b".to_owned(),
            cred_type: v1::CredType::Aws,
            source: v1::CredentialSource::FromRegistry,
            expires_at: expires_at.map(|at| at.parse().unwrap()),
            credentials: sealed("eA=="),
        }
    }

    #[test]
    fn the_same_request_whatever_the_ciphertext_and_the_time() {
        let soon = saved(Some("2026-01-01T00:00:00Z"));
        let resealed = v1::CredentialSecretSaved { credentials: sealed("eQ=="), ..soon.clone() };
        let elsewhere = v1::CredentialSecretSaved { registry: "c.d".to_owned(), ..soon.clone() };
        let of = |reason| v1::CredentialSecretSkipped { reason, ..expired(&soon) };
        let cases: [(&str, Event, Event, bool); 7] = [
            ("itself", soon.clone().into(), soon.clone().into(), true),
            ("sealed again", soon.clone().into(), resealed.into(), true),
            ("another registry", soon.clone().into(), elsewhere.into(), false),
            ("expired meanwhile", soon.clone().into(), expired(&soon).into(), true),
            ("cannot have expired", saved(None).into(), expired(&saved(None)).into(), false),
            (
                "now without credentials",
                soon.clone().into(),
                of(v1::SaveSkipReason::NoCredentialsProvided).into(),
                false,
            ),
            ("now with credentials", of(v1::SaveSkipReason::NoCredentialsProvided).into(), soon.clone().into(), false),
        ];
        for (name, recorded, asked, same) in cases {
            assert_eq!(same_request(&recorded, &asked), same, "{name}");
        }
    }
}
