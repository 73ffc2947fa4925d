//! What is said on the node's socket: one JSON line asked, one JSON line answered.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize, Serializer};
use waybill_domain::credentials::Secret;
use waybill_schemas::{Timestamp, v1::LoginRefusal};

/// Name of the socket in the node's folder.
pub const SOCKET: &str = "waybill.sock";
/// Longest line, in bytes.
pub const MAX_BYTES: usize = 64 * 1024;
/// How long one question may take: an exchange may take 20 s.
pub const LIMIT: Duration = Duration::from_secs(30);

/// A question. `access` is the content of an access file.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// A login: for a registry host, for an image, or (a container's key only) for the container's own registry.
    Get {
        /// On whose behalf.
        #[serde(serialize_with = "exposed")]
        access: Secret,
        /// Registry host, such as `ghcr.io`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        registry: Option<String>,
        /// Image reference.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        image: Option<String>,
    },
    /// A login for an image, on behalf of a pod: what the kubelet hands over with `tokenAttributes` (KEP-4412).
    Pod {
        /// The pod's service account token.
        #[serde(serialize_with = "exposed")]
        token: Secret,
        /// Annotations of its service account, as the kubelet was told to pass on.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        annotations: BTreeMap<String, String>,
        /// Image reference.
        image: String,
    },
    /// Registries and user names, without passwords.
    List {
        /// On whose behalf.
        #[serde(serialize_with = "exposed")]
        access: Secret,
    },
    /// The container has ended: forget its logins, remove its files.
    End {
        /// The container's key.
        #[serde(serialize_with = "exposed")]
        access: Secret,
    },
}

/// An answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Answer {
    /// To `get`.
    Login(GivenLogin),
    /// To `list`: user names by registry host.
    Logins {
        /// User names by registry host.
        logins: BTreeMap<String, String>,
    },
    /// To `end`.
    Ended {
        /// Always true.
        ended: bool,
    },
    /// To any.
    Error {
        /// What is wrong.
        error: Error,
    },
}

/// A login that works now.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct GivenLogin {
    /// User name.
    pub username: String,
    /// Password.
    #[serde(serialize_with = "exposed")]
    pub password: Secret,
    /// When it stops working, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// The only host it is for.
    pub registry: String,
}

/// Why there is no answer. It names no secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Error {
    /// For programs.
    pub code: LoginRefusal,
    /// For people.
    pub message: String,
}

impl Error {
    /// An error with this code and these words for people.
    pub fn because(code: LoginRefusal, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// The wire is where a secret is told.
fn exposed<S: Serializer>(secret: &Secret, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_and_answers_are_as_documented() {
        let requests = [
            (r#"{"op":"get","access":"k","registry":"a.b"}"#, true),
            (r#"{"op":"get","access":"k","image":"a.b/c"}"#, true),
            (r#"{"op":"get","access":"k"}"#, true),
            (r#"{"op":"pod","token":"k","annotations":{"a":"b"},"image":"a.b/c"}"#, true),
            (r#"{"op":"pod","token":"k","image":"a.b/c"}"#, true),
            (r#"{"op":"pod","token":"k"}"#, false),
            (r#"{"op":"list","access":"k"}"#, true),
            (r#"{"op":"end","access":"k"}"#, true),
            (r#"{"op":"end","access":"k","force":true}"#, false),
            (r#"{"op":"get"}"#, false),
            (r#"{"op":"put","access":"k"}"#, false),
            (r#"{"op":"get","access":7}"#, false),
            ("", false),
        ];
        for (text, valid) in requests {
            let read = serde_json::from_str::<Request>(text);
            assert_eq!(read.is_ok(), valid, "{text}");
            if let Ok(request) = read {
                assert_eq!(serde_json::to_string(&request).unwrap(), text);
                assert!(!format!("{request:?}").contains('k') || !format!("{request:?}").contains("\"k\""), "{text}");
            }
        }
        let answers = [
            r#"{"username":"u","password":"p","expires_at":"2026-01-31T12:00:00Z","registry":"a.b"}"#,
            r#"{"username":"u","password":"p","registry":"a.b"}"#,
            r#"{"logins":{"a.b":"u"}}"#,
            r#"{"ended":true}"#,
            r#"{"error":{"code":"no_access","message":"m"}}"#,
        ];
        for text in answers {
            let answer: Answer = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::to_string(&answer).unwrap(), text);
        }
    }
}
