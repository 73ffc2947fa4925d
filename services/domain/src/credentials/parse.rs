//! From what a client gave to typed credentials for one registry.

use core::fmt;
use std::collections::BTreeMap;

use waybill_schemas::{Timestamp, v1::CredType};

use super::family::{FAMILIES, Family, Values, expires_at};
use super::json::{self, Object};
use super::keys::Keys;
use super::{CredentialError, CredentialInput, DockerConfig, DockerLogin, Secret, jwt};
use crate::reference::{ImageReference, ReferenceError, Registry, RegistryHost};

/// Credentials of a known kind, complete as far as can be told without asking anyone.
#[derive(Clone, PartialEq, Eq)]
pub struct Parsed {
    /// Their kind.
    pub cred_type: CredType,
    /// The registry that the structured form named; it equals the image's.
    pub claimed: Option<RegistryHost>,
    /// Values under the names they are carried by: `USERNAME` and `PASSWORD`; `TOKEN` and perhaps `USERNAME`; `AWS_…`.
    pub values: BTreeMap<String, Secret>,
    /// When they stop working, where they say so: `AWS_CREDENTIAL_EXPIRATION`, or the `exp` of a JSON Web Token.
    pub expires_at: Option<Timestamp>,
}

/// Keys are not shown either: those of unknown credentials are whatever the client wrote.
impl fmt::Debug for Parsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parsed")
            .field("cred_type", &self.cred_type)
            .field("claimed", &self.claimed)
            .field("values", &format_args!("{} redacted", self.values.len()))
            .field("expires_at", &self.expires_at)
            .finish()
    }
}

/// Finds out what kind of credentials `input` is, for an image on `host`.
///
/// - Keys: the family of the host's own service decides, then a user name and password, then a token, then the other
///   clouds' keys. A family that is there decides, also when a part of it is missing: a less preferred one is no
///   substitute. Keys that name another service than the host's are a [`CredentialError::RegistryMismatch`].
/// - Text that starts like JSON is the structured form; its `type`, if not `unknown`, narrows the families, and its
///   `registry` must be `host`.
/// - A Docker configuration file, as text or as an object: what it has for the host is held against the families as keys.
/// - Any other text is `user:password`, split at the first colon and taken as it is.
///
/// # Errors
/// [`CredentialError::None`] where nothing was given, unless `host` serves everyone; the others say what is wrong.
pub fn parse(input: &CredentialInput, host: &RegistryHost) -> Result<Parsed, CredentialError> {
    read(input, host, None)
}

/// As [`parse`], also with those entries of a Docker configuration file that are for some repositories only.
///
/// # Errors
/// As [`parse`].
pub fn parse_for(input: &CredentialInput, image: &ImageReference) -> Result<Parsed, CredentialError> {
    read(input, image.registry(), Some(image.repository()))
}

fn read(input: &CredentialInput, host: &RegistryHost, repository: Option<&str>) -> Result<Parsed, CredentialError> {
    match input {
        CredentialInput::Keys(keys) => from_keys(keys, None, host),
        CredentialInput::Docker(config) => from_docker(config.as_ref().map_err(Clone::clone)?, host, repository),
        CredentialInput::Text(text) if text.expose().trim().is_empty() => nothing(host),
        CredentialInput::Text(text) if looks_like_json(text.expose()) => match DockerConfig::of_text(text.expose()) {
            Some(config) => from_docker(&config?, host, repository),
            None => from_json(text.expose(), host),
        },
        CredentialInput::Text(text) => from_login(text.expose()),
    }
}

fn from_docker(
    config: &DockerConfig,
    host: &RegistryHost,
    repository: Option<&str>,
) -> Result<Parsed, CredentialError> {
    match config.login(host, repository) {
        Ok(DockerLogin::Keys(keys)) => from_keys(&keys, None, host),
        // No program of another machine can run here: what the file holds beside it is the next best.
        Ok(DockerLogin::Helper(helper)) => match config.held(host, repository)? {
            Some(keys) => from_keys(&keys, None, host),
            None => Err(helper.refusal(host)),
        },
        Err(CredentialError::None) => nothing(host),
        Err(error) => Err(error),
    }
}

/// An object, or one that was encoded twice, or a list: none of them is a user name. A byte order mark hides nothing.
fn looks_like_json(text: &str) -> bool {
    text.trim_start_matches(|c: char| c.is_whitespace() || c == '\u{feff}').starts_with(['{', '[', '"'])
}

fn from_login(text: &str) -> Result<Parsed, CredentialError> {
    let (username, password) = text.split_once(':').ok_or(CredentialError::InvalidForm)?;
    let missing = |missing| Err(CredentialError::Incomplete { cred_type: CredType::Basic, missing });
    match (username, password) {
        ("", _) => missing("USERNAME"),
        (_, "") => missing("PASSWORD"),
        _ => {
            let values = [("USERNAME", username), ("PASSWORD", password)];
            found(CredType::Basic, values.map(|(key, value)| (key.to_owned(), Secret::from(value))).into())
        }
    }
}

fn from_json(text: &str, host: &RegistryHost) -> Result<Parsed, CredentialError> {
    let Object { registry, cred_type, credentials } = json::read(text).map_err(CredentialError::InvalidJson)?;
    let registry = registry.filter(|registry| !registry.expose().trim().is_empty());
    let registry = registry.ok_or(CredentialError::MissingField { field: "registry" })?;
    let claimed = claimed_host(registry.expose()).map_err(CredentialError::InvalidRegistry)?;
    if claimed != *host {
        return Err(mismatch(claimed.to_string(), host));
    }
    let mut parsed = match (claimed_type(cred_type)?, credentials) {
        (Some(CredType::Public), _) => found(CredType::Public, Values::new()),
        (_, None) => Err(CredentialError::MissingField { field: "credentials" }),
        (claimed_type, Some(keys)) => from_keys(&keys, claimed_type, host),
    }?;
    parsed.claimed = Some(claimed);
    Ok(parsed)
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
    let keys = Keys::of(given);
    if keys.is_empty() {
        return nothing(host);
    }
    let kind = host.kind();
    if let Some(family) = deciding_family(&keys, claimed_type, host) {
        return found(family.cred_type, family.extract(&keys, &kind)?);
    }
    if let Some(elsewhere) = FAMILIES.iter().find(|family| !family.serves(host, &keys) && is_given(family, &keys)) {
        return Err(mismatch(elsewhere.service.to_owned(), host));
    }
    match claimed_type {
        Some(claimed) => Err(lacks_everything(claimed)),
        None => found(CredType::Unknown, keys.into_all()),
    }
}

/// The host's own family before the others, and keys that tell before keys that only support.
fn deciding_family(keys: &Keys, claimed_type: Option<CredType>, host: &RegistryHost) -> Option<&'static Family> {
    let kind = &host.kind();
    let eligible =
        |family: &&Family| family.serves(host, keys) && claimed_type.is_none_or(|claimed| claimed == family.cred_type);
    let own = FAMILIES.iter().filter(|family| family.is_own_of(kind));
    let others = FAMILIES.iter().filter(|family| !family.is_own_of(kind));
    let mut ordered = own.chain(others).filter(eligible);
    let supported = ordered.clone().find(|family| keys.any(family.supporting));
    ordered.find(|family| keys.any(family.telling)).or(supported)
}

fn is_given(family: &Family, keys: &Keys) -> bool {
    keys.any(family.telling) || keys.any(family.supporting)
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
    CredentialError::Incomplete { cred_type, missing }
}

fn nothing(host: &RegistryHost) -> Result<Parsed, CredentialError> {
    match host.kind() {
        Registry::EcrPublic => found(CredType::Public, Values::new()),
        _ => Err(CredentialError::None),
    }
}

/// They stop working when the first of their parts does.
fn found(cred_type: CredType, values: Values) -> Result<Parsed, CredentialError> {
    let expiration = values.get("AWS_CREDENTIAL_EXPIRATION").filter(|_| cred_type == CredType::Aws);
    let tokens = values.values().filter(|_| cred_type != CredType::Unknown).filter_map(jwt::expires_at);
    let expires_at = tokens.chain(expiration.map(expires_at).transpose()?).min();
    Ok(Parsed { cred_type, claimed: None, values, expires_at })
}

fn mismatch(claimed: String, host: &RegistryHost) -> CredentialError {
    CredentialError::RegistryMismatch { claimed, image: host.to_string() }
}
