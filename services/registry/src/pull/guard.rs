//! The places that a registry names for the rest of what it gives: its token service, and where it keeps its content. A
//! registry must not send its callers off TLS, nor into the operator's own network.
//!
//! A name is judged by the addresses that the connection is then made to, so that it cannot mean something else a moment
//! later. Where a proxy is set, it finds the address and has the say.

use std::{
    collections::BTreeSet,
    error::Error,
    net::{IpAddr, SocketAddr},
    sync::{Mutex, PoisonError},
};

use reqwest::{
    Url,
    dns::{Addrs, Name, Resolve, Resolving},
};
use waybill_domain::reference::RegistryHost;

use super::{PullConfig, public::is_public};

/// The place's address is one that strangers must not name. The words follow the place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "in a private network, which is asked nothing; if it is yours, add its host to \
     WAYBILL_WORKER_INTERNAL_TOKEN_SERVICES"
)]
pub(super) struct NotPublic;

impl NotPublic {
    /// Whether this is why an error came about.
    pub(super) fn is_cause_of(error: &(dyn Error + 'static)) -> bool {
        error.is::<Self>() || error.source().is_some_and(Self::is_cause_of)
    }
}

/// Why a place is not gone to, in words that follow the place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unfit {
    #[error("that is no address")]
    NoAddress,
    #[error("with a user in its address")]
    WithUser,
    #[error("without TLS")]
    WithoutTls,
    #[error("that is not spoken to by HTTP")]
    OtherScheme,
    #[error(transparent)]
    Private(#[from] NotPublic),
}

/// Whether a place's address may be used: by TLS, unless its host is one that is spoken to by plain HTTP.
pub(super) fn check_address(place: &Url, plain_http: &[RegistryHost]) -> Result<(), Unfit> {
    let host = place.host_str().ok_or(Unfit::NoAddress)?;
    if !place.username().is_empty() || place.password().is_some() {
        return Err(Unfit::WithUser);
    }
    let host = place.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    let plain = || RegistryHost::parse(&host).is_ok_and(|host| plain_http.contains(&host));
    match place.scheme() {
        "https" => Ok(()),
        "http" if plain() => Ok(()),
        "http" => Err(Unfit::WithoutTls),
        _ => Err(Unfit::OtherScheme),
    }
}

/// Whether a place may be anywhere: it is the registry's own host, the operator named it, or the registry itself is
/// one that the operator speaks to by plain HTTP.
fn vouched_for(place: &Url, registry: &RegistryHost, config: &PullConfig) -> bool {
    let port = place.port_or_known_default();
    let same = |host: &RegistryHost| place.host_str() == Some(host.hostname());
    let named = |host: &RegistryHost| same(host) && host.port().is_none_or(|own| Some(own) == port);
    let endpoint = config.endpoints.get(registry).and_then(|endpoint| Url::parse(endpoint).ok());
    let at_endpoint = endpoint.is_some_and(|endpoint| endpoint.host_str() == place.host_str());
    same(registry)
        || at_endpoint
        || config.plain_http.contains(registry)
        || config.internal_token_services.iter().any(named)
}

/// Refuses an address that stands in the URL itself, which nobody resolves. (URLs have IPv4 in one form only.)
fn judge_literal(place: &Url) -> Result<(), NotPublic> {
    let host = place.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    if address.is_ok_and(|address| !is_public(address)) { Err(NotPublic) } else { Ok(()) }
}

/// Resolves names as the system does, but those of strangers to public addresses only.
#[derive(Debug, Default)]
pub(super) struct PublicOnly {
    /// Host names that came from a registry's answer and are not configured. Only these are restricted to public addresses.
    strangers: Mutex<BTreeSet<String>>,
}

impl PublicOnly {
    /// Lets nobody in who a registry has no business to name: by the address that stands there, and by those that the name
    /// leads to once it is connected to.
    pub(super) fn admit(&self, place: &Url, registry: &RegistryHost, config: &PullConfig) -> Result<(), NotPublic> {
        if vouched_for(place, registry, config) {
            return Ok(());
        }
        self.restrict_name(place.host_str().unwrap_or_default());
        judge_literal(place)
    }

    /// From now on this name is judged.
    fn restrict_name(&self, name: &str) {
        self.strangers.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_ascii_lowercase());
    }

    fn is_judged(&self, name: &str) -> bool {
        self.strangers.lock().unwrap_or_else(PoisonError::into_inner).contains(&name.to_ascii_lowercase())
    }
}

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        let judged = self.is_judged(name.as_str());
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            if judged && !found.iter().all(|address| is_public(address.ip())) {
                return Err(NotPublic.into());
            }
            Ok::<Addrs, _>(Box::new(found.into_iter()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(texts: &[&str]) -> Vec<RegistryHost> {
        texts.iter().map(|text| RegistryHost::parse(text).unwrap()).collect()
    }

    #[test]
    fn whom_the_operator_vouches_for() {
        type Hosts = &'static [&'static str];
        let cases: [(&str, &str, Hosts, Hosts, bool); 15] = [
            ("https://auth.example/token", "registry.example", &[], &[], false),
            ("https://registry.example/token", "registry.example", &[], &[], true),
            ("https://registry.example:8443/token", "registry.example:5000", &[], &[], true),
            ("https://REGISTRY.example/token", "registry.example", &[], &[], true),
            ("https://[::1]/token", "[::1]:5000", &[], &[], true),
            ("https://0x7f.1/token", "127.0.0.1:5000", &[], &[], true),
            ("https://auth.docker.io/token", "docker.io", &[], &[], false),
            ("https://auth.example/token", "registry.example", &["registry.example"], &[], true),
            ("https://auth.example/token", "registry.example", &["auth.example"], &[], false),
            ("https://auth.example/token", "registry.example", &[], &["auth.example"], true),
            ("https://auth.example:8443/token", "registry.example", &[], &["auth.example"], true),
            ("https://auth.example:8443/token", "registry.example", &[], &["auth.example:443"], false),
            ("https://auth.example/token", "registry.example", &[], &["auth.example:443"], true),
            ("https://x.auth.example/token", "registry.example", &[], &["auth.example"], false),
            ("https://auth.example.evil.example/token", "registry.example", &[], &["auth.example"], false),
        ];
        for (service, registry, plain, internal, expected) in cases {
            let (plain_http, internal_token_services) = (hosts(plain), hosts(internal));
            let config = PullConfig { plain_http, internal_token_services, ..PullConfig::default() };
            let registry = RegistryHost::parse(registry).unwrap();
            assert_eq!(
                vouched_for(&Url::parse(service).unwrap(), &registry, &config),
                expected,
                "{service} {registry}"
            );
        }
    }

    #[test]
    fn addresses_in_every_spelling() {
        let cases = [
            ("https://auth.docker.io/token", true),
            ("https://1.1.1.1/token", true),
            ("https://[2606:4700:4700::1111]/token", true),
            ("https://127.0.0.1/token", false),
            ("https://127.0.0.1./token", false),
            ("https://127.1/token", false),
            ("https://2130706433/token", false),
            ("https://0x7f000001/token", false),
            ("https://0177.0.0.1/token", false),
            ("https://%31%32%37.0.0.1/token", false),
            ("https://１２７.0.0.1/token", false),
            ("https://169.254.169.254/latest/meta-data/", false),
            ("https://0xa9fea9fe/token", false),
            ("https://[::1]/token", false),
            ("https://[::ffff:127.0.0.1]/token", false),
            ("https://[::ffff:7f00:1]/token", false),
            ("https://[0:0:0:0:0:ffff:a9fe:a9fe]/token", false),
            ("https://[fd00:ec2::254]/token", false),
            ("https://[fe80::1]/token", false),
        ];
        for (service, expected) in cases {
            assert_eq!(judge_literal(&Url::parse(service).unwrap()).is_ok(), expected, "{service}");
        }
    }

    #[tokio::test]
    async fn a_name_is_judged_by_what_it_resolves_to() {
        let guard = PublicOnly::default();
        let found: Vec<_> = guard.resolve("localhost".parse().unwrap()).await.unwrap().collect();
        assert!(!found.is_empty(), "an operator's proxy may be anywhere");
        guard.restrict_name("localhost");
        let refused = guard.resolve("LOCALHOST".parse().unwrap()).await.err().unwrap();
        assert!(NotPublic::is_cause_of(refused.as_ref()), "{refused}");
    }
}
