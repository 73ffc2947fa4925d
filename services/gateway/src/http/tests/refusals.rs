//! Requests that are refused: the status, the problem's type and field, and that nothing is published.

use std::time::Duration;

use axum::{
    body::{Body, Bytes},
    http::{Request, StatusCode, header},
};
use futures_util::stream;
use serde_json::json;

use super::support::{Answer, Gateway, OTHER_TOKEN, TOKEN, bare, post};
use crate::config::Limits;

const GOOD: &str = r#"{"workspace":"acme","image_id":"i"}"#;

async fn check(name: &str, request: Request<Body>, status: u16, kind: &str, field: Option<&str>) -> Answer {
    let gateway = Gateway::new().await;
    let answer = gateway.send(request).await;
    assert_eq!(answer.status.as_u16(), status, "{name}: {}", answer.text);
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{name}");
    let problem = answer.json();
    assert_eq!(problem["type"], format!("urn:waybill:problem:{kind}"), "{name}: {problem}");
    assert_eq!(problem["status"], status, "{name}");
    assert_eq!(problem.get("field").map(|field| field.as_str().unwrap()), field, "{name}: {problem}");
    assert!(problem["title"].is_string() && problem["detail"].is_string(), "{name}: {problem}");
    assert!(gateway.events().is_empty(), "{name}: published");
    assert!(gateway.kept().await.is_empty(), "{name}: kept");
    answer
}

#[tokio::test]
async fn bodies_of_builds() {
    let deep = format!(r#"{{"workspace":{}"#, "[".repeat(10_000));
    let deep_credentials =
        format!(r#"{{"workspace":"acme","image_id":"i","base_image_creds":{}"#, "{\"a\":".repeat(10_000));
    let unknown = format!(r#"{{"workspace":"acme","image_id":"i","{}":1}}"#, "n".repeat(100));
    let cut_name = "n".repeat(64);
    let cases: &[(&str, &str, u16, &str, Option<&str>)] = &[
        ("empty", "", 400, "malformed_json", None),
        ("not JSON", "workspace=acme", 400, "malformed_json", None),
        ("cut off", r#"{"workspace":"acme","#, 400, "malformed_json", None),
        ("two objects", r#"{"workspace":"acme","image_id":"i"}{}"#, 400, "malformed_json", None),
        ("a list", r#"["acme","i",null,null,null,null,false]"#, 422, "invalid_field", Some("body")),
        ("a string", r#""acme""#, 422, "invalid_field", Some("body")),
        ("null", "null", 422, "invalid_field", Some("body")),
        ("deep", &deep, 422, "invalid_field", Some("workspace")),
        ("deep credentials", &deep_credentials, 422, "invalid_field", Some("base_image_creds")),
        ("no workspace", r#"{"image_id":"i"}"#, 422, "invalid_field", Some("workspace")),
        ("no image", r#"{"workspace":"acme"}"#, 422, "invalid_field", Some("image_id")),
        ("unknown field", r#"{"workspace":"acme","image_id":"i","imageid":1}"#, 422, "invalid_field", Some("imageid")),
        ("a long unknown field", &unknown, 422, "invalid_field", Some(&cut_name)),
        ("twice", r#"{"workspace":"acme","image_id":"i","image_id":"j"}"#, 422, "invalid_field", Some("image_id")),
        ("null workspace", r#"{"workspace":null,"image_id":"i"}"#, 422, "invalid_field", Some("workspace")),
        ("a number", r#"{"workspace":"acme","image_id":7}"#, 422, "invalid_field", Some("image_id")),
        (
            "not a boolean",
            r#"{"workspace":"acme","image_id":"i","modified":"yes"}"#,
            422,
            "invalid_field",
            Some("modified"),
        ),
        ("a dot", r#"{"workspace":"acme","image_id":"a.b"}"#, 422, "invalid_field", Some("image_id")),
        ("a wildcard", r#"{"workspace":"acme","image_id":">"}"#, 422, "invalid_field", Some("image_id")),
        ("empty id", r#"{"workspace":"acme","image_id":""}"#, 422, "invalid_field", Some("image_id")),
        ("workspace is no id", r#"{"workspace":"*","image_id":"i"}"#, 422, "invalid_field", Some("workspace")),
        (
            "no reference",
            r#"{"workspace":"acme","image_id":"i","base_image":"A B"}"#,
            422,
            "invalid_field",
            Some("base_image"),
        ),
        (
            "credentials of no form",
            r#"{"workspace":"acme","image_id":"i","existing_image_uri":"a.b/c","existing_image_creds":"x"}"#,
            422,
            "invalid_field",
            Some("existing_image_creds"),
        ),
        (
            "a Docker configuration that keeps them in a program",
            r#"{"workspace":"acme","image_id":"i","existing_image_uri":"a.b/c","existing_image_creds":{"credsStore":"x"}}"#,
            422,
            "invalid_field",
            Some("existing_image_creds"),
        ),
        (
            "a Docker configuration with a malformed value",
            r#"{"workspace":"acme","image_id":"i","existing_image_uri":"a.b/c","existing_image_creds":{"auths":{"a.b":{"auth":"canary"}}}}"#,
            422,
            "invalid_field",
            Some("existing_image_creds"),
        ),
        (
            "no secret's name",
            r#"{"workspace":"acme","image_id":"i","base_image":"a.b/c","base_image_secret":"a b"}"#,
            422,
            "invalid_field",
            Some("base_image_secret"),
        ),
        (
            "credentials that are a number",
            r#"{"workspace":"acme","image_id":"i","base_image_creds":5}"#,
            422,
            "invalid_field",
            Some("base_image_creds"),
        ),
        (
            "a value that is a number: the client's key is not repeated",
            r#"{"workspace":"acme","image_id":"i","base_image_creds":{"canary":5}}"#,
            422,
            "invalid_field",
            Some("base_image_creds"),
        ),
    ];
    for (name, body, status, kind, field) in cases {
        let answer =
            check(name, post("/v1/builds").body((*body).to_owned().into()).unwrap(), *status, kind, *field).await;
        assert!(!answer.text.contains("canary"), "{name}: {}", answer.text);
    }
}

#[tokio::test]
async fn bodies_of_containers() {
    let cases = [
        ("no worker", r#"{"workspace":"acme","container_id":"c"}"#, "worker_id"),
        ("worker is no id", r#"{"workspace":"acme","container_id":"c","worker_id":"w.1"}"#, "worker_id"),
        ("container is no id", r#"{"workspace":"acme","container_id":"a b","worker_id":"w"}"#, "container_id"),
        ("image is no id", r#"{"workspace":"acme","container_id":"c","worker_id":"w","image_id":"*"}"#, "image_id"),
        ("unknown field", r#"{"workspace":"acme","container_id":"c","worker_id":"w","creds":"u:p"}"#, "creds"),
    ];
    let ends = [
        ("no placement", r#"{"workspace":"acme","container_id":"c"}"#, "placement"),
        ("a placement that is none", r#"{"workspace":"acme","container_id":"c","placement":"1"}"#, "placement"),
        ("below zero", r#"{"workspace":"acme","container_id":"c","placement":-1}"#, "placement"),
    ];
    for (name, body, field) in ends {
        let request = post("/v1/containers/ended").body(body.into()).unwrap();
        check(name, request, 422, "invalid_field", Some(field)).await;
    }
    for (name, body, field) in cases {
        check(name, post("/v1/containers").body(body.into()).unwrap(), 422, "invalid_field", Some(field)).await;
    }
}

#[tokio::test]
async fn malformed_json_is_placed() {
    let body = "{\n  \"workspace\": acme\n}";
    let answer = check("place", post("/v1/builds").body(body.into()).unwrap(), 400, "malformed_json", None).await;
    assert_eq!(answer.json()["detail"], "the body is not JSON at line 2 column 16");
    let body = post("/v1/builds").body(Body::from(&b"{\"workspace\":\"\xff\"}"[..])).unwrap();
    let answer = check("not UTF-8", body, 400, "malformed_json", None).await;
    assert_eq!(answer.json()["detail"], "the body is not UTF-8 at byte 14");
}

#[tokio::test]
async fn tokens() {
    let with = |value: &str| bare("/v1/builds").header(header::AUTHORIZATION, value).body(GOOD.into()).unwrap();
    // Authentication comes first: a body that would be refused is not looked at.
    let unread = bare("/v1/builds").body(Body::from("not JSON")).unwrap();
    let cases = [
        ("none", bare("/v1/builds").body(GOOD.into()).unwrap()),
        ("none, and a bad body", unread),
        ("unknown", with("Bearer wb_unknown")),
        ("empty", with("Bearer ")),
        ("another scheme", with(&format!("Basic {TOKEN}"))),
        ("no scheme", with(TOKEN)),
        ("the hash instead of the token", with(&format!("Bearer {}", crate::tokens::hash(TOKEN)))),
    ];
    for (name, request) in cases {
        let answer = check(name, request, 401, "unauthenticated", Some("Authorization")).await;
        assert_eq!(answer.header("www-authenticate"), Some("Bearer realm=\"waybill\""), "{name}");
    }
    let accepted = Gateway::new().await.send(with(&format!("bearer {TOKEN}"))).await;
    assert_eq!(accepted.status, StatusCode::OK, "the scheme has no case");
}

#[tokio::test]
async fn another_workspace_is_refused_whether_or_not_it_exists() {
    let mut answers = Vec::new();
    for (workspace, token) in [("other", TOKEN), ("nowhere", TOKEN), ("acme", OTHER_TOKEN)] {
        let body = json!({"workspace": workspace, "image_id": "i"}).to_string();
        let request = bare("/v1/builds").header(header::AUTHORIZATION, format!("Bearer {token}"));
        let answer =
            check(workspace, request.body(body.into()).unwrap(), 403, "another_workspace", Some("workspace")).await;
        answers.push(answer.text);
    }
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{answers:?}");
}

#[tokio::test]
async fn headers() {
    let typed = |media: &str| {
        let request = Request::post("/v1/builds").header(header::AUTHORIZATION, format!("Bearer {TOKEN}"));
        request.header(header::CONTENT_TYPE, media).body(Body::from(GOOD)).unwrap()
    };
    check("a form", typed("application/x-www-form-urlencoded"), 415, "media_type", Some("Content-Type")).await;
    check("no type", typed(""), 415, "media_type", Some("Content-Type")).await;
    assert_eq!(Gateway::new().await.send(typed("Application/JSON; charset=utf-8")).await.status, StatusCode::OK);

    let keyed = |key: &[u8]| post("/v1/builds").header("Idempotency-Key", key).body(Body::from(GOOD)).unwrap();
    let long = [b'k'; 129];
    for (name, key) in [("empty", &b""[..]), ("a space", b"a b"), ("not ASCII", b"\xc3\xa9"), ("too long", &long)] {
        check(name, keyed(key), 400, "invalid_header", Some("Idempotency-Key")).await;
    }
    let twice = post("/v1/builds").header("Idempotency-Key", "a").header("Idempotency-Key", "b");
    check("twice", twice.body(GOOD.into()).unwrap(), 400, "invalid_header", Some("Idempotency-Key")).await;
}

#[tokio::test]
async fn bodies_that_are_too_large_or_too_slow() {
    let large = "x".repeat(256 * 1024 + 1);
    let chunk = |text: &str| Ok::<_, std::io::Error>(Bytes::from(text.to_owned()));
    let declared = post("/v1/builds").header(header::CONTENT_LENGTH, large.len()).body(Body::empty()).unwrap();
    check("declared", declared, 413, "body_too_large", None).await;
    let streamed = Body::from_stream(stream::iter([chunk(&large[1..]), chunk("x")]));
    check("streamed", post("/v1/builds").body(streamed).unwrap(), 413, "body_too_large", None).await;

    let slow = Body::from_stream(futures_util::StreamExt::chain(stream::iter([chunk(&GOOD[..9])]), stream::pending()));
    check("slow", post("/v1/builds").body(slow).unwrap(), 408, "body_timeout", None).await;
    let broken = Body::from_stream(stream::iter([chunk(&GOOD[..9]), Err(std::io::Error::other("gone"))]));
    check("broken off", post("/v1/builds").body(broken).unwrap(), 400, "body_unreadable", None).await;
}

#[tokio::test]
async fn credentials_that_no_grant_could_hold() {
    let body = |bytes: usize| {
        let credentials = format!("u:{}", "x".repeat(bytes));
        let body =
            json!({"workspace": "acme", "image_id": "i", "base_image": "a.b/c", "base_image_creds": credentials});
        post("/v1/builds").body(Body::from(body.to_string())).unwrap()
    };
    let large = Limits { body_bytes: 1 << 20, append: Duration::from_secs(5), ..Limits::default() };
    let gateway = Gateway::with(large, None).await;
    gateway.send(body(257 * 1024)).await.expect_problem(413, "credentials_too_large");
    assert!(gateway.events().is_empty());
    assert_eq!(gateway.send(body(250 * 1024)).await.status, StatusCode::CREATED);
}

#[tokio::test]
async fn routes_and_methods() {
    let ask = |method: &str, path: &str| Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
    for path in ["/nothing", "/v1", "/v1/builds/", "/v1/build", "/V1/builds", "/v1/builds/x", "/docs/nothing-here.js"] {
        check(path, ask("GET", path), 404, "no_such_route", None).await;
    }
    for (method, path, allow) in [
        ("GET", "/v1/builds", "POST"),
        ("DELETE", "/v1/containers", "GET,HEAD,POST"),
        ("POST", "/healthz", "GET,HEAD"),
        ("POST", "/readyz", "GET,HEAD"),
        ("PUT", "/openapi.json", "GET,HEAD"),
        ("PATCH", "/v1/secrets/acme/s", "GET,HEAD,PUT,DELETE"),
    ] {
        let answer = check(path, ask(method, path), 405, "method_not_allowed", None).await;
        assert_eq!(answer.header("allow"), Some(allow), "{method} {path}");
    }
}
