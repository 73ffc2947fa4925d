//! What is said on the node's socket: one JSON line asked, one JSON line answered.

use std::{collections::BTreeMap, fmt, time::Duration};

use serde::{Deserialize, Serialize, Serializer};
use waybill_domain::credentials::Secret;
use waybill_schemas::Timestamp;

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
    pub code: Code,
    /// For people.
    pub message: String,
}

/// Why there is no answer, for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// The question is not of the form above.
    BadRequest,
    /// Nobody's key, or no more.
    NoAccess,
    /// No credentials for that host.
    NotFound,
    /// Containers of the workspace have different logins for that host.
    Ambiguous,
    /// The credentials have run out.
    Expired,
    /// The container's credentials cannot be used: they were withheld, or cannot be opened or read.
    Unusable,
    /// The credentials are not accepted, or nobody could be asked.
    ExchangeFailed,
    /// The login is no user name and password.
    NotExpressible,
    /// The worker cannot tell now; try again.
    Unavailable,
}

impl Code {
    /// Every code, for those who list them.
    pub const ALL: [Self; 9] = [
        Self::BadRequest,
        Self::NoAccess,
        Self::NotFound,
        Self::Ambiguous,
        Self::Expired,
        Self::Unusable,
        Self::ExchangeFailed,
        Self::NotExpressible,
        Self::Unavailable,
    ];

    /// As in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::NoAccess => "no_access",
            Self::NotFound => "not_found",
            Self::Ambiguous => "ambiguous",
            Self::Expired => "expired",
            Self::Unusable => "unusable",
            Self::ExchangeFailed => "exchange_failed",
            Self::NotExpressible => "not_expressible",
            Self::Unavailable => "unavailable",
        }
    }

    /// An error with this code and these words for people.
    pub fn because(self, message: impl Into<String>) -> Error {
        Error { code: self, message: message.into() }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
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
        for code in Code::ALL {
            assert_eq!(serde_json::to_string(&code).unwrap(), format!("\"{code}\""));
        }
    }
}
