//! Refused requests become facts: where they stand, what they say, and what they never say.

use axum::{body::Body, http::Request};
use serde_json::{Value, json};
use waybill_platform::testing::Failure;
use waybill_schemas::{Event, v1::RequestRefused};

use super::{
    canary::{CANARY, bodies},
    support::{Gateway, bare, post, request},
};

fn body(event: &Event) -> &RequestRefused {
    match event {
        Event::RequestRefused(refused) => refused,
        other => panic!("{other:?}"),
    }
}

/// Who is refused what, and what is told of it: subject, code, field, actor.
#[tokio::test]
async fn each_refusal_is_told_with_its_code_and_field() {
    let build = |body: &str| post("/v1/builds").body(Body::from(body.to_owned())).unwrap();
    let secret = |method: &str, verb: &str, body: Value| {
        request(method, &format!("/v1/secrets/acme/s{verb}")).body(Body::from(body.to_string())).unwrap()
    };
    let container = |path: &str, body: Value| post(path).body(Body::from(body.to_string())).unwrap();
    let cases: Vec<(Request<Body>, [&str; 3])> = vec![
        (
            build(r#"{"workspace":"acme","image_id":"i","existing_image_url":"a.b/c"}"#),
            ["image.acme.i", "invalid_field", "-"],
        ),
        (
            build(r#"{"workspace":"acme","image_id":"i","base_image":"A B"}"#),
            ["image.acme.i", "invalid_field", "base_image"],
        ),
        (
            build(r#"{"workspace":"acme","image_id":"i","base_image":"a.b/c","base_image_creds":"x"}"#),
            ["image.acme.i", "invalid_field", "base_image_creds"],
        ),
        (build(r#"{"workspace":"acme"}"#), ["workspace.acme", "invalid_field", "image_id"]),
        (build("no"), ["workspace.acme", "malformed_json", "-"]),
        (build(r#"{"workspace":"other","image_id":"i"}"#), ["image.acme.i", "another_workspace", "workspace"]),
        (
            bare("/v1/builds").body(Body::from(r#"{"workspace":"acme","image_id":"i"}"#)).unwrap(),
            ["unowned", "unauthenticated", "Authorization"],
        ),
        (
            container("/v1/containers", json!({"workspace": "acme", "container_id": "c"})),
            ["container.acme.c", "invalid_field", "worker_id"],
        ),
        (
            container("/v1/containers/ended", json!({"workspace": "acme", "container_id": "c", "placement": 99})),
            ["container.acme.c", "not_found", "placement"],
        ),
        (secret("POST", "/rotate", json!({"credentials": "u:p"})), ["secret.acme.s", "not_found", "secret_name"]),
        (
            secret("PUT", "", json!({"registry": "a b", "credentials": "u:p"})),
            ["secret.acme.s", "invalid_field", "registry"],
        ),
        (
            secret("PUT", "", json!({"registry": "a.b", "credentials": "u:p", "if_version": 3})),
            ["secret.acme.s", "version_conflict", "if_version"],
        ),
    ];
    for (request, [subject, code, field]) in cases {
        let gateway = Gateway::new().await;
        let answer = gateway.send(request).await;
        assert!(answer.status.is_client_error(), "{}", answer.text);
        let told = gateway.refusals(1).await;
        assert_eq!(told[0].subject.to_string(), format!("waybill.events.refused.{subject}"), "{}", answer.text);
        let refused = body(&told[0].event);
        assert_eq!((refused.code.as_str(), refused.field.as_deref().unwrap_or("-")), (code, field), "{}", answer.text);
        assert_eq!(refused.status, answer.status.as_u16());
        let actor = told[0].envelope.actor.as_deref();
        assert_eq!(actor, Some(if subject == "unowned" { "no-token" } else { "token/acme/ci" }));
        assert_eq!(refused.remedy.as_deref(), answer.json()["remedy"].as_str(), "as the client was told");
    }
}

#[tokio::test]
async fn a_misspelt_field_is_told_by_the_name_that_is_near() {
    let gateway = Gateway::new().await;
    let misspelt = json!({"workspace": "acme", "image_id": "i", "existing_image_url": "a.b/c"});
    gateway.post("/v1/builds", &misspelt).await.expect_problem(422, "invalid_field");
    let told = gateway.refusals(1).await;
    let expected = "there is no such field; is existing_image_uri meant?";
    assert_eq!(body(&told[0].event).detail.as_deref(), Some(expected));
}

#[tokio::test]
async fn looking_is_no_fact_and_neither_is_what_the_gateway_cannot_do() {
    let gateway = Gateway::new().await;
    for path in ["/v1/secrets/acme/none", "/v1/containers?limit=0", "/v1/nothing"] {
        let request = request("GET", path).body(Body::empty()).unwrap();
        assert!(gateway.send(request).await.status.is_client_error(), "{path}");
    }
    gateway.fail(&Failure::Unavailable);
    let good = json!({"workspace": "acme", "container_id": "c", "worker_id": "w"});
    assert!(gateway.post("/v1/containers", &good).await.status.is_server_error());
    gateway.log.recover();
    gateway.post("/v1/containers", &json!({"workspace": "acme", "container_id": "last"})).await;
    let told = gateway.refusals(1).await;
    assert_eq!(told.len(), 1, "{told:?}");
}

#[tokio::test]
async fn nothing_of_a_refused_request_comes_into_the_log() {
    let gateway = Gateway::new().await;
    let mut refused = 0;
    for text in bodies() {
        let answer = gateway.send(post("/v1/builds").body(Body::from(text)).unwrap()).await;
        refused += usize::from(answer.status.is_client_error());
    }
    assert!(refused > 20, "{refused}");
    // The same answer about the same image is told once; the others are of few kinds.
    gateway.post("/v1/containers", &json!({"workspace": "acme", "container_id": "last"})).await;
    let told = loop {
        let told = gateway.refusals(1).await;
        if told.last().unwrap().subject.to_string().ends_with(".last") {
            break told;
        }
        tokio::task::yield_now().await;
    };
    assert!(told.len() > 5, "{}", told.len());
    for recorded in told {
        let text = format!("{recorded:?} {}", String::from_utf8(recorded.event.to_json().unwrap()).unwrap());
        assert!(!text.contains(CANARY), "{text}");
    }
}

#[tokio::test]
async fn a_loop_of_refused_requests_makes_few_events() {
    let gateway = Gateway::new().await;
    for number in 0..500 {
        let body = json!({"workspace": "acme", "image_id": "i", "base_image": format!("A {number}")});
        gateway.post("/v1/builds", &body).await.expect_problem(422, "invalid_field");
        let request = bare("/v1/builds").body(Body::from("{}")).unwrap();
        gateway.send(request).await.expect_problem(401, "unauthenticated");
    }
    for number in 0..200 {
        let body = json!({"workspace": "acme", "image_id": format!("i-{number}"), "base_image": "A"});
        gateway.post("/v1/builds", &body).await.expect_problem(422, "invalid_field");
    }
    // What is accepted makes room for the next refusal, but for the budget.
    let told = gateway.refusals(61).await;
    assert_eq!(told.len(), 61, "60 of the workspace, and one of strangers");
}
