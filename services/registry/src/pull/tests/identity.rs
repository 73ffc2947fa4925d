//! Identity tokens, which Docker's tools keep in place of passwords.

use serde_json::json;

use super::*;
use crate::testing::{Answer, Asked, FakeRegistry, Image, Lines, answer, assert_absent, basic_header};

const TOKEN: &str = "s3cr3t-identity+token/=";

fn identity() -> RegistryLogin {
    RegistryLogin::Basic(BasicLogin { username: "<token>".to_owned(), password: Secret::from(TOKEN) })
}

/// A registry whose token service answers a POST so.
async fn answering_posts(post: Answer) -> FakeRegistry {
    let token = || answer(200, json!({ "access_token": "token-of-ada", "refresh_token": "another" }).to_string());
    FakeRegistry::start(Image::new(), move |asked| match (asked.path.as_str(), asked.method.as_str()) {
        ("/token", "POST") => Some(if post.0 == 200 { token() } else { post.clone() }),
        ("/token", _) => Some(token()),
        _ if asked.authorization.as_deref() == Some("Bearer token-of-ada") => None,
        _ => {
            let host = asked.host.clone();
            let challenge = format!("Bearer realm=\"http://{host}/token?own=1\",service=\"the registry\"");
            Some((401, vec![("www-authenticate", challenge)], Vec::new()))
        }
    })
    .await
}

fn at_the_service(registry: &FakeRegistry) -> Vec<Asked> {
    registry.asked().into_iter().filter(|asked| asked.path == "/token").collect()
}

#[tokio::test]
async fn an_identity_token_is_posted() {
    let (lines, _guard) = Lines::capture();
    let registry = answering_posts(answer(200, "")).await;
    assert!(pull_as(&config(&[registry.host()]), &registry.reference(), &identity()).await.is_ok());
    let asked = at_the_service(&registry);
    assert_eq!(asked.len(), 1, "{asked:?}");
    let expected = "grant_type=refresh_token&client_id=waybill&scope=repository%3Ateam%2Fapp%3Apull\
                    &service=the+registry&refresh_token=s3cr3t-identity%2Btoken%2F%3D";
    assert_eq!((asked[0].body.as_str(), asked[0].query.as_str()), (expected, "own=1"));
    assert_eq!(asked[0].authorization, None);
    for secret in [TOKEN, "token-of-ada"] {
        assert_absent(secret, "the log", &lines.text());
    }
}

#[tokio::test]
async fn a_service_that_knows_no_post_is_asked_as_usual() {
    for status in [404, 405] {
        let registry = answering_posts(answer(status, "")).await;
        assert!(pull_as(&config(&[registry.host()]), &registry.reference(), &identity()).await.is_ok(), "{status}");
        let asked = at_the_service(&registry);
        let methods: Vec<&str> = asked.iter().map(|asked| asked.method.as_str()).collect();
        assert_eq!(methods, ["POST", "GET"], "{status}");
        assert_eq!(asked[1].authorization, Some(basic_header("<token>", TOKEN)));
        assert_eq!(asked[1].query, "own=1&scope=repository%3Ateam%2Fapp%3Apull&service=the+registry");
    }
}

#[tokio::test]
async fn a_refused_identity_token_is_not_tried_otherwise() {
    for (status, reason) in [(401, PullFailure::Unauthorized), (400, PullFailure::RegistryError)] {
        let registry = answering_posts(answer(status, format!("no {TOKEN}"))).await;
        let error = pull_as(&config(&[registry.host()]), &registry.reference(), &identity()).await.unwrap_err();
        assert_eq!((error.reason, at_the_service(&registry).len()), (reason, 1), "{error}");
        assert_absent(TOKEN, "the error", &error.to_string());
    }
}
