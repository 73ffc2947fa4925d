//! The OpenAPI document says what the gateway does, and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use axum::{
    body::Body,
    http::{Request, header},
};
use futures_util::stream;
use serde_json::{Value, json};

use super::{
    schema,
    support::{Answer, Gateway, OTHER_TOKEN, bare, post},
};
use crate::{
    fake::Mode,
    http::{explaining_routes, openapi, recording_routes},
};

pub(super) fn document() -> Value {
    serde_json::to_value(openapi::document()).unwrap()
}

fn operation<'d>(document: &'d Value, method: &str, path: &str) -> Option<&'d Value> {
    document["paths"].get(path)?.get(method)
}

#[test]
fn it_is_openapi_3_1_with_bearer_tokens() {
    let document = document();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"), "{}", document["openapi"]);
    let scheme = &document["components"]["securitySchemes"]["bearer"];
    assert_eq!((&scheme["type"], &scheme["scheme"]), (&json!("http"), &json!("bearer")));
    for (path, _) in recording_routes() {
        assert_eq!(operation(&document, "post", path).unwrap()["security"], json!([{"bearer": []}]), "{path}");
    }
}

#[tokio::test]
async fn every_route_is_in_it_and_the_other_way_round() {
    let document = document();
    let served = recording_routes().into_iter().chain(explaining_routes()).map(|(path, _)| path);
    let served: BTreeSet<&str> = served.chain(["/healthz", "/readyz", "/metrics", "/openapi.json"]).collect();
    let written: BTreeSet<&str> = document["paths"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(served, written);
    let gateway = Gateway::new();
    for path in served {
        for method in ["get", "post", "put", "patch", "delete"] {
            let request = Request::builder().method(method.to_uppercase().as_str()).uri(path);
            let status = gateway.send(request.body(Body::empty()).unwrap()).await.status.as_u16();
            assert_ne!(status, 404, "{method} {path}");
            assert_eq!(status != 405, operation(&document, method, path).is_some(), "{method} {path}");
        }
    }
}

/// Fails unless the answer is one that the document tells of.
pub(super) fn check(document: &Value, method: &str, path: &str, answer: &Answer) {
    let (status, at) = (answer.status.as_str(), format!("{method} {path} {}", answer.status));
    let response = operation(document, method, path).unwrap()["responses"].get(status);
    let response = response.unwrap_or_else(|| panic!("{at} is not in the document: {}", answer.text));
    let media = answer.header("content-type").unwrap().split(';').next().unwrap();
    let content = response["content"].get(media).unwrap_or_else(|| panic!("{at}: {media} is not in the document"));
    if media.ends_with("json") {
        schema::check(document, &content["schema"], &answer.json(), &at);
        schema::check_known(document, &content["schema"], &answer.json(), &at);
    }
    for name in ["Retry-After", "WWW-Authenticate", "Idempotent-Replayed"] {
        let written = response.get("headers").is_some_and(|headers| headers.get(name).is_some());
        let sent = answer.header(name).is_some();
        let optional = name == "Idempotent-Replayed";
        assert!(written == sent || (written && optional), "{at}: {name}");
    }
}

type Asked = (&'static str, Request<Body>, Mode);

fn good(path: &str) -> Value {
    match path {
        "/v1/builds" => json!({"workspace": "acme", "image_id": "i", "base_image": "a.b/c", "base_image_creds": "u:p"}),
        "/v1/secrets/rotate" => json!({"workspace": "acme", "image_id": "i", "credentials": "u:q"}),
        "/v1/secrets/revoke" => json!({"workspace": "acme", "image_id": "i", "reason": "closed"}),
        "/v1/containers/ended" => json!({"workspace": "acme", "container_id": "c"}),
        _ => json!({"workspace": "acme", "container_id": "c", "worker_id": "w"}),
    }
}

/// A request for every answer a recording route may give.
fn asked(path: &'static str) -> Vec<Asked> {
    let good = good(path).to_string();
    let with = |body: String| post(path).body(Body::from(body)).unwrap();
    let keyed = || post(path).header("Idempotency-Key", "k").body(Body::from(good.clone())).unwrap();
    let foreign = bare(path).header(header::AUTHORIZATION, format!("Bearer {OTHER_TOKEN}"));
    let never = Body::from_stream(stream::pending::<Result<Vec<u8>, std::io::Error>>());
    let form = post(path).header(header::CONTENT_TYPE, "text/plain");
    let mut untyped = form.body(Body::from(good.clone())).unwrap();
    untyped.headers_mut().remove(header::CONTENT_TYPE);
    vec![
        (path, with(good.clone()), Mode::Answers),
        (path, keyed(), Mode::Answers),
        (path, keyed(), Mode::Answers),
        (path, with("{".to_owned()), Mode::Answers),
        (path, bare(path).body(Body::empty()).unwrap(), Mode::Answers),
        (path, foreign.body(Body::from(good.clone())).unwrap(), Mode::Answers),
        (path, post(path).body(never).unwrap(), Mode::Answers),
        (path, with("x".repeat(300 * 1024)), Mode::Answers),
        (path, untyped, Mode::Answers),
        (path, with(json!({"workspace": "acme", "no": 1}).to_string()), Mode::Answers),
        (path, with(good.clone()), Mode::Refuses),
        (path, with(good.clone()), Mode::Away),
    ]
}

#[tokio::test]
async fn every_answer_is_in_it_and_the_other_way_round() {
    let document = document();
    let gateway = Gateway::new();
    let skipped = json!({"workspace": "acme", "image_id": "i"}).to_string();
    let half = json!({
        "workspace": "acme", "image_id": "i", "base_image": "a.b/c", "base_image_creds": {"USERNAME": "u"}
    });
    let mut requests: Vec<Asked> = recording_routes().into_iter().flat_map(|(path, _)| asked(path)).collect();
    for body in [skipped, half.to_string()] {
        requests.push(("/v1/builds", post("/v1/builds").body(body.into()).unwrap(), Mode::Answers));
    }
    let overtaken = post("/v1/secrets/rotate").body(good("/v1/secrets/rotate").to_string().into()).unwrap();
    requests.push(("/v1/secrets/rotate", overtaken, Mode::Overtakes));
    let mut seen: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for (path, request, mode) in requests {
        gateway.log.set(Mode::Answers);
        if path.starts_with("/v1/secrets/") {
            gateway.post("/v1/builds", &good("/v1/builds")).await;
        }
        gateway.log.set(mode);
        let answer = gateway.send(request).await;
        check(&document, "post", path, &answer);
        seen.entry(path).or_default().insert(answer.status.as_str().to_owned());
    }
    for (path, seen) in seen {
        let responses = operation(&document, "post", path).unwrap()["responses"].as_object().unwrap();
        let written: BTreeSet<String> = responses.keys().cloned().collect();
        assert_eq!(seen, written, "{path}");
    }
}

#[tokio::test]
async fn health_answers_are_in_it() {
    let (document, gateway) = (document(), Gateway::new());
    let part = gateway.health.component("event log");
    check(&document, "get", "/readyz", &gateway.get("/readyz").await);
    part.ready();
    for path in ["/healthz", "/readyz", "/metrics", "/openapi.json"] {
        let answer = gateway.get(path).await;
        assert_eq!(answer.status.as_u16(), 200, "{path}");
        check(&document, "get", path, &answer);
    }
    assert_eq!(gateway.get("/openapi.json").await.json(), document);
}

#[tokio::test]
async fn its_examples_work() {
    let document = document();
    for (path, _) in recording_routes() {
        let content = &operation(&document, "post", path).unwrap()["requestBody"]["content"]["application/json"];
        let several = content.get("examples").and_then(Value::as_object).into_iter().flatten();
        let examples: Vec<_> = several.map(|(_, example)| &example["value"]).chain(content.get("example")).collect();
        assert!(!examples.is_empty(), "{path}");
        for example in examples {
            let gateway = Gateway::new();
            if path.starts_with("/v1/secrets/") {
                let build =
                    json!({"workspace": "acme", "image_id": "img-1", "base_image": "a.b/c", "base_image_creds": "u:p"});
                gateway.post("/v1/builds", &build).await;
            }
            let answer = gateway.post(path, example).await;
            assert!(answer.status.is_success(), "{path} {example}: {}", answer.text);
        }
    }
}

#[tokio::test]
async fn the_page_needs_nothing_from_elsewhere() {
    let gateway = Gateway::new();
    assert_eq!(gateway.get("/docs").await.header("location"), Some("/docs/"));
    let page = gateway.get("/docs/").await;
    assert!(page.header("content-type").unwrap().starts_with("text/html"));
    let links: Vec<&str> = [" src=\"", " href=\""].into_iter().flat_map(|part| page.text.split(part).skip(1)).collect();
    assert!(links.len() >= 5, "{}", page.text);
    for link in links {
        let link = link.split('"').next().unwrap();
        assert!(!link.contains("//"), "{link} is elsewhere");
        if !link.ends_with(".png") {
            let file = gateway.get(&format!("/docs/{}", link.trim_start_matches("./"))).await;
            assert_eq!(file.status.as_u16(), 200, "{link}");
        }
    }
    let settings = gateway.get("/docs/swagger-initializer.js").await.text;
    assert!(settings.contains("/openapi.json") && !settings.contains("://"), "{settings}");
    assert!(settings.contains(r#""validatorUrl": "none""#), "{settings}");
}
