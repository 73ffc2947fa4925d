//! Registries as they are: each situation is one that users of some client reported, and what a pull makes of it.

use serde_json::json;

use super::*;
use crate::testing::{Answer, Asked, FakeRegistry, Image, answer, basic_header, envelope};

/// What goes with a request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum With {
    Nothing,
    Password,
    Token,
    Other,
}

fn with(asked: &Asked) -> With {
    match asked.authorization.as_deref() {
        None => With::Nothing,
        Some("Bearer token-of-ada") => With::Token,
        Some(header) if header == basic_header("ada", PASSWORD) => With::Password,
        Some(_) => With::Other,
    }
}

fn asking(status: u16, challenge: impl Into<String>) -> Answer {
    (status, vec![("www-authenticate", challenge.into())], Vec::new())
}

fn realm(asked: &Asked) -> String {
    format!("http://{}/token", asked.host)
}

/// Answers of a token service to ada, for a scope.
fn token(asked: &Asked, scope: &str) -> Answer {
    let right = with(asked) == With::Password && asked.query.contains(scope);
    let token = if right { "token-of-ada" } else { "token-for-something-else" };
    answer(200, json!({ "token": token, "expires_in": "300" }).to_string())
}

type Behaviour = fn(&Asked) -> Option<Answer>;

fn closed(asked: &Asked, challenge: impl Into<String>) -> Option<Answer> {
    match asked.path.as_str() {
        "/token" => Some(token(asked, "repository%3Ateam%2Fapp%3Apull")),
        _ => (!matches!(with(asked), With::Password | With::Token)).then(|| asking(401, challenge)),
    }
}

/// The reason and part of the words of a failure; none for an image that is given.
type Outcome = Option<(PullFailure, &'static str)>;

#[tokio::test]
async fn a_login_follows_whatever_the_refused_request_asks_for() {
    use PullFailure as P;
    let cases: Vec<(&str, Behaviour, Outcome)> = vec![
        ("a bare scheme", |asked| closed(asked, "Basic"), None),
        ("a realm of a slash", |asked| closed(asked, "Basic realm=/"), None),
        ("a realm in single quotes", |asked| closed(asked, "Basic realm='Team API'"), None),
        ("an empty realm", |asked| closed(asked, "Basic realm="), None),
        ("an unquoted realm", |asked| closed(asked, format!("Bearer realm={},service=r", realm(asked))), None),
        ("semicolons", |asked| closed(asked, format!("Bearer realm=\"{}\"; service=\"r\"", realm(asked))), None),
        (
            "an unknown scheme first",
            |asked| closed(asked, format!("Negotiate oYG2MIGzoAMKAQChCw==, Bearer realm=\"{}\"", realm(asked))),
            None,
        ),
        (
            "a token service that is not there before a password",
            |asked| closed(asked, "Bearer, Basic realm=\"r\""),
            None,
        ),
        (
            "the scope of the refused request",
            |asked| match asked.path.as_str() {
                "/token" => Some(token(asked, "repository%3Aapp%3Apull")),
                "/v2/" => {
                    (with(asked) == With::Nothing).then(|| asking(401, format!("Bearer realm=\"{}\"", realm(asked))))
                }
                _ => (with(asked) != With::Token)
                    .then(|| asking(401, format!("Bearer realm=\"{}\",scope=\"repository:app:pull\"", realm(asked)))),
            },
            None,
        ),
        (
            "several scopes",
            |asked| match asked.path.as_str() {
                "/token" => Some(token(asked, "scope=a%3Ab%3Apull&scope=c%3Ad%3Apull")),
                "/v2/" => None,
                _ => (with(asked) != With::Token)
                    .then(|| asking(401, format!("Bearer realm=\"{}\",scope=\"a:b:pull c:d:pull\"", realm(asked)))),
            },
            None,
        ),
        (
            "too small a scope, with 403",
            |asked| match asked.path.as_str() {
                "/token" => Some(token(asked, "wanted%3Apull")),
                "/v2/" => {
                    (with(asked) == With::Nothing).then(|| asking(401, format!("Bearer realm=\"{}\"", realm(asked))))
                }
                _ => (with(asked) != With::Token).then(|| {
                    let challenge =
                        format!("Bearer realm=\"{}\",error=\"insufficient_scope\",scope=\"wanted:pull\"", realm(asked));
                    asking(403, challenge)
                }),
            },
            None,
        ),
        (
            "a greeting for passwords, content for tokens",
            |asked| match asked.path.as_str() {
                "/token" => Some(token(asked, "repository")),
                "/v2/" => (with(asked) == With::Nothing).then(|| asking(401, "Basic realm=\"r\"")),
                _ => (with(asked) != With::Token).then(|| asking(401, format!("Bearer realm=\"{}\"", realm(asked)))),
            },
            None,
        ),
        (
            "a greeting for tokens, content for passwords",
            |asked| match asked.path.as_str() {
                "/token" => Some(token(asked, "repository")),
                "/v2/" => {
                    (with(asked) == With::Nothing).then(|| asking(401, format!("Bearer realm=\"{}\"", realm(asked))))
                }
                _ => (with(asked) != With::Password).then(|| asking(401, "Basic realm=\"r\"")),
            },
            None,
        ),
        (
            "an open greeting, and nothing there for nobody",
            |asked| {
                (asked.path != "/v2/" && with(asked) != With::Password).then(|| envelope(404, "NAME_UNKNOWN", "no"))
            },
            None,
        ),
        (
            "an open greeting, and nobody let in",
            |asked| (asked.path != "/v2/" && with(asked) != With::Password).then(|| answer(403, "no")),
            None,
        ),
        ("401 without a challenge", |asked| (with(asked) != With::Password).then(|| answer(401, "{}")), None),
        (
            "no greeting at all",
            |asked| match asked.path.as_str() {
                "/v2/" => Some(answer(404, "")),
                _ => closed(asked, "Basic realm=\"r\""),
            },
            None,
        ),
        (
            "nothing there, also for who logged in",
            |asked| (asked.path != "/v2/").then(|| envelope(404, "MANIFEST_UNKNOWN", "no")),
            Some((P::NotFound, "answered 404 MANIFEST_UNKNOWN; the login was sent")),
        ),
        (
            "never content with what it asked for",
            |asked| match asked.path.as_str() {
                "/token" => Some(token(asked, "repository")),
                _ => Some(asking(401, format!("Bearer realm=\"{}\", Basic realm=\"r\"", realm(asked)))),
            },
            Some((P::Unauthorized, "did not accept the credentials")),
        ),
        (
            "only a scheme that nobody speaks",
            |_| Some(asking(401, "Negotiate, Digest realm=\"r\",nonce=\"n\"")),
            Some((P::UnsupportedChallenge, "by Negotiate or Digest, which cannot be given: none were sent")),
        ),
        (
            "a code that nobody knows",
            |asked| asked.path.contains("/manifests/").then(|| envelope(403, "UNKNOWN", "may not")),
            Some((P::Denied, "answered 403 UNKNOWN; the login was sent")),
        ),
        (
            "a quota of its own",
            |asked| asked.path.contains("/manifests/").then(|| envelope(429, "QUOTA_EXCEEDED", "later")),
            Some((P::RateLimited, "answered 429 QUOTA_EXCEEDED")),
        ),
        (
            "later, and when",
            |asked| {
                asked.path.contains("/manifests/").then(|| (429, vec![("retry-after", "30".to_owned())], Vec::new()))
            },
            Some((P::RateLimited, "it asks to come back in 30 s")),
        ),
        (
            "a policy",
            |asked| asked.path.contains("/manifests/").then(|| envelope(412, "PROJECTPOLICYVIOLATION", "no")),
            Some((P::RegistryError, "answered 412 PROJECTPOLICYVIOLATION")),
        ),
        (
            "a page for people",
            |asked| {
                let html = vec![("content-type", "text/html; charset=utf-8".to_owned())];
                asked.path.contains("/manifests/").then(|| (400, html, b"<html>Sign in</html>".to_vec()))
            },
            Some((P::RegistryError, "a web page; is this the address of a registry?")),
        ),
        (
            "a layer that is refused",
            |asked| asked.path.contains("/blobs/").then(|| envelope(403, "DENIED", "no")),
            Some((P::Denied, "answered 403 DENIED")),
        ),
        (
            "a layer that is gone",
            |asked| asked.path.contains("/blobs/").then(|| envelope(404, "BLOB_UNKNOWN", "no")),
            Some((P::NotFound, "answered 404 BLOB_UNKNOWN")),
        ),
        ("no HEAD", |asked| (asked.method == "HEAD").then(|| answer(405, "")), None),
        (
            "HEAD that storage refuses",
            |asked| (asked.method == "HEAD" && asked.path.contains("/blobs/")).then(|| answer(403, "")),
            None,
        ),
    ];
    for (name, behaviour, expected) in cases {
        let registry = FakeRegistry::start(Image::new(), behaviour).await;
        let outcome = pull_as(&config(&[registry.host()]), &registry.reference(), &ada()).await;
        let asked: Vec<_> = registry.asked().into_iter().map(|asked| (asked.method, asked.path, asked.query)).collect();
        match (outcome, expected) {
            (Ok(digest), None) => assert_eq!(digest, Image::new().digest(), "{name}"),
            (Err(error), Some((reason, words))) => {
                assert_eq!(error.reason, reason, "{name}: {error}");
                assert!(error.detail.contains(words), "{name}: {error}");
            }
            (outcome, _) => panic!("{name}: {outcome:?} after {asked:?}"),
        }
        // Each way to log in is tried once: nobody is asked for ever.
        assert!(asked.len() <= 16, "{name}: {asked:?}");
    }
}

/// Content that a proxy or a store encoded although nobody asked for that, as manifests and as layers on their way to disk.
#[tokio::test]
async fn unasked_encodings_are_undone() {
    use std::io::Write as _;
    fn gzip(content: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }
    fn zlib(content: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }
    type Encode = fn(&[u8]) -> Vec<u8>;
    let as_it_is: Encode = <[u8]>::to_vec;
    let bare: Encode = |content| {
        let framed = zlib(content);
        framed[2..framed.len() - 4].to_vec()
    };
    let twice: Encode = |content| gzip(&gzip(content));
    let cases: [(&'static str, Encode, Option<&str>); 9] = [
        ("gzip", gzip, None),
        ("X-GZIP", gzip, None),
        ("deflate", zlib, None),
        ("deflate", bare, None),
        ("identity", as_it_is, None),
        ("gzip", as_it_is, None),
        ("br", gzip, Some("encoded as br, which nobody asked for")),
        ("zstd", gzip, Some("encoded as zstd, which nobody asked for")),
        ("gzip, gzip", twice, Some("encoded as several encodings, which nobody asked for")),
    ];
    for (name, encode, expected) in cases {
        for part in ["/manifests/", "/blobs/"] {
            let registry = FakeRegistry::start(Image::new(), move |asked| {
                let (_, mut headers, content) = Image::new().answer(&asked.path);
                headers.push(("content-encoding", name.to_owned()));
                asked.path.contains(part).then(|| (200, headers, encode(&content)))
            })
            .await;
            let dir = tempfile::tempdir().unwrap();
            let config = PullConfig { image_dir: Some(dir.path().to_owned()), ..config(&[registry.host()]) };
            let outcome = pull_as(&config, &registry.reference(), &RegistryLogin::Anonymous).await;
            match expected {
                None => assert_eq!(outcome, Ok(Image::new().digest()), "{name} {part}"),
                Some(words) => {
                    let error = outcome.unwrap_err();
                    assert_eq!(error.reason, PullFailure::RegistryError, "{name} {part}: {error}");
                    assert!(error.detail.contains(words), "{name} {part}: {error}");
                }
            }
        }
    }
}
