//! The node's own logins: for images without credentials, and never a second try for those that were supplied.

use serde_json::{Value, json};
use waybill_tests::{
    canary::{Canary, Search},
    docker_registry::DockerRegistry,
    image::TinyImage,
    login::Login,
    require,
    skopeo::Skopeo,
    stack::Plan,
};

#[tokio::test]
async fn the_node_logs_in_only_where_no_credentials_were_supplied() {
    let canary = Canary::new("node");
    let node = Login::new("node", canary.value());
    let skopeo = require!(Skopeo::find());
    let registry = require!(DockerRegistry::start(std::slice::from_ref(&node)).await);
    let image = TinyImage::new("node").unwrap();
    let reference = registry.push(&skopeo, &image, "team/app", "1", &node).await.unwrap();
    let reference = reference.trim_start_matches("docker://");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), node.authfile(&registry.host())).unwrap();
    let plan = Plan::default().plain_http(&[&registry.host()]);
    let stack = require!(plan.setting("WAYBILL_WORKER_DOCKER_CONFIG", file.path().to_str().unwrap()).start().await);

    stack.build("acme", "none", reference, Value::Null).await;
    stack.build("acme", "wrong", reference, json!("ada:guess")).await;
    for (container, image_id) in [("c-none", "none"), ("c-wrong", "wrong")] {
        assert_eq!(stack.container("acme", container, image_id, "w1").await.status, 202);
    }
    let pulled = stack.wait_for_outcome("c-none").await;
    assert_eq!(
        (pulled.name.as_str(), pulled.text("digest")),
        ("ImagePullSucceeded", image.digest()),
        "{}",
        pulled.line
    );
    let provider = stack.wait_for_event("CredentialProviderAttached", "c-none").await;
    assert_eq!(provider.text("provider_name"), "default-chain");
    let failed = stack.wait_for_outcome("c-wrong").await;
    assert_eq!((failed.name.as_str(), failed.text("reason")), ("ImagePullFailed", "unauthorized"), "{}", failed.line);

    // A login that the node gains later counts at once, as does one that it loses.
    std::fs::write(file.path(), Login::new("node", "guess").authfile(&registry.host())).unwrap();
    stack.container("acme", "c-lost", "none", "w1").await;
    assert_eq!(stack.wait_for_outcome("c-lost").await.text("reason"), "unauthorized");
    Search::new([&canary]).assert_absent_in_dir(stack.dir());
}
