//! How a login reaches a registry, and what becomes of one that does not.

use serde_json::json;

use super::*;
use crate::testing::{Answer, Asked, FakeRegistry, Image, Lines, answer, assert_absent, basic_header, nobody};

/// A registry with a token service of its own, which gives `token` to ada; `token_answer` may answer otherwise.
async fn with_tokens(token_answer: impl Fn(&Asked) -> Option<Answer> + Send + Sync + 'static) -> FakeRegistry {
    with_tokens_at(None, token_answer).await
}

async fn with_tokens_at(
    realm: Option<String>,
    token_answer: impl Fn(&Asked) -> Option<Answer> + Send + Sync + 'static,
) -> FakeRegistry {
    let own = std::sync::Arc::new(std::sync::OnceLock::new());
    let known = own.clone();
    let registry = FakeRegistry::start(Image::new(), move |asked| {
        if asked.path == "/token" {
            let welcome = asked.authorization == Some(basic_header("ada", PASSWORD));
            let token = || answer(200, json!({ "access_token": "token-of-ada", "expires_in": 300 }).to_string());
            return Some(token_answer(asked).unwrap_or_else(|| if welcome { token() } else { answer(401, "") }));
        }
        let realm: &String = known.get().unwrap();
        let challenge = format!("Bearer realm=\"{realm}\",service=\"the registry\"");
        let welcome = asked.authorization.as_deref() == Some("Bearer token-of-ada");
        (!welcome).then(|| (401, vec![("www-authenticate", challenge)], Vec::new()))
    })
    .await;
    own.set(realm.unwrap_or_else(|| format!("{}/token", registry.url()))).unwrap();
    registry
}

#[tokio::test]
async fn a_password_goes_with_requests_and_not_before() {
    let registry = FakeRegistry::basic(Image::new(), "ada", PASSWORD).await;
    let config = config(&[registry.host()]);
    assert_eq!(pull_as(&config, &registry.reference(), &ada()).await, Ok(Image::new().digest()));
    let asked = registry.asked().into_iter().take(2).map(|asked| (asked.path, asked.authorization));
    let asked: Vec<_> = asked.collect();
    let expected = [("/v2/", None), ("/v2/team/app/manifests/1", Some(basic_header("ada", PASSWORD)))];
    assert_eq!(asked, expected.map(|(path, header)| (path.to_owned(), header)));

    for (login, words) in [
        (ada_with("wrong"), "did not accept the credentials"),
        (RegistryLogin::Bearer(Secret::from("token")), "did not accept the credentials"),
        (RegistryLogin::Anonymous, "asks for credentials, and there are none"),
    ] {
        let error = pull_as(&config, &registry.reference(), &login).await.unwrap_err();
        assert_eq!(error.reason, PullFailure::Unauthorized, "{error}");
        assert!(error.detail.contains(words), "{error}");
    }
}

#[tokio::test]
async fn an_open_registry_is_told_no_password() {
    let registry = FakeRegistry::start(Image::new(), |_| None).await;
    let outcome = pull_as(&config(&[registry.host()]), &registry.reference(), &ada()).await;
    assert_eq!(outcome, Ok(Image::new().digest()));
    assert!(registry.asked().iter().all(|asked| asked.authorization.is_none()), "{:?}", registry.asked());
}

#[tokio::test]
async fn a_password_becomes_a_token() {
    let (lines, _guard) = Lines::capture();
    let registry = with_tokens(|_| None).await;
    let config = config(&[registry.host()]);
    assert!(pull_as(&config, &registry.reference(), &ada()).await.is_ok());
    let asked = registry.asked();
    let paths: Vec<&str> = asked.iter().take(3).map(|asked| asked.path.as_str()).collect();
    assert_eq!(paths, ["/v2/", "/token", "/v2/team/app/manifests/1"]);
    assert_eq!(asked[1].query, "scope=repository%3Ateam%2Fapp%3Apull&service=the+registry");
    assert_eq!(asked[2].authorization.as_deref(), Some("Bearer token-of-ada"), "the password stays with the service");

    for secret in [PASSWORD, "token-of-ada"] {
        assert_absent(secret, "the log", &lines.text());
    }

    for (login, words) in [(ada_with("wrong"), "did not accept"), (RegistryLogin::Anonymous, "there are none")] {
        let error = pull_as(&config, &registry.reference(), &login).await.unwrap_err();
        assert_eq!(error.reason, PullFailure::Unauthorized, "{error}");
        assert!(error.detail.contains(words), "{error}");
    }
}

#[tokio::test]
async fn a_token_goes_as_it_is() {
    let registry = with_tokens(|_| None).await;
    let login = RegistryLogin::Bearer(Secret::from("token-of-ada"));
    assert!(pull_as(&config(&[registry.host()]), &registry.reference(), &login).await.is_ok());
    let tokens = registry.asked().iter().filter(|asked| asked.path == "/token" || asked.path == "/v2/").count();
    assert_eq!(tokens, 0, "no service is asked for what is there");
}

#[tokio::test]
async fn a_token_that_no_header_can_carry_is_an_error() {
    let registry = with_tokens(|_| None).await;
    for token in ["two\nlines", "tökön", "a b", ""] {
        let login = RegistryLogin::Bearer(Secret::from(token));
        let error = pull_as(&config(&[registry.host()]), &registry.reference(), &login).await.unwrap_err();
        assert_eq!(error.reason, PullFailure::NoLogin, "{error}");
    }
    assert!(registry.asked().is_empty());
    let registry = with_tokens(|_| Some(answer(200, json!({ "token": "two\nlines" }).to_string()))).await;
    let error = pull_as(&config(&[registry.host()]), &registry.reference(), &ada()).await.unwrap_err();
    assert_eq!(error.reason, PullFailure::RegistryError, "{error}");
}

#[tokio::test]
async fn an_empty_token_is_none() {
    for (token, access_token) in [("", "token-of-ada"), ("token-of-ada", "")] {
        let registry = with_tokens(move |_| {
            Some(answer(200, json!({ "token": token, "access_token": access_token }).to_string()))
        })
        .await;
        assert!(pull_as(&config(&[registry.host()]), &registry.reference(), &ada()).await.is_ok(), "{token}");
    }
}

/// A token service that fails says nothing about the credentials.
#[tokio::test]
async fn a_token_service_s_troubles_are_its_own() {
    use PullFailure as P;
    let cases = [
        (answer(401, ""), P::Unauthorized),
        (answer(403, "no"), P::Denied),
        (answer(429, "later"), P::RateLimited),
        (answer(503, "down"), P::RegistryError),
        (answer(200, "<html>"), P::RegistryError),
        (answer(200, "{}"), P::RegistryError),
        (answer(200, vec![b' '; 300_000]), P::RegistryError),
    ];
    for (told, reason) in cases {
        let status = told.0;
        let registry = with_tokens(move |_| Some(told.clone())).await;
        let error = pull_as(&config(&[registry.host()]), &registry.reference(), &ada()).await.unwrap_err();
        assert_eq!(error.reason, reason, "{status}: {error}");
        assert!(error.detail.contains("token service"), "{error}");
    }
    let (away, _socket) = nobody();
    let registry = with_tokens_at(Some(format!("http://{away}/token")), |_| None).await;
    let error = pull_as(&config(&[registry.host(), &away]), &registry.reference(), &ada()).await.unwrap_err();
    assert_eq!(error.reason, P::Unreachable, "{error}");
}

#[tokio::test]
async fn a_token_service_without_tls_gets_nothing() {
    let elsewhere = FakeRegistry::start(Image::new(), |_| Some(answer(200, json!({ "token": "t" }).to_string()))).await;
    let registry = with_tokens_at(Some(format!("{}/token", elsewhere.url())), |_| None).await;
    let error = pull_as(&config(&[registry.host()]), &registry.reference(), &ada()).await.unwrap_err();
    assert_eq!(error.reason, PullFailure::RegistryError, "{error}");
    assert!(error.detail.contains("without TLS"), "{error}");
    assert!(elsewhere.asked().is_empty(), "{:?}", elsewhere.asked());
}

/// A token of a minute is too short for an image of many layers.
#[tokio::test]
async fn a_token_that_ends_during_the_pull_is_had_again() {
    let registry = with_tokens(|asked| {
        let welcome = asked.authorization == Some(basic_header("ada", PASSWORD));
        welcome.then(|| answer(200, json!({ "token": "token-of-ada", "expires_in": 0 }).to_string()))
    })
    .await;
    let images = tempfile::tempdir().unwrap();
    let config = PullConfig { image_dir: Some(images.path().to_owned()), ..config(&[registry.host()]) };
    assert!(pull_as(&config, &registry.reference(), &ada()).await.is_ok());
    let asked = registry.asked();
    let count = |part: &str| asked.iter().filter(|asked| asked.path.contains(part)).count();
    assert_eq!((count("/blobs/"), count("/manifests/"), count("/token")), (3, 1, 5));
}
