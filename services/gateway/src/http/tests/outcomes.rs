//! What becomes of good requests, and of good requests when the log is not well.

use std::time::Duration;

use axum::http::StatusCode;
use serde_json::{Value, json};
use tokio::time::timeout;
use waybill_platform::sealing::{Binding, open};
use waybill_schemas::{Event, EventType, decode};

use super::support::Gateway;
use crate::fake::Mode;

const PASSWORD: &str = "canary-5up3r-s3cr3t";

fn build(more: Value) -> Value {
    let mut build = json!({"workspace": "acme", "image_id": "img-1"});
    build.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    build
}

#[tokio::test]
async fn what_is_saved() {
    let structured =
        json!({"registry": "a.b", "type": "basic", "credentials": {"USERNAME": "u", "PASSWORD": PASSWORD}});
    let docker = json!({"auths": {"https://a.b/v2/": {"username": "u", "password": PASSWORD}}, "experimental": true});
    let cases = [
        ("Docker configuration", docker.clone(), "basic"),
        ("its text", json!(docker.to_string()), "basic"),
        ("identity token", json!({"auths": {"a.b": {"identitytoken": PASSWORD}}}), "token"),
        ("user:password", json!(format!("u:{PASSWORD}")), "basic"),
        ("JSON text", json!(structured.to_string()), "basic"),
        ("keys", json!({"USERNAME": "u", "PASSWORD": PASSWORD, "TOKEN": null}), "basic"),
        ("a token", json!({"TOKEN": PASSWORD}), "token"),
    ];
    for (name, credentials, cred_type) in cases {
        let gateway = Gateway::new();
        let body = build(json!({"existing_image_uri": "a.b/app:1", "existing_image_creds": credentials}));
        let answer = gateway.post("/v1/builds", &body).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{name}: {}", answer.text);
        let said = answer.json();
        assert_eq!(said["outcome"], "saved", "{name}");
        assert_eq!((&said["registry"], &said["secret_name"]), (&json!("a.b"), &json!("oci-registry-a-b")), "{name}");
        assert_eq!((&said["cred_type"], &said["sequence"]), (&json!(cred_type), &json!(1)), "{name}");
        let stored = gateway.log.stored();
        let recorded = decode(&stored[0].subject.to_string(), stored[0].headers.as_slice(), &stored[0].body).unwrap();
        assert_eq!(said["event_id"], recorded.envelope.id.to_string(), "{name}");
        assert_eq!(recorded.envelope.source, "/waybill/gateway");
        let Event::CredentialSecretSaved(saved) = recorded.event else { panic!("{name}") };
        let place = Binding::Image { workspace: saved.workspace, image_id: saved.image_id, registry: saved.registry };
        let from = saved.credentials.sender.as_str().parse().unwrap();
        let opened = open(&gateway.scheduler, &from, &place, &saved.credentials).unwrap();
        assert!(opened.expose().contains(PASSWORD), "{name}");
    }
}

#[tokio::test]
async fn a_docker_configuration_for_other_registries_is_skipped_with_their_hosts() {
    let gateway = Gateway::new();
    let config = json!({"auths": {"c.d": {"username": "u", "password": PASSWORD}}});
    let body = build(json!({"existing_image_uri": "a.b/app:1", "existing_image_creds": config}));
    let said = gateway.post("/v1/builds", &body).await.json();
    assert_eq!((&said["outcome"], &said["reason"]), (&json!("skipped"), &json!("no_credentials_provided")));
    let detail = said["detail"].as_str().unwrap();
    assert!(detail.contains("for c.d, but none for a.b/app") && !detail.contains(PASSWORD), "{detail}");
}

#[tokio::test]
async fn what_is_skipped() {
    let half = json!({"AWS_ACCESS_KEY_ID": "AKIA1"});
    let ecr = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/app";
    let cases = [
        (json!({}), "no_image_reference", None),
        (json!({"base_image": "a.b/app"}), "no_credentials_provided", None),
        (json!({"base_image": "a.b/app", "base_image_creds": null}), "no_credentials_provided", None),
        (json!({"base_image": "a.b/app", "base_image_creds": "u:p", "modified": true}), "image_modified", None),
        (json!({"base_image": ecr, "base_image_creds": half}), "incomplete_credentials", Some("AWS_SECRET_ACCESS_KEY")),
    ];
    for (more, reason, missing) in cases {
        let gateway = Gateway::new();
        let answer = gateway.post("/v1/builds", &build(more)).await;
        assert_eq!(answer.status, StatusCode::OK, "{reason}: {}", answer.text);
        let said = answer.json();
        assert_eq!((&said["outcome"], &said["reason"]), (&json!("skipped"), &json!(reason)));
        assert_eq!(said.get("missing_key").and_then(Value::as_str), missing, "{reason}");
        let event = gateway.log.stored()[0].subject.to_string();
        assert!(event.ends_with(EventType::CredentialSecretSkipped.as_str()), "{event}");
    }
}

#[tokio::test]
async fn a_container_request_is_recorded_as_it_was_asked() {
    let required = json!({"workspace": "acme", "container_id": "c-1", "worker_id": "w-1"});
    let cases = [
        (json!({}), json!({"build_container": false})),
        (json!({"image_id": ""}), json!({"build_container": false})),
        (json!({"image_id": null}), json!({"build_container": false})),
        (json!({"image_id": "i", "build_container": true}), json!({"image_id": "i", "build_container": true})),
    ];
    for (asked, recorded) in cases {
        let gateway = Gateway::new();
        let (mut body, mut expected) = (required.clone(), required.clone());
        body.as_object_mut().unwrap().extend(asked.as_object().unwrap().clone());
        expected.as_object_mut().unwrap().extend(recorded.as_object().unwrap().clone());
        let answer = gateway.post("/v1/containers", &body).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text);
        assert_eq!(answer.json()["sequence"], 1);
        let stored = gateway.log.stored();
        assert_eq!(serde_json::from_slice::<Value>(&stored[0].body).unwrap(), expected);
    }
}

#[tokio::test]
async fn when_the_log_is_not_well() {
    let cases = [
        (Mode::Away, StatusCode::SERVICE_UNAVAILABLE, "log-unavailable"),
        (Mode::Hangs, StatusCode::SERVICE_UNAVAILABLE, "log-unavailable"),
        (Mode::Refuses, StatusCode::INTERNAL_SERVER_ERROR, "log-refused"),
    ];
    for (mode, status, kind) in cases {
        for key in [None, Some("key-1")] {
            let gateway = Gateway::new();
            gateway.log.set(mode);
            let body = build(json!({"base_image": "a.b/app", "base_image_creds": "u:p"}));
            let asking = async {
                match key {
                    Some(key) => gateway.post_once("/v1/builds", key, &body).await,
                    None => gateway.post("/v1/builds", &body).await,
                }
            };
            // The limit is a fifth of a second; the rest is for a busy machine.
            let answer = timeout(Duration::from_secs(5), asking).await.expect("an answer within the limit");
            assert_eq!(answer.status, status, "{mode:?} {key:?}");
            assert_eq!(answer.json()["type"], format!("urn:waybill:problem:{kind}"), "{mode:?}");
            let retry = (status == StatusCode::SERVICE_UNAVAILABLE).then_some("2");
            assert_eq!(answer.header("retry-after"), retry, "{mode:?}");
            assert!(gateway.log.stored().is_empty(), "{mode:?}");
            let says_how = answer.json()["remedy"].as_str().unwrap().contains("same Idempotency-Key");
            assert_eq!(says_how, retry.is_some(), "{}", answer.text);
            // The log is back: the same request again is recorded.
            gateway.log.set(Mode::Answers);
            assert_eq!(gateway.post_once("/v1/builds", "key-1", &body).await.status, StatusCode::CREATED, "{mode:?}");
        }
    }
}

#[tokio::test]
async fn health_is_told_by_its_parts() {
    let gateway = Gateway::new();
    let part = gateway.health.component("event log");
    assert_eq!(gateway.get("/healthz").await.status, StatusCode::OK);
    part.not_ready("not connected to NATS");
    let answer = gateway.get("/readyz").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.json(), json!({"ready": false, "components": {"event log": "not connected to NATS"}}));
    part.ready();
    assert_eq!(gateway.get("/readyz").await.status, StatusCode::OK);
}
