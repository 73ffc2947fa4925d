//! The OpenAPI document says what the gateway does, and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use axum::{
    body::Body,
    http::{Request, header},
};
use futures_util::stream;
use serde_json::{Value, json};
use waybill_platform::testing::Failure;

use super::{
    schema,
    support::{Answer, Gateway, OTHER_TOKEN, TOKEN, request},
};
use crate::http::{identities, openapi, routes};

pub(super) fn document() -> Value {
    serde_json::to_value(openapi::document()).unwrap()
}

fn operation<'d>(document: &'d Value, method: &str, path: &str) -> Option<&'d Value> {
    document["paths"].get(path)?.get(method)
}

const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// Every operation that needs a token: method and path.
fn operations(document: &Value) -> Vec<(&'static str, &'static str)> {
    let all = routes().into_iter().flat_map(|(path, _)| METHODS.map(|method| (method, path)));
    all.filter(|(method, path)| operation(document, method, path).is_some()).collect()
}

#[test]
fn it_is_openapi_3_1_with_bearer_tokens() {
    let document = document();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"), "{}", document["openapi"]);
    let scheme = &document["components"]["securitySchemes"]["bearer"];
    assert_eq!((&scheme["type"], &scheme["scheme"]), (&json!("http"), &json!("bearer")));
    for (method, path) in operations(&document) {
        let operation = operation(&document, method, path).unwrap();
        assert_eq!(operation["security"], json!([{"bearer": []}]), "{method} {path}");
    }
}

#[test]
fn each_operation_has_an_id_of_its_own() {
    let document = document();
    let paths = document["paths"].as_object().unwrap().values();
    let operations = paths.flat_map(|path| METHODS.iter().filter_map(|method| path.get(method)));
    let ids: Vec<&str> = operations.map(|operation| operation["operationId"].as_str().unwrap()).collect();
    let distinct: BTreeSet<&str> = ids.iter().copied().collect();
    assert_eq!((ids.len(), distinct.len()), (28, 28), "{ids:?}");
}

/// A client that is made from the document refuses what the gateway would.
#[test]
fn each_parameter_says_what_it_may_hold() {
    let document = document();
    let paths = document["paths"].as_object().unwrap().values();
    let operations = paths.flat_map(|path| METHODS.iter().filter_map(|method| path.get(method)));
    let parameters = operations.flat_map(|operation| operation["parameters"].as_array().cloned().unwrap_or_default());
    let without: Vec<String> = parameters
        .filter(|parameter| parameter["schema"]["type"] != "integer" && parameter["schema"]["pattern"].is_null())
        .map(|parameter| parameter.to_string())
        .collect();
    assert!(without.is_empty(), "{without:?}");
}

#[tokio::test]
async fn every_route_is_in_it_and_the_other_way_round() {
    let document = document();
    let served = routes().into_iter().chain(identities::routes()).map(|(path, _)| path);
    let served: BTreeSet<&str> = served.chain(["/healthz", "/readyz", "/metrics", "/openapi.json"]).collect();
    let written: BTreeSet<&str> = document["paths"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(served, written);
    let gateway = Gateway::new().await;
    for path in served {
        for method in METHODS {
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

/// A request, and how the log fails it.
struct Asked {
    request: Request<Body>,
    failure: Option<Failure>,
}

/// The path with the ids of things that are there.
fn concrete(path: &str) -> String {
    let workspace = if path.contains("{workspace}") { "" } else { "?workspace=acme" };
    format!("{path}{workspace}").replace("{workspace}", "acme").replace("{name}", "s").replace("{id}", "x")
}

/// A body that is good once [`prepare`] was called.
fn good(method: &str, path: &str) -> Option<Value> {
    match (method, path) {
        ("get" | "delete", _) => None,
        (_, "/v1/builds") => {
            Some(json!({"workspace": "acme", "image_id": "i", "base_image": "a.b/c", "base_image_creds": "u:p"}))
        }
        (_, "/v1/containers") => Some(json!({"workspace": "acme", "container_id": "c", "worker_id": "w"})),
        (_, "/v1/containers/ended") => Some(json!({"workspace": "acme", "container_id": "c", "placement": 3})),
        ("put", _) => Some(json!({"registry": "a.b", "credentials": "u:q"})),
        (_, path) if path.ends_with("/rotate") => Some(json!({"credentials": "u:q"})),
        _ => Some(json!({"reason": "closed"})),
    }
}

/// A gateway with the secret `s` at sequence 2, and the container `c` placed at 3.
async fn prepare() -> Gateway {
    let gateway = Gateway::new().await;
    gateway.ask("PUT", "/v1/secrets/acme/s", &json!({"registry": "a.b", "credentials": "u:p"})).await;
    gateway.post("/v1/containers", &json!({"workspace": "acme", "container_id": "c", "worker_id": "w"})).await;
    gateway.catch_up().await;
    gateway
}

/// A request for every answer that most operations may give. Each is sent to a gateway of its own.
fn asked(method: &str, path: &str) -> Vec<Asked> {
    // Without a body it is the path that can be wrong.
    let invalid = match path {
        "/v1/secrets/{workspace}" => path.replace("{workspace}", "a.b"),
        "/v1/events" | "/v1/containers" | "/v1/failures" | "/v1/forecast" => format!("{path}?limit=0"),
        "/v1/now" => format!("{path}?workspace=a.b"),
        _ => concrete(&path.replace("{name}", "a%20b").replace("{id}", "x.y")),
    };
    let (method, path, good) = (method.to_uppercase(), concrete(path), good(method, path));
    let body = || good.as_ref().map_or_else(Body::empty, |good| good.to_string().into());
    let with = |body: Body| request(&method, &path).body(body).unwrap();
    let token = |token: &str| {
        let mut request = with(body());
        request.headers_mut().insert(header::AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
        request
    };
    let mut key = with(body());
    key.headers_mut().insert("Idempotency-Key", "a b".parse().unwrap());
    let mut untyped = with(body());
    untyped.headers_mut().remove(header::CONTENT_TYPE);
    let never = Body::from_stream(stream::pending::<Result<Vec<u8>, std::io::Error>>());
    let mut requests = vec![
        (with(body()), None),
        (token("nobody"), None),
        (token(OTHER_TOKEN), None),
        (with(body()), Some(Failure::ReadUnavailable)),
        (with(body()), Some(Failure::Unavailable)),
    ];
    if method != "GET" {
        requests.push((key, None));
        requests.push((with(body()), Some(Failure::Refused(10054))));
    }
    if good.is_some() {
        requests.extend([
            (with(Body::from("{")), None),
            (with(never), None),
            (with("x".repeat(300 * 1024).into()), None),
            (untyped, None),
            (with(json!({"workspace": "acme", "no": 1}).to_string().into()), None),
        ]);
    } else {
        requests.push((request(&method, &invalid).body(Body::empty()).unwrap(), None));
    }
    requests.into_iter().map(|(request, failure)| Asked { request, failure }).collect()
}

type Seen = BTreeMap<(&'static str, &'static str), BTreeSet<String>>;

#[tokio::test]
async fn every_answer_is_in_it_and_the_other_way_round() {
    let document = document();
    let mut seen = Seen::new();
    for (method, path) in operations(&document) {
        for Asked { request, failure } in asked(method, path) {
            let gateway = prepare().await;
            failure.iter().for_each(|failure| gateway.fail(failure));
            let answer = gateway.send(request).await;
            check(&document, method, path, &answer);
            seen.entry((method, path)).or_default().insert(answer.status.as_str().to_owned());
        }
    }
    see_what_is_particular(&document, &mut seen).await;
    for ((method, path), seen) in seen {
        let responses = operation(&document, method, path).unwrap()["responses"].as_object().unwrap();
        let written: BTreeSet<String> = responses.keys().cloned().collect();
        assert_eq!(seen, written, "{method} {path}");
    }
}

/// Answers that only some operations give: conflicts, what is not there, what is there already.
async fn see_what_is_particular(document: &Value, seen: &mut Seen) {
    const SECRET: &str = "/v1/secrets/{workspace}/{name}";
    const ROTATE: &str = "/v1/secrets/{workspace}/{name}/rotate";
    const REVOKE: &str = "/v1/secrets/{workspace}/{name}/revoke";
    const SHRED: &str = "/v1/secrets/{workspace}/{name}/shred";
    let present = json!({"registry": "a.b", "credentials": "u:p"});
    let conflict = |version: u64| json!({"credentials": "u:z", "if_version": version});
    let requests = [
        ("put", SECRET, "s", present),
        ("put", SECRET, "s", json!({"registry": "c.d", "credentials": "u:p"})),
        ("post", ROTATE, "s", json!({"credentials": "u:p"})),
        ("post", ROTATE, "s", conflict(9)),
        ("post", ROTATE, "none", conflict(0)),
        ("post", REVOKE, "s", json!({"if_version": 9})),
        ("post", REVOKE, "none", json!({})),
        ("post", SHRED, "s", json!({"if_version": 9})),
        ("post", SHRED, "none", json!({})),
        ("get", SECRET, "none", Value::Null),
        ("delete", SECRET, "none", Value::Null),
        ("post", "/v1/containers/ended", "", json!({"workspace": "acme", "container_id": "c", "placement": 9})),
        ("post", "/v1/builds", "", json!({"workspace": "acme", "image_id": "i"})),
        (
            "post",
            "/v1/builds",
            "",
            json!({
                "workspace": "acme", "image_id": "i", "base_image": "a.b/c", "base_image_secret": "s"
            }),
        ),
    ];
    let gateway = Gateway::new().await;
    let mut early = Vec::new();
    for path in ["/v1/containers", "/v1/failures", "/v1/forecast", "/v1/now"] {
        let answer = gateway.ask("GET", path, &Value::Null).await;
        answer.expect_problem(503, "still_reading");
        early.push((path, answer));
    }
    let gateway = prepare().await;
    let mut see = |method: &'static str, path: &'static str, answer: &Answer| {
        check(document, method, path, answer);
        seen.entry((method, path)).or_default().insert(answer.status.as_str().to_owned());
    };
    early.iter().for_each(|(path, answer)| see("get", path, answer));
    for (method, path, name, body) in requests {
        let at = path.replace("{workspace}", "acme").replace("{name}", name);
        see(method, path, &gateway.ask(&method.to_uppercase(), &at, &body).await);
    }
    gateway.ask("DELETE", "/v1/secrets/acme/s", &Value::Null).await;
    see("delete", SECRET, &gateway.ask("DELETE", "/v1/secrets/acme/s", &Value::Null).await);
    for at in 1..=128 {
        let suffix = if at == 1 { String::new() } else { format!("-{at}") };
        let body = json!({"registry": "a.b", "credentials": format!("another-{at}:p")});
        let answer = gateway.ask("PUT", &format!("/v1/secrets/acme/oci-registry-a-b{suffix}"), &body).await;
        assert_eq!(answer.status.as_u16(), 201);
    }
    let build = good("post", "/v1/builds").unwrap();
    let taken = gateway.post("/v1/builds", &build).await;
    assert_eq!(taken.json()["code"], "no_free_name", "{}", taken.text);
    see("post", "/v1/builds", &taken);
}

#[tokio::test]
async fn health_answers_are_in_it() {
    let (document, gateway) = (document(), Gateway::new().await);
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
    for (method, path) in operations(&document) {
        let body = &operation(&document, method, path).unwrap()["requestBody"];
        if body.is_null() {
            continue;
        }
        let content = &body["content"]["application/json"];
        let several = content.get("examples").and_then(Value::as_object).into_iter().flatten();
        let examples: Vec<_> = several.map(|(_, example)| &example["value"]).chain(content.get("example")).collect();
        assert!(!examples.is_empty(), "{method} {path}");
        for example in examples {
            let gateway = prepare().await;
            // The example's placement is the seventeenth event.
            for _ in 4..=17 {
                let body = json!({"workspace": "acme", "container_id": "c-1", "worker_id": "w"});
                gateway.post("/v1/containers", &body).await;
            }
            let at = if method == "put" { "/v1/secrets/acme/fresh".to_owned() } else { concrete(path) };
            let answer = gateway.ask(&method.to_uppercase(), &at, example).await;
            assert!(answer.status.is_success(), "{method} {path} {example}: {}", answer.text);
            assert!(!answer.text.contains(TOKEN));
        }
    }
}

#[tokio::test]
async fn the_page_needs_nothing_from_elsewhere() {
    let gateway = Gateway::new().await;
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
