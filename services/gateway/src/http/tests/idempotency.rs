//! The same key again is the same event.

use std::collections::BTreeSet;

use axum::http::StatusCode;
use futures_util::future::join_all;
use serde_json::{Value, json};

use super::support::Gateway;

fn saved() -> Value {
    json!({"workspace": "acme", "image_id": "i", "base_image": "a.b/app", "base_image_creds": "u:p"})
}

fn skipped() -> Value {
    json!({"workspace": "acme", "image_id": "i", "base_image": "a.b/app"})
}

fn named() -> Value {
    json!({"workspace": "acme", "image_id": "i", "base_image": "a.b/app", "base_image_secret": "s"})
}

fn container() -> Value {
    json!({"workspace": "acme", "container_id": "c", "worker_id": "w", "image_id": "i"})
}

#[tokio::test]
async fn a_repeated_request_is_answered_with_what_was_recorded() {
    for (path, body, status, recorded) in [
        ("/v1/builds", saved(), StatusCode::CREATED, 4),
        ("/v1/builds", skipped(), StatusCode::OK, 3),
        ("/v1/builds", named(), StatusCode::OK, 3),
        ("/v1/containers", container(), StatusCode::ACCEPTED, 3),
    ] {
        let gateway = Gateway::new().await;
        let first = gateway.post_once(path, "key-1", &body).await;
        assert_eq!((first.status, first.replayed()), (status, false), "{body}");
        // Others come between.
        assert!(gateway.post(path, &body).await.status.is_success());
        let again = gateway.sibling().post_once(path, "key-1", &body).await;
        assert_eq!((again.status, again.replayed()), (status, true), "{body}");
        assert_eq!(first.json(), again.json(), "{body}");
        let other = gateway.post_once(path, "key-2", &body).await;
        assert!(!other.replayed(), "{body}");
        assert_ne!(other.json()["event_id"], first.json()["event_id"], "{body}");
        assert_eq!(gateway.events().len(), recorded, "{body}");
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
        ("another tag", "/v1/builds", saved(), with(&saved(), "base_image", json!("a.b/app:2"))),
        ("another kind", "/v1/builds", saved(), with(&saved(), "base_image_creds", json!({"TOKEN": "t"}))),
        ("another secret", "/v1/builds", saved(), with(&saved(), "base_image_secret", json!("s"))),
        ("another name", "/v1/builds", named(), with(&named(), "base_image_secret", json!("t"))),
        ("a name instead of credentials", "/v1/builds", saved(), named()),
        ("another reason", "/v1/builds", skipped(), with(&skipped(), "modified", json!(true))),
        ("another worker", "/v1/containers", container(), with(&container(), "worker_id", json!("w2"))),
        ("another image", "/v1/containers", container(), with(&container(), "image_id", json!("j"))),
    ];
    for (name, path, first, second) in cases {
        let gateway = Gateway::new().await;
        gateway.post_once(path, "key-1", &first).await;
        let before = gateway.events().len();
        let answer = gateway.post_once(path, "key-1", &second).await;
        let problem = answer.expect_problem(422, "idempotency_key_reused");
        assert_eq!(problem["field"], "Idempotency-Key", "{name}");
        assert_eq!(gateway.events().len(), before, "{name}");
        assert!(gateway.kept().await.len() <= 1, "{name}");
    }
}

/// What the secret or the registry decided is the answer to the same request, also when it would be decided otherwise now.
#[tokio::test]
async fn a_build_that_was_skipped_later_on_is_the_same_request() {
    let gateway = Gateway::new().await;
    let put = json!({"registry": "c.d", "credentials": "u:p"});
    gateway.ask("PUT", "/v1/secrets/acme/s", &put).await;
    let mut body = saved();
    for creds in [json!("u:p"), json!(null)] {
        body["base_image_secret"] = json!("s");
        body["base_image_creds"] = creds;
        let first = gateway.post_once("/v1/builds", &body["base_image_creds"].to_string(), &body).await;
        assert_eq!(first.json()["reason"], "registry_mismatch", "{}", first.text);
        let again = gateway.post_once("/v1/builds", &body["base_image_creds"].to_string(), &body).await;
        assert_eq!((again.replayed(), again.json()), (true, first.json()));
    }
}

#[tokio::test]
async fn a_key_belongs_to_one_image_or_container() {
    let gateway = Gateway::new().await;
    let (mut elsewhere, mut namesake) = (skipped(), container());
    elsewhere["image_id"] = json!("j");
    namesake["container_id"] = json!("i");
    let mut ids = BTreeSet::new();
    for (path, body) in [("/v1/builds", skipped()), ("/v1/builds", elsewhere), ("/v1/containers", namesake)] {
        let answer = gateway.post_once(path, "key-1", &body).await;
        assert!(answer.status.is_success() && !answer.replayed(), "{}", answer.text);
        ids.insert(answer.json()["event_id"].to_string());
    }
    assert_eq!((gateway.events().len(), ids.len()), (3, 3));
}

#[tokio::test]
async fn at_the_same_time_there_is_one_event() {
    for (path, body, recorded) in [
        ("/v1/builds", saved(), 2),
        ("/v1/builds", skipped(), 1),
        ("/v1/builds", named(), 1),
        ("/v1/containers", container(), 1),
    ] {
        let one = Gateway::new().await;
        let other = one.sibling();
        let answers = join_all((0..20).map(|at| {
            let gateway = if at % 2 == 0 { &one } else { &other };
            gateway.post_once(path, "key-1", &body)
        }))
        .await;
        assert_eq!(one.events().len(), recorded, "{body}");
        let fresh = answers.iter().filter(|answer| !answer.replayed()).count();
        assert_eq!(fresh, 1, "{body}");
        assert!(answers.iter().all(|answer| answer.json() == answers[0].json()), "{body}");
    }
}

#[tokio::test]
async fn without_a_key_every_request_is_its_own() {
    let gateway = Gateway::new().await;
    let (first, second) = (gateway.post("/v1/builds", &saved()).await, gateway.post("/v1/builds", &saved()).await);
    assert_ne!(first.json()["event_id"], second.json()["event_id"]);
    assert_eq!(gateway.events().len(), 3);
}
