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

    /// The id of the event that this key stands for on a subject.
    pub(crate) fn event_id(&self, operation: &str, subject: &Subject) -> Uuid {
        let scope = subject.siblings();
        Uuid::new_v5(&NAMESPACE, format!("{operation}\n{scope}\n{}", self.0).as_bytes())
    }
}

/// Whether two events say the same but for the ciphertext, which differs whenever the same credentials are sealed.
pub(crate) fn same_request(recorded: &Event, asked: &Event) -> bool {
    match (recorded, asked) {
        (Event::CredentialSecretSaved(recorded), Event::CredentialSecretSaved(asked)) => {
            let resealed = v1::CredentialSecretSaved { credentials: recorded.credentials.clone(), ..asked.clone() };
            *recorded == resealed
        }
        (recorded, asked) => recorded == asked,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_visible_ascii() {
        for (bytes, valid) in [
            (&b"a"[..], true),
            (b"6f2a-...", true),
            (b"", false),
            (b"a b", false),
            (b"\xff", false),
            (&[b'x'; 129], false),
        ] {
            assert_eq!(IdempotencyKey::parse(bytes).is_some(), valid, "{bytes:?}");
        }
    }

    #[test]
    fn an_id_is_the_operation_the_thing_and_the_key() {
        let key = |text: &str| IdempotencyKey::parse(text.as_bytes()).unwrap();
        let saved: Subject = "waybill.events.image.ws.i.CredentialSecretSaved".parse().unwrap();
        let skipped: Subject = "waybill.events.image.ws.i.CredentialSecretSkipped".parse().unwrap();
        let other: Subject = "waybill.events.image.ws.j.CredentialSecretSaved".parse().unwrap();
        let id = key("k").event_id("builds", &saved);
        assert_eq!(id, key("k").event_id("builds", &skipped), "whatever is decided");
        for another in [
            key("l").event_id("builds", &saved),
            key("k").event_id("containers", &saved),
            key("k").event_id("builds", &other),
        ] {
            assert_ne!(id, another);
        }
    }
}
