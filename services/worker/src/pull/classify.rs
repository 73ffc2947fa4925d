//! A failed request as a reason code.

use std::{error::Error, io};

use oci_client::errors::{OciDistributionError, OciEnvelope, OciErrorCode};
use waybill_domain::reference::RegistryHost;
use waybill_schemas::v1::PullFailure;

use super::{PullError, within::TooLong};
use crate::{provider::RegistryLogin, redact::Redactor};

/// What is known of a failure, without its words.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Symptom<'e> {
    /// An answer with this status and no code.
    Status(u16),
    /// An answer with these codes, the most important first.
    Codes(Vec<&'e OciErrorCode>),
    /// No connection, or one that broke.
    NoConnection,
    /// The TLS handshake failed.
    Tls,
    /// The content is not what its digest and size say.
    Mismatch,
    /// The node's own disk failed.
    Disk,
    /// An answer that makes no sense.
    Malformed,
}

/// The reason code for a symptom.
pub(super) fn reason(symptom: &Symptom<'_>) -> PullFailure {
    match symptom {
        Symptom::Status(status) => of_status(*status),
        Symptom::Codes(codes) => codes.iter().find_map(|code| of_code(code)).unwrap_or(PullFailure::RegistryError),
        Symptom::NoConnection => PullFailure::Unreachable,
        Symptom::Tls => PullFailure::Tls,
        Symptom::Mismatch => PullFailure::DigestMismatch,
        Symptom::Disk => PullFailure::Storage,
        Symptom::Malformed => PullFailure::RegistryError,
    }
}

fn of_status(status: u16) -> PullFailure {
    match status {
        401 => PullFailure::Unauthorized,
        403 => PullFailure::Denied,
        404 => PullFailure::NotFound,
        429 => PullFailure::RateLimited,
        _ => PullFailure::RegistryError,
    }
}

/// What a code of the OCI distribution specification says, or one of those that registries made up.
fn of_code(code: &OciErrorCode) -> Option<PullFailure> {
    use OciErrorCode as C;
    match code {
        C::Unauthorized => Some(PullFailure::Unauthorized),
        C::Denied => Some(PullFailure::Denied),
        C::Toomanyrequests => Some(PullFailure::RateLimited),
        C::ManifestUnknown | C::NameUnknown | C::NotFound | C::BlobUnknown | C::ManifestBlobUnknown => {
            Some(PullFailure::NotFound)
        }
        C::Other(code) => match code.to_ascii_uppercase().as_str() {
            "FORBIDDEN" | "ACCESS_DENIED" => Some(PullFailure::Denied),
            "TOO_MANY_REQUESTS" => Some(PullFailure::RateLimited),
            _ => None,
        },
        _ => None,
    }
}

/// A failure of oci-client, with the registry's words made fit for an event.
pub(super) fn classify(
    error: &OciDistributionError,
    registry: &RegistryHost,
    login: &RegistryLogin,
    redactor: &Redactor,
) -> PullError {
    let (symptom, words) = describe(error, login);
    PullError::new(reason(&symptom), redactor.clean(&format!("{registry}: {words}")))
}

fn describe<'e>(error: &'e OciDistributionError, login: &RegistryLogin) -> (Symptom<'e>, String) {
    use OciDistributionError as E;
    match error {
        E::UnauthorizedError { .. } | E::AuthenticationFailure(_) => (Symptom::Status(401), refused(login).to_owned()),
        E::RegistryError { envelope, .. } => {
            (Symptom::Codes(envelope.errors.iter().map(|error| &error.code).collect()), words_of(envelope))
        }
        E::ServerError { code, message, .. } => (Symptom::Status(*code), format!("answered {code} {message}")),
        E::ImageManifestNotFoundError(words) => (Symptom::Status(404), words.clone()),
        E::DigestError(error) => (Symptom::Mismatch, error.to_string()),
        E::RequestError(error) => of_transport(error),
        E::IoError(error) => (of_io(error), error.to_string()),
        other => (Symptom::Malformed, other.to_string()),
    }
}

/// What a 401 means for who asked.
pub(super) fn refused(login: &RegistryLogin) -> &'static str {
    match login {
        RegistryLogin::Anonymous => "asks for credentials, and there are none (401)",
        _ => "did not accept the credentials (401)",
    }
}

fn words_of(envelope: &OciEnvelope) -> String {
    let words = envelope.errors.iter().map(|error| format!("{:?} {}", error.code, error.message));
    words.collect::<Vec<_>>().join("; ")
}

/// Files are written while the registry sends, so both can be to blame.
fn of_io(error: &io::Error) -> Symptom<'static> {
    if error.get_ref().is_some_and(|inner| inner.is::<TooLong>()) { Symptom::Mismatch } else { Symptom::Disk }
}

/// A request that got no answer. The innermost cause says most; the error's own text repeats the address.
pub(super) fn of_transport(error: &reqwest::Error) -> (Symptom<'static>, String) {
    let cause = innermost(error).to_string();
    let symptom = match error {
        error if error.is_redirect() || error.is_builder() => Symptom::Malformed,
        error if is_tls(error) => Symptom::Tls,
        _ => Symptom::NoConnection,
    };
    (symptom, cause)
}

fn is_tls(error: &(dyn Error + 'static)) -> bool {
    // An I/O error hides the error it was made of from `source`.
    let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    error.is::<rustls::Error>() || inner.is_some_and(|inner| is_tls(inner)) || error.source().is_some_and(is_tls)
}

fn innermost(error: &dyn Error) -> &dyn Error {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause
}

#[cfg(test)]
mod tests {
    use oci_client::errors::OciError;
    use waybill_domain::credentials::{BasicLogin, Secret};

    use super::*;

    #[test]
    fn a_symptom_s_reason() {
        use PullFailure as P;
        let other = |code: &str| OciErrorCode::Other(code.to_owned());
        let (forbidden, busy, locked) = (other("forbidden"), other("TOO_MANY_REQUESTS"), other("ARTIFACT_LOCKED"));
        let cases = [
            (Symptom::Status(401), P::Unauthorized),
            (Symptom::Status(403), P::Denied),
            (Symptom::Status(404), P::NotFound),
            (Symptom::Status(429), P::RateLimited),
            (Symptom::Status(400), P::RegistryError),
            (Symptom::Status(500), P::RegistryError),
            (Symptom::Status(503), P::RegistryError),
            (Symptom::Status(307), P::RegistryError),
            (Symptom::Codes(vec![]), P::RegistryError),
            (Symptom::Codes(vec![&OciErrorCode::Unauthorized]), P::Unauthorized),
            (Symptom::Codes(vec![&OciErrorCode::Denied]), P::Denied),
            (Symptom::Codes(vec![&OciErrorCode::ManifestUnknown]), P::NotFound),
            (Symptom::Codes(vec![&OciErrorCode::NameUnknown]), P::NotFound),
            (Symptom::Codes(vec![&OciErrorCode::BlobUnknown]), P::NotFound),
            (Symptom::Codes(vec![&OciErrorCode::Toomanyrequests]), P::RateLimited),
            (Symptom::Codes(vec![&OciErrorCode::Unsupported]), P::RegistryError),
            (Symptom::Codes(vec![&forbidden]), P::Denied),
            (Symptom::Codes(vec![&busy]), P::RateLimited),
            (Symptom::Codes(vec![&locked]), P::RegistryError),
            (Symptom::Codes(vec![&locked, &OciErrorCode::Denied]), P::Denied),
            (Symptom::NoConnection, P::Unreachable),
            (Symptom::Tls, P::Tls),
            (Symptom::Mismatch, P::DigestMismatch),
            (Symptom::Disk, P::Storage),
            (Symptom::Malformed, P::RegistryError),
        ];
        for (symptom, expected) in cases {
            assert_eq!(reason(&symptom), expected, "{symptom:?}");
        }
    }

    fn registry_error(code: OciErrorCode) -> OciDistributionError {
        let error = OciError { code, message: "pw s3cr3t".to_owned(), detail: serde_json::Value::Null };
        let url = "https://h/v2/?sig=s3cr3t".to_owned();
        OciDistributionError::RegistryError { envelope: OciEnvelope { errors: vec![error] }, url }
    }

    #[test]
    fn what_oci_client_says() {
        use PullFailure as P;
        let url = || "https://u:s3cr3t@h/v2/?sig=s3cr3t".to_owned();
        let message = || "pw s3cr3t".to_owned();
        let cases = [
            (OciDistributionError::UnauthorizedError { url: url() }, P::Unauthorized),
            (OciDistributionError::AuthenticationFailure(message()), P::Unauthorized),
            (registry_error(OciErrorCode::Denied), P::Denied),
            (OciDistributionError::ServerError { code: 500, url: url(), message: message() }, P::RegistryError),
            (OciDistributionError::ImageManifestNotFoundError(message()), P::NotFound),
            (OciDistributionError::SpecViolationError(url()), P::RegistryError),
            (OciDistributionError::IoError(io::ErrorKind::StorageFull.into()), P::Storage),
            (OciDistributionError::IoError(io::Error::other(TooLong)), P::DigestMismatch),
        ];
        let login = RegistryLogin::Basic(BasicLogin { username: "u".to_owned(), password: Secret::from("s3cr3t") });
        let host = RegistryHost::parse("h.example").unwrap();
        for (error, expected) in cases {
            let classified = classify(&error, &host, &login, &Redactor::of(&login));
            assert_eq!(classified.reason, expected, "{error}");
            assert!(classified.detail.starts_with("h.example: "), "{}", classified.detail);
            assert!(!classified.detail.contains("s3cr3t"), "{}", classified.detail);
        }
    }
}
