//! What is asked wrongly, and what is broken on the way to the disk.

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
};

use serde_json::{Value, json};
use waybill_tests::{
    image::TinyImage,
    login::Login,
    registry::{Endpoint, Fault, Registry, Scheme},
    require,
    stack::{Plan, Stack},
};

use super::expect;
use crate::forge::publish;

async fn request(stack: &Stack, more: Value) {
    let mut body = json!({ "workspace": "acme", "worker_id": "w1" });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    assert_eq!(stack.post("/v1/containers", &body).await.status, 202);
    stack.wait_for_outcome(body["container_id"].as_str().unwrap()).await;
}

#[tokio::test]
async fn what_is_asked_wrongly() {
    let registry = Registry::start(Scheme::Basic).unwrap();
    registry.accounts().allow(&Login::new("u", "p"));
    let reference = registry.serve("team/app", "1", &TinyImage::new("asked").unwrap());
    let logins = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(logins.path(), r#"{"auths":{}}"#).unwrap();
    let plan = Plan::default().plain_http(&[&registry.host()]);
    let plan = plan.setting("WAYBILL_WORKER_DOCKER_CONFIG", logins.path().to_str().unwrap());
    let stack = require!(plan.start().await);
    let saved = stack.build("acme", "img", &reference, json!("u:p")).await;
    stack.build("acme", "strange", &reference, json!({ "COLOUR": "red" })).await;
    // What no gateway of this version would write.
    let torn = json!({
        "workspace": "acme", "image_id": "torn", "image_ref": "no reference!", "reason": "no_credentials_provided",
    });
    let of_torn = "waybill.events.image.acme.torn.b-1";
    publish(&stack, "gateway", of_torn, "CredentialSecretSkipped", torn.to_string()).await;

    // As a gateway writes it of a public registry, which would not be on this machine.
    let public = json!({
        "workspace": "acme", "image_id": "public", "image_ref": reference, "registry": registry.host(),
        "reason": "public_registry",
    });
    let of_public = "waybill.events.image.acme.public.b-1";
    publish(&stack, "gateway", of_public, "CredentialSecretSkipped", public.to_string()).await;

    request(&stack, json!({ "container_id": "c-public", "image_id": "public" })).await;
    expect(&stack, ["container", "c-public"], (1, "saved", "public_registry", "is a public registry")).await;
    request(&stack, json!({ "container_id": "c-none" })).await;
    expect(&stack, ["container", "c-none"], (1, "requested", "no_image_id", "names no image")).await;
    request(&stack, json!({ "container_id": "c-build", "image_id": "img", "build_container": true })).await;
    expect(&stack, ["container", "c-build"], (1, "attached", "build_container", "brings its own credentials")).await;
    request(&stack, json!({ "container_id": "c-strange", "image_id": "strange" })).await;
    expect(&stack, ["container", "c-strange"], (1, "saved", "unrecognized_credentials", "of no known kind")).await;
    request(&stack, json!({ "container_id": "c-torn", "image_id": "torn" })).await;
    expect(&stack, ["container", "c-torn"], (1, "pull", "invalid_reference", "cannot be pulled")).await;
    // The node's own logins, which nobody can read any more.
    stack.build("acme", "open", &reference, Value::Null).await;
    std::fs::write(logins.path(), "{").unwrap();
    request(&stack, json!({ "container_id": "c-node", "image_id": "open" })).await;
    expect(&stack, ["container", "c-node"], (1, "pull", "no_login", "WAYBILL_WORKER_DOCKER_CONFIG")).await;
    let revoked =
        stack.run(&["secrets", "revoke", saved.text("secret_name"), "--reason", "the account was closed"]).await;
    assert!(revoked.status.success(), "{}{}", revoked.stdout, revoked.stderr);
    expect(&stack, ["image", "img"], (1, "saved", "secret_revoked", "the account was closed")).await;
}

/// Answers every request with the same few bytes.
fn liar() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            let _ = connection.read(&mut [0; 4096]);
            let _ = connection.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nwrong");
        }
    });
    url
}

#[tokio::test]
async fn what_is_broken_on_the_way_to_the_disk() {
    let registry = Registry::start(Scheme::Basic).unwrap();
    registry.accounts().allow(&Login::new("u", "p"));
    let reference = registry.serve("team/app", "1", &TinyImage::new("broken").unwrap());
    let images = tempfile::tempdir().unwrap();
    let liar = liar();
    let plan = Plan::default().plain_http(&[&registry.host(), liar.trim_start_matches("http://")]);
    let stack = require!(plan.setting("WAYBILL_WORKER_IMAGE_DIR", images.path().to_str().unwrap()).start().await);
    stack.build("acme", "img", &reference, json!("u:p")).await;
    registry.inject(Fault::redirect(liar).on(Endpoint::Blob));
    request(&stack, json!({ "container_id": "c-wrong", "image_id": "img" })).await;
    registry.heal();
    expect(&stack, ["container", "c-wrong"], (1, "pull", "digest_mismatch", "not what its digest says")).await;
    // A file in the place of the workspace's folder.
    let folder = images.path().join("acme");
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::write(&folder, "").unwrap();
    request(&stack, json!({ "container_id": "c-disk", "image_id": "img" })).await;
    expect(&stack, ["container", "c-disk"], (1, "pull", "storage", "could not store")).await;
}
