//! Builds of secrets that were withdrawn, or whose vault entry is lost.

use serde_json::{Value, json};
use waybill_platform::vault::Vault as _;
use waybill_schemas::VaultKey;

use super::support::Gateway;

fn got(said: &Value) -> (u64, bool) {
    (said["version"].as_u64().unwrap(), said["unchanged"].as_bool().unwrap())
}

#[tokio::test]
async fn a_build_brings_a_withdrawn_secret_back() {
    for withdraw in ["revoke", "shred"] {
        let gateway = Gateway::new().await;
        assert_eq!(got(&gateway.build("i", "a.b/c", json!("u:p")).await), (1, false));
        let path = format!("/v1/secrets/acme/oci-registry-a-b/{withdraw}");
        assert_eq!(gateway.post(&path, &json!({})).await.status.as_u16(), 200);
        assert_eq!(got(&gateway.build("i", "a.b/c", json!("u:p")).await), (2, false), "{withdraw}");
        assert_eq!(got(&gateway.build("i", "a.b/c", json!("u:p")).await), (2, true), "{withdraw}");
    }
}

#[tokio::test]
async fn what_the_vault_has_lost_is_saved_again() {
    let gateway = Gateway::new().await;
    gateway.build("i", "a.b/c", json!("u:p")).await;
    let key = VaultKey::parse("secret.acme.oci-registry-a-b.1").unwrap();
    gateway.vault.erase(&key).await.unwrap();
    assert_eq!(got(&gateway.build("i", "a.b/c", json!("u:p")).await), (2, false));
    assert_eq!(gateway.kept().await.len(), 1);
}

#[tokio::test]
async fn an_unchanged_build_says_so_of_its_image_only() {
    let gateway = Gateway::new().await;
    gateway.build("i", "a.b/c", json!("u:p")).await;
    gateway.build("j", "a.b/d", json!("u:p")).await;
    assert_eq!(gateway.types(), ["CredentialSecretSaved", "ImageSecretNamed", "ImageSecretNamed"]);
    assert_eq!(gateway.events()[2].envelope.causation_id, None);
    assert_eq!(gateway.kept().await.len(), 1);
}

#[tokio::test]
async fn without_a_scheduler_nothing_is_saved_and_the_rest_is_recorded() {
    let gateway = Gateway::without_scheduler(crate::config::Limits::default(), None);
    let body = json!({"workspace": "acme", "image_id": "i", "base_image": "a.b/c", "base_image_creds": "u:p"});
    let answer = gateway.post("/v1/builds", &body).await;
    let problem = answer.expect_problem(503, "no_scheduler_key");
    assert!(problem["remedy"].as_str().unwrap().contains("waybill scheduler"), "{problem}");
    assert_eq!(answer.header("retry-after"), Some("2"));
    assert!(gateway.kept().await.is_empty() && gateway.events().is_empty());
    let body = json!({"workspace": "acme", "image_id": "i", "base_image": "a.b/c"});
    assert_eq!(gateway.post("/v1/builds", &body).await.status.as_u16(), 200);
    gateway.publish_scheduler_key().await;
    assert_eq!(got(&gateway.build("i", "a.b/c", json!("u:p")).await), (1, false));
}

#[tokio::test]
async fn credentials_are_sealed_to_the_schedulers_present_key() {
    let mut gateway = Gateway::new().await;
    gateway.scheduler = waybill_platform::sealing::PrivateKey::generate().into();
    gateway.publish_scheduler_key().await;
    gateway.build("i", "a.b/c", json!("u:p")).await;
    let kept = &gateway.kept().await[0];
    assert!(super::support::open(&gateway, kept, "a.b").expose().contains("\"p\""));
}
