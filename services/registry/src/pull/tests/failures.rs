//! What a registry answers, as a reason code; and nothing of a login in any of it.

use super::*;
use crate::testing::{Answer, FakeRegistry, Image, Lines, answer, assert_absent, basic_header, envelope, nobody};

/// Pulls from a registry that answers so to the manifest's request.
async fn told(answer: Answer) -> PullError {
    let registry =
        FakeRegistry::start(Image::new(), move |asked| asked.path.contains("/manifests/").then(|| answer.clone()))
            .await;
    pull_as(&config(&[registry.host()]), &registry.reference(), &RegistryLogin::Anonymous).await.unwrap_err()
}

#[tokio::test]
async fn answers_and_their_reasons() {
    use PullFailure as P;
    let digest = |value: &str| vec![("docker-content-digest", value.to_owned())];
    let wrong = format!("sha256:{}", "0".repeat(64));
    let cases = [
        ("401", answer(401, ""), P::Unauthorized),
        ("401 with words", envelope(401, "UNAUTHORIZED", "no"), P::Unauthorized),
        ("403", answer(403, "no"), P::Denied),
        ("403 with words", envelope(403, "DENIED", "no"), P::Denied),
        ("404", answer(404, ""), P::NotFound),
        ("unknown tag", envelope(404, "MANIFEST_UNKNOWN", "no"), P::NotFound),
        ("unknown repository", envelope(404, "NAME_UNKNOWN", "no"), P::NotFound),
        ("429", answer(429, "later"), P::RateLimited),
        ("429 with words", envelope(429, "TOOMANYREQUESTS", "later"), P::RateLimited),
        ("500", answer(500, "oops"), P::RegistryError),
        ("503", answer(503, ""), P::RegistryError),
        ("a page", answer(200, "<html>Welcome</html>"), P::RegistryError),
        ("not UTF-8", answer(200, vec![0xff; 10]), P::RegistryError),
        ("4 MiB and more", answer(200, vec![b' '; 4 * 1024 * 1024 + 1]), P::RegistryError),
        ("another's digest", (200, digest(&wrong), Image::new().manifest), P::DigestMismatch),
        ("a digest of no kind", (200, digest("md5:00"), Image::new().manifest), P::DigestMismatch),
    ];
    for (name, answer, reason) in cases {
        let error = told(answer).await;
        assert_eq!(error.reason, reason, "{name}: {error}");
        assert!(error.detail.chars().count() <= 300, "{name}");
    }
    assert!(
        told(envelope(403, "DENIED", "Your authorization token has expired.")).await.may_be_stale(),
        "as ECR says it"
    );
    assert!(!told(envelope(403, "DENIED", "not yours")).await.may_be_stale());
}

#[tokio::test]
async fn the_greeting_s_failures() {
    use PullFailure as P;
    for (status, reason) in [(429, P::RateLimited), (500, P::RegistryError), (502, P::RegistryError)] {
        let registry = FakeRegistry::start(Image::new(), move |_| Some(answer(status, "busy"))).await;
        let error = pull_as(&config(&[registry.host()]), &registry.reference(), &ada()).await.unwrap_err();
        assert_eq!(error.reason, reason, "{error}");
    }
}

#[tokio::test]
async fn no_connection() {
    let (away, _socket) = nobody();
    let reference = format!("{away}/team/app:1");
    let error = pull_as(&config(&[&away]), &reference, &ada()).await.unwrap_err();
    assert_eq!(error.reason, PullFailure::Unreachable, "{error}");
    let error = pull_as(&config(&[]), &reference, &ada()).await.unwrap_err();
    assert_eq!(error.reason, PullFailure::Unreachable, "TLS was not reached: {error}");

    let plain = FakeRegistry::start(Image::new(), |_| None).await;
    let error = pull_as(&config(&[]), &plain.reference(), &ada()).await.unwrap_err();
    assert_eq!(error.reason, PullFailure::PlainHttp, "{error}");
    // What is spoken to without TLS is named exactly.
    let error = pull_as(&config(&["127.0.0.1", "localhost:5000"]), &plain.reference(), &ada()).await.unwrap_err();
    assert_eq!(error.reason, PullFailure::PlainHttp, "{error}");
    assert!(plain.asked().is_empty());
}

#[tokio::test]
async fn a_registry_that_never_answers() {
    let registry = FakeRegistry::start(Image::new(), |_| Some(answer(599, ""))).await;
    let config = PullConfig { limit: Duration::from_millis(100), ..config(&[registry.host()]) };
    let error = pull_as(&config, &registry.reference(), &RegistryLogin::Anonymous).await.unwrap_err();
    assert_eq!(error.reason, PullFailure::Unreachable, "{error}");
}

/// As when time is up, or the worker stops.
#[tokio::test]
async fn a_pull_that_is_broken_off_leaves_nothing() {
    let registry =
        FakeRegistry::start(Image::new(), |asked| asked.path.contains("/blobs/").then(|| answer(599, ""))).await;
    let images = tempfile::tempdir().unwrap();
    let config = PullConfig { image_dir: Some(images.path().to_owned()), ..config(&[registry.host()]) };
    let (reference, login) = (registry.reference(), RegistryLogin::Anonymous);
    let at_a_layer = async {
        while !registry.asked().iter().any(|asked| asked.path.contains("/blobs/")) {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        outcome = pull_as(&config, &reference, &login) => panic!("{outcome:?}"),
        () = at_a_layer => {}
    }
    assert_eq!(std::fs::read_dir(images.path().join("acme")).unwrap().count(), 0);
}

#[tokio::test]
async fn a_ca_file_that_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ca.pem");
    for content in [None, Some("no certificate"), Some("-----BEGIN CERTIFICATE-----\n???\n-----END CERTIFICATE-----\n")]
    {
        if let Some(content) = content {
            std::fs::write(&file, content).unwrap();
        }
        let config = PullConfig { ca_file: Some(file.clone()), ..config(&[]) };
        let error = pull_as(&config, "a.b/app:1", &RegistryLogin::Anonymous).await.unwrap_err();
        assert_eq!(error.reason, PullFailure::Tls, "{error}");
    }
}

/// A registry that repeats what it was sent, in every way it can.
#[tokio::test]
async fn what_a_registry_repeats_is_not_told() {
    let (lines, _guard) = Lines::capture();
    for status in [400, 403, 404, 429, 500] {
        for as_envelope in [false, true] {
            let registry = FakeRegistry::basic(Image::new(), "ada", "another password").await;
            let base = registry.url();
            let echo = FakeRegistry::start(Image::new(), move |asked| {
                let Some(header) = asked.authorization.clone() else {
                    return Some((401, vec![("www-authenticate", "Basic realm=\"r\"".to_owned())], Vec::new()));
                };
                let words = format!("{base}/?password={PASSWORD} was sent as {header} by ada, {PASSWORD}");
                Some(if as_envelope { envelope(status, "WEIRD", &words) } else { answer(status, words) })
            })
            .await;
            let error = pull_as(&config(&[echo.host()]), &echo.reference(), &ada()).await.unwrap_err();
            let shown = format!("{error} {error:?}");
            assert_absent(PASSWORD, "the error", &shown);
            assert!(!shown.contains(&basic_header("ada", PASSWORD)), "{shown}");
            assert!(shown.contains(&format!("answered {status}")), "{shown}");
        }
    }
    assert_absent(PASSWORD, "the log", &lines.text());
}
