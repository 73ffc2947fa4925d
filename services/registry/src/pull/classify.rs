//! A failed request as a reason code and a sentence.

use waybill_domain::reference::RegistryHost;
use waybill_schemas::v1::PullFailure;

use super::{
    PullError, connection,
    guard::{NotPublic, Unfit},
    proxy::Proxies,
    trouble::Refusal,
    trouble::Trouble,
};
use crate::{provider::RegistryLogin, words};

/// Who asked, and with what.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asker<'a> {
    pub(super) registry: &'a RegistryHost,
    pub(super) login: &'a RegistryLogin,
    /// True if a login, or a token that was had for it, went with the request.
    pub(super) sent: bool,
    /// True if nothing secret went with the request: the answer cannot repeat any.
    pub(super) sent_nothing: bool,
    pub(super) proxies: &'a Proxies,
}

/// The reason code of an answer: by its codes where they say something, and else by its status.
pub(super) fn find_reason(refusal: &Refusal) -> PullFailure {
    let by_status = reason_of_status(refusal.status);
    let settled = matches!(refusal.status, 401 | 407 | 429 | 500..);
    let by_code = refusal.codes.iter().find_map(|code| reason_of_code(code)).filter(|_| !settled);
    by_code.unwrap_or(by_status)
}

fn reason_of_status(status: u16) -> PullFailure {
    match status {
        401 => PullFailure::Unauthorized,
        403 | 451 => PullFailure::Denied,
        404 | 410 => PullFailure::NotFound,
        407 => PullFailure::Proxy,
        429 => PullFailure::RateLimited,
        _ => PullFailure::RegistryError,
    }
}

/// What a code of the OCI distribution specification says, or one of those that registries made up.
fn reason_of_code(code: &str) -> Option<PullFailure> {
    match code.to_ascii_uppercase().replace('-', "_").as_str() {
        "UNAUTHORIZED" => Some(PullFailure::Unauthorized),
        "DENIED" | "FORBIDDEN" | "ACCESS_DENIED" => Some(PullFailure::Denied),
        "TOOMANYREQUESTS" | "TOO_MANY_REQUESTS" => Some(PullFailure::RateLimited),
        "MANIFEST_UNKNOWN"
        | "NAME_UNKNOWN"
        | "NOT_FOUND"
        | "NOTFOUND"
        | "BLOB_UNKNOWN"
        | "MANIFEST_BLOB_UNKNOWN"
        | "TAG_EXPIRED" => Some(PullFailure::NotFound),
        _ => None,
    }
}

/// A failed request, made fit for an event.
pub(super) fn classify(trouble: &Trouble, asker: Asker<'_>) -> PullError {
    let host = asker.registry;
    let error = |reason, words: String| PullError::new(reason, format!("{host}: {words}"));
    match trouble {
        Trouble::Refused(refusal) => refusal_error(refusal, asker),
        Trouble::TooLarge => error(PullFailure::RegistryError, "the manifest has more than 4 MiB".to_owned()),
        Trouble::Encoded(unreadable) => error(PullFailure::RegistryError, unreadable.to_string()),
        Trouble::Digest(digest) => error(PullFailure::DigestMismatch, digest.to_string()),
        Trouble::Transport(cause) if NotPublic::is_cause_of(cause) => redirect_error(host, NotPublic.into()),
        Trouble::Transport(cause) => transport_error(cause, asker, "sent us on to"),
        Trouble::Write(cause) => error(PullFailure::Storage, cause.to_string()),
        Trouble::SentTo(unfit) => redirect_error(host, *unfit),
    }
}

/// A request that got no answer; `how` leads to another host than the registry's.
pub(super) fn transport_error(cause: &reqwest::Error, asker: Asker<'_>, how: &str) -> PullError {
    let host = asker.registry;
    let proxy = cause.url().and_then(|url| asker.proxies.proxy_for(url));
    let (reason, words) = connection::classify_failure(cause, proxy);
    match find_other_host(cause, host) {
        Some(other) => PullError::new(reason, format!("{host}: {how} {other}: {words}")),
        None => PullError::new(reason, format!("{host}: {words}")),
    }
}

fn redirect_error(host: &RegistryHost, unfit: Unfit) -> PullError {
    PullError::new(PullFailure::RegistryError, format!("{host}: sent us on to a place {unfit}"))
}

fn refusal_error(refusal: &Refusal, asker: Asker<'_>) -> PullError {
    let Asker { registry, .. } = asker;
    let words = match &refusal.elsewhere {
        Some(host) if refusal.status == 401 => {
            format!("sent us on to {host}, which asks for credentials and gets none (401)")
        }
        Some(host) => format!("sent us on to {host}, which {}", describe_answer(refusal, asker.sent_nothing)),
        None if refusal.status == 401 => describe_refusal(refusal, asker),
        None if refusal.status == 407 => "a proxy on the way wants a login (407)".to_owned(),
        None => format!("{}{}", describe_answer(refusal, asker.sent_nothing), login_words(refusal, asker)),
    };
    let error =
        PullError::new(find_reason_for(refusal, asker), format!("{registry}: {words}{}", describe_patience(refusal)));
    if refusal.says_expired() { error.of_expired_token() } else { error }
}

/// The reason code of an answer to this asker: new credentials mend a 401 only where they would have been sent.
fn find_reason_for(refusal: &Refusal, asker: Asker<'_>) -> PullFailure {
    match (&refusal.elsewhere, asker.login) {
        _ if refusal.status != 401 => find_reason(refusal),
        (Some(_), _) => PullFailure::RegistryError,
        (None, RegistryLogin::Anonymous) => PullFailure::Unauthorized,
        (None, _) if asker.sent => PullFailure::Unauthorized,
        (None, _) => PullFailure::UnsupportedChallenge,
    }
}

/// The status, codes, and what may be told of the text.
pub(super) fn describe_answer(refusal: &Refusal, sent_nothing: bool) -> String {
    let told = match refusal.is_page {
        true => "a web page; is this the address of a registry?".to_owned(),
        false => words::tell_error(&refusal.codes.join(", "), &refusal.text, !sent_nothing),
    };
    let separator = if told.is_empty() { "" } else { " " };
    format!("answered {}{separator}{told}", refusal.status)
}

/// What a 401 means for who asked.
pub(super) fn describe_refusal(refusal: &Refusal, asker: Asker<'_>) -> String {
    let others = refusal.challenges.others.join(" or ");
    match asker.login {
        RegistryLogin::Anonymous => "asks for credentials, and there are none (401)".to_owned(),
        _ if asker.sent => {
            let told = words::tell_error(&refusal.codes.join(", "), &refusal.text, true);
            let told = if told.is_empty() { told } else { format!(" {told}") };
            format!("did not accept the credentials (401{told})")
        }
        _ if refusal.challenges.usable.is_empty() && !others.is_empty() => {
            format!("asks for credentials by {others}, which cannot be given: none were sent (401)")
        }
        _ => "asks for credentials, but in no way that they can be given: none were sent (401)".to_owned(),
    }
}

/// Where being nobody may be the reason: whether a login went with the request.
fn login_words(refusal: &Refusal, asker: Asker<'_>) -> &'static str {
    match asker.login {
        _ if !matches!(refusal.status, 403 | 404) => "",
        RegistryLogin::Anonymous => "; no login was sent, for there is none",
        _ if asker.sent => "; the login was sent",
        _ => "; no login was sent, for none was asked for",
    }
}

fn describe_patience(refusal: &Refusal) -> String {
    let seconds = refusal.retry_after.filter(|_| matches!(refusal.status, 429 | 503));
    seconds.map_or_else(String::new, |seconds| format!("; it asks to come back in {seconds} s"))
}

/// The host that a request went to, if that is not the registry's.
fn find_other_host<'e>(error: &'e reqwest::Error, registry: &RegistryHost) -> Option<&'e str> {
    error.url().and_then(reqwest::Url::host_str).filter(|host| *host != address_host(registry))
}

/// The host as an address has it: Docker Hub's own is another one.
fn address_host(registry: &RegistryHost) -> &str {
    if *registry == RegistryHost::docker_hub() { "index.docker.io" } else { registry.hostname() }
}

#[cfg(test)]
mod tests {
    use waybill_domain::credentials::{BasicLogin, Secret};

    use super::*;
    use crate::pull::{challenge::Challenges, digest::DigestError};

    fn refusal(status: u16, codes: &[&str]) -> Refusal {
        Refusal {
            status,
            elsewhere: None,
            challenges: Challenges::default(),
            codes: codes.iter().map(|code| (*code).to_owned()).collect(),
            text: "pw s3cr3t at https://u:s3cr3t@h/v2/?sig=s3cr3t".to_owned(),
            retry_after: None,
            is_page: false,
        }
    }

    #[test]
    fn the_reason_of_an_answer() {
        use PullFailure as P;
        let cases: [(u16, &[&str], P); 36] = [
            (401, &[], P::Unauthorized),
            (401, &["DENIED"], P::Unauthorized),
            (401, &["UNKNOWN"], P::Unauthorized),
            (403, &[], P::Denied),
            (403, &["DENIED"], P::Denied),
            (403, &["UNKNOWN"], P::Denied),
            (403, &["UNAUTHORIZED"], P::Unauthorized),
            (403, &["TOOMANYREQUESTS"], P::RateLimited),
            (404, &[], P::NotFound),
            (404, &["MANIFEST_UNKNOWN"], P::NotFound),
            (404, &["NAME_UNKNOWN"], P::NotFound),
            (404, &["BLOB_UNKNOWN"], P::NotFound),
            (404, &["TAG_EXPIRED"], P::NotFound),
            (404, &["UNKNOWN"], P::NotFound),
            (404, &["DENIED"], P::Denied),
            (410, &[], P::NotFound),
            (407, &[], P::Proxy),
            (429, &[], P::RateLimited),
            (429, &["QUOTA_EXCEEDED"], P::RateLimited),
            (429, &["DENIED"], P::RateLimited),
            (451, &[], P::Denied),
            (400, &[], P::RegistryError),
            (400, &["UNAUTHORIZED"], P::Unauthorized),
            (400, &["NAME_INVALID"], P::RegistryError),
            (400, &["forbidden"], P::Denied),
            (405, &["UNSUPPORTED"], P::RegistryError),
            (409, &["ARTIFACT_LOCKED"], P::RegistryError),
            (412, &["PROJECTPOLICYVIOLATION"], P::RegistryError),
            (412, &["PROJECTPOLICYVIOLATION", "DENIED"], P::Denied),
            (418, &["TOO_MANY_REQUESTS"], P::RateLimited),
            (500, &[], P::RegistryError),
            (500, &["DENIED"], P::RegistryError),
            (502, &[], P::RegistryError),
            (503, &[], P::RegistryError),
            (307, &[], P::RegistryError),
            (204, &[], P::RegistryError),
        ];
        for (status, codes, expected) in cases {
            assert_eq!(find_reason(&refusal(status, codes)), expected, "{status} {codes:?}");
        }
    }

    fn ada() -> RegistryLogin {
        RegistryLogin::Basic(BasicLogin { username: "u".to_owned(), password: Secret::from("s3cr3t") })
    }

    fn told(trouble: &Trouble, login: &RegistryLogin, sent: bool) -> PullError {
        let host = RegistryHost::parse("h.example").unwrap();
        let proxies = Proxies::default();
        classify(trouble, Asker { registry: &host, login, sent, sent_nothing: false, proxies: &proxies })
    }

    #[test]
    fn sentences_without_secrets_and_without_words_of_the_program() {
        use PullFailure as P;
        let elsewhere = Refusal { elsewhere: Some("storage.example".to_owned()), ..refusal(401, &[]) };
        let page = Refusal { is_page: true, ..refusal(200, &[]) };
        let busy = Refusal { retry_after: Some(30), ..refusal(429, &["TOOMANYREQUESTS"]) };
        let cases: [(Trouble, P, &str); 15] = [
            (
                refusal(401, &["UNAUTHORIZED"]).into(),
                P::Unauthorized,
                "did not accept the credentials (401 UNAUTHORIZED)",
            ),
            (refusal(403, &["UNKNOWN"]).into(), P::Denied, "answered 403 UNKNOWN; the login was sent"),
            (refusal(404, &["TAG_EXPIRED"]).into(), P::NotFound, "answered 404 TAG_EXPIRED; the login was sent"),
            (refusal(412, &["PROJECTPOLICYVIOLATION"]).into(), P::RegistryError, "answered 412 PROJECTPOLICYVIOLATION"),
            (busy.into(), P::RateLimited, "answered 429 TOOMANYREQUESTS; it asks to come back in 30 s"),
            (refusal(451, &[]).into(), P::Denied, "answered 451"),
            (refusal(407, &[]).into(), P::Proxy, "a proxy on the way wants a login (407)"),
            (refusal(500, &[]).into(), P::RegistryError, "answered 500"),
            (page.into(), P::RegistryError, "answered 200 a web page; is this the address of a registry?"),
            (elsewhere.into(), P::RegistryError, "storage.example, which asks for credentials and gets none"),
            (Trouble::TooLarge, P::RegistryError, "more than 4 MiB"),
            (Trouble::SentTo(Unfit::WithoutTls), P::RegistryError, "without TLS"),
            (Trouble::Digest(DigestError::Unknown), P::DigestMismatch, "no known algorithm"),
            (Trouble::Write(std::io::ErrorKind::StorageFull.into()), P::Storage, "no storage space"),
            (DigestError::TooLong.into(), P::DigestMismatch, "more bytes came"),
        ];
        for (trouble, reason, words) in cases {
            let error = told(&trouble, &ada(), true);
            assert_eq!(error.reason, reason, "{trouble:?}");
            assert!(error.detail.starts_with("h.example: ") && error.detail.contains(words), "{}", error.detail);
            assert!(!error.detail.contains("s3cr3t") && !error.detail.contains("Other("), "{}", error.detail);
        }
    }

    #[test]
    fn whether_a_login_was_sent_is_said() {
        let negotiate = || {
            let challenges = Challenges { others: vec!["Negotiate".to_owned()], ..Challenges::default() };
            Refusal { challenges, ..refusal(401, &[]) }
        };
        use PullFailure as P;
        let cases: [(Refusal, RegistryLogin, bool, P, &str); 8] = [
            (refusal(401, &[]), ada(), true, P::Unauthorized, "did not accept"),
            (refusal(401, &[]), ada(), false, P::UnsupportedChallenge, "none were sent"),
            (negotiate(), ada(), false, P::UnsupportedChallenge, "by Negotiate, which cannot be given: none were sent"),
            (refusal(401, &[]), RegistryLogin::Anonymous, false, P::Unauthorized, "there are none"),
            (refusal(404, &[]), ada(), false, P::NotFound, "no login was sent, for none was asked for"),
            (refusal(404, &[]), ada(), true, P::NotFound, "the login was sent"),
            (refusal(403, &[]), RegistryLogin::Anonymous, false, P::Denied, "no login was sent, for there is none"),
            (refusal(500, &[]), ada(), true, P::RegistryError, "answered 500"),
        ];
        for (refusal, login, sent, reason, words) in cases {
            let error = told(&refusal.into(), &login, sent);
            assert_eq!(error.reason, reason, "{words}");
            assert!(error.detail.contains(words), "{}: {words}", error.detail);
        }
    }
}
