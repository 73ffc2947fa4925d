//! `verify: true` and `verify_image`: the registry is asked before anything is saved, and what it says is recorded.

use std::sync::{Arc, Mutex};

use axum::http::StatusCode;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use waybill_schemas::{
    Event,
    v1::{ProviderFailure, PullFailure},
};

use super::{contract, support::Gateway};
use crate::port::{NotAccepted, Unverified, Verifies, VerifyFailure};

const CANARY: &str = "s3cr3t-verified-0123456789";

/// A registry that takes the credentials that hold a word, and refuses others in the same way.
struct Registry {
    takes: &'static str,
    refusal: NotAccepted,
    asked: Mutex<Vec<String>>,
}

impl Registry {
    fn new(takes: &'static str) -> Arc<Self> {
        Self::refusing(takes, VerifyFailure::Pull(PullFailure::Unauthorized), "no")
    }

    fn refusing(takes: &'static str, failure: VerifyFailure, detail: &str) -> Arc<Self> {
        let refusal = NotAccepted { failure, detail: detail.to_owned() };
        Arc::new(Self { takes, refusal, asked: Mutex::default() })
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

impl Verifies for Registry {
    fn verify<'a>(&'a self, asked: &'a Unverified) -> BoxFuture<'a, Result<String, NotAccepted>> {
        self.asked.lock().unwrap().push(format!("{} {}", asked.workspace, asked.image));
        let taken = asked.credentials.expose().contains(self.takes);
        Box::pin(async move { if taken { Ok("sha256:0".to_owned()) } else { Err(self.refusal.clone()) } })
    }
}

fn build(password: &str) -> Value {
    let creds = format!("u:{password}");
    json!({"workspace": "acme", "image_id": "i", "base_image": "a.b/c:1", "base_image_creds": creds, "verify": true})
}

#[tokio::test]
async fn what_the_registry_says_is_recorded_with_the_version() {
    let provider = VerifyFailure::Provider(ProviderFailure::TokenExchangeFailed);
    let pull = VerifyFailure::Pull(PullFailure::Denied);
    let cases = [
        (Registry::new(CANARY), json!({"accepted": true, "digest": "sha256:0"})),
        (
            Registry::refusing("nobody", provider, "no"),
            json!({"accepted": false, "reason": "token_exchange_failed", "detail": "no"}),
        ),
        (
            Registry::refusing("nobody", pull, "never"),
            json!({"accepted": false, "reason": "denied", "detail": "never"}),
        ),
    ];
    for (registry, expected) in cases {
        let gateway = Gateway::verifying(registry.clone()).await;
        let answer = gateway.post_once("/v1/builds", "k", &build(CANARY)).await;
        assert_eq!((answer.status, &answer.json()["verified"]), (StatusCode::CREATED, &expected), "{}", answer.text);
        contract::check(&contract::document(), "post", "/v1/builds", &answer);
        let again = gateway.post_once("/v1/builds", "k", &build(CANARY)).await;
        assert_eq!((again.json(), again.replayed()), (answer.json(), true));
        assert_eq!(registry.asked(), ["acme a.b/c:1"], "asked once");
        assert_eq!(gateway.types(), ["CredentialSecretSaved", "ImageSecretNamed"]);
        let Event::CredentialSecretSaved(saved) = gateway.events()[0].event.clone() else { panic!() };
        let verified = saved.stored.verified.unwrap();
        assert_eq!(verified.digest.is_some(), expected["accepted"] == true);
        let shown = gateway.ask("GET", "/v1/secrets/acme/oci-registry-a-b", &Value::Null).await;
        assert_eq!(shown.json()["verified"], expected);
    }
}

/// A row is a build's password, whether it asks to verify, and what comes of it: outcome, version, and what was said before.
#[tokio::test]
async fn a_refused_version_never_replaces_one_that_the_registry_took() {
    let gateway = Gateway::verifying(Registry::new("good")).await;
    let steps = [
        ("bad-1", true, json!({"outcome": "saved", "version": 1})),
        ("bad-2", true, json!({"outcome": "saved", "version": 2})),
        ("good-1", true, json!({"outcome": "saved", "version": 3})),
        (
            "bad-3",
            true,
            json!({"outcome": "skipped", "reason": "verification_failed", "detail": "no", "secret_name": "oci-registry-a-b"}),
        ),
        ("good-1", true, json!({"outcome": "saved", "version": 3, "unchanged": true})),
        ("good-2", true, json!({"outcome": "saved", "version": 4})),
        // Who does not ask takes the risk.
        ("bad-4", false, json!({"outcome": "saved", "version": 5})),
        ("bad-5", true, json!({"outcome": "saved", "version": 6})),
    ];
    for (at, (password, verify, expected)) in steps.into_iter().enumerate() {
        let mut body = build(password);
        body["verify"] = json!(verify);
        let answer = gateway.post("/v1/builds", &body).await;
        for (name, value) in expected.as_object().unwrap() {
            assert_eq!(answer.json()[name], *value, "step {at}: {}", answer.text);
        }
    }
    assert_eq!(gateway.kept().await.len(), 6);
}

#[tokio::test]
async fn a_secret_is_put_after_its_registry_was_asked() {
    let registry = Registry::new("good");
    let gateway = Gateway::verifying(registry.clone()).await;
    let put = |password: &str, image: &str| json!({"registry": "a.b", "credentials": format!("u:{password}"), "verify_image": image});
    let path = "/v1/secrets/acme/s";
    let first = gateway.ask("PUT", path, &put("bad", "a.b/c:1")).await;
    assert_eq!((first.status.as_u16(), &first.json()["verified"]["accepted"]), (201, &json!(false)), "{}", first.text);
    let second = gateway.ask("PUT", path, &put("good", "a.b/c:1")).await;
    assert_eq!((second.status.as_u16(), &second.json()["verified"]["accepted"]), (201, &json!(true)));
    let refused = gateway.ask("PUT", path, &put("worse", "a.b/c:1")).await;
    assert_eq!(refused.expect_problem(409, "verification_failed")["field"], "credentials");
    contract::check(&contract::document(), "put", "/v1/secrets/{workspace}/{name}", &refused);
    for image in ["c.d/c:1", "A B"] {
        let answer = gateway.ask("PUT", path, &put("good", image)).await;
        assert_eq!(answer.expect_problem(422, "invalid_field")["field"], "verify_image");
    }
    assert_eq!(registry.asked().len(), 3);
    assert_eq!(gateway.events().len(), 2);
}

/// The credentials of a repeated request need not be those that are saved: trying them would say nothing of these.
#[tokio::test]
async fn a_repeated_request_is_not_tried_late() {
    let registry = Registry::new(CANARY);
    let gateway = Gateway::verifying(registry.clone()).await;
    let mut silent = build(CANARY);
    silent["verify"] = json!(false);
    assert_eq!(gateway.post_once("/v1/builds", "k", &silent).await.status, StatusCode::CREATED);
    let again = gateway.post_once("/v1/builds", "k", &build(&format!("other-{CANARY}"))).await;
    assert_eq!((again.status, again.replayed()), (StatusCode::CREATED, true));
    assert!(again.json().get("verified").is_none(), "{}", again.text);
    assert!(registry.asked().is_empty());
    assert_eq!(gateway.events().len(), 2);
}

#[tokio::test]
async fn nobody_is_asked_without_need() {
    let registry = Registry::new(CANARY);
    let gateway = Gateway::verifying(registry.clone()).await;
    let mut silent = build(CANARY);
    silent["verify"] = json!(false);
    assert!(gateway.post("/v1/builds", &silent).await.json().get("verified").is_none());
    let mut nothing = build(CANARY);
    nothing["base_image_creds"] = json!(null);
    assert_eq!(gateway.post("/v1/builds", &nothing).await.json()["outcome"], "skipped");
    assert!(registry.asked().is_empty());
    let refused = Gateway::new().await.post("/v1/builds", &build(CANARY)).await;
    assert_eq!((refused.status.as_u16(), &refused.json()["field"]), (422, &json!("verify")));
    assert!(refused.text.contains("WAYBILL_GATEWAY_VERIFY=on"));
}
