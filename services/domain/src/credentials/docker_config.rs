//! Docker's `config.json` and Podman's `auth.json`: which of their entries is for an image, and what it holds.
//!
//! Sources: the `docker login` reference, and containers-auth.json(5) of containers/image for keys with a path.

use core::fmt;
use std::collections::{BTreeMap, BTreeSet};

use super::docker_entry::{self, Place, Rank};
use super::node::Node;
use super::{CredentialError, Secret};
use crate::reference::RegistryHost;

/// Most registries in one file, and most characters of the hosts that an error names.
const MOST_ENTRIES: usize = 1024;
const MOST_TOLD: usize = 200;
/// Largest file, in bytes.
const MOST_BYTES: usize = 256 * 1024;

/// Settings in Docker's file that are not about logins (docker/cli, `configfile`). A file may have these alone.
const SETTINGS: [&str; 22] = [
    "HttpHeaders",
    "aliases",
    "cliPluginsExtraDirs",
    "configFormat",
    "currentContext",
    "detachKeys",
    "experimental",
    "features",
    "hooks",
    "imagesFormat",
    "networksFormat",
    "nodesFormat",
    "pluginsFormat",
    "plugins",
    "proxies",
    "psFormat",
    "pruneFilters",
    "secretFormat",
    "servicesFormat",
    "stackOrchestrator",
    "tasksFormat",
    "volumesFormat",
];

/// What a Docker configuration file says about registries; everything else in it is left out.
#[derive(Clone, Default, PartialEq, Eq)]
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
    /// Reads the text of a file that is said to be one. One that is empty, or has settings only, has no login.
    ///
    /// # Errors
    /// [`CredentialError::DockerConfig`] where it is not such a file; [`CredentialError::InvalidValue`] for a part of it.
    pub fn read(text: &str) -> Result<Self, CredentialError> {
        let text = text.trim_start_matches('\u{feff}');
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        match serde_json::from_str::<Node>(text) {
            Ok(Node::Null) => Ok(Self::default()),
            Ok(Node::Object(members)) if members.is_empty() || is_file(&members) => Self::of_members(text, members),
            _ => Err(CredentialError::DockerConfig),
        }
    }

    /// Reads a text that may be such a file; none for JSON of another shape, and for what is no JSON.
    pub(super) fn of_text(text: &str) -> Option<Result<Self, CredentialError>> {
        let Ok(Node::Object(members)) = serde_json::from_str::<Node>(text) else { return None };
        Self::is_one(&members).then(|| Self::of_members(text, members))
    }

    fn of_members(text: &str, members: BTreeMap<String, Node>) -> Result<Self, CredentialError> {
        match text.len() <= MOST_BYTES {
            true => Self::from_members(members),
            false => Err(CredentialError::InvalidValue { key: "auths", expected: "a file of at most 256 KiB" }),
        }
    }

    /// True if an object is such a file and cannot be environment-style keys, which have strings only.
    pub(super) fn is_one(members: &BTreeMap<String, Node>) -> bool {
        let object = |name: &str| members.get(name).is_some_and(|node| matches!(node, Node::Object(_) | Node::Null));
        let setting = |name: &&str| members.get(*name).is_some_and(|node| matches!(node, Node::Object(_)));
        object("auths")
            || object("credHelpers")
            || members.contains_key("credsStore")
            || SETTINGS.iter().any(setting)
            || is_legacy(members)
    }

    pub(super) fn from_members(mut members: BTreeMap<String, Node>) -> Result<Self, CredentialError> {
        if is_legacy(&members) {
            return Ok(Self { auths: read_objects(Some(Node::Object(members)), "auths")?, ..Self::default() });
        }
        let auths = read_objects(members.remove("auths"), "auths")?;
        let helpers = read_objects(members.remove("credHelpers"), "credHelpers")?;
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
        let helper = |name, field| DockerLogin::Helper(CredentialHelper { name, server: server_name(host), field });
        if let Some(name) = find_best(&self.helpers, host, None).and_then(Node::text) {
            return Ok(helper(helper_name(name, "credHelpers")?, "credHelpers"));
        }
        if let Some(keys) = self.held_keys(host, repository)? {
            return Ok(DockerLogin::Keys(keys));
        }
        if let Some(name) = self.store.clone() {
            return Ok(helper(name, "credsStore"));
        }
        match (find_best(&self.auths, host, repository), self.host_names()) {
            (None, held) if !held.is_empty() => {
                let image = repository.map_or_else(|| host.to_string(), |repository| format!("{host}/{repository}"));
                Err(CredentialError::NoEntry { held, image })
            }
            _ => Err(CredentialError::None),
        }
    }

    /// What the file itself has for an image, whatever programs it names.
    pub(super) fn held_keys(
        &self,
        host: &RegistryHost,
        repository: Option<&str>,
    ) -> Result<Option<BTreeMap<String, Secret>>, CredentialError> {
        let entry = find_best(&self.auths, host, repository).and_then(Node::members);
        Ok(entry.map(docker_entry::read_keys).transpose()?.filter(|keys| !keys.is_empty()))
    }

    /// The hosts it has entries for, as far as they are hosts.
    fn host_names(&self) -> String {
        let hosts: BTreeSet<String> =
            self.auths.keys().chain(self.helpers.keys()).filter_map(|key| Some(Place::from_key(key)?.name())).collect();
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
    /// What the program printed, `{"ServerURL", "Username", "Secret"}`, as keys; none where it printed nothing, or a login of
    /// nobody.
    ///
    /// # Errors
    /// [`CredentialError::InvalidValue`] where it is something else.
    pub fn answer(&self, printed: &str) -> Result<Option<BTreeMap<String, Secret>>, CredentialError> {
        let wrong =
            CredentialError::InvalidValue { key: self.field, expected: "a program that prints Username and Secret" };
        if printed.trim().is_empty() {
            return Ok(None);
        }
        let Ok(Node::Object(members)) = serde_json::from_str::<Node>(printed) else { return Err(wrong) };
        let member = |name: &str| members.get(name).and_then(Node::text);
        let is_text = |name: &str| matches!(members.get(name), None | Some(Node::Text(_) | Node::Null));
        match (member("Username"), member("Secret")) {
            (Some(username), Some(secret)) => Ok(Some(docker_entry::login_keys(username.clone(), secret.clone()))),
            (None, None) if is_text("Username") && is_text("Secret") => Ok(None),
            _ => Err(wrong),
        }
    }

    /// Why it cannot be asked where programs of another machine are no use.
    pub(super) fn refusal(&self, host: &RegistryHost) -> CredentialError {
        CredentialError::NeedsHelper { field: self.field, image: host.to_string() }
    }
}

fn read_objects(node: Option<Node>, key: &'static str) -> Result<BTreeMap<String, Node>, CredentialError> {
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
fn server_name(host: &RegistryHost) -> String {
    match *host == RegistryHost::docker_hub() {
        true => "https://index.docker.io/v1/".to_owned(),
        false => host.to_string(),
    }
}

/// The entry that fits best: one that holds something before one that does not; of equals the first in byte order.
fn find_best<'e>(
    entries: &'e BTreeMap<String, Node>,
    host: &RegistryHost,
    repository: Option<&str>,
) -> Option<&'e Node> {
    let filled = |node: &Node| node.text().is_some() || node.members().is_some_and(|members| !members.is_empty());
    let mut found: Option<((bool, Rank), &Node)> = None;
    for (key, node) in entries {
        let Some(rank) = Place::from_key(key).and_then(|place| place.rank(host, repository)) else { continue };
        let rank = (filled(node), rank);
        if found.is_none_or(|(best, _)| rank > best) {
            found = Some((rank, node));
        }
    }
    found.map(|(_, node)| node)
}

/// A file with nothing but what Docker and Podman write into one.
fn is_file(members: &BTreeMap<String, Node>) -> bool {
    let known = |name: &String| {
        matches!(name.as_str(), "auths" | "credHelpers" | "credsStore") || SETTINGS.contains(&name.as_str())
    };
    members.keys().any(known) || is_legacy(members)
}

/// `.dockercfg`, the file before `config.json`: the entries without anything around them.
fn is_legacy(members: &BTreeMap<String, Node>) -> bool {
    let entry = |(key, node): (&String, &Node)| {
        let has = |name: &str| node.members().is_some_and(|members| members.contains_key(name));
        Place::from_key(key).is_some() && ["auth", "username", "identitytoken", "registrytoken"].into_iter().any(has)
    };
    let shaped = members.values().all(|node| matches!(node, Node::Object(_) | Node::Null));
    shaped && members.iter().any(entry)
}
