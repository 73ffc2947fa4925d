//! Google's access tokens, and the key files that one is had for: the JSON text in `GOOGLE_APPLICATION_CREDENTIALS`.
//!
//! The text is a tenant's. It is never followed to a file of the node, to an address that is not Google's, or to a program.

use serde::Deserialize;
use serde_json::error::Category;
use waybill_schemas::{Timestamp, v1::CredType};

use super::keys::{Keys, Values, collect_values};
use super::{CredentialError, Credentials, Secret, federation::ExternalAccount, federation::STS, json, jwt, pem};
use crate::reference::RegistryHost;

/// User name with which Google's registries take an access token as the password
/// (Artifact Registry, "Configure authentication to Artifact Registry for Docker").
pub const GOOGLE_TOKEN_USER: &str = "oauth2accesstoken";

/// Where tokens are had.
const TOKEN_URI: &str = "https://oauth2.googleapis.com/token";
/// Earlier addresses of the same endpoint, as key files of their time have them.
const FORMER_TOKEN_URIS: [&str; 5] = [
    "https://accounts.google.com/o/oauth2/token",
    "https://www.googleapis.com/oauth2/v3/token",
    "https://www.googleapis.com/oauth2/v4/token",
    "https://oauth2.googleapis.com/token/",
    "https://oauth2.googleapis.com/",
];

const KEY_FILE: &str = "GOOGLE_APPLICATION_CREDENTIALS";
const SUBJECT_TOKEN: &str = "GOOGLE_SUBJECT_TOKEN";

/// Google credentials: a token that works as it is, or keys that one is had for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GoogleCredentials {
    /// An access token.
    AccessToken(Secret),
    /// A key file.
    Keys(GoogleKeys),
}

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

/// A service account and its private key. Its token is had at Google's one endpoint, which is also whom the signed assertion
/// is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceAccount {
    /// Its address, `client_email`.
    pub email: String,
    /// Which of its keys this is.
    pub key_id: Option<String>,
    /// The RSA key in PEM.
    pub private_key: Secret,
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

impl GoogleCredentials {
    pub(super) fn expires_at(&self) -> Option<Timestamp> {
        match self {
            Self::AccessToken(token) => jwt::expires_at(token),
            Self::Keys(GoogleKeys::External(account)) => jwt::expires_at(&account.subject_token),
            Self::Keys(_) => None,
        }
    }

    /// The service account's address. A user's login names nobody, and a federated identity changes with its token.
    pub(super) fn identity(&self) -> Option<String> {
        match self {
            Self::Keys(GoogleKeys::ServiceAccount(account)) => Some(account.email.clone()),
            Self::Keys(GoogleKeys::External(account)) => account.service_account.clone(),
            Self::Keys(GoogleKeys::User(_)) | Self::AccessToken(_) => None,
        }
    }

    pub(super) fn to_values(&self) -> Values {
        match self {
            Self::AccessToken(token) => collect_values([("GCP_ACCESS_TOKEN", Some(token.clone()))]),
            Self::Keys(keys) => {
                collect_values([(KEY_FILE, Some(keys.to_file())), (SUBJECT_TOKEN, keys.subject_token())])
            }
        }
    }
}

impl GoogleKeys {
    /// Reads a key file; `subject_token` is the token that an external account's file is about.
    ///
    /// # Errors
    /// [`CredentialError`] with the field that is missing or cannot be used; no value is repeated.
    pub fn parse(text: &Secret, subject_token: Option<&Secret>) -> Result<Self, CredentialError> {
        let file: KeyFile = serde_json::from_str(text.expose()).map_err(|error| unreadable_error(&error))?;
        let kind = file.kind.as_ref().map(Secret::expose);
        match kind.ok_or_else(|| missing_error("GOOGLE_APPLICATION_CREDENTIALS.type"))? {
            "service_account" => file.into_service_account().map(Self::ServiceAccount),
            "authorized_user" => file.into_user().map(Self::User),
            "external_account" => ExternalAccount::parse(text, subject_token).map(Self::External),
            _ => Err(CredentialError::UnsupportedValue {
                key: "GOOGLE_APPLICATION_CREDENTIALS.type",
                problem: "only files of type service_account, authorized_user or external_account are exchanged",
            }),
        }
    }

    /// Where the token is asked for, unless the operator names another endpoint.
    pub fn token_endpoint(&self) -> &'static str {
        match self {
            Self::External(_) => STS,
            Self::ServiceAccount(_) | Self::User(_) => TOKEN_URI,
        }
    }

    /// The key file again, with the fields that are used.
    fn to_file(&self) -> Secret {
        let text = |text: &str| Some(Secret::from(text));
        json::write_object(&match self {
            Self::ServiceAccount(account) => collect_values([
                ("type", text("service_account")),
                ("client_email", text(&account.email)),
                ("private_key_id", account.key_id.as_deref().map(Secret::from)),
                ("private_key", Some(account.private_key.clone())),
            ]),
            Self::User(user) => collect_values([
                ("type", text("authorized_user")),
                ("client_id", text(&user.client_id)),
                ("client_secret", Some(user.client_secret.clone())),
                ("refresh_token", Some(user.refresh_token.clone())),
            ]),
            Self::External(account) => account.file_values(),
        })
    }

    fn subject_token(&self) -> Option<Secret> {
        match self {
            Self::External(account) => Some(account.subject_token.clone()),
            Self::ServiceAccount(_) | Self::User(_) => None,
        }
    }
}

/// An access token goes before a key file, which is not read then.
pub(super) fn read_keys(keys: &Keys, _: &RegistryHost) -> Result<Credentials, CredentialError> {
    let subject_token = keys.first_value(&[SUBJECT_TOKEN]);
    let google = match (keys.first_value(&["GCP_ACCESS_TOKEN"]), keys.first_value(&[KEY_FILE])) {
        (Some(token), _) => GoogleCredentials::AccessToken(token.clone()),
        (None, Some(file)) => GoogleCredentials::Keys(GoogleKeys::parse(file, subject_token)?),
        (None, None) if subject_token.is_some() => return Err(missing_error(KEY_FILE)),
        (None, None) => return Err(missing_error("GCP_ACCESS_TOKEN")),
    };
    Ok(Credentials::Google(google))
}

/// The account in a key file that is used as a password, as it is or in Base64.
pub(super) fn account_in_key_file(password: &Secret) -> Option<String> {
    let decoded = pem::decode_base64(password.expose()).and_then(|bytes| String::from_utf8(bytes.to_vec()).ok());
    let text = decoded.map_or_else(|| password.clone(), Secret::new);
    let file: KeyFile = serde_json::from_str(text.expose()).ok()?;
    file.client_email.filter(|email| !email.is_empty()).map(|email| email.expose().to_owned())
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
    fn into_service_account(self) -> Result<ServiceAccount, CredentialError> {
        let email = require_text(self.client_email, "GOOGLE_APPLICATION_CREDENTIALS.client_email")?;
        let private_key = require_value(self.private_key, "GOOGLE_APPLICATION_CREDENTIALS.private_key")?;
        check_token_uri(self.token_uri.as_ref())?;
        Ok(ServiceAccount {
            email,
            key_id: self.private_key_id.filter(|id| !id.is_empty()).map(|id| id.expose().to_owned()),
            private_key: pem::normalize_rsa_key(&private_key).ok_or(NO_RSA_KEY)?,
        })
    }

    fn into_user(self) -> Result<GoogleUser, CredentialError> {
        Ok(GoogleUser {
            client_id: require_text(self.client_id, "GOOGLE_APPLICATION_CREDENTIALS.client_id")?,
            client_secret: require_value(self.client_secret, "GOOGLE_APPLICATION_CREDENTIALS.client_secret")?,
            refresh_token: require_value(self.refresh_token, "GOOGLE_APPLICATION_CREDENTIALS.refresh_token")?,
        })
    }
}

const NO_RSA_KEY: CredentialError = CredentialError::InvalidValue {
    key: "GOOGLE_APPLICATION_CREDENTIALS.private_key",
    expected: "an RSA key in PEM, as Google wrote it",
};

/// A key file may leave the endpoint out, or name an earlier one of Google's; a token is never asked of anybody else.
fn check_token_uri(uri: Option<&Secret>) -> Result<(), CredentialError> {
    let uri = uri.map(|uri| uri.expose().trim()).unwrap_or_default();
    match uri.is_empty() || uri == TOKEN_URI || FORMER_TOKEN_URIS.contains(&uri) {
        true => Ok(()),
        false => Err(CredentialError::InvalidValue {
            key: "GOOGLE_APPLICATION_CREDENTIALS.token_uri",
            expected: "https://oauth2.googleapis.com/token; another one is the operator's to set, as \
                       WAYBILL_GOOGLE_TOKEN_ENDPOINT",
        }),
    }
}

/// serde_json's own messages may repeat the text.
pub(super) fn unreadable_error(error: &serde_json::Error) -> CredentialError {
    let expected = match error.classify() {
        Category::Data => "a JSON object with each field once, as Google wrote the key file",
        Category::Syntax | Category::Eof | Category::Io => "the JSON text of a key file, not its path",
    };
    CredentialError::InvalidValue { key: KEY_FILE, expected }
}

fn require_value(value: Option<Secret>, key: &'static str) -> Result<Secret, CredentialError> {
    value.filter(|value| !value.is_empty()).ok_or_else(|| missing_error(key))
}

pub(super) fn require_text(value: Option<Secret>, key: &'static str) -> Result<String, CredentialError> {
    require_value(value, key).map(|value| value.expose().to_owned())
}

pub(super) fn missing_error(key: &'static str) -> CredentialError {
    CredentialError::Incomplete { cred_type: CredType::Gcp, missing: key, misspelt: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVICE: &str = r#"{"type":"service_account","project_id":"p","private_key_id":"k1",
        "private_key":"-----BEGIN PRIVATE KEY-----\nMIIhunter2hunter2AAA\n-----END PRIVATE KEY-----\n",
        "client_email":"a@p.example","client_id":"1","token_uri":"https://oauth2.googleapis.com/token","extra":[1]}"#;

    fn said(text: &str) -> String {
        let parsed = GoogleKeys::parse(&Secret::from(text), None);
        let shown = format!("{parsed:?}");
        assert!(!shown.contains("hunter2"), "{shown}");
        parsed.map_or_else(|error| error.to_string(), |keys| keys.token_endpoint().to_owned())
    }

    #[test]
    fn each_kind_of_key_file_is_read_or_refused_by_the_name_of_its_field() {
        let cases = [
            (SERVICE.to_owned(), "https://oauth2.googleapis.com/token"),
            (SERVICE.replace("token_uri", "uri"), "https://oauth2.googleapis.com/token"),
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
            ("{}".to_owned(), "add GOOGLE_APPLICATION_CREDENTIALS.type"),
            (r#"{"type":"hunter2"}"#.to_owned(), "GOOGLE_APPLICATION_CREDENTIALS.type is not supported"),
            (r#"{"type":"impersonated_service_account"}"#.to_owned(), ".type is not supported"),
            (SERVICE.replace("private_key\"", "private\""), "add GOOGLE_APPLICATION_CREDENTIALS.private_key"),
            (SERVICE.replace("BEGIN PRIVATE", "BEGIN EC PRIVATE"), "expected an RSA key in PEM"),
            (SERVICE.replace("a@p.example", ""), "add GOOGLE_APPLICATION_CREDENTIALS.client_email"),
            (r#"{"type":"authorized_user"}"#.to_owned(), "add GOOGLE_APPLICATION_CREDENTIALS.client_id"),
        ];
        for (text, expected) in cases {
            let said = said(&text);
            assert!(said.contains(expected) && !said.contains("hunter2"), "{text}: {said}");
        }
    }

    #[test]
    fn tokens_are_asked_of_google_under_every_name_that_it_had() {
        let with = |uri: &str| SERVICE.replace("https://oauth2.googleapis.com/token", uri);
        for uri in FORMER_TOKEN_URIS.iter().chain(&["", " https://oauth2.googleapis.com/token "]) {
            assert_eq!(said(&with(uri)), TOKEN_URI, "{uri}");
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
            assert!(said(&with(uri)).contains("token_uri is malformed; expected https://oauth2"), "{uri}");
        }
    }

    #[test]
    fn the_account_in_a_password_is_found() {
        let base64 = |text: &str| base64::Engine::encode(&base64::engine::general_purpose::STANDARD, text);
        let cases = [
            (SERVICE.to_owned(), Some("a@p.example")),
            (base64(SERVICE), Some("a@p.example")),
            ("hunter2".to_owned(), None),
            ("{}".to_owned(), None),
            (base64("{}"), None),
        ];
        for (password, expected) in cases {
            assert_eq!(account_in_key_file(&Secret::from(password.as_str())).as_deref(), expected, "{password}");
        }
    }
}
