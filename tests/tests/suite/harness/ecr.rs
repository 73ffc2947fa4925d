//! moto and the in-process ECR answer the same call in the same shape.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reqwest::{Response, StatusCode};
use serde_json::Value;
use waybill_tests::ecr::Ecr;
use waybill_tests::image::TinyImage;
use waybill_tests::login::Login;
use waybill_tests::moto::Moto;
use waybill_tests::registry::{Registry, Scheme};
use waybill_tests::require;

const ACCESS_KEY_ID: &str = "AKIAEXAMPLE";

async fn call(endpoint: &str) -> Response {
    let scope = format!("Credential={ACCESS_KEY_ID}/20300101/eu-west-1/ecr/aws4_request");
    let request = waybill_tests::http::client().unwrap().post(endpoint);
    request
        .header("x-amz-target", "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken")
        .header("content-type", "application/x-amz-json-1.1")
        .header("authorization", format!("AWS4-HMAC-SHA256 {scope}, SignedHeaders=host, Signature=0"))
        .body("{}")
        .send()
        .await
        .unwrap()
}

/// The token as a login, and its expiry in seconds since 1970.
async fn token(endpoint: &str) -> (Login, f64) {
    let answer: Value = call(endpoint).await.error_for_status().unwrap().json().await.unwrap();
    let data = &answer["authorizationData"][0];
    assert!(data["proxyEndpoint"].as_str().unwrap().ends_with(".dkr.ecr.eu-west-1.amazonaws.com"));
    let login = Login::from_basic(data["authorizationToken"].as_str().unwrap()).unwrap();
    (login, data["expiresAt"].as_f64().unwrap())
}

fn seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
}

#[tokio::test]
async fn moto_issues_a_token_that_expired_in_2015() {
    let moto = require!(Moto::start().await);
    let (login, expires_at) = token(&moto.endpoint()).await;
    assert_eq!(login, moto.login());
    assert_eq!(expires_at, 1_420_070_400.0);
}

#[tokio::test]
async fn the_in_process_ecr_issues_what_its_registry_accepts() {
    let registry = Registry::start(Scheme::Basic).unwrap();
    registry.serve("team/app", "1.0", &TinyImage::new("ecr").unwrap());
    let ecr = Ecr::start(ACCESS_KEY_ID, registry.accounts()).unwrap();
    let client = waybill_tests::http::client().unwrap();
    let pull = async |login: &Login| {
        let request = client.get(format!("{}/v2/team/app/manifests/1.0", registry.url()));
        request.basic_auth(login.user(), Some(login.password())).send().await.unwrap().status()
    };

    let (first, expires_at) = token(&ecr.endpoint()).await;
    assert!(expires_at > seconds(SystemTime::now()) + 11.0 * 3600.0);
    assert_eq!(pull(&first).await, StatusCode::OK);
    ecr.revoke_tokens();
    assert_eq!(pull(&first).await, StatusCode::UNAUTHORIZED);

    let (second, _) = token(&ecr.endpoint()).await;
    assert_eq!(pull(&second).await, StatusCode::OK);
    assert_eq!(ecr.issued(), [first, second]);
    assert_eq!(ecr.calls().iter().filter(|call| call.region == "eu-west-1" && call.status == 200).count(), 2);
}

#[tokio::test]
async fn the_in_process_ecr_expires_fails_and_counts_as_told() {
    let ecr = Ecr::start(ACCESS_KEY_ID, Registry::start(Scheme::Basic).unwrap().accounts()).unwrap();
    let in_a_minute = || seconds(SystemTime::now() + Duration::from_secs(60));
    ecr.tokens_last(Duration::from_secs(30));
    assert!(token(&ecr.endpoint()).await.1 < in_a_minute());
    ecr.tokens_expired(Duration::from_secs(30));
    assert!(token(&ecr.endpoint()).await.1 < seconds(SystemTime::now()));

    ecr.fail_next(400, "ThrottlingException");
    let failed = call(&ecr.endpoint()).await;
    assert_eq!(failed.status(), 400);
    assert_eq!(failed.json::<Value>().await.unwrap()["__type"], "ThrottlingException");

    assert_eq!(ecr.most_at_once(), 1);
    ecr.slow(Duration::from_millis(300));
    let endpoint = ecr.endpoint();
    tokio::join!(token(&endpoint), token(&endpoint));
    assert_eq!(ecr.most_at_once(), 2);
    assert_eq!(ecr.calls().len(), 5);
}

#[tokio::test]
async fn the_in_process_ecr_refuses_strangers() {
    let ecr = Ecr::start("AKIASOMEBODY", Registry::start(Scheme::Basic).unwrap().accounts()).unwrap();
    let refused = call(&ecr.endpoint()).await;
    assert_eq!(refused.status(), 400);
    assert_eq!(refused.json::<Value>().await.unwrap()["__type"], "UnrecognizedClientException");
    assert!(ecr.issued().is_empty());
}
