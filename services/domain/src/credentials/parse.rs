//! From what a client gave to typed credentials for one registry.

use std::collections::BTreeMap;

use waybill_schemas::v1::CredType;

use super::json::{self, Object};
use super::keys::Keys;
use super::{CredentialError, CredentialInput, Credentials, DockerConfig, DockerLogin, Secret, families};
use crate::reference::{ImageReference, ReferenceError, Registry, RegistryHost};

/// What credentials are for: all of a registry, or one repository of it.
#[derive(Debug, Clone, Copy)]
pub struct CredentialTarget<'t> {
    host: &'t RegistryHost,
    repository: Option<&'t str>,
}

impl<'t> From<&'t RegistryHost> for CredentialTarget<'t> {
    fn from(host: &'t RegistryHost) -> Self {
        Self { host, repository: None }
    }
}

impl<'t> From<&'t ImageReference> for CredentialTarget<'t> {
    fn from(image: &'t ImageReference) -> Self {
        Self { host: image.registry(), repository: Some(image.repository()) }
    }
}

/// Credentials as they were read from what a client gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed {
    /// The credentials.
    pub credentials: Credentials,
    /// Keys whose values came with line breaks, a byte order mark or, but for user names and passwords, blanks at an end.
    /// Those were dropped.
    pub trimmed: Vec<&'static str>,
}

impl Parsed {
    /// What was dropped, in words for people; none where nothing was.
    pub fn note(&self) -> Option<String> {
        let keys = self.trimmed.join(", ");
        (!keys.is_empty()).then(|| format!("dropped the blanks, line breaks or byte order mark at an end of {keys}"))
    }
}

impl Credentials {
    /// Finds out what kind of credentials `input` is, for an image or a whole registry.
    ///
    /// - Keys: the family of the host's own service decides, then a user name and password, then a token, then the keys of
    ///   others. A family that is there decides, also when a part of it is missing: a less preferred one is no substitute.
    ///   Keys of another service than the host's are a [`CredentialError::RegistryMismatch`].
    /// - Text that starts like JSON is the structured form; its `type`, if not `unknown`, narrows the families, and its
    ///   `registry` must be the host.
    /// - A Docker configuration file, as text or as an object: what it has for the target is held against the families as
    ///   keys. Entries for some repositories only count where the target is an image of theirs.
    /// - Any other text is `user:password`, split at the first colon.
    ///
    /// # Errors
    /// [`CredentialError::None`] and [`CredentialError::Empty`] where nothing was given; [`CredentialError::Public`] where
    /// the registry serves everyone and nothing was given, or the structured form says so;
    /// [`CredentialError::Unrecognized`] where the keys mean nothing; the others say what is wrong.
    pub fn parse<'t>(
        input: &CredentialInput,
        target: impl Into<CredentialTarget<'t>>,
    ) -> Result<Parsed, CredentialError> {
        let target @ CredentialTarget { host, .. } = target.into();
        match input {
            CredentialInput::Keys(keys) => from_keys(keys, None, host),
            CredentialInput::Docker(config) => from_docker(config.as_ref().map_err(Clone::clone)?, target),
            CredentialInput::Text(text) => {
                let text = text.expose().trim_matches(|c: char| c == '\u{feff}');
                match text {
                    _ if text.trim().is_empty() => nothing_given(host, CredentialError::None),
                    _ if starts_like_json(text) => match DockerConfig::of_text(text) {
                        Some(config) => from_docker(&config?, target),
                        None => from_json(text, host),
                    },
                    _ => from_login(text, host),
                }
            }
        }
    }
}

fn from_docker(config: &DockerConfig, target: CredentialTarget<'_>) -> Result<Parsed, CredentialError> {
    let CredentialTarget { host, repository } = target;
    match config.login(host, repository) {
        Ok(DockerLogin::Keys(keys)) => from_keys(&keys, None, host),
        // No program of another machine can run here: what the file holds beside it is the next best.
        Ok(DockerLogin::Helper(helper)) => match config.held_keys(host, repository)? {
            Some(keys) => from_keys(&keys, None, host),
            None => Err(helper.refusal(host)),
        },
        Err(CredentialError::None) => nothing_given(host, CredentialError::None),
        Err(error) => Err(error),
    }
}

/// An object, or one that was encoded twice, or a list: none of them is a user name.
fn starts_like_json(text: &str) -> bool {
    text.trim_start().starts_with(['{', '[', '"'])
}

fn from_login(text: &str, host: &RegistryHost) -> Result<Parsed, CredentialError> {
    let (username, password) = text.split_once(':').ok_or(CredentialError::InvalidForm)?;
    let values = [("USERNAME", username), ("PASSWORD", password)];
    let keys = values.map(|(key, value)| (key.to_owned(), Secret::from(value))).into();
    from_keys(&keys, Some(CredType::Basic), host)
}

fn from_json(text: &str, host: &RegistryHost) -> Result<Parsed, CredentialError> {
    let Object { registry, cred_type, credentials } = json::read_object(text).map_err(CredentialError::InvalidJson)?;
    let registry = registry.filter(|registry| !registry.expose().trim().is_empty());
    let registry = registry.ok_or(CredentialError::MissingField { field: "registry" })?;
    let claimed = claimed_host(registry.expose()).map_err(CredentialError::InvalidRegistry)?;
    if claimed != *host {
        return Err(CredentialError::RegistryMismatch { claimed: claimed.to_string(), image: host.to_string() });
    }
    match (claimed_type(cred_type)?, credentials) {
        (Some(CredType::Public), _) => Err(CredentialError::Public),
        (_, None) => Err(CredentialError::MissingField { field: "credentials" }),
        (claimed_type, Some(keys)) => from_keys(&keys.0, claimed_type, host),
    }
}

/// The host in `registry`, which clients write as a host or, as Docker's configuration does, as a URL.
fn claimed_host(text: &str) -> Result<RegistryHost, ReferenceError> {
    let text = text.trim();
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or(text);
    let host = host.strip_suffix('/').unwrap_or(host);
    let host = host.strip_suffix("/v1").or_else(|| host.strip_suffix("/v2")).unwrap_or(host);
    RegistryHost::parse(host)
}

/// The type to hold the keys against; none where it is to be found out.
fn claimed_type(text: Option<Secret>) -> Result<Option<CredType>, CredentialError> {
    let text = text.as_ref().map(|text| text.expose().trim()).unwrap_or_default();
    match read_type(&text.to_ascii_lowercase()) {
        Some(CredType::Unknown) => Ok(None),
        None if text.is_empty() => Ok(None),
        None => Err(CredentialError::UnknownType),
        known => Ok(known),
    }
}

/// The type that this is the word for.
pub(super) fn read_type(word: &str) -> Option<CredType> {
    CredType::ALL.iter().copied().find(|known| known.as_str() == word)
}

fn from_keys(
    given: &BTreeMap<String, Secret>,
    claimed_type: Option<CredType>,
    host: &RegistryHost,
) -> Result<Parsed, CredentialError> {
    let keys = Keys::sort_given(given)?;
    if keys.is_empty() {
        let empty = keys.empty_keys();
        let none = if empty.is_empty() { CredentialError::None } else { CredentialError::Empty { keys: empty } };
        return nothing_given(host, none);
    }
    if let Some(family) = families::find_deciding(&keys, claimed_type, host) {
        let trimmed = keys.trimmed().to_vec();
        return family.extract_credentials(&keys, host).map(|credentials| Parsed { credentials, trimmed });
    }
    if let Some(elsewhere) = families::find_elsewhere(&keys, host) {
        return Err(elsewhere.mismatch_error(host));
    }
    Err(claimed_type.map_or(CredentialError::Unrecognized, lacks_everything))
}

/// The structured form names a type of which it has no key at all.
fn lacks_everything(cred_type: CredType) -> CredentialError {
    let missing = match cred_type {
        CredType::Aws => "AWS_ACCESS_KEY_ID",
        CredType::Gcp => "GCP_ACCESS_TOKEN",
        CredType::Azure => "AZURE_CLIENT_ID",
        CredType::Token => "TOKEN",
        CredType::Basic | CredType::Public | CredType::Unknown => "USERNAME",
    };
    CredentialError::Incomplete { cred_type, missing, misspelt: false }
}

/// ECR Public gives its images to everyone.
fn nothing_given(host: &RegistryHost, otherwise: CredentialError) -> Result<Parsed, CredentialError> {
    Err(if host.kind() == Registry::EcrPublic { CredentialError::Public } else { otherwise })
}
