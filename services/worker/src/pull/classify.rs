//! A pull's error as a reason code.

use std::error::Error;

use oci_client::errors::{OciDistributionError, OciEnvelope, OciErrorCode};
use waybill_domain::{credentials::Secret, reference::RegistryHost};
use waybill_schemas::v1::PullFailure;

use super::{PullError, clean};
use crate::provider::RegistryLogin;

/// The reason, with the registry's words made fit for an event.
pub(super) fn classify(error: &OciDistributionError, registry: &RegistryHost, login: &RegistryLogin) -> PullError {
    let (reason, words) = reason(error, login);
    PullError::new(reason, clean(&format!("{registry}: {words}"), secret_of(login)))
}

fn secret_of(login: &RegistryLogin) -> Option<&Secret> {
    match login {
        RegistryLogin::Anonymous => None,
        RegistryLogin::Basic(login) => Some(&login.password),
        RegistryLogin::Bearer(token) => Some(token),
    }
}

fn reason(error: &OciDistributionError, login: &RegistryLogin) -> (PullFailure, String) {
    use OciDistributionError as E;
    match error {
        E::UnauthorizedError { .. } => (PullFailure::Unauthorized, refused(login)),
        E::AuthenticationFailure(words) => (PullFailure::Unauthorized, format!("{}; {words}", refused(login))),
        E::RegistryError { envelope, .. } => (of_envelope(envelope), envelope_words(envelope)),
        E::ServerError { code, message, .. } => (of_status(*code), format!("answered {code} {message}")),
        E::ImageManifestNotFoundError(words) => (PullFailure::NotFound, words.clone()),
        E::DigestError(error) => (PullFailure::DigestMismatch, error.to_string()),
        E::RequestError(error) => of_transport(error),
        E::IoError(error) => (PullFailure::Storage, error.to_string()),
        other => (PullFailure::RegistryError, other.to_string()),
    }
}

fn refused(login: &RegistryLogin) -> String {
    match login {
        RegistryLogin::Anonymous => "asks for credentials, and there are none (401)".to_owned(),
        _ => "did not accept the credentials (401)".to_owned(),
    }
}

fn of_envelope(envelope: &OciEnvelope) -> PullFailure {
    match envelope.errors.first().map(|error| &error.code) {
        Some(OciErrorCode::Unauthorized) => PullFailure::Unauthorized,
        Some(OciErrorCode::Denied) => PullFailure::Denied,
        Some(OciErrorCode::Toomanyrequests) => PullFailure::RateLimited,
        Some(
            OciErrorCode::ManifestUnknown
            | OciErrorCode::NameUnknown
            | OciErrorCode::NotFound
            | OciErrorCode::BlobUnknown
            | OciErrorCode::ManifestBlobUnknown,
        ) => PullFailure::NotFound,
        _ => PullFailure::RegistryError,
    }
}

fn envelope_words(envelope: &OciEnvelope) -> String {
    let words = envelope.errors.iter().map(|error| format!("{:?} {}", error.code, error.message));
    words.collect::<Vec<_>>().join("; ")
}

fn of_status(code: u16) -> PullFailure {
    match code {
        401 => PullFailure::Unauthorized,
        403 => PullFailure::Denied,
        404 => PullFailure::NotFound,
        429 => PullFailure::RateLimited,
        _ => PullFailure::RegistryError,
    }
}

/// The innermost cause says most; the error's own text repeats the address.
fn of_transport(error: &dyn Error) -> (PullFailure, String) {
    let mut cause = error;
    let mut tls = false;
    loop {
        let text = cause.to_string();
        tls |= text.contains("certificate")
            || text.contains("tls")
            || text.contains("TLS")
            || text.contains("InvalidContentType")
            || text.contains("corrupt message");
        match cause.source() {
            Some(source) => cause = source,
            None => {
                let reason = if tls { PullFailure::Tls } else { PullFailure::Unreachable };
                return (reason, cause.to_string());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use oci_client::errors::OciError;
    use waybill_domain::credentials::BasicLogin;

    use super::*;

    fn registry_error(code: OciErrorCode) -> OciDistributionError {
        let error = OciError { code, message: "words".to_owned(), detail: serde_json::Value::Null };
        OciDistributionError::RegistryError {
            envelope: OciEnvelope { errors: vec![error] },
            url: "https://h/v2/".to_owned(),
        }
    }

    fn server_error(code: u16) -> OciDistributionError {
        OciDistributionError::ServerError {
            code,
            url: "https://h/v2/?sig=s3cr3t".to_owned(),
            message: "pw s3cr3t".to_owned(),
        }
    }

    #[test]
    fn reasons_by_what_the_registry_says() {
        use PullFailure as P;
        let unauthorized = || OciDistributionError::UnauthorizedError { url: "https://h/v2/".to_owned() };
        let cases = [
            (unauthorized(), P::Unauthorized),
            (OciDistributionError::AuthenticationFailure("no".to_owned()), P::Unauthorized),
            (registry_error(OciErrorCode::Unauthorized), P::Unauthorized),
            (registry_error(OciErrorCode::Denied), P::Denied),
            (registry_error(OciErrorCode::ManifestUnknown), P::NotFound),
            (registry_error(OciErrorCode::NameUnknown), P::NotFound),
            (registry_error(OciErrorCode::Toomanyrequests), P::RateLimited),
            (registry_error(OciErrorCode::Unsupported), P::RegistryError),
            (server_error(403), P::Denied),
            (server_error(404), P::NotFound),
            (server_error(429), P::RateLimited),
            (server_error(500), P::RegistryError),
            (OciDistributionError::IoError(std::io::Error::other("disk full")), P::Storage),
        ];
        let login = RegistryLogin::Basic(BasicLogin { username: "u".to_owned(), password: Secret::from("s3cr3t") });
        let host = RegistryHost::parse("h.example").unwrap();
        for (error, reason) in cases {
            let classified = classify(&error, &host, &login);
            assert_eq!(classified.reason, reason, "{error}");
            assert!(!classified.detail.contains("s3cr3t"), "{}", classified.detail);
        }
    }
}
