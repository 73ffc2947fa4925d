//! Credentials belong to a workspace, a registry host and an account, never to a name that looks alike.

use serde_json::json;
use waybill_tests::{
    image::TinyImage,
    login::Login,
    registry::{Credential, Registry, Scheme},
    require,
    stack::Plan,
};

/// Two workspaces with the same image id, each with an account of its own on the same registry; and one workspace with
/// two images on two accounts.
#[tokio::test]
async fn each_container_gets_its_own() {
    let registry = Registry::start(Scheme::Basic).unwrap();
    let image = TinyImage::new("isolated").unwrap();
    let logins = ["ada", "bob", "cyd"].map(|user| Login::new(user, format!("{user}-password")));
    for login in &logins {
        registry.serve(&format!("{}/app", login.user()), "1", &image);
        registry.accounts().allow_only(login, &[&format!("{}/app", login.user())]);
    }
    let plan = Plan::default().workspaces(&["acme", "umbrella"]).workers(&["w1", "w2"]);
    let stack = require!(plan.plain_http(&[&registry.host()]).start().await);
    let host = registry.host();
    let builds = [("acme", "img", &logins[0]), ("umbrella", "img", &logins[1]), ("acme", "img-2", &logins[2])];
    for (workspace, image_id, login) in builds {
        // Two accounts of one registry have a secret each.
        let suffix = if image_id == "img-2" { "-2" } else { "" };
        let credentials = json!({ "USERNAME": login.user(), "PASSWORD": login.password() });
        let reference = format!("{host}/{}/app:1", login.user());
        let saved = stack.build(workspace, image_id, &reference, credentials).await;
        assert_eq!(saved.status, 201, "{saved:?}");
        assert_eq!(saved.text("secret_name").ends_with("-2"), !suffix.is_empty(), "{saved:?}");
    }
    for (workspace, container, image_id, worker) in
        [("acme", "c-ada", "img", "w1"), ("umbrella", "c-bob", "img", "w1"), ("acme", "c-cyd", "img-2", "w2")]
    {
        stack.container(workspace, container, image_id, worker).await;
        let pulled = stack.wait_for_outcome(container).await;
        assert_eq!(pulled.name, "ImagePullSucceeded", "{}", pulled.line);
    }
    stack.container("umbrella", "c-none", "img-2", "w2").await;
    let skipped = stack.wait_for_event("ContainerCredentialsSkipped", "c-none").await;
    assert_eq!(skipped.text("reason"), "no_secret_for_image", "another workspace's image");

    for seen in registry.seen().iter().filter(|seen| seen.credential != Credential::None) {
        let account = seen.account.as_deref().unwrap_or_default();
        assert!(
            seen.path == "/v2/" || seen.path.starts_with(&format!("/v2/{account}/app/")),
            "{account}: {}",
            seen.path
        );
    }
}

/// Registries whose secret names collide: `a.b` and `a-b` both give `oci-registry-a-b`.
#[tokio::test]
async fn registries_whose_names_look_alike_share_nothing() {
    let stack = require!(Plan::default().start().await);
    let dotted = stack.build("acme", "dotted", "a.b/app:1", json!("user:dotted-password")).await;
    let dashed = stack.build("acme", "dashed", "a-b.localhost/app:1", json!("user:dashed-password")).await;
    let twin = stack.build("acme", "twin", "a-b:443/app:1", json!("user:twin-password")).await;
    let alike = stack.build("acme", "alike", "a-b.localhost/app:2", json!("user:dashed-password")).await;
    assert_eq!(dotted.text("secret_name"), "oci-registry-a-b");
    assert_eq!(dashed.text("secret_name"), "oci-registry-a-b-localhost");
    assert_eq!((alike.text("secret_name"), &alike.body["unchanged"]), (dashed.text("secret_name"), &json!(true)));
    assert_eq!([&dashed, &twin].map(|answer| answer.status.as_u16()), [201, 201]);
    for (container, image_id, registry, saved) in [
        ("c-1", "dotted", "a.b", &dotted),
        ("c-2", "dashed", "a-b.localhost", &dashed),
        ("c-3", "twin", "a-b:443", &twin),
    ] {
        stack.container("acme", container, image_id, "w1").await;
        let attached = stack.wait_for_event("ContainerCredentialsAttached", container).await;
        assert_eq!((attached.text("registry"), attached.text("secret_name")), (registry, saved.text("secret_name")));
        assert_eq!(attached.data["image_event"].as_u64(), Some(saved.sequence()));
        let provider = stack.wait_for_event("CredentialProviderAttached", container).await;
        assert_eq!(provider.text("provider_name"), format!("creds-{registry}"));
    }
}
