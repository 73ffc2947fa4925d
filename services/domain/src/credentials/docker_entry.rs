//! One entry of a Docker configuration: which images its key is for, and the login that it holds.
//!
//! Sources: containers-auth.json(5) for keys with a path, the kubelet's "Configuration of `config.json`" for wildcards.

use std::collections::BTreeMap;

use wildmatch::WildMatch;

use super::node::Node;
use super::{CredentialError, IDENTITY_TOKEN_USER, Secret, pem};
use crate::reference::RegistryHost;

/// What a key of the file names.
pub(super) struct Place<'k> {
    host: HostPattern<'k>,
    /// Repositories it is for: this one and those below it; all where it is empty.
    path: &'k str,
    /// Written as an address, or with an API's version: an exact host goes before it.
    as_address: bool,
}

enum HostPattern<'k> {
    Exact(RegistryHost),
    /// Labels and port as they are written, some of the labels with `*` or `?`.
    Wildcard(&'k str),
}

/// How well a place fits: an exact host goes before a wildcard, then the longest path, then a bare host before an address,
/// then the wildcard with the most letters.
pub(super) type Rank = (bool, usize, bool, usize);

impl<'k> Place<'k> {
    /// A host or a wildcard, either with a path, or an address such as `https://index.docker.io/v1/`.
    pub(super) fn from_key(key: &'k str) -> Option<Self> {
        let key = key.trim();
        let bare = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://"));
        let (host, path) = bare.unwrap_or(key).split_once('/').unwrap_or((bare.unwrap_or(key), ""));
        let path = path.trim_end_matches('/');
        let version = matches!(path, "v1" | "v2");
        let pattern = match host.contains(['*', '?']) {
            true => HostPattern::Wildcard(Some(host).filter(|host| is_pattern(host))?),
            false => HostPattern::Exact(RegistryHost::parse(host).ok()?),
        };
        Some(Self { host: pattern, path: if version { "" } else { path }, as_address: bare.is_some() || version })
    }

    /// Rank for an image, or for a registry as a whole; none where it is not for it.
    pub(super) fn rank(&self, host: &RegistryHost, repository: Option<&str>) -> Option<Rank> {
        let letters = match &self.host {
            HostPattern::Exact(own) => (own == host).then_some(0)?,
            HostPattern::Wildcard(pattern) => {
                host_names(host).any(|name| matches_labels(pattern, name)).then_some(pattern.len())?
            }
        };
        let path = [Some(self.path), self.below_version()].into_iter().flatten();
        let path = path.filter(|path| holds_repository(path, repository)).map(str::len).max()?;
        Some((matches!(self.host, HostPattern::Exact(_)), path, !self.as_address, letters))
    }

    /// The path in an address of an API. The kubelet takes the version away wherever it stands; a bare key may well mean a
    /// repository of that name.
    fn below_version(&self) -> Option<&'k str> {
        self.path.strip_prefix("v1/").or_else(|| self.path.strip_prefix("v2/"))
    }

    /// The host or wildcard, which may be told.
    pub(super) fn name(&self) -> String {
        match &self.host {
            HostPattern::Exact(host) => host.to_string(),
            HostPattern::Wildcard(pattern) => (*pattern).to_owned(),
        }
    }
}

fn holds_repository(path: &str, repository: Option<&str>) -> bool {
    let below = |rest: &str| rest.is_empty() || rest.starts_with('/');
    path.is_empty() || repository.is_some_and(|repository| repository.strip_prefix(path).is_some_and(below))
}

/// The names under which a host is looked for: Docker Hub has three.
fn host_names(host: &RegistryHost) -> impl Iterator<Item = &str> {
    let aliases: &[&str] = match *host == RegistryHost::docker_hub() {
        true => &["index.docker.io", "registry-1.docker.io"],
        false => &[],
    };
    core::iter::once(host.as_str()).chain(aliases.iter().copied())
}

/// Two labels or more, of letters, digits, `-`, `*` and `?`, perhaps with a port.
fn is_pattern(text: &str) -> bool {
    let (labels, port) = text.split_once(':').unwrap_or((text, "0"));
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'*' | b'?');
    let label = |label: &str| !label.is_empty() && label.bytes().all(legal);
    text.len() <= 253
        && labels.contains('.')
        && labels.split('.').all(label)
        && !port.is_empty()
        && port.bytes().all(|b| b.is_ascii_digit())
}

/// As the kubelet matches: as many labels, one by one, and the same port.
fn matches_labels(pattern: &str, host: &str) -> bool {
    let (pattern, own_port) = pattern.split_once(':').unwrap_or((pattern, ""));
    let (host, port) = host.split_once(':').unwrap_or((host, ""));
    let pairs = || pattern.split('.').zip(host.split('.'));
    own_port == port
        && pattern.split('.').count() == host.split('.').count()
        && pairs().all(|(pattern, label)| WildMatch::new_case_insensitive(pattern).matches(label))
}

/// The credentials of an entry, as environment-style keys; empty where it holds none. Docker looks in this order.
pub(super) fn read_keys(entry: &BTreeMap<String, Node>) -> Result<BTreeMap<String, Secret>, CredentialError> {
    let member = |name: &str| {
        let found = entry.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.and_then(|(_, node)| node.text()).filter(|text| !text.expose().trim().is_empty()).cloned()
    };
    if let Some(token) = member("registrytoken") {
        return Ok([("TOKEN".to_owned(), token)].into());
    }
    if let Some(token) = member("identitytoken") {
        return Ok(login_keys(Secret::from(IDENTITY_TOKEN_USER), token));
    }
    if let Some(auth) = member("auth") {
        let (username, password) = decode_auth(&auth)?;
        return Ok(login_keys(username, password));
    }
    let parts = [("USERNAME", member("username")), ("PASSWORD", member("password"))];
    Ok(parts.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect())
}

/// A user name and what goes with it.
pub(super) fn login_keys(username: Secret, secret: Secret) -> BTreeMap<String, Secret> {
    let kind = if username.expose() == IDENTITY_TOKEN_USER { "TOKEN" } else { "PASSWORD" };
    [("USERNAME", username), (kind, secret)].map(|(key, value)| (key.to_owned(), value)).into()
}

/// `user:password` in Base64, of either alphabet, padded or not, wrapped or not.
fn decode_auth(auth: &Secret) -> Result<(Secret, Secret), CredentialError> {
    let malformed = || CredentialError::InvalidValue { key: "auth", expected: "user:password in Base64" };
    let bytes = pem::decode_base64(auth.expose()).ok_or_else(malformed)?;
    let text = core::str::from_utf8(&bytes).map_err(|_| malformed())?;
    let (username, password) = text.split_once(':').ok_or_else(malformed)?;
    Ok((Secret::from(username), Secret::from(password)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_match_as_the_kubelet_does() {
        let cases = [
            ("*.example.com", "registry.example.com", true),
            ("*.example.com", "a.registry.example.com", false),
            ("*.example.com", "example.com", false),
            ("*.example.com", "registry.example.com:5000", false),
            ("*.example.com:5000", "registry.example.com:5000", true),
            ("*.*.example.com", "a.b.example.com", true),
            ("reg*.example.com", "registry.example.com", true),
            ("reg*y.example.com", "registry.example.com", true),
            ("reg?.example.com", "reg1.example.com", true),
            ("reg?.example.com", "reg.example.com", false),
            ("*.Example.COM", "registry.example.com", true),
            ("registry.*.com", "registry.example.com", true),
            ("*.com", "registry.example.com", false),
            ("*.docker.io", "docker.io", true),
            ("*.dkr.ecr.*.amazonaws.com", "123456789012.dkr.ecr.eu-west-1.amazonaws.com", true),
            ("https://*.example.com/v2/", "registry.example.com", true),
            ("*", "registry.example.com", false),
            ("*.[a-z].com", "registry.e.com", false),
            ("*.example.com@evil.com", "registry.example.com", false),
            // Text from strangers: no key may take longer than its length and the host's allow.
            ("re**************************************xa.example.com", "registry.example.com", false),
            (
                "*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*b.io",
                "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.io",
                false,
            ),
        ];
        for (pattern, host, expected) in cases {
            let host = RegistryHost::parse(host).unwrap();
            let found = Place::from_key(pattern).is_some_and(|place| place.rank(&host, None).is_some());
            assert_eq!(found, expected, "{pattern} {host}");
        }
    }
}
