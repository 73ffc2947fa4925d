//! Registry credentials: of which kind they are, whether they are complete, and the form in which they travel.
//!
//! [`Credentials`] is the one type from the gateway's input to the worker's provider: [`Credentials::parse`] reads what a
//! client gave, [`Credentials::to_json`] writes what is sealed for the journey, [`Credentials::from_json`] reads that where
//! it is used. A value leaves this module through [`Secret::expose`] only; no `Debug` form and no error holds one.

mod aws;
mod azure;
mod basic;
mod docker_config;
mod docker_entry;
mod error;
mod families;
mod federation;
mod file;
mod google;
mod input;
mod json;
mod jwt;
mod keys;
mod node;
mod parse;
mod pem;
mod secret;
mod token;

use core::fmt;

use waybill_schemas::{Timestamp, v1::CredType};

pub use aws::{AwsKeys, AwsRole};
pub use azure::AzureKeys;
pub use basic::BasicLogin;
pub use docker_config::{CredentialHelper, DockerConfig, DockerLogin};
pub use error::CredentialError;
pub use federation::ExternalAccount;
pub use file::read_text;
pub use google::{GOOGLE_TOKEN_USER, GoogleCredentials, GoogleKeys, GoogleUser, ServiceAccount};
pub use input::CredentialInput;
pub use json::{JsonError, JsonProblem};
pub use jwt::expires_at as jwt_expires_at;
pub use parse::{CredentialTarget, Parsed};
pub use secret::Secret;
pub use token::RegistryToken;

use crate::reference::RegistryHost;

/// User name that stands for "the secret is an identity token", as Docker's tools write it.
pub const IDENTITY_TOKEN_USER: &str = "<token>";

/// Credentials of a known kind, complete as far as can be told without asking anyone.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// A user name and a password.
    Basic(BasicLogin),
    /// A token, with the user name that it goes with or without one.
    Token(RegistryToken),
    /// Keys of AWS.
    Aws(AwsKeys),
    /// An access token of Google, or what one is had for.
    Google(GoogleCredentials),
    /// A service principal of Azure.
    Azure(AzureKeys),
}

/// Only the kind is shown: a client may have put a password in a user name's place.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({} redacted)", self.cred_type())
    }
}

impl Credentials {
    /// The kind, as events name it.
    pub fn cred_type(&self) -> CredType {
        match self {
            Self::Basic(_) => CredType::Basic,
            Self::Token(_) => CredType::Token,
            Self::Aws(_) => CredType::Aws,
            Self::Google(_) => CredType::Gcp,
            Self::Azure(_) => CredType::Azure,
        }
    }

    /// When they stop working, where they say so: the earliest `exp` of a JSON Web Token in them, or the expiry that was
    /// given with AWS keys.
    pub fn expires_at(&self) -> Option<Timestamp> {
        match self {
            Self::Basic(login) => jwt::expires_at(&login.password),
            Self::Token(token) => jwt::expires_at(&token.token),
            Self::Aws(keys) => keys.expires_at(),
            Self::Google(google) => google.expires_at(),
            Self::Azure(_) => None,
        }
    }

    /// Name of the account, which tells accounts on one registry apart and stays the same when a password or a key is
    /// replaced. None where the account has no lasting name in them: temporary keys, bare tokens, and user names that are
    /// the same for everybody. No part of a secret is in it.
    pub fn identity(&self) -> Option<String> {
        match self {
            Self::Basic(login) => login.identity(),
            Self::Token(token) => token.username.as_deref().and_then(basic::identity_of_user),
            Self::Aws(keys) => keys.identity(),
            Self::Google(google) => google.identity(),
            Self::Azure(keys) => Some(format!("{}/{}", keys.tenant, keys.client_id)),
        }
    }

    /// The text that is sealed: `{"registry", "type", "credentials"}`. The same credentials give the same text.
    pub fn to_json(&self, registry: &RegistryHost) -> Secret {
        let values = match self {
            Self::Basic(login) => login.to_values(),
            Self::Token(token) => token.to_values(),
            Self::Aws(keys) => keys.to_values(),
            Self::Google(google) => google.to_values(),
            Self::Azure(keys) => keys.to_values(),
        };
        json::write_credentials(registry.as_str(), self.cred_type().as_str(), &values)
    }

    /// Reads what [`to_json`](Self::to_json) wrote, with the only host that the credentials may be offered to.
    ///
    /// # Errors
    /// [`CredentialError`], in which nothing of the text is repeated. Keys of a cloud that are bound to a host of
    /// somebody else are a [`CredentialError::RegistryMismatch`].
    pub fn from_json(text: &Secret) -> Result<(RegistryHost, Self), CredentialError> {
        let json::Object { registry, cred_type, credentials } =
            json::read_object(text.expose()).map_err(CredentialError::InvalidJson)?;
        let missing = |field| CredentialError::MissingField { field };
        let registry = registry.ok_or(missing("registry"))?;
        let host = RegistryHost::parse(registry.expose()).map_err(CredentialError::InvalidRegistry)?;
        if host.as_str() != registry.expose() {
            return Err(CredentialError::NotCanonical);
        }
        let cred_type = cred_type.ok_or(missing("type"))?;
        let cred_type = parse::read_type(cred_type.expose()).ok_or(CredentialError::UnknownType)?;
        let keys = keys::Keys::sort_given(&credentials.ok_or(missing("credentials"))?.0)?;
        let family = match cred_type {
            CredType::Public => return Err(CredentialError::Public),
            known => families::find_plain(known).ok_or(CredentialError::Unrecognized)?,
        };
        if !family.serves(&host, &keys) {
            return Err(family.mismatch_error(&host));
        }
        family.extract_credentials(&keys, &host).map(|credentials| (host, credentials))
    }
}
