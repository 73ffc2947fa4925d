//! The places that a registry names for the rest of what it gives: its token service, and where it keeps its content.

use reqwest::Url;
use waybill_domain::reference::RegistryHost;

use super::guard::NotPublic;

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
pub(super) fn fit(place: &Url, plain_http: &[RegistryHost]) -> Result<(), Unfit> {
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
