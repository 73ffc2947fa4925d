//! The same key again is the same event.

use std::collections::BTreeSet;

use axum::http::StatusCode;
use futures_util::future::join_all;
use serde_json::{Value, json};

use super::support::Gateway;
use crate::fake::Mode;

fn saved() -> Value {
    json!({"workspace": "acme", "image_id": "i", "base_image": "a.b/app", "base_image_creds": "u:p"})
}

fn skipped() -> Value {
    json!({"workspace": "acme", "image_id": "i", "base_image": "a.b/app"})
}

fn container() -> Value {
    json!({"workspace": "acme", "container_id": "c", "worker_id": "w", "image_id": "i"})
}

#[tokio::test]
async fn a_repeated_request_is_answered_with_what_was_recorded() {
    for (path, body, status) in [
        ("/v1/builds", saved(), StatusCode::CREATED),
        ("/v1/builds", skipped(), StatusCode::OK),
        ("/v1/containers", container(), StatusCode::ACCEPTED),
    ] {
        let gateway = Gateway::new();
        let first = gateway.post_once(path, "key-1", &body).await;
        assert_eq!((first.status, first.header("idempotent-replayed")), (status, None), "{path}");
        // Others come between.
        assert_eq!(gateway.post(path, &body).await.json()["sequence"], 2);
        let again = gateway.post_once(path, "key-1", &body).await;
        assert_eq!((again.status, again.header("idempotent-replayed")), (status, Some("true")), "{path}");
        assert_eq!(first.json(), again.json(), "{path}");
        let other = gateway.post_once(path, "key-2", &body).await;
        assert_eq!(other.json()["sequence"], 3, "{path}");
        assert_ne!(other.json()["event_id"], first.json()["event_id"], "{path}");
        assert_eq!(gateway.log.stored().len(), 3, "{path}");
    }
}

#[tokio::test]
async fn a_key_is_not_for_two_requests() {
    let with = |body: &Value, field: &str, value: Value| {
        let mut body = body.clone();
        body[field] = value;
        body
    };
    let cases = [
        ("other credentials: now none", "/v1/builds", saved(), skipped()),
        ("now some", "/v1/builds", skipped(), saved()),
        ("another registry", "/v1/builds", saved(), with(&saved(), "base_image", json!("c.d/app"))),
        ("another reason", "/v1/builds", skipped(), with(&skipped(), "modified", json!(true))),
        ("another worker", "/v1/containers", container(), with(&container(), "worker_id", json!("w2"))),
        ("another image", "/v1/containers", container(), with(&container(), "image_id", json!("j"))),
    ];
    for (name, path, first, second) in cases {
        let gateway = Gateway::new();
        gateway.post_once(path, "key-1", &first).await;
        let answer = gateway.post_once(path, "key-1", &second).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{name}: {}", answer.text);
        let problem = answer.json();
        assert_eq!(problem["type"], "urn:waybill:problem:idempotency-key-reused", "{name}");
        assert_eq!(problem["field"], "Idempotency-Key", "{name}");
        assert_eq!(gateway.log.stored().len(), 1, "{name}");
    }
}

#[tokio::test]
async fn a_key_belongs_to_one_image_or_container() {
    let gateway = Gateway::new();
    let (mut elsewhere, mut namesake) = (saved(), container());
    elsewhere["image_id"] = json!("j");
    namesake["container_id"] = json!("i");
    let mut ids = BTreeSet::new();
    for (path, body) in [("/v1/builds", saved()), ("/v1/builds", elsewhere), ("/v1/containers", namesake)] {
        let answer = gateway.post_once(path, "key-1", &body).await;
        assert!(answer.status.is_success() && answer.header("idempotent-replayed").is_none(), "{}", answer.text);
        ids.insert(answer.json()["event_id"].to_string());
    }
    assert_eq!((gateway.log.stored().len(), ids.len()), (3, 3));
}

#[tokio::test]
async fn at_the_same_time_there_is_one_event() {
    for (path, body) in [("/v1/builds", saved()), ("/v1/containers", container())] {
        let gateway = Gateway::new();
        let answers = join_all((0..50).map(|_| gateway.post_once(path, "key-1", &body))).await;
        assert_eq!(gateway.log.stored().len(), 1, "{path}");
        let fresh = answers.iter().filter(|answer| answer.header("idempotent-replayed").is_none()).count();
        assert_eq!(fresh, 1, "{path}");
        assert!(answers.iter().all(|answer| answer.json() == answers[0].json()), "{path}");
    }
}

#[tokio::test]
async fn a_lost_acknowledgement_is_no_replay() {
    let gateway = Gateway::new();
    gateway.log.set(Mode::LosesAcknowledgement);
    let first = gateway.post_once("/v1/builds", "key-1", &saved()).await;
    assert_eq!((first.status, first.header("idempotent-replayed")), (StatusCode::CREATED, None), "{}", first.text);
    let again = gateway.post_once("/v1/builds", "key-1", &saved()).await;
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    assert_eq!(first.json(), again.json());
}

#[tokio::test]
async fn what_cannot_be_read_back_is_asked_for_again() {
    let gateway = Gateway::new();
    gateway.log.set(Mode::Forgets);
    gateway.post_once("/v1/builds", "key-1", &saved()).await;
    let answer = gateway.post_once("/v1/builds", "key-1", &saved()).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{}", answer.text);
    assert_eq!(gateway.log.stored().len(), 1);
}

#[tokio::test]
async fn without_a_key_every_request_is_its_own() {
    let gateway = Gateway::new();
    let (first, second) = (gateway.post("/v1/builds", &saved()).await, gateway.post("/v1/builds", &saved()).await);
    assert_ne!(first.json()["event_id"], second.json()["event_id"]);
    assert_eq!(gateway.log.stored().len(), 2);
}
