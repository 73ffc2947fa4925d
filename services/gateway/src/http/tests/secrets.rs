//! Rotation and revocation: what is recorded, what is answered, and what is refused.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::support::{Gateway, Lines};
use crate::fake::Mode;

const CANARY: &str = "s3cr3t-rotated-0123456789";
const ROTATE: &str = "/v1/secrets/rotate";
const REVOKE: &str = "/v1/secrets/revoke";

async fn built(gateway: &Gateway, image: &str) {
    let build = json!({"workspace": "acme", "image_id": image, "base_image": "a.b/c:1", "base_image_creds": "u:p"});
    assert_eq!(gateway.post("/v1/builds", &build).await.status, StatusCode::CREATED);
}

fn rotation(credentials: Value) -> Value {
    json!({"workspace": "acme", "image_id": "i", "credentials": credentials})
}

fn revocation() -> Value {
    json!({"workspace": "acme", "image_id": "i", "reason": "closed"})
}

fn last(gateway: &Gateway) -> (String, Value) {
    let stored = gateway.log.stored();
    let last = stored.last().unwrap();
    (last.subject.to_string(), serde_json::from_slice(&last.body).unwrap())
}

#[tokio::test]
async fn new_credentials_are_recorded_in_place_of_the_old() {
    let (lines, _guard) = Lines::capture();
    let gateway = Gateway::new();
    built(&gateway, "i").await;
    let answer = gateway.post(ROTATE, &rotation(json!({"TOKEN": CANARY}))).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
    let body = answer.json();
    assert_eq!((&body["outcome"], &body["before"], &body["sequence"]), (&json!("rotated"), &json!(1), &json!(2)));
    let (subject, event) = last(&gateway);
    assert_eq!(subject, "waybill.events.image.acme.i.CredentialSecretRotated");
    let secret = &event["secret"];
    assert_eq!(
        (&event["replaces"], &secret["image_ref"], &secret["cred_type"]),
        (&json!(1), &json!("a.b/c:1"), &json!("token"))
    );
    // The newest ones are what is replaced next.
    assert_eq!(gateway.post(ROTATE, &rotation(json!("u:q"))).await.json()["before"], 2);
    assert_eq!(lines.with("credential secret rotated").len(), 2);
    assert!(!lines.text().contains(CANARY) && !event.to_string().contains(CANARY) && !answer.text.contains(CANARY));
}

#[tokio::test]
async fn what_is_revoked_is_gone() {
    let (lines, _guard) = Lines::capture();
    let gateway = Gateway::new();
    built(&gateway, "i").await;
    let answer = gateway.post(REVOKE, &revocation()).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    assert_eq!((&answer.json()["outcome"], &answer.json()["before"]), (&json!("revoked"), &json!(1)));
    let (subject, event) = last(&gateway);
    assert_eq!(subject, "waybill.events.image.acme.i.CredentialSecretRevoked");
    assert_eq!((&event["revokes"], &event["reason"], &event["registry"]), (&json!(1), &json!("closed"), &json!("a.b")));
    assert_eq!(lines.with("credential secret revoked").len(), 1);
    for (path, body) in [(REVOKE, revocation()), (ROTATE, rotation(json!("u:q")))] {
        let refused = gateway.post(path, &body).await;
        assert_eq!((refused.status.as_u16(), &refused.json()["field"]), (422, &json!("image_id")), "{path}");
    }
    built(&gateway, "i").await;
    assert_eq!(gateway.post(ROTATE, &rotation(json!("u:q"))).await.status, StatusCode::CREATED);
}

#[tokio::test]
async fn a_repeated_request_is_answered_with_what_was_recorded() {
    for (path, body) in [(ROTATE, rotation(json!("u:q"))), (REVOKE, revocation())] {
        let gateway = Gateway::new();
        built(&gateway, "i").await;
        let first = gateway.post_once(path, "key-1", &body).await;
        assert!(first.status.is_success(), "{path}: {}", first.text);
        let again = gateway.post_once(path, "key-1", &body).await;
        assert_eq!((again.status, again.json()), (first.status, first.json()), "{path}");
        assert_eq!(again.header("idempotent-replayed"), Some("true"), "{path}");
        built(&gateway, "i").await;
        assert_eq!(gateway.post_once(path, "key-1", &body).await.json(), first.json(), "{path}, after a build");
        assert_eq!(gateway.post_once(path, "key-2", &body).await.json()["before"], 3, "{path}");
        let other = json!({"workspace": "acme", "image_id": "i", "reason": "another"});
        let other = if path == ROTATE { rotation(json!({"TOKEN": "t"})) } else { other };
        assert_eq!(gateway.post_once(path, "key-1", &other).await.json()["field"], "Idempotency-Key", "{path}");
    }
}

/// Credentials that were good when they were recorded are not refused for their age when the answer was lost.
#[tokio::test]
async fn a_repeated_rotation_is_answered_after_the_credentials_expired() {
    const LATER: &str = "2099-01-01T00:00:00Z";
    const PAST: &str = "2001-01-01T00:00:00Z";
    let rotation = |until: &str| {
        rotation(json!({
            "AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": CANARY, "AWS_CREDENTIAL_EXPIRATION": until,
        }))
    };
    let gateway = Gateway::new();
    let ecr = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/app:1";
    let build = json!({"workspace": "acme", "image_id": "i", "base_image": ecr, "base_image_creds": "u:p"});
    assert_eq!(gateway.post("/v1/builds", &build).await.status, StatusCode::CREATED);
    let first = gateway.post_once(ROTATE, "key-1", &rotation(LATER)).await;
    assert_eq!(first.status, StatusCode::CREATED, "{}", first.text);
    // As if all of that had been long ago.
    for stored in gateway.log.stored().iter_mut() {
        stored.at = "2000-01-01T00:00:00Z".parse().unwrap();
        stored.body = String::from_utf8(stored.body.clone()).unwrap().replace(LATER, PAST).into_bytes();
    }
    let again = gateway.post_once(ROTATE, "key-1", &rotation(PAST)).await;
    assert_eq!((again.status, again.header("idempotent-replayed")), (first.status, Some("true")), "{}", again.text);
    assert_eq!(again.json()["event_id"], first.json()["event_id"]);
    let fresh = gateway.post_once(ROTATE, "key-2", &rotation(PAST)).await;
    assert_eq!((fresh.status.as_u16(), &fresh.json()["field"]), (422, &json!("credentials")), "{}", fresh.text);
    assert_eq!(gateway.log.stored().len(), 2);
}

/// The image became another one after the gateway had read what it is: the credentials are not for that one.
#[tokio::test]
async fn a_rotation_that_comes_too_late_says_so() {
    let gateway = Gateway::new();
    built(&gateway, "i").await;
    gateway.log.set(Mode::Overtakes);
    let late = gateway.post_once(ROTATE, "key-1", &rotation(json!("u:q"))).await;
    assert_eq!((late.status, &late.json()["type"]), (StatusCode::CONFLICT, &json!("urn:waybill:problem:overtaken")));
    assert!(late.text.contains("sequence 3") && late.text.contains("sequence 2"), "{}", late.text);
    gateway.log.set(Mode::Answers);
    let again = gateway.post_once(ROTATE, "key-1", &rotation(json!("u:q"))).await;
    assert_eq!((again.status, again.json()), (late.status, late.json()));
    let anew = gateway.post_once(ROTATE, "key-2", &rotation(json!("u:q"))).await;
    assert_eq!((anew.status, &anew.json()["before"]), (StatusCode::CREATED, &json!(2)), "{}", anew.text);
}

#[tokio::test]
async fn what_cannot_be_used_is_refused_and_not_repeated() {
    let gateway = Gateway::new();
    built(&gateway, "i").await;
    let revoke = |reason: &str| json!({"workspace": "acme", "image_id": "i", "reason": reason});
    let cases = [
        (ROTATE, rotation(json!("")), "credentials"),
        (ROTATE, rotation(json!(CANARY)), "credentials"),
        (ROTATE, rotation(json!({"USERNAME": CANARY})), "credentials"),
        (ROTATE, rotation(json!({"COLOUR": CANARY})), "credentials"),
        (
            ROTATE,
            rotation(json!(format!(r#"{{"registry":"c.d","credentials":{{"TOKEN":"{CANARY}"}}}}"#))),
            "credentials",
        ),
        (ROTATE, json!({"workspace": "acme", "image_id": "never", "credentials": "u:p"}), "image_id"),
        (REVOKE, json!({"workspace": "acme", "image_id": "never"}), "image_id"),
        (REVOKE, revoke("two\nlines"), "reason"),
        (REVOKE, revoke(&"x".repeat(201)), "reason"),
    ];
    for (path, body, field) in cases {
        let answer = gateway.post(path, &body).await;
        assert_eq!((answer.status.as_u16(), &answer.json()["field"]), (422, &json!(field)), "{body}: {}", answer.text);
        assert!(!answer.text.contains(CANARY), "{}", answer.text);
    }
    assert_eq!(gateway.log.stored().len(), 1);
    gateway.log.set(Mode::Away);
    assert_eq!(gateway.post(ROTATE, &rotation(json!("u:q"))).await.status, StatusCode::SERVICE_UNAVAILABLE);
}
