//! A request that got no answer: whether the TLS handshake failed and why, the proxy, or the connection.

use std::{error::Error, io};

use rustls::{CertificateError, InvalidMessage};
use waybill_schemas::v1::PullFailure;

/// The reason code of a failed connection, and words that follow the host.
pub(crate) fn classify_failure(error: &reqwest::Error, proxy: Option<&str>) -> (PullFailure, String) {
    let cause = innermost_cause(error).to_string();
    if let Some(words) = proxy.and_then(|proxy| describe_proxy(error, proxy, &cause)) {
        return (PullFailure::Proxy, words);
    }
    match find_tls(error) {
        Some(tls) => classify_tls(tls),
        None if error.is_redirect() || error.is_builder() => (PullFailure::RegistryError, cause),
        None => (PullFailure::Unreachable, cause),
    }
}

fn classify_tls(error: &rustls::Error) -> (PullFailure, String) {
    use rustls::Error as E;
    let (reason, words) = match error {
        E::InvalidCertificate(certificate) => classify_certificate(certificate),
        // Whoever speaks HTTP answers the first bytes of a handshake with a line of text.
        E::InvalidMessage(InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion) => {
            (PullFailure::PlainHttp, "answers in plain HTTP, and TLS was tried".to_owned())
        }
        E::AlertReceived(_) => (
            PullFailure::Tls,
            "ended the TLS handshake; it may want a client certificate, or another version of TLS".to_owned(),
        ),
        _ => (PullFailure::Tls, "the TLS handshake failed".to_owned()),
    };
    (reason, words)
}

fn classify_certificate(error: &CertificateError) -> (PullFailure, String) {
    use CertificateError as C;
    match error {
        C::UnknownIssuer => {
            (PullFailure::TlsUnknownAuthority, "its certificate is from an authority that is not known here".to_owned())
        }
        C::NotValidForName | C::NotValidForNameContext { .. } => {
            (PullFailure::TlsWrongHost, "its certificate is for another host".to_owned())
        }
        C::Expired | C::ExpiredContext { .. } => (PullFailure::TlsExpired, "its certificate has expired".to_owned()),
        C::NotValidYet | C::NotValidYetContext { .. } => {
            (PullFailure::TlsExpired, "its certificate is not valid yet by this node's clock".to_owned())
        }
        // The verifier's own errors have no variants here.
        C::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => (
            PullFailure::TlsUnknownAuthority,
            "its certificate is signed by itself and is no authority that is known here".to_owned(),
        ),
        C::BadSignature => (
            PullFailure::TlsUnknownAuthority,
            "its certificate is not signed by the authority of that name that is known here".to_owned(),
        ),
        C::Revoked => (PullFailure::Tls, "its certificate has been revoked".to_owned()),
        C::InvalidPurpose | C::InvalidPurposeContext { .. } => {
            (PullFailure::Tls, "its certificate is not one for servers".to_owned())
        }
        _ => (PullFailure::Tls, "its certificate is malformed, or not accepted".to_owned()),
    }
}

/// Words for a failure of the proxy; none where it is the failure of whoever is behind it.
fn describe_proxy(error: &reqwest::Error, proxy: &str, cause: &str) -> Option<String> {
    let chain = chain_text(error);
    if chain.contains("proxy authorization required") {
        return Some(format!("the proxy {proxy} wants a login (407)"));
    }
    if chain.contains("tunnel") {
        return Some(format!("the proxy {proxy} refuses to connect to it"));
    }
    (error.is_connect() && find_tls(error).is_none()).then(|| format!("the proxy {proxy} cannot be reached: {cause}"))
}

fn chain_text(error: &dyn Error) -> String {
    let mut text = String::new();
    let mut next = Some(error);
    while let Some(error) = next {
        text.push_str(&error.to_string().to_ascii_lowercase());
        text.push('\n');
        next = error.source();
    }
    text
}

fn find_tls<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e rustls::Error> {
    // An I/O error hides the error it was made of from `source`.
    let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    let inner = inner.and_then(|inner| find_tls(inner));
    error.downcast_ref::<rustls::Error>().or(inner).or_else(|| error.source().and_then(find_tls))
}

/// The innermost cause says most, and the error's own text repeats the address.
fn innermost_cause(error: &dyn Error) -> &dyn Error {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handshakes_fail_for_different_reasons() {
        use PullFailure as P;
        let certificate = rustls::Error::InvalidCertificate;
        let cases = [
            (certificate(CertificateError::UnknownIssuer), P::TlsUnknownAuthority, "not known here"),
            (certificate(CertificateError::NotValidForName), P::TlsWrongHost, "another host"),
            (certificate(CertificateError::Expired), P::TlsExpired, "has expired"),
            (certificate(CertificateError::NotValidYet), P::TlsExpired, "this node's clock"),
            (certificate(CertificateError::BadSignature), P::TlsUnknownAuthority, "not signed by"),
            (certificate(CertificateError::Revoked), P::Tls, "revoked"),
            (certificate(CertificateError::BadEncoding), P::Tls, "malformed"),
            (rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType), P::PlainHttp, "plain HTTP"),
            (rustls::Error::AlertReceived(rustls::AlertDescription::HandshakeFailure), P::Tls, "client certificate"),
        ];
        for (error, reason, words) in cases {
            let (found, told) = classify_tls(&error);
            assert_eq!(found, reason, "{error}");
            assert!(told.contains(words), "{told}");
        }
    }
}
