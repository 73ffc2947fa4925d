//! `verify: true`: the registry is asked once, and what it says is recorded and answered.

use std::sync::{Arc, Mutex};

use axum::http::StatusCode;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use waybill_schemas::v1::{ProviderFailure, PullFailure};

use super::{contract, support::Gateway};
use crate::port::{NotAccepted, Unverified, Verifies, VerifyFailure};

const CANARY: &str = "s3cr3t-verified-0123456789";

/// A registry that says the same to everyone.
struct Says {
    answer: Result<String, NotAccepted>,
    asked: Mutex<Vec<String>>,
}

impl Says {
    fn new(answer: Result<&str, (VerifyFailure, &str)>) -> Arc<Self> {
        let refused = |(failure, detail): (VerifyFailure, &str)| NotAccepted { failure, detail: detail.to_owned() };
        Arc::new(Self { answer: answer.map(str::to_owned).map_err(refused), asked: Mutex::default() })
    }
}

impl Verifies for Says {
    fn verify<'a>(&'a self, asked: &'a Unverified) -> BoxFuture<'a, Result<String, NotAccepted>> {
        assert!(asked.credentials.expose().contains(CANARY));
        self.asked.lock().unwrap().push(format!("{} {}", asked.workspace, asked.image));
        Box::pin(async { self.answer.clone() })
    }
}

fn build() -> Value {
    let creds = format!("u:{CANARY}");
    json!({"workspace": "acme", "image_id": "i", "base_image": "a.b/c:1", "base_image_creds": creds, "verify": true})
}

#[tokio::test]
async fn what_the_registry_says_is_recorded() {
    let provider = VerifyFailure::Provider(ProviderFailure::TokenExchangeFailed);
    let pull = VerifyFailure::Pull(PullFailure::Denied);
    let cases = [
        (Ok("sha256:0"), json!({"accepted": true, "digest": "sha256:0"})),
        (Err((provider, "no")), json!({"accepted": false, "reason": "token_exchange_failed", "detail": "no"})),
        (Err((pull, "never")), json!({"accepted": false, "reason": "denied", "detail": "never"})),
    ];
    for (said, expected) in cases {
        let registry = Says::new(said);
        let gateway = Gateway::verifying(registry.clone());
        let answer = gateway.post_once("/v1/builds", "k", &build()).await;
        assert_eq!((answer.status, &answer.json()["verified"]), (StatusCode::CREATED, &expected), "{}", answer.text);
        contract::check(&contract::document(), "post", "/v1/builds", &answer);
        let again = gateway.post_once("/v1/builds", "k", &build()).await;
        assert_eq!(again.json(), answer.json());
        assert_eq!(*registry.asked.lock().unwrap(), ["acme a.b/c:1"], "asked once");
        let stored = gateway.log.stored();
        let subjects: Vec<String> = stored.iter().map(|stored| stored.subject.to_string()).collect();
        assert_eq!(
            subjects,
            [
                "waybill.events.image.acme.i.CredentialSecretSaved",
                "waybill.events.image.acme.i.CredentialSecretVerified"
            ]
        );
        let event: Value = serde_json::from_slice(&stored[1].body).unwrap();
        assert_eq!(event["saved_by"], 1);
        assert!(!event.to_string().contains(CANARY));
    }
}

/// The credentials of a repeated request need not be those that are saved: trying them would say nothing of these.
#[tokio::test]
async fn a_repeated_request_is_not_tried_late() {
    let registry = Says::new(Ok("sha256:0"));
    let gateway = Gateway::verifying(registry.clone());
    let mut silent = build();
    silent["verify"] = json!(false);
    assert_eq!(gateway.post_once("/v1/builds", "k", &silent).await.status, StatusCode::CREATED);
    let mut other = build();
    other["base_image_creds"] = json!(format!("u:other-{CANARY}"));
    let again = gateway.post_once("/v1/builds", "k", &other).await;
    assert_eq!((again.status, again.header("idempotent-replayed")), (StatusCode::CREATED, Some("true")));
    assert!(again.json().get("verified").is_none(), "{}", again.text);
    assert!(registry.asked.lock().unwrap().is_empty());
    assert_eq!(gateway.log.stored().len(), 1);
}

#[tokio::test]
async fn nobody_is_asked_without_need() {
    let registry = Says::new(Ok("sha256:0"));
    let gateway = Gateway::verifying(registry.clone());
    let mut silent = build();
    silent["verify"] = json!(false);
    assert!(gateway.post("/v1/builds", &silent).await.json().get("verified").is_none());
    let mut nothing = build();
    nothing["base_image_creds"] = json!(null);
    assert_eq!(gateway.post("/v1/builds", &nothing).await.json()["outcome"], "skipped");
    assert!(registry.asked.lock().unwrap().is_empty());
    let refused = Gateway::new().post("/v1/builds", &build()).await;
    assert_eq!((refused.status.as_u16(), &refused.json()["field"]), (422, &json!("verify")));
    assert!(refused.text.contains("WAYBILL_GATEWAY_VERIFY=on"));
}
