//! Tokens that are not exchanged for anything by a cloud.

use waybill_schemas::v1::CredType;

use super::keys::{Keys, Values, collect_values};
use super::{CredentialError, Credentials, Secret};
use crate::reference::RegistryHost;

/// User name that goes with a GitHub token that came without one. GitHub's registry looks at the token only.
pub(super) const GITHUB_USER: &str = "x-access-token";
/// User name of NGC for API keys ("NGC Private Registry User Guide").
const NGC_USER: &str = "$oauthtoken";

/// A token for a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryToken {
    /// With a user name the token is the password that the registry's token service takes; without one it is sent to the
    /// registry as a bearer token.
    pub username: Option<String>,
    /// The token.
    pub token: Secret,
}

impl RegistryToken {
    pub(super) fn to_values(&self) -> Values {
        collect_values([("TOKEN", Some(self.token.clone())), ("USERNAME", self.username.as_deref().map(Secret::from))])
    }
}

pub(super) fn read_keys(keys: &Keys, _: &RegistryHost) -> Result<Credentials, CredentialError> {
    let token = keys.need_value(CredType::Token, "TOKEN", &["TOKEN", "REGISTRY_TOKEN"])?;
    let names = ["USERNAME", "REGISTRY_USERNAME"];
    let username = keys.has_any(&names).then(|| keys.need_user(CredType::Token, "USERNAME", &names)).transpose()?;
    Ok(Credentials::Token(RegistryToken { username, token }))
}

pub(super) fn read_github(keys: &Keys, _: &RegistryHost) -> Result<Credentials, CredentialError> {
    let token = keys.need_value(CredType::Token, "GITHUB_TOKEN", &["GITHUB_TOKEN"])?;
    let username = match keys.has_any(&["GITHUB_USERNAME"]) {
        true => keys.need_user(CredType::Token, "GITHUB_USERNAME", &["GITHUB_USERNAME"])?,
        false => GITHUB_USER.to_owned(),
    };
    Ok(Credentials::Token(RegistryToken { username: Some(username), token }))
}

pub(super) fn read_ngc(keys: &Keys, _: &RegistryHost) -> Result<Credentials, CredentialError> {
    let token = keys.need_value(CredType::Token, "NGC_API_KEY", &["NGC_API_KEY"])?;
    Ok(Credentials::Token(RegistryToken { username: Some(NGC_USER.to_owned()), token }))
}
