//! Docker's `config.json` and Podman's `auth.json`: which of their entries is for an image, and what it holds.
//!
//! Sources: the `docker login` reference, and containers-auth.json(5) of containers/image for keys with a path.

use core::fmt;
use std::collections::{BTreeMap, BTreeSet};

use base64::{
    Engine as _,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use zeroize::Zeroizing;

use super::node::Node;
use super::{CredentialError, Secret};
use crate::reference::RegistryHost;

/// Most registries in one file, and most characters of the hosts that an error names.
const MOST_ENTRIES: usize = 1024;
const MOST_TOLD: usize = 200;
/// Largest file, in bytes.
const MOST_BYTES: usize = 256 * 1024;

/// User name that stands for "the secret is an identity token", as credential helpers write it.
const IDENTITY_TOKEN: &str = "<token>";

/// What a Docker configuration file says about registries; everything else in it is left out.
#[derive(Clone, PartialEq, Eq)]
pub struct DockerConfig {
    auths: BTreeMap<String, Node>,
    helpers: BTreeMap<String, Node>,
    store: Option<String>,
}

/// Where the credentials of an image are.
#[derive(Debug, PartialEq, Eq)]
pub enum DockerLogin {
    /// In the file: environment-style keys.
    Keys(BTreeMap<String, Secret>),
    /// In a program.
    Helper(CredentialHelper),
}

/// A program that has credentials: `docker-credential-<name> get`, the server on its standard input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialHelper {
    /// End of the program's name: letters, digits, `.`, `_` and `-` only.
    pub name: String,
    /// The server to ask for, as Docker writes it.
    pub server: String,
    /// Field of the file that names the program.
    pub field: &'static str,
}

/// Hosts are no secret, but a file may have anything where they should be.
impl fmt::Debug for DockerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DockerConfig({} redacted)", self.auths.len())
    }
}

impl DockerConfig {
    /// Reads a file's text.
    ///
    /// # Errors
    /// [`CredentialError::DockerConfig`] where it is not such a file; [`CredentialError::InvalidValue`] for a part of it.
    pub fn read(text: &str) -> Result<Self, CredentialError> {
        Self::of_text(text).unwrap_or(Err(CredentialError::DockerConfig))
    }

    /// Likewise; none for JSON of another shape, and for what is no JSON.
    pub(super) fn of_text(text: &str) -> Option<Result<Self, CredentialError>> {
        let Ok(Node::Object(members)) = serde_json::from_str::<Node>(text) else { return None };
        let small = text.len() <= MOST_BYTES;
        let too_large = CredentialError::InvalidValue { key: "auths", expected: "a file of at most 256 KiB" };
        Self::is_one(&members).then(|| if small { Self::of(members) } else { Err(too_large) })
    }

    /// Whether an object is such a file. Environment-style keys have strings only.
    pub(super) fn is_one(members: &BTreeMap<String, Node>) -> bool {
        let object = |name: &str| members.get(name).is_some_and(|node| node.members().is_some());
        object("auths") || object("credHelpers") || members.contains_key("credsStore")
    }

    pub(super) fn of(mut members: BTreeMap<String, Node>) -> Result<Self, CredentialError> {
        let auths = objects(members.remove("auths"), "auths")?;
        let helpers = objects(members.remove("credHelpers"), "credHelpers")?;
        let store = members.remove("credsStore");
        let store = store.as_ref().and_then(Node::text).map(|name| helper_name(name, "credsStore")).transpose()?;
        Ok(Self { auths, helpers, store })
    }

    /// How many registries it has entries for.
    pub fn count(&self) -> usize {
        self.auths.len()
    }

    /// What there is for an image, as docker and podman look for it: a program for its registry, then the entry with the
    /// longest path that holds its repository, then the program for all registries. Only the image's own host counts.
    ///
    /// # Errors
    /// [`CredentialError::None`] where the file has nothing at all; [`CredentialError::NoEntry`] with the hosts it
    /// has; the others say which value is malformed.
    pub fn login(&self, host: &RegistryHost, repository: Option<&str>) -> Result<DockerLogin, CredentialError> {
        let helper = |name, field| DockerLogin::Helper(CredentialHelper { name, server: server(host), field });
        if let Some(name) = best(&self.helpers, host, None).and_then(Node::text) {
            return Ok(helper(helper_name(name, "credHelpers")?, "credHelpers"));
        }
        if let Some(keys) = self.held(host, repository)? {
            return Ok(DockerLogin::Keys(keys));
        }
        if let Some(name) = self.store.clone() {
            return Ok(helper(name, "credsStore"));
        }
        match (best(&self.auths, host, repository), self.hosts()) {
            (None, held) if !held.is_empty() => {
                let image = repository.map_or_else(|| host.to_string(), |repository| format!("{host}/{repository}"));
                Err(CredentialError::NoEntry { held, image })
            }
            _ => Err(CredentialError::None),
        }
    }

    /// What the file itself has for an image, whatever programs it names.
    pub(super) fn held(
        &self,
        host: &RegistryHost,
        repository: Option<&str>,
    ) -> Result<Option<BTreeMap<String, Secret>>, CredentialError> {
        let entry = best(&self.auths, host, repository).and_then(Node::members);
        Ok(entry.map(keys).transpose()?.filter(|keys| !keys.is_empty()))
    }

    /// The hosts it has entries for, as far as they are hosts.
    fn hosts(&self) -> String {
        let hosts: BTreeSet<String> = self
            .auths
            .keys()
            .chain(self.helpers.keys())
            .filter_map(|key| Some(Place::of(key)?.host.to_string()))
            .collect();
        let mut told = String::new();
        for host in &hosts {
            if told.len().saturating_add(host.len()) > MOST_TOLD {
                return format!("{told} and others");
            }
            told.push_str(if told.is_empty() { "" } else { ", " });
            told.push_str(host);
        }
        told
    }
}

impl CredentialHelper {
    /// What the program printed, `{"ServerURL", "Username", "Secret"}`, as keys.
    ///
    /// # Errors
    /// [`CredentialError::InvalidValue`] where it is something else.
    pub fn answer(&self, printed: &str) -> Result<BTreeMap<String, Secret>, CredentialError> {
        let wrong =
            CredentialError::InvalidValue { key: self.field, expected: "a program that prints Username and Secret" };
        let Ok(Node::Object(members)) = serde_json::from_str::<Node>(printed) else { return Err(wrong) };
        let member = |name: &str| members.get(name).and_then(Node::text);
        match (member("Username"), member("Secret")) {
            (Some(username), Some(secret)) => Ok(login(username.clone(), secret.clone())),
            _ => Err(wrong),
        }
    }

    /// Why it cannot be asked where programs of another machine are no use.
    pub(super) fn refusal(&self, host: &RegistryHost) -> CredentialError {
        CredentialError::NeedsHelper { field: self.field, image: host.to_string() }
    }
}

fn objects(node: Option<Node>, key: &'static str) -> Result<BTreeMap<String, Node>, CredentialError> {
    match node {
        None | Some(Node::Null) => Ok(BTreeMap::new()),
        Some(Node::Object(members)) if members.len() <= MOST_ENTRIES => Ok(members),
        Some(_) => Err(CredentialError::InvalidValue { key, expected: "an object of at most 1024 registries" }),
    }
}

/// The name ends up in the path of a program.
fn helper_name(name: &Secret, key: &'static str) -> Result<String, CredentialError> {
    let name = name.expose();
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    match name.len() <= 64 && name.bytes().all(legal) {
        true => Ok(name.to_owned()),
        false => Err(CredentialError::InvalidValue { key, expected: "a name of letters, digits, '.', '_' and '-'" }),
    }
}

/// The server as Docker asks helpers for it; Docker Hub has the address of its first API for a name.
fn server(host: &RegistryHost) -> String {
    match *host == RegistryHost::docker_hub() {
        true => "https://index.docker.io/v1/".to_owned(),
        false => host.to_string(),
    }
}

/// What a key of the file names.
struct Place<'k> {
    host: RegistryHost,
    /// Repositories it is for: this one and those below it; all where it is empty.
    path: &'k str,
    /// Whether it is written as an address, or with an API's version: an exact host goes before it.
    as_address: bool,
}

impl<'k> Place<'k> {
    /// A host, a host and a path, or an address such as `https://index.docker.io/v1/`.
    fn of(key: &'k str) -> Option<Self> {
        let key = key.trim();
        let bare = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://"));
        let (host, path) = bare.unwrap_or(key).split_once('/').unwrap_or((bare.unwrap_or(key), ""));
        let path = path.trim_end_matches('/');
        let version = matches!(path, "v1" | "v2");
        let host = RegistryHost::parse(host).ok()?;
        Some(Self { host, path: if version { "" } else { path }, as_address: bare.is_some() || version })
    }

    /// How well it fits: by the length of its path, then by how it is written.
    fn rank(&self, host: &RegistryHost, repository: Option<&str>) -> Option<(usize, bool)> {
        let below = |rest: &str| rest.is_empty() || rest.starts_with('/');
        let fits = self.path.is_empty()
            || repository.is_some_and(|repository| repository.strip_prefix(self.path).is_some_and(below));
        (self.host == *host && fits).then_some((self.path.len(), !self.as_address))
    }
}

/// The entry that fits best; of equals one that holds something, then the first in byte order.
fn best<'e>(entries: &'e BTreeMap<String, Node>, host: &RegistryHost, repository: Option<&str>) -> Option<&'e Node> {
    let filled = |node: &Node| node.text().is_some() || node.members().is_some_and(|members| !members.is_empty());
    let mut found: Option<((usize, bool, bool), &Node)> = None;
    for (key, node) in entries {
        let Some((path, exact)) = Place::of(key).and_then(|place| place.rank(host, repository)) else { continue };
        let rank = (path, filled(node), exact);
        if found.is_none_or(|(best, _)| rank > best) {
            found = Some((rank, node));
        }
    }
    found.map(|(_, node)| node)
}

/// The credentials of one entry, as environment-style keys; empty where it holds none.
fn keys(entry: &BTreeMap<String, Node>) -> Result<BTreeMap<String, Secret>, CredentialError> {
    let member = |name: &str| entry.get(name).and_then(Node::text).cloned();
    if let Some(token) = member("identitytoken") {
        return Ok(login(Secret::from(IDENTITY_TOKEN), token));
    }
    if let Some(auth) = member("auth") {
        let (username, password) = decode(&auth)?;
        return Ok(login(username, password));
    }
    let parts = [("USERNAME", member("username")), ("PASSWORD", member("password"))];
    Ok(parts.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect())
}

fn login(username: Secret, secret: Secret) -> BTreeMap<String, Secret> {
    let kind = if username.expose() == IDENTITY_TOKEN { "TOKEN" } else { "PASSWORD" };
    [("USERNAME", username), (kind, secret)].map(|(key, value)| (key.to_owned(), value)).into()
}

/// `user:password` in Base64, padded or not. Docker pads the password itself with zero bytes at times.
fn decode(auth: &Secret) -> Result<(Secret, Secret), CredentialError> {
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let malformed = || CredentialError::InvalidValue { key: "auth", expected: "user:password in Base64" };
    let bytes = GeneralPurpose::new(&STANDARD, config).decode(auth.expose().trim()).map_err(|_| malformed())?;
    let bytes = Zeroizing::new(bytes);
    let text = core::str::from_utf8(&bytes).map_err(|_| malformed())?;
    let (username, password) = text.split_once(':').ok_or_else(malformed)?;
    Ok((Secret::from(username), Secret::from(password.trim_matches('\0'))))
}
