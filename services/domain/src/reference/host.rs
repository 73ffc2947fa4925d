//! A registry's host: the one thing credentials are bound to.

use core::fmt;
use core::net::Ipv6Addr;
use core::str::FromStr;

use waybill_schemas::SecretName;

use super::{ReferenceError, Registry};

const DOCKER_HUB: &str = "docker.io";
const DOCKER_HUB_ALIASES: [&str; 2] = ["index.docker.io", "registry-1.docker.io"];
const HOST_MAX: usize = 253;
const LABEL_MAX: usize = 63;

/// A registry's host with its port, if one was given, in canonical form.
///
/// Lower case, IPv6 addresses in their shortest form, ports without leading zeros, and the three
/// names of Docker Hub folded to `docker.io`; so two hosts are the same registry exactly when they
/// are equal. A port is part of the identity, the default one too: whether a host is spoken to by
/// HTTPS or by plain HTTP is decided elsewhere, and with it what its default port is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegistryHost(String);

impl RegistryHost {
    /// Docker Hub, the registry of references without a host.
    pub fn docker_hub() -> Self {
        RegistryHost(DOCKER_HUB.to_owned())
    }

    /// Parses `host[:port]` as it stands at the start of a reference.
    ///
    /// A single word is refused (unless `localhost`) as no reference could name it.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        let host = match text.strip_prefix('[') {
            Some(bracketed) => ipv6_host(bracketed)?,
            None => named_host(text)?,
        };
        match DOCKER_HUB_ALIASES.contains(&host.as_str()) {
            true => Ok(Self::docker_hub()),
            false => Ok(RegistryHost(host)),
        }
    }

    /// The canonical text, `host[:port]`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The host without its port; an IPv6 address keeps its brackets.
    pub fn hostname(&self) -> &str {
        split_port(&self.0).0
    }

    /// The port, when one was given.
    pub fn port(&self) -> Option<u16> {
        split_port(&self.0).1.and_then(|port| port.parse().ok())
    }

    /// Which registry service answers at this host.
    pub fn kind(&self) -> Registry {
        Registry::from_hostname(self.hostname())
    }
}

impl fmt::Display for RegistryHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for RegistryHost {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

/// The label by which people know the secret for a registry: `oci-registry-` and the host, in which
/// `.`, `:` and `/` are `-` and the brackets of an IPv6 address are dropped.
///
/// Two hosts may share a label (`a.b` and `a-b` do): a suffix keeps their secrets apart.
pub fn secret_name(host: &RegistryHost) -> SecretName {
    let host = host.as_str().replace(['.', ':', '/'], "-").replace(['[', ']'], "");
    SecretName::from_label(&format!("oci-registry-{host}"), LONGEST_NAME)
}

/// Longest default name, so that a suffix fits.
const LONGEST_NAME: usize = 110;

/// Splits canonical text at its port; the colons inside brackets are not ports.
fn split_port(canonical: &str) -> (&str, Option<&str>) {
    match canonical.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (canonical, None),
    }
}

fn named_host(text: &str) -> Result<String, ReferenceError> {
    let (name, port) = match text.split_once(':') {
        Some((name, port)) => (name, Some(port)),
        None => (text, None),
    };
    let name = name.to_ascii_lowercase();
    if name.len() > HOST_MAX || name.split('.').any(|label| label.len() > LABEL_MAX) {
        return Err(ReferenceError::HostTooLong);
    }
    if !name.split('.').all(is_label) {
        return Err(ReferenceError::InvalidHost);
    }
    match port {
        Some(port) => with_port(name, port),
        None if name.contains('.') || name == "localhost" => Ok(name),
        None => Err(ReferenceError::UnqualifiedHost),
    }
}

/// A domain component: letters, digits and inner dashes. Underscores are not in the grammar.
fn is_label(label: &str) -> bool {
    !label.is_empty()
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

/// `bracketed` is what follows the opening bracket.
fn ipv6_host(bracketed: &str) -> Result<String, ReferenceError> {
    let (address, rest) = bracketed.split_once(']').ok_or(ReferenceError::InvalidIpv6)?;
    if address.contains('.') {
        return Err(ReferenceError::InvalidIpv6);
    }
    let address: Ipv6Addr = address.parse().map_err(|_| ReferenceError::InvalidIpv6)?;
    let host = format!("[{}]", canonical_ipv6(address));
    match rest.strip_prefix(':') {
        Some(port) => with_port(host, port),
        None if rest.is_empty() => Ok(host),
        None => Err(ReferenceError::InvalidHost),
    }
}

/// The shortest form (RFC 5952), but without the dotted part std writes for IPv4-mapped addresses,
/// as the reference grammar has none.
fn canonical_ipv6(address: Ipv6Addr) -> String {
    match (address.to_ipv4_mapped(), address.segments()) {
        (Some(_), [.., high, low]) => format!("::ffff:{high:x}:{low:x}"),
        _ => address.to_string(),
    }
}

fn with_port(host: String, port: &str) -> Result<String, ReferenceError> {
    let digits = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    match port.parse::<u16>() {
        Ok(port) if digits && port > 0 => Ok(format!("{host}:{port}")),
        _ => Err(ReferenceError::InvalidPort),
    }
}
