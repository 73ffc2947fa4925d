//! Google's key files: the JSON text that `GOOGLE_APPLICATION_CREDENTIALS` holds.
//!
//! The text is a tenant's. It is never followed to a file of the node, to an address that is not Google's, or to a program.

use serde::Deserialize;
use serde_json::error::Category;
use waybill_schemas::v1::CredType;

use super::{
    CredentialError, Secret, UnmarshalError,
    federation::{ExternalAccount, STS},
};

/// Hosts that issue Google's tokens. A key file names one of them, and no other is asked.
const TOKEN_HOSTS: [&str; 3] = ["oauth2.googleapis.com", "accounts.google.com", "sts.googleapis.com"];
/// Where tokens are had unless a key file says otherwise.
const TOKEN_URI: &str = "https://oauth2.googleapis.com/token";

const KEY_FILE: &str = "GOOGLE_APPLICATION_CREDENTIALS";

/// What a Google access token is had for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GoogleKeys {
    /// A key of type `service_account`.
    ServiceAccount(ServiceAccount),
    /// A login of type `authorized_user`, as `gcloud auth application-default login` writes it.
    User(GoogleUser),
    /// A file of type `external_account`, with the token that it is about.
    External(ExternalAccount),
}

/// A service account and its private key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceAccount {
    /// Its address, `client_email`.
    pub email: String,
    /// Which of its keys this is.
    pub key_id: Option<String>,
    /// The RSA key in PEM.
    pub private_key: Secret,
    /// Whom the signed assertion is for: the token endpoint, as the key file has it.
    pub token_uri: String,
}

/// A person's refresh token, and the client that it was given to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GoogleUser {
    /// The OAuth client. Not secret.
    pub client_id: String,
    /// Its secret.
    pub client_secret: Secret,
    /// The refresh token.
    pub refresh_token: Secret,
}

impl GoogleKeys {
    /// Reads a key file; `subject_token` is the token that an external account's file is about.
    ///
    /// # Errors
    /// [`UnmarshalError`] with the field that is missing or cannot be used; no value is repeated.
    pub fn parse(text: &Secret, subject_token: Option<&Secret>) -> Result<Self, UnmarshalError> {
        let file: KeyFile = serde_json::from_str(text.expose()).map_err(|error| unreadable(&error))?;
        let kind = file.kind.as_ref().map(Secret::expose);
        match kind.ok_or_else(|| missing("GOOGLE_APPLICATION_CREDENTIALS.type"))? {
            "service_account" => file.service_account().map(Self::ServiceAccount),
            "authorized_user" => file.user().map(Self::User),
            "external_account" => ExternalAccount::parse(text, subject_token).map(Self::External),
            _ => Err(UnmarshalError::UnsupportedValue {
                key: "GOOGLE_APPLICATION_CREDENTIALS.type",
                problem: "only files of type service_account, authorized_user or external_account are exchanged",
            }),
        }
    }

    /// Where the token is asked for: the operator's endpoint if there is one, else the key file's, which must be Google's.
    ///
    /// # Errors
    /// [`UnmarshalError::InvalidValue`] when the key file names another host.
    pub fn token_endpoint<'k>(&'k self, operators: Option<&'k str>) -> Result<&'k str, UnmarshalError> {
        match (operators, self) {
            (Some(endpoint), _) => Ok(endpoint),
            (None, Self::User(_)) => Ok(TOKEN_URI),
            (None, Self::ServiceAccount(account)) if is_google(&account.token_uri) => Ok(&account.token_uri),
            (None, Self::External(account)) if account.token_url == STS => Ok(STS),
            (None, Self::External(_)) => Err(UnmarshalError::InvalidValue {
                key: "GOOGLE_APPLICATION_CREDENTIALS.token_url",
                expected: "https://sts.googleapis.com/v1/token; another one is the operator's to set, as \
                           WAYBILL_GOOGLE_TOKEN_ENDPOINT",
            }),
            (None, Self::ServiceAccount(_)) => Err(UnmarshalError::InvalidValue {
                key: "GOOGLE_APPLICATION_CREDENTIALS.token_uri",
                expected: "an https address on oauth2.googleapis.com, accounts.google.com or sts.googleapis.com; \
                           another one is the operator's to set, as WAYBILL_GOOGLE_TOKEN_ENDPOINT",
            }),
        }
    }
}

/// Exactly `https://<host of Google>/<plain path>`: no port, no user, nothing that parsers of addresses disagree on.
fn is_google(uri: &str) -> bool {
    let parts = uri.strip_prefix("https://").and_then(|rest| rest.split_once('/'));
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'_' | b'-' | b'.');
    parts.is_some_and(|(host, path)| TOKEN_HOSTS.contains(&host) && path.bytes().all(plain))
}

/// The fields in use. Key files have more, which mean nothing here.
#[derive(Deserialize)]
struct KeyFile {
    #[serde(rename = "type")]
    kind: Option<Secret>,
    client_email: Option<Secret>,
    private_key_id: Option<Secret>,
    private_key: Option<Secret>,
    token_uri: Option<Secret>,
    client_id: Option<Secret>,
    client_secret: Option<Secret>,
    refresh_token: Option<Secret>,
}

impl KeyFile {
    fn service_account(self) -> Result<ServiceAccount, UnmarshalError> {
        Ok(ServiceAccount {
            email: open(self.client_email, "GOOGLE_APPLICATION_CREDENTIALS.client_email")?,
            key_id: self.private_key_id.map(|id| id.expose().to_owned()),
            private_key: given(self.private_key, "GOOGLE_APPLICATION_CREDENTIALS.private_key")?,
            token_uri: open(self.token_uri, "GOOGLE_APPLICATION_CREDENTIALS.token_uri")?,
        })
    }

    fn user(self) -> Result<GoogleUser, UnmarshalError> {
        Ok(GoogleUser {
            client_id: open(self.client_id, "GOOGLE_APPLICATION_CREDENTIALS.client_id")?,
            client_secret: given(self.client_secret, "GOOGLE_APPLICATION_CREDENTIALS.client_secret")?,
            refresh_token: given(self.refresh_token, "GOOGLE_APPLICATION_CREDENTIALS.refresh_token")?,
        })
    }
}

/// Whether a key file may be saved. Whom it asks for tokens is left to the worker, whose operator may have set an endpoint.
pub(super) fn check(text: &Secret, subject_token: Option<&Secret>) -> Result<GoogleKeys, CredentialError> {
    let refused = |error| match error {
        UnmarshalError::Incomplete { cred_type, missing } => CredentialError::Incomplete { cred_type, missing },
        UnmarshalError::UnsupportedValue { key, problem } => CredentialError::UnsupportedValue { key, problem },
        UnmarshalError::InvalidValue { key, expected } => CredentialError::InvalidValue { key, expected },
        _ => CredentialError::InvalidValue { key: KEY_FILE, expected: "the JSON text of a key file" },
    };
    GoogleKeys::parse(text, subject_token).map_err(refused)
}

/// serde_json's own messages may repeat the text.
pub(super) fn unreadable(error: &serde_json::Error) -> UnmarshalError {
    let expected = match error.classify() {
        Category::Data => "a JSON object with each field once, as Google wrote the key file",
        Category::Syntax | Category::Eof | Category::Io => "the JSON text of a key file, not its path",
    };
    UnmarshalError::InvalidValue { key: KEY_FILE, expected }
}

fn given(value: Option<Secret>, key: &'static str) -> Result<Secret, UnmarshalError> {
    value.filter(|value| !value.is_empty()).ok_or_else(|| missing(key))
}

pub(super) fn open(value: Option<Secret>, key: &'static str) -> Result<String, UnmarshalError> {
    given(value, key).map(|value| value.expose().to_owned())
}

pub(super) fn missing(key: &'static str) -> UnmarshalError {
    UnmarshalError::Incomplete { cred_type: CredType::Gcp, missing: key }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVICE: &str = r#"{"type":"service_account","project_id":"p","private_key_id":"k1","private_key":"hunter2",
        "client_email":"a@p.example","client_id":"1","token_uri":"https://oauth2.googleapis.com/token","extra":[1]}"#;

    fn said(text: &str) -> String {
        let parsed = GoogleKeys::parse(&Secret::from(text), None);
        let shown = format!("{parsed:?}");
        assert!(!shown.contains("hunter2"), "{shown}");
        let outcome = parsed.and_then(|keys| keys.token_endpoint(None).map(str::to_owned));
        outcome.unwrap_or_else(|error| error.to_string())
    }

    #[test]
    fn each_kind_of_key_file_is_read_or_refused_by_the_name_of_its_field() {
        let cases = [
            (SERVICE.to_owned(), "https://oauth2.googleapis.com/token"),
            (
                r#"{"type":"authorized_user","client_id":"c","client_secret":"hunter2","refresh_token":"hunter2",
                    "token_uri":"https://evil.example"}"#
                    .to_owned(),
                "https://oauth2.googleapis.com/token",
            ),
            ("/etc/key.json".to_owned(), "GOOGLE_APPLICATION_CREDENTIALS is malformed; expected the JSON text"),
            ("\"hunter2\"".to_owned(), "GOOGLE_APPLICATION_CREDENTIALS is malformed; expected a JSON object"),
            (r#"{"type":"service_account","private_key":["hunter2"]}"#.to_owned(), "expected a JSON object"),
            (r#"{"type":"hunter2","type":"hunter2"}"#.to_owned(), "expected a JSON object with each field once"),
            ("{}".to_owned(), "lack GOOGLE_APPLICATION_CREDENTIALS.type"),
            (r#"{"type":"hunter2"}"#.to_owned(), "GOOGLE_APPLICATION_CREDENTIALS.type is not supported"),
            (r#"{"type":"impersonated_service_account"}"#.to_owned(), ".type is not supported"),
            (SERVICE.replace("private_key\"", "private\""), "lack GOOGLE_APPLICATION_CREDENTIALS.private_key"),
            (SERVICE.replace("a@p.example", ""), "lack GOOGLE_APPLICATION_CREDENTIALS.client_email"),
            (SERVICE.replace("token_uri", "uri"), "lack GOOGLE_APPLICATION_CREDENTIALS.token_uri"),
            (r#"{"type":"authorized_user"}"#.to_owned(), "lack GOOGLE_APPLICATION_CREDENTIALS.client_id"),
        ];
        for (text, expected) in cases {
            let said = said(&text);
            assert!(said.contains(expected) && !said.contains("hunter2"), "{text}: {said}");
        }
    }

    #[test]
    fn tokens_are_asked_of_google_or_of_the_operator_s_endpoint() {
        let with = |uri: &str| SERVICE.replace("https://oauth2.googleapis.com/token", uri);
        for uri in [
            "https://accounts.google.com/o/oauth2/token",
            "https://sts.googleapis.com/v1/token",
            "https://oauth2.googleapis.com/",
        ] {
            assert_eq!(said(&with(uri)), uri);
        }
        for uri in [
            "http://oauth2.googleapis.com/token",
            "https://oauth2.googleapis.com",
            "https://oauth2.googleapis.com:443/token",
            "https://oauth2.googleapis.com.evil.example/token",
            "https://evil.example/oauth2.googleapis.com/",
            "https://oauth2.googleapis.com@evil.example/token",
            "https://u@oauth2.googleapis.com/token",
            "https://oauth2.googleapis.com\\\\@evil.example/token",
            "https://OAUTH2.googleapis.com/token",
            "https://169.254.169.254/token",
            "file:///etc/passwd",
            "https://oauth2.googleapis.com/token?a=b",
        ] {
            let text = with(uri);
            assert!(said(&text).contains("token_uri is malformed; expected an https address"), "{uri}");
            let keys = GoogleKeys::parse(&Secret::from(text.as_str()), None).unwrap();
            assert_eq!(keys.token_endpoint(Some("http://127.0.0.1:1")), Ok("http://127.0.0.1:1"), "{uri}");
        }
    }
}
