//! Registries that ask for a login later than in their greeting, or once more.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;

use super::*;
use crate::testing::{Answer, Asked, FakeRegistry, Image, answer, basic_header};

fn asking_for(challenge: &str) -> Answer {
    (401, vec![("www-authenticate", challenge.to_owned())], Vec::new())
}

/// Its own token service, as the registry that was asked names it.
fn own_service(asked: &Asked) -> String {
    format!("Bearer realm=\"http://{}/token\"", asked.host)
}

fn count(registry: &FakeRegistry, part: &str) -> usize {
    registry.asked().iter().filter(|asked| asked.path.contains(part)).count()
}

/// A registry that is open to the manifest and the greeting gets nobody to greet it again, nor to ask whom it names then.
#[tokio::test]
async fn an_open_registry_is_greeted_once() {
    let internal = FakeRegistry::start(Image::new(), |_| Some(answer(200, r#"{"token":"two\nlines"}"#))).await;
    let (realm, greeted) = (format!("Bearer realm=\"{}/token\"", internal.url()), AtomicUsize::new(0));
    let registry = FakeRegistry::start(Image::new(), move |asked| {
        let again = asked.path == "/v2/" && greeted.fetch_add(1, Ordering::Relaxed) > 0;
        again.then(|| asking_for(&realm))
    })
    .await;
    let images = tempfile::tempdir().unwrap();
    let config = PullConfig { image_dir: Some(images.path().to_owned()), ..config(&[registry.host()]) };
    let outcome = pull_as(&config, &registry.reference(), &RegistryLogin::Anonymous).await;
    assert_eq!((outcome, count(&registry, "/blobs/")), (Ok(Image::new().digest()), 3));
    let greetings = registry.asked().iter().filter(|asked| asked.path == "/v2/").count();
    assert_eq!((greetings, internal.asked()), (1, Vec::new()));
}

#[tokio::test]
async fn who_is_named_later_is_judged_as_well() {
    let internal = FakeRegistry::start(Image::new(), |_| Some(answer(200, r#"{"token":"t"}"#))).await;
    let realm = format!("Bearer realm=\"{}/token\"", internal.url());
    let registry =
        FakeRegistry::start(Image::new(), move |asked| asked.path.contains("/blobs/").then(|| asking_for(&realm)))
            .await;
    let images = tempfile::tempdir().unwrap();
    let config = PullConfig { image_dir: Some(images.path().to_owned()), ..config(&[registry.host()]) };
    for login in [RegistryLogin::Anonymous, ada()] {
        let error = pull_as(&config, &registry.reference(), &login).await.unwrap_err();
        assert_eq!(error.reason, PullFailure::RegistryError, "{error}");
        assert!(error.detail.contains("names a token service without TLS"), "{error}");
    }
    assert_eq!(internal.asked(), Vec::new());
}

/// Token services may take a token back before the time that they said.
#[tokio::test]
async fn a_token_that_is_taken_back_during_the_pull_is_had_again() {
    let (issued, used) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let registry = FakeRegistry::start(Image::new(), move |asked| {
        if asked.path == "/token" {
            used.store(0, Ordering::Relaxed);
            let token = format!("token-{}", issued.fetch_add(1, Ordering::Relaxed) + 1);
            return Some(answer(200, json!({ "token": token, "expires_in": 300 }).to_string()));
        }
        let current = format!("Bearer token-{}", issued.load(Ordering::Relaxed));
        let welcome = asked.authorization == Some(current) && used.fetch_add(1, Ordering::Relaxed) < 2;
        (!welcome).then(|| asking_for(&own_service(asked)))
    })
    .await;
    let images = tempfile::tempdir().unwrap();
    let config = PullConfig { image_dir: Some(images.path().to_owned()), ..config(&[registry.host()]) };
    assert_eq!(pull_as(&config, &registry.reference(), &ada()).await, Ok(Image::new().digest()));
    assert_eq!((count(&registry, "/token"), count(&registry, "/manifests/"), count(&registry, "/blobs/")), (2, 1, 4));
}

#[tokio::test]
async fn a_token_that_never_worked_is_not_had_again() {
    for works_for in ["nothing", "/manifests/"] {
        let registry = FakeRegistry::start(Image::new(), move |asked| match asked.path.as_str() {
            "/token" => Some(answer(200, json!({ "token": "token-of-ada" }).to_string())),
            path => (!path.contains(works_for)).then(|| asking_for(&own_service(asked))),
        })
        .await;
        let images = tempfile::tempdir().unwrap();
        let config = PullConfig { image_dir: Some(images.path().to_owned()), ..config(&[registry.host()]) };
        let error = pull_as(&config, &registry.reference(), &ada()).await.unwrap_err();
        assert_eq!(error.reason, PullFailure::Unauthorized, "{error}");
        assert!(error.detail.contains("did not accept the credentials"), "{error}");
        let expected = if works_for == "nothing" { (1, 1, 0) } else { (2, 1, 2) };
        let asked = (count(&registry, "/token"), count(&registry, "/manifests/"), count(&registry, "/blobs/"));
        assert_eq!(asked, expected, "{works_for}");
    }
}

/// Open to a greeting, closed to what it keeps: this challenge, until there is a token or ada's password.
async fn closed_at(part: &'static str, challenge: Option<&'static str>) -> FakeRegistry {
    FakeRegistry::start(Image::new(), move |asked| {
        if asked.path == "/token" {
            return Some(answer(200, json!({ "token": "token-of-ada" }).to_string()));
        }
        let header = asked.authorization.as_deref();
        let welcome = header == Some("Bearer token-of-ada") || header == Some(&basic_header("ada", PASSWORD));
        let closed = asked.path.contains(part) && !welcome;
        closed.then(|| asking_for(&challenge.map_or_else(|| own_service(asked), str::to_owned)))
    })
    .await
}

#[tokio::test]
async fn a_registry_that_asks_after_its_greeting_gets_the_login() {
    for part in ["/manifests/", "/blobs/"] {
        for (challenge, login) in [(Some("Basic"), ada()), (None, ada()), (None, RegistryLogin::Anonymous)] {
            let registry = closed_at(part, challenge).await;
            let images = tempfile::tempdir().unwrap();
            let config = PullConfig { image_dir: Some(images.path().to_owned()), ..config(&[registry.host()]) };
            let outcome = pull_as(&config, &registry.reference(), &login).await;
            assert_eq!(outcome, Ok(Image::new().digest()), "{part} {challenge:?} {login:?}");
            let refused = registry.asked().iter().filter(|asked| asked.path.contains(part)).count();
            assert_eq!(refused, if part == "/blobs/" { 4 } else { 2 }, "one login lasts");
        }
    }
}

#[tokio::test]
async fn what_was_not_sent_is_not_said_to_be_refused() {
    let cases = [
        (Some("Negotiate"), ada(), PullFailure::UnsupportedChallenge, "none were sent"),
        (Some("Basic"), ada_with("wrong"), PullFailure::Unauthorized, "did not accept the credentials"),
        (Some("Basic"), RegistryLogin::Anonymous, PullFailure::Unauthorized, "there are none"),
    ];
    for (challenge, login, reason, words) in cases {
        let registry = closed_at("/manifests/", challenge).await;
        let error = pull_as(&config(&[registry.host()]), &registry.reference(), &login).await.unwrap_err();
        assert_eq!(error.reason, reason, "{error}");
        assert!(error.detail.contains(words), "{error}");
    }
}
