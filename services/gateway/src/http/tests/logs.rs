//! Log lines that people search for: message, level and fields.

use serde_json::{Value, json};

use super::{lines::Lines, support::Gateway};

async fn lines_of(path: &str, body: Value, message: &str) -> Vec<Value> {
    let (lines, _guard) = Lines::capture();
    let gateway = Gateway::new().await;
    assert!(gateway.post_once(path, "key-1", &body).await.status.is_success());
    lines.with(message)
}

fn fields(line: &Value, names: &[&str]) -> Vec<Value> {
    names.iter().map(|name| line[*name].clone()).collect()
}

#[tokio::test]
async fn a_saved_secret() {
    let body = json!({"workspace": "acme", "image_id": "i", "base_image": "a.b/app", "base_image_creds": "u:p"});
    let lines = lines_of("/v1/builds", body, "credential secret saved").await;
    assert_eq!(lines.len(), 1, "{lines:?}");
    let expected = [json!("INFO"), json!("i"), json!("oci-registry-a-b"), json!("a.b"), json!("basic")];
    assert_eq!(lines[0].get("unchanged"), None);
    assert_eq!(fields(&lines[0], &["level", "image_id", "secret_name", "registry", "cred_type"]), expected);
}

#[tokio::test]
async fn every_skip() {
    let message = "no credentials provided, skipping secret creation";
    for (more, reason) in [
        (json!({"base_image": "a.b/app"}), "no_credentials_provided"),
        (json!({}), "no_image_reference"),
        (json!({"base_image": "a.b/app", "modified": true}), "image_modified"),
        (json!({"base_image": "a.b/app", "base_image_creds": {"COLOUR": "blue"}}), "unrecognized_credentials"),
    ] {
        let mut body = json!({"workspace": "acme", "image_id": "i"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let lines = lines_of("/v1/builds", body, message).await;
        assert_eq!(lines.len(), 1, "{reason}");
        assert_eq!(fields(&lines[0], &["level", "image_id", "reason"]), [json!("INFO"), json!("i"), json!(reason)]);
    }
}

#[tokio::test]
async fn each_check_on_the_way() {
    let body = json!({
        "workspace": "acme", "image_id": "i", "existing_image_uri": "a.b/app",
        "existing_image_creds": {"USERNAME": "u", "PASSWORD": "p"}, "base_image_creds": "u:p"
    });
    let received = lines_of("/v1/builds", body.clone(), "build received").await;
    let names = ["level", "existing_image_creds_count", "base_image_creds_count", "modified"];
    assert_eq!(fields(&received[0], &names), [json!("DEBUG"), json!(2), json!(1), json!(false)]);
    let detected = lines_of("/v1/builds", body, "credential type detected").await;
    let expected = [json!("DEBUG"), json!("basic"), json!("a.b"), json!("from_registry")];
    assert_eq!(fields(&detected[0], &["level", "cred_type", "registry", "source"]), expected);
}

#[tokio::test]
async fn a_replay_says_so() {
    let (lines, _guard) = Lines::capture();
    let gateway = Gateway::new().await;
    let body = json!({"workspace": "acme", "image_id": "i", "base_image": "a.b/app", "base_image_creds": "u:p"});
    for _ in 0..2 {
        gateway.post_once("/v1/builds", "key-1", &body).await;
    }
    let lines = lines.with("credential secret saved");
    let replayed: Vec<_> = lines.iter().map(|line| line.get("replayed").cloned()).collect();
    assert_eq!(replayed, [None, Some(json!(true))]);
}

#[tokio::test]
async fn an_unchanged_build_and_a_named_secret() {
    let (lines, _guard) = Lines::capture();
    let gateway = Gateway::new().await;
    for _ in 0..2 {
        gateway.build("i", "a.b/app", json!("u:p")).await;
    }
    let saved = lines.with("credential secret saved");
    assert_eq!(saved.iter().map(|line| line.get("unchanged").cloned()).collect::<Vec<_>>(), [None, Some(json!(true))]);
    let body = json!({"workspace": "acme", "image_id": "i", "base_image": "a.b/app", "base_image_secret": "s"});
    gateway.post("/v1/builds", &body).await;
    let named = lines.with("image uses a credential secret by its name");
    let expected = [json!("INFO"), json!("i"), json!("s"), json!("a.b")];
    assert_eq!(fields(&named[0], &["level", "image_id", "secret_name", "registry"]), expected);
}

#[tokio::test]
async fn a_refused_request_leaves_its_code_and_field() {
    let (lines, _guard) = Lines::capture();
    let gateway = Gateway::new().await;
    gateway.send(super::support::bare("/v1/builds").body(axum::body::Body::empty()).unwrap()).await;
    gateway.post("/v1/builds", &json!({"workspace": "other", "image_id": "i"})).await;
    gateway.post("/v1/builds", &json!({"workspace": "acme", "image_id": "canary value"})).await;
    gateway.ask("GET", "/v1/secrets/acme/none", &Value::Null).await;
    let told: Vec<Vec<Value>> = lines
        .with("request refused")
        .iter()
        .map(|line| fields(line, &["level", "route", "status", "code", "field"]))
        .collect();
    let expected = [
        ("WARN", "/v1/builds", 401, "unauthenticated", "Authorization"),
        ("WARN", "/v1/builds", 403, "another_workspace", "workspace"),
        ("WARN", "/v1/builds", 422, "invalid_field", "image_id"),
        ("DEBUG", "/v1/secrets/{workspace}/{name}", 404, "not_found", "secret_name"),
    ];
    let expected = expected.map(|(level, route, status, code, field)| {
        vec![json!(level), json!(route), json!(status), json!(code), json!(field)]
    });
    assert_eq!(told, expected);
    assert!(!lines.text().contains("canary value"));
    let metrics = gateway.get("/metrics").await;
    assert_eq!(metrics.status.as_u16(), 200);
}
