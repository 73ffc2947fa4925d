//! Questions: who may ask, what is answered, and that the answers are those of the document.

use axum::{
    body::Body,
    http::{Request, header},
};
use serde_json::{Value, json};

use super::{
    contract::{check, document},
    support::{Answer, Gateway, OTHER_TOKEN, TOKEN},
};
use crate::fake::Mode;

async fn ask(gateway: &Gateway, path: &str, token: Option<&str>) -> Answer {
    let request = Request::get(path);
    let request = match token {
        Some(token) => request.header(header::AUTHORIZATION, format!("Bearer {token}")),
        None => request,
    };
    gateway.send(request.body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn an_image_and_a_container_are_explained_from_the_log() {
    let (gateway, document) = (Gateway::new(), document());
    let build = json!({"workspace": "acme", "image_id": "img", "base_image": "a.b/c", "base_image_creds": "u:p"});
    assert_eq!(gateway.post("/v1/builds", &build).await.status.as_u16(), 201);
    let request = json!({"workspace": "acme", "container_id": "ctr", "image_id": "img", "worker_id": "w"});
    assert_eq!(gateway.post("/v1/containers", &request).await.status.as_u16(), 202);
    for (kind, id, state, code, steps) in [
        ("images", "img", "healthy", "saved", 1),
        ("images", "none", "broken", "nothing_built", 0),
        ("containers", "ctr", "in_flight", "awaiting_decision", 2),
        ("containers", "none", "broken", "not_requested", 0),
    ] {
        let answer = ask(&gateway, &format!("/v1/{kind}/acme/{id}/explain"), Some(TOKEN)).await;
        assert_eq!(answer.status.as_u16(), 200, "{}", answer.text);
        check(&document, "get", &format!("/v1/{kind}/{{workspace}}/{{id}}/explain"), &answer);
        let body: Value = answer.json();
        assert_eq!((&body["verdict"]["state"], &body["verdict"]["code"]), (&json!(state), &json!(code)), "{body}");
        assert_eq!(body["timeline"].as_array().unwrap().len(), steps, "{body}");
    }
}

#[tokio::test]
async fn who_may_not_ask_and_what_cannot_be_answered() {
    let (gateway, document) = (Gateway::new(), document());
    for kind in ["images", "containers"] {
        let path = format!("/v1/{kind}/acme/x/explain");
        let cases = [
            (path.clone(), None, Mode::Answers, 401, "unauthenticated"),
            (path.clone(), Some(OTHER_TOKEN), Mode::Answers, 403, "another-workspace"),
            (format!("/v1/{kind}/acme/x.y/explain"), Some(TOKEN), Mode::Answers, 422, "invalid-field"),
            (path.clone(), Some(TOKEN), Mode::Away, 503, "log-unavailable"),
            (path, Some(TOKEN), Mode::Hangs, 503, "log-unavailable"),
        ];
        for (path, token, mode, status, problem) in cases {
            gateway.log.set(mode);
            let answer = ask(&gateway, &path, token).await;
            assert_eq!(answer.status.as_u16(), status, "{path}: {}", answer.text);
            assert_eq!(answer.json()["type"], format!("urn:waybill:problem:{problem}"), "{path}");
            check(&document, "get", &format!("/v1/{kind}/{{workspace}}/{{id}}/explain"), &answer);
        }
    }
}
