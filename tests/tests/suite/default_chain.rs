//! The node's own logins: for images without credentials, and never a second try for those that were supplied.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
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

use crate::check::install_helper;

/// A JSON Web Token that expired in 2020.
fn expired() -> String {
    let part = |json: Value| URL_SAFE_NO_PAD.encode(json.to_string());
    format!("{}.{}.c2ln", part(json!({ "alg": "RS256" })), part(json!({ "exp": 1_577_836_800 })))
}

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

    let elsewhere = json!({ "registry": "other.example", "type": "basic", "credentials": { "TOKEN": "t" } });
    let unusable = [
        ("half", json!({ "USERNAME": "node" }), "incomplete_credentials"),
        ("old", json!({ "TOKEN": expired() }), "expired_credentials"),
        ("odd", json!({ "COLOUR": "blue" }), "unrecognized_credentials"),
        ("other", json!(elsewhere.to_string()), "registry_mismatch"),
    ];
    for (image_id, credentials, reason) in &unusable {
        let built = stack.build("acme", image_id, reference, credentials.clone()).await;
        assert_eq!(built.text("reason"), *reason, "{built:?}");
        stack.container("acme", &format!("c-{image_id}"), image_id, "w1").await;
    }
    for (image_id, _, reason) in &unusable {
        let container = format!("c-{image_id}");
        let skipped = stack.wait_for_event("ContainerCredentialsSkipped", &container).await;
        assert_eq!(skipped.text("reason"), "credentials_unusable", "{}", skipped.line);
        let failed = stack.wait_for_event("CredentialProviderFailed", &container).await;
        assert_eq!(failed.text("reason"), "credentials_withheld", "{}", failed.line);
        let explained = stack.run(&["explain", "container", &container]).await.stdout;
        assert!(explained.contains(&format!("BROKEN at saved: {reason}")), "{explained}");
    }

    stack.build("acme", "none", reference, Value::Null).await;
    // A whole configuration file without an entry for the image names nobody for it.
    let file_of_others: Value = serde_json::from_str(&node.authfile("other.example")).unwrap();
    let built = stack.build("acme", "others", reference, file_of_others).await;
    assert_eq!(built.text("reason"), "no_credentials_provided", "{built:?}");
    stack.build("acme", "wrong", reference, json!("ada:guess")).await;
    for (container, image_id) in [("c-none", "none"), ("c-others", "others"), ("c-wrong", "wrong")] {
        assert_eq!(stack.container("acme", container, image_id, "w1").await.status, 202);
    }
    for container in ["c-none", "c-others"] {
        let pulled = stack.wait_for_outcome(container).await;
        assert_eq!(pulled.name, "ImagePullSucceeded", "{}", pulled.line);
        assert_eq!(pulled.text("digest"), image.digest());
    }
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

#[tokio::test]
async fn the_programs_of_the_node_are_asked() {
    let canary = Canary::new("program");
    let node = Login::new("node", canary.value());
    let skopeo = require!(Skopeo::find());
    let registry = require!(DockerRegistry::start(std::slice::from_ref(&node)).await);
    let image = TinyImage::new("program").unwrap();
    let reference = registry.push(&skopeo, &image, "team/app", "1", &node).await.unwrap();
    let (host, dir) = (registry.host(), tempfile::tempdir().unwrap());

    let (notes, held) = (dir.path().join("notes"), dir.path().join("held"));
    let answer = json!({ "ServerURL": host, "Username": "node", "Secret": canary.value() });
    std::fs::write(&held, answer.to_string()).unwrap();
    let (noted, held) = (notes.display(), held.display());
    let note =
        format!("read server; echo \"for $server\" >> {noted}; cat /proc/$$/cmdline /proc/$$/environ >> {noted}");
    for (name, rest) in [
        ("good", format!("cat {held}")),
        ("absent", "echo credentials not found in native keychain; exit 1".to_owned()),
        ("locked", format!("cat {held}; cat {held} >&2; exit 3")),
        ("odd", format!("cat {held} {held}")),
        ("endless", format!("while cat {held}; do :; done")),
    ] {
        install_helper(dir.path(), name, &format!("{note}; {rest}"));
    }
    let file = dir.path().join("config.json");
    std::fs::write(&file, r#"{"auths":{}}"#).unwrap();
    let path = format!("{}:{}", dir.path().display(), std::env::var("PATH").unwrap());
    let plan = Plan::default().plain_http(&[&host]).setting("PATH", path);
    let stack = require!(plan.setting("WAYBILL_WORKER_DOCKER_CONFIG", file.to_str().unwrap()).start().await);
    stack.build("acme", "none", reference.trim_start_matches("docker://"), Value::Null).await;

    let of_host = |name: &str, login: &Login| {
        let auths = json!({ &host: { "auth": login.basic() } });
        json!({ "auths": auths, "credHelpers": { &host: name } })
    };
    let stale = Login::new("node", "guess");
    // None is a pull; words are in what the worker says instead, and no words where it is the registry that speaks.
    let cases = [
        ("host", of_host("good", &stale), None),
        ("all", json!({ "credsStore": "good" }), None),
        ("absent", of_host("absent", &node), Some("")),
        ("locked", of_host("locked", &node), Some("-locked (credHelpers) failed: exit status: 3")),
        ("odd", of_host("odd", &node), Some("-odd did not answer as a credential helper does")),
        ("endless", of_host("endless", &node), Some("-endless did not answer as a credential helper does")),
        ("gone", of_host("waybill-none", &node), Some("-waybill-none (credHelpers) cannot be started")),
        ("path", of_host("../good", &node), Some("the value of credHelpers is malformed")),
    ];
    for (name, config, words) in cases {
        std::fs::write(&file, config.to_string()).unwrap();
        let container = format!("c-{name}");
        stack.container("acme", &container, "none", "w1").await;
        let outcome = stack.wait_for_outcome(&container).await;
        let Some(words) = words else {
            assert_eq!(outcome.name, "ImagePullSucceeded", "{name}: {}", outcome.line);
            continue;
        };
        let detail = outcome.text("detail");
        let reason = if words.is_empty() { "unauthorized" } else { "no_login" };
        assert_eq!(outcome.text("reason"), reason, "{name}: {detail}");
        assert_eq!(detail.contains("WAYBILL_WORKER_DOCKER_CONFIG"), !words.is_empty(), "{name}: {detail}");
        assert!(detail.contains(words), "{name}: {detail}");
    }
    let notes = std::fs::read(notes).unwrap();
    let text = String::from_utf8_lossy(&notes);
    assert!(text.contains(&format!("for {host}")) && text.contains("PATH="), "{text}");
    assert!(!text.contains("WAYBILL_"), "settings are not told to programs: {text}");
    let search = Search::new([&canary]);
    search.assert_absent_in_bytes("the process list", &notes);
    search.assert_absent_in_dir(stack.dir());
}
