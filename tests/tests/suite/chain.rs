//! The chain against a real registry: the build's credentials decide whether the worker's pull succeeds.

use serde_json::{Value, json};
use waybill_tests::{
    docker_registry::DockerRegistry, image::TinyImage, login::Login, require, skopeo::Skopeo, stack::Plan,
};

#[tokio::test]
async fn the_builds_credentials_make_the_pull_succeed() {
    let (ada, wrong) = (Login::new("ada", "p:ss \"word\" ü"), Login::new("ada", "guess"));
    let skopeo = require!(Skopeo::find());
    let registry = require!(DockerRegistry::start(std::slice::from_ref(&ada)).await);
    let image = TinyImage::new("private").unwrap();
    let reference = registry.push(&skopeo, &image, "team/app", "1", &ada).await.unwrap();
    let images = tempfile::tempdir().unwrap();
    let plan = Plan::default().plain_http(&[&registry.host()]);
    let stack = require!(plan.setting("WAYBILL_WORKER_IMAGE_DIR", images.path().to_str().unwrap()).start().await);
    let reference = reference.trim_start_matches("docker://");

    let credentials = |login: &Login| json!({ "USERNAME": login.user(), "PASSWORD": login.password() });
    let saved = stack.build("acme", "right", reference, credentials(&ada)).await;
    assert_eq!((saved.status.as_u16(), saved.text("outcome")), (201, "saved"), "{saved:?}");
    let as_text = Value::String(format!("{}:{}", ada.user(), ada.password()));
    let text = stack.build("acme", "text", reference, as_text).await;
    assert_eq!((text.status.as_u16(), &text.body["unchanged"]), (201, &json!(true)), "{text:?}");
    // Under a name of its own: what one account's newest build brings counts for every image of that account.
    let apart = json!({
        "workspace": "acme", "image_id": "wrong", "existing_image_uri": reference,
        "existing_image_creds": credentials(&wrong), "existing_image_secret": "wrong",
    });
    assert_eq!(stack.post("/v1/builds", &apart).await.status, 201);
    let skipped = stack.build("acme", "none", reference, Value::Null).await;
    assert_eq!((skipped.status.as_u16(), skipped.text("reason")), (200, "no_credentials_provided"), "{skipped:?}");

    for (container, image_id) in [("c-right", "right"), ("c-text", "text"), ("c-wrong", "wrong"), ("c-none", "none")] {
        assert_eq!(stack.container("acme", container, image_id, "w1").await.status, 202);
    }
    for container in ["c-right", "c-text"] {
        let pulled = stack.wait_for_outcome(container).await;
        assert_eq!(
            (pulled.name.as_str(), pulled.text("digest")),
            ("ImagePullSucceeded", image.digest()),
            "{}",
            pulled.line
        );
        let layout = images.path().join("acme").join(container);
        for digest in image.blobs().keys() {
            let blob = layout.join("blobs/sha256").join(digest.trim_start_matches("sha256:"));
            assert_eq!(std::fs::read(blob).unwrap(), image.blobs()[digest].as_ref(), "{digest}");
        }
        assert!(layout.join("index.json").exists() && layout.join("oci-layout").exists());
    }
    for container in ["c-wrong", "c-none"] {
        let failed = stack.wait_for_outcome(container).await;
        assert_eq!(
            (failed.name.as_str(), failed.text("reason")),
            ("ImagePullFailed", "unauthorized"),
            "{}",
            failed.line
        );
        assert!(!images.path().join("acme").join(container).exists(), "nothing half-written");
    }

    let attached = stack.wait_for_event("ContainerCredentialsAttached", "c-right").await;
    assert_eq!(attached.data["image_event"], saved.sequence());
    assert_eq!(attached.text("secret_name"), format!("oci-registry-{}", registry.host().replace(['.', ':'], "-")));
    let provider = stack.wait_for_event("CredentialProviderAttached", "c-right").await;
    assert_eq!(provider.text("provider_name"), format!("creds-{}", registry.host()));
    let skip = stack.wait_for_event("ContainerCredentialsSkipped", "c-none").await;
    assert_eq!(skip.text("reason"), "no_secret_for_image");
    assert_eq!(
        stack.wait_for_event("CredentialProviderAttached", "c-none").await.text("provider_name"),
        "default-chain"
    );
    log_lines(&stack.logs());
}

/// People search for these messages and fields, so they are as they are.
fn log_lines(logs: &str) {
    let expected: [(&str, &str, &str, &[&str]); 6] = [
        ("waybill-gateway", "INFO", "credential secret saved", &["image_id", "secret_name", "registry", "cred_type"]),
        ("waybill-gateway", "INFO", "no credentials provided, skipping secret creation", &["image_id", "reason"]),
        (
            "waybill-scheduler",
            "INFO",
            "attached OCI credentials",
            &["container_id", "image_id", "secret_name", "credentials_length"],
        ),
        ("waybill-scheduler", "WARN", "no credential secret found for image", &["container_id", "image_id"]),
        (
            "waybill-worker",
            "INFO",
            "attached custom credential provider for OCI image",
            &["image_id", "container_id", "provider_name"],
        ),
        ("waybill-worker", "INFO", "no image credentials provided, using default provider chain", &[]),
    ];
    let lines: Vec<Value> = logs.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    for (service, level, message, fields) in expected {
        let line = lines.iter().find(|line| line["message"] == message);
        let line = line.unwrap_or_else(|| panic!("nobody logged {message:?}:\n{logs}"));
        assert_eq!((line["service"].as_str(), line["level"].as_str()), (Some(service), Some(level)), "{line}");
        for field in fields.iter().chain(&["trace_id", "span_id"]) {
            assert!(!line[*field].is_null(), "{field} is missing: {line}");
        }
    }
    for field in ["existing_image_creds_count", "has_image_credentials"] {
        assert!(lines.iter().any(|line| line["level"] == "DEBUG" && !line[field].is_null()), "{field}");
    }
}
