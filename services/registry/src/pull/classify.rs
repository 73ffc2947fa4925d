//! A failed request as a reason code.

use std::{error::Error, io};

use oci_client::errors::{OciEnvelope, OciErrorCode};
use reqwest::Url;
use waybill_domain::reference::RegistryHost;
use waybill_schemas::v1::PullFailure;

use super::{PullError, guard::NotPublic, place::Unfit, trouble::Trouble, within::TooLong};
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

/// A failed request, with the registry's words made fit for an event. `sent` is whether credentials went with it.
pub(super) fn classify(
    trouble: &Trouble,
    registry: &RegistryHost,
    (login, sent): (&RegistryLogin, bool),
    redactor: &Redactor,
) -> PullError {
    let (symptom, words) = match trouble {
        Trouble::Unauthorized(_) => (Symptom::Status(401), refused(login, sent).to_owned()),
        Trouble::UnauthorizedElsewhere(host) => {
            (Symptom::Status(401), format!("sent us on to {host}, which asks for credentials and gets none (401)"))
        }
        Trouble::Codes(envelope) => {
            (Symptom::Codes(envelope.errors.iter().map(|error| &error.code).collect()), words_of(envelope))
        }
        Trouble::Status(status, words) => (Symptom::Status(*status), format!("answered {status} {words}")),
        Trouble::TooLarge => (Symptom::Malformed, "the manifest has more than 4 MiB".to_owned()),
        Trouble::Digest(error) => (Symptom::Mismatch, error.to_string()),
        Trouble::Transport(error) if NotPublic::caused(error) => sent_to(NotPublic.into()),
        Trouble::Transport(error) => of_request(error, registry),
        Trouble::Write(error) => (of_io(error), error.to_string()),
        Trouble::SentTo(unfit) => sent_to(*unfit),
    };
    PullError::new(reason(&symptom), redactor.clean(&format!("{registry}: {words}")))
}

/// What a 401 means for who asked.
pub(super) fn refused(login: &RegistryLogin, sent: bool) -> &'static str {
    match login {
        RegistryLogin::Anonymous => "asks for credentials, and there are none (401)",
        _ if sent => "did not accept the credentials (401)",
        _ => "asks for credentials, but in no way that they can be given: none were sent (401)",
    }
}

fn sent_to(unfit: Unfit) -> (Symptom<'static>, String) {
    (Symptom::Malformed, format!("sent us on to a place {unfit}"))
}

fn of_request(error: &reqwest::Error, registry: &RegistryHost) -> (Symptom<'static>, String) {
    let (symptom, words) = of_transport(error);
    match elsewhere(error, registry) {
        Some(host) => (symptom, format!("sent us on to {host}: {words}")),
        None => (symptom, words),
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

/// The host that a request went to, if that is not the registry's.
pub(super) fn elsewhere<'e>(error: &'e reqwest::Error, registry: &RegistryHost) -> Option<&'e str> {
    error.url().and_then(Url::host_str).filter(|host| *host != bare(registry))
}

/// The host as an address has it: Docker Hub's own is another one.
fn bare(registry: &RegistryHost) -> &str {
    if *registry == RegistryHost::docker_hub() { "index.docker.io" } else { registry.hostname() }
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
    use oci_client::errors::{DigestError, OciError};
    use waybill_domain::credentials::{BasicLogin, Secret};

    use super::*;
    use crate::pull::challenge::Challenge;

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

    fn codes(code: OciErrorCode) -> Trouble {
        let error = OciError { code, message: "pw s3cr3t".to_owned(), detail: serde_json::Value::Null };
        Trouble::Codes(OciEnvelope { errors: vec![error] })
    }

    #[test]
    fn troubles_without_secrets() {
        use PullFailure as P;
        let message = || "pw s3cr3t at https://u:s3cr3t@h/v2/?sig=s3cr3t".to_owned();
        let cases = [
            (Trouble::Unauthorized(Challenge::None), P::Unauthorized),
            (Trouble::UnauthorizedElsewhere("s3cr3t.example".to_owned()), P::Unauthorized),
            (codes(OciErrorCode::Denied), P::Denied),
            (Trouble::Status(500, message()), P::RegistryError),
            (Trouble::Status(404, message()), P::NotFound),
            (Trouble::TooLarge, P::RegistryError),
            (Trouble::SentTo(Unfit::WithoutTls), P::RegistryError),
            (Trouble::Digest(DigestError::UnsupportedAlgorithm(message())), P::DigestMismatch),
            (Trouble::Write(io::ErrorKind::StorageFull.into()), P::Storage),
            (Trouble::Write(io::Error::other(TooLong)), P::DigestMismatch),
        ];
        let login = ada();
        let host = RegistryHost::parse("h.example").unwrap();
        for (trouble, expected) in cases {
            let classified = classify(&trouble, &host, (&login, true), &Redactor::of(&login));
            assert_eq!(classified.reason, expected, "{trouble:?}");
            assert!(classified.detail.starts_with("h.example: "), "{}", classified.detail);
            assert!(!classified.detail.contains("s3cr3t"), "{}", classified.detail);
        }
    }

    #[test]
    fn what_was_not_sent_was_not_refused() {
        let cases = [
            (ada(), true, "did not accept"),
            (ada(), false, "none were sent"),
            (RegistryLogin::Anonymous, false, "there are none"),
            (RegistryLogin::Anonymous, true, "there are none"),
        ];
        for (login, sent, words) in cases {
            assert!(refused(&login, sent).contains(words), "{login:?} {sent}");
        }
    }

    fn ada() -> RegistryLogin {
        RegistryLogin::Basic(BasicLogin { username: "u".to_owned(), password: Secret::from("s3cr3t") })
    }
}
