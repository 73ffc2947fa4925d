//! Good requests when the log or the vault is not well.

use std::{sync::Arc, time::Duration};

use axum::http::StatusCode;
use serde_json::{Value, json};
use tokio::time::timeout;
use waybill_platform::testing::Failure;

use super::support::Gateway;
use crate::probe;

fn build() -> Value {
    json!({"workspace": "acme", "image_id": "i", "base_image": "a.b/app", "base_image_creds": "u:p"})
}

#[tokio::test]
async fn the_answer_says_what_to_do_and_the_same_request_again_is_recorded_once() {
    let cases = [
        (Failure::Unavailable, 503, "log_unavailable", Some("2")),
        (Failure::ReadUnavailable, 503, "log_unavailable", Some("2")),
        (Failure::Full, 503, "log_full", Some("30")),
        (Failure::Refused(10054), 500, "log_refused", None),
    ];
    for (failure, status, code, retry) in cases {
        for key in [None, Some("key-1")] {
            let gateway = Gateway::new().await;
            gateway.fail(&failure);
            let asking = async {
                match key {
                    Some(key) => gateway.post_once("/v1/builds", key, &build()).await,
                    None => gateway.post("/v1/builds", &build()).await,
                }
            };
            // The limit is a third of a second; the rest is for a busy machine.
            let answer = timeout(Duration::from_secs(20), asking).await.expect("an answer within the limit");
            let problem = answer.expect_problem(status, code);
            assert_eq!(answer.header("retry-after"), retry, "{failure:?}");
            assert!(gateway.events().is_empty(), "{failure:?}");
            assert!(problem["remedy"].is_string(), "{problem}");
            gateway.log.recover();
            for replayed in [false, true] {
                let again = gateway.post_once("/v1/builds", "key-1", &build()).await;
                assert_eq!((again.status, again.replayed()), (StatusCode::CREATED, replayed), "{}", again.text);
            }
            assert_eq!(gateway.types(), ["CredentialSecretSaved", "ImageSecretNamed"], "{failure:?}");
        }
    }
}

#[tokio::test]
async fn an_acknowledgement_that_is_lost_is_no_replay() {
    for path in ["/v1/builds", "/v1/containers"] {
        let gateway = Gateway::new().await;
        gateway.log.fail([Failure::LostAck, Failure::LostAck]);
        let body = if path == "/v1/builds" {
            build()
        } else {
            json!({"workspace": "acme", "container_id": "c", "worker_id": "w"})
        };
        let first = gateway.post_once(path, "key-1", &body).await;
        assert!(first.status.is_success() && !first.replayed(), "{path}: {}", first.text);
        let events = gateway.events().len();
        let again = gateway.post_once(path, "key-1", &body).await;
        assert_eq!((again.replayed(), again.json(), gateway.events().len()), (true, first.json(), events), "{path}");
    }
}

#[tokio::test]
async fn without_the_vault_nothing_is_said() {
    let gateway = Gateway::new().await;
    gateway.vault.set_available(false);
    gateway.post("/v1/builds", &build()).await.expect_problem(503, "log_unavailable");
    assert!(gateway.events().is_empty());
    let skipped = json!({"workspace": "acme", "image_id": "i", "base_image": "a.b/app"});
    assert_eq!(gateway.post("/v1/builds", &skipped).await.status, StatusCode::OK);
    gateway.vault.set_available(true);
    assert_eq!(gateway.post("/v1/builds", &build()).await.status, StatusCode::CREATED);
}

#[tokio::test]
async fn what_cannot_be_read_is_not_decided_from() {
    let gateway = Gateway::new().await;
    let (subject, payload) = ("waybill.events.secret.acme.oci-registry-a-b", b"canary-in-the-log");
    gateway.log.publish_raw(subject, &[], payload);
    let answer = gateway.post("/v1/builds", &build()).await;
    answer.expect_problem(500, "unreadable_event");
    assert!(!answer.text.contains("canary"));
    let answer = gateway.ask("GET", "/v1/secrets/acme", &Value::Null).await;
    assert_eq!((answer.status.as_u16(), answer.json()), (200, json!({"secrets": []})));
}

/// A gateway that is not ready gets no requests: it must find out in another way that the log has room again.
#[tokio::test]
async fn readiness_shows_that_the_log_has_no_room_until_it_has() {
    let gateway = Gateway::new().await;
    let part = gateway.health.component("log has room");
    let follow = tokio::spawn(probe::keep_room(Arc::new(gateway.log.clone()), part));
    let until = async |status: StatusCode| {
        let reached = async {
            while gateway.get("/readyz").await.status != status {
                tokio::task::yield_now().await;
            }
        };
        timeout(Duration::from_secs(20), reached).await.expect("readiness changes");
    };
    until(StatusCode::OK).await;
    gateway.fail(&Failure::Full);
    gateway.post("/v1/builds", &build()).await.expect_problem(503, "log_full");
    until(StatusCode::SERVICE_UNAVAILABLE).await;
    gateway.log.recover();
    // Another service's event is taken, again if it came before the gateway looked.
    let other = async {
        loop {
            gateway.log.publish_raw("waybill.events.worker.w9", &[], b"");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::select! {
        () = until(StatusCode::OK) => {}
        () = other => unreachable!("it goes on for ever"),
    }
    assert_eq!(gateway.post("/v1/builds", &build()).await.status, StatusCode::CREATED);
    follow.abort();
}

#[tokio::test]
async fn health_is_told_by_its_parts() {
    let gateway = Gateway::new().await;
    let part = gateway.health.component("event log");
    assert_eq!(gateway.get("/healthz").await.status, StatusCode::OK);
    part.not_ready("not connected to NATS");
    let answer = gateway.get("/readyz").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.json(), json!({"ready": false, "components": {"event log": "not connected to NATS"}}));
    part.ready();
    assert_eq!(gateway.get("/readyz").await.status, StatusCode::OK);
}
