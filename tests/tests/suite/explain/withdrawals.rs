//! Secrets by their names, and credentials that are taken away: rotated, revoked, shredded, or the placement is over.

use std::time::Duration;

use serde_json::json;
use waybill_tests::{
    image::TinyImage,
    login::Login,
    registry::{Fault, Registry, Scheme},
    require,
    stack::{Plan, Recorded, Service, Stack},
};

use super::{asked, expect};

/// Waits for the withdrawal of a placement.
async fn withdrawn(stack: &Stack, placement: u64) -> Recorded {
    let found = |events: &[Recorded]| {
        let mut withdrawals = events.iter().filter(|event| event.name == "ContainerCredentialsWithdrawn");
        withdrawals.find(|event| event.data["placement"] == placement).cloned()
    };
    stack.wait_for(&format!("the withdrawal of placement {placement}"), found).await
}

#[tokio::test]
async fn a_secret_that_is_revoked_and_shredded_while_it_is_used() {
    let registry = Registry::start(Scheme::Basic).unwrap();
    registry.accounts().allow(&Login::new("u", "p"));
    let reference = registry.serve("team/app", "1", &TinyImage::new("withdrawn").unwrap());
    let mut stack = require!(Plan::default().plain_http(&[&registry.host()]).start().await);
    let login = json!({ "registry": registry.host(), "credentials": "u:p" });
    expect(&stack, ["secret", "team"], (1, "saved", "secret_not_found", "there is no secret team")).await;
    assert!(stack.put_secret("acme", "team", &login).await.status.is_success());
    expect(&stack, ["secret", "team"], (0, "saved", "saved", "version 1 of secret team (basic) is in use")).await;
    let build = json!({
        "workspace": "acme", "image_id": "img", "existing_image_uri": reference, "existing_image_secret": "team",
    });
    assert_eq!(stack.post("/v1/builds", &build).await.text("outcome"), "named");
    expect(&stack, ["image", "img"], (0, "saved", "saved", "is pulled with secret team, version 1 (basic)")).await;
    let first = stack.container("acme", "c-1", "img", "w1").await.placement();
    stack.wait_for_event("ImagePullSucceeded", "c-1").await;

    stack.stop(&Service::Scheduler).await;
    let reason = json!({ "reason": "the account was closed" });
    assert!(stack.change_secret("acme", "team", "revoke", &reason).await.status.is_success());
    let waits = (3, "withdrawn", "awaiting_decision", "the scheduler's turn");
    expect(&stack, ["container", "c-1"], waits).await;
    stack.start_all().await.unwrap();
    withdrawn(&stack, first).await;
    let told = (1, "withdrawn", "secret_revoked", "was revoked at sequence");
    expect(&stack, ["container", "c-1"], told).await;
    expect(&stack, ["image", "img"], (1, "saved", "secret_revoked", "is revoked (the account was closed)")).await;
    expect(&stack, ["secret", "team"], (1, "saved", "secret_revoked", "was revoked (the account was closed)")).await;
    stack.container("acme", "c-2", "img", "w1").await;
    stack.wait_for_outcome("c-2").await;
    expect(&stack, ["container", "c-2"], (1, "attached", "secret_revoked", "secret team was revoked")).await;

    // A new version brings it back, for what is asked for again.
    assert!(stack.put_secret("acme", "team", &login).await.status.is_success());
    let again = stack.container("acme", "c-1", "img", "w1").await.placement();
    stack
        .wait_for("the second pull", |events| {
            let pulled = events.iter().filter(|event| event.name == "ImagePullSucceeded");
            pulled.filter(|event| event.data["placement"] == again).count().eq(&1).then_some(())
        })
        .await;
    expect(&stack, ["container", "c-1"], (0, "pull", "pulled", "was pulled with creds-")).await;
    assert!(stack.change_secret("acme", "team", "shred", &json!({})).await.status.is_success());
    withdrawn(&stack, again).await;
    expect(&stack, ["container", "c-1"], (1, "withdrawn", "secret_shredded", "was shredded at sequence")).await;
    expect(&stack, ["image", "img"], (1, "saved", "secret_shredded", "secret team is shredded")).await;
    expect(&stack, ["secret", "team"], (1, "saved", "secret_shredded", "was shredded")).await;
    stack.container("acme", "c-3", "img", "w1").await;
    stack.wait_for_outcome("c-3").await;
    expect(&stack, ["container", "c-3"], (1, "attached", "secret_shredded", "secret team was shredded")).await;
}

#[tokio::test]
async fn a_container_that_moves_and_one_that_ends() {
    let registry = Registry::start(Scheme::Basic).unwrap();
    registry.accounts().allow(&Login::new("u", "p"));
    let reference = registry.serve("team/app", "1", &TinyImage::new("moves").unwrap());
    let stack = require!(Plan::default().workers(&["w1", "w2"]).plain_http(&[&registry.host()]).start().await);
    stack.build("acme", "img", &reference, json!("u:p")).await;
    let first = stack.container("acme", "c-moves", "img", "w1").await.placement();
    stack.wait_for_event("ImagePullSucceeded", "c-moves").await;
    let second = stack.container("acme", "c-moves", "img", "w2").await.placement();
    withdrawn(&stack, first).await;
    stack
        .wait_for("the pull on w2", |events| {
            let pulled = |event: &Recorded| event.name == "ImagePullSucceeded" && event.data["placement"] == second;
            events.iter().any(pulled).then_some(())
        })
        .await;
    expect(&stack, ["container", "c-moves"], (0, "pull", "pulled", "on worker w2")).await;
    let (_, answer) = asked(&stack, &["container", "c-moves"]).await;
    assert_eq!((&answer["placement"], &answer["worker_id"]), (&json!(second), &json!("w2")), "{answer:#}");
    let earlier = &answer["earlier"][0];
    assert_eq!((&earlier["sequence"], &earlier["worker_id"]), (&json!(first), &json!("w1")), "{answer:#}");
    assert_eq!((&earlier["state"], &earlier["code"]), (&json!("healthy"), &json!("superseded")), "{answer:#}");

    registry.inject(Fault::slow(Duration::from_secs(600)));
    let ends = stack.container("acme", "c-ends", "img", "w1").await.placement();
    stack.wait_for_event("CredentialProviderAttached", "c-ends").await;
    assert_eq!(stack.end("acme", "c-ends", ends).await.status, 202);
    withdrawn(&stack, ends).await;
    expect(&stack, ["container", "c-ends"], (0, "withdrawn", "ended", "the placement ended at sequence")).await;
}

#[tokio::test]
async fn a_secret_that_is_for_another_registry_or_that_the_registry_refuses() {
    let registry = Registry::start(Scheme::Basic).unwrap();
    registry.accounts().allow(&Login::new("u", "p"));
    let reference = registry.serve("team/app", "1", &TinyImage::new("refused").unwrap());
    let plan = Plan::default().plain_http(&[&registry.host()]).setting("WAYBILL_GATEWAY_VERIFY", "on");
    let stack = require!(plan.start().await);
    // Named before it is there, it is found to be for another registry only when a container asks.
    let build = json!({
        "workspace": "acme", "image_id": "img", "existing_image_uri": reference, "existing_image_secret": "other",
    });
    assert_eq!(stack.post("/v1/builds", &build).await.text("outcome"), "named");
    let elsewhere = json!({ "registry": "registry.example.com", "credentials": "u:p" });
    assert!(stack.put_secret("acme", "other", &elsewhere).await.status.is_success());
    stack.container("acme", "c-other", "img", "w1").await;
    stack.wait_for_outcome("c-other").await;
    let mismatch = (1, "attached", "registry_mismatch", "secret other was for registry.example.com");
    expect(&stack, ["container", "c-other"], mismatch).await;
    expect(&stack, ["image", "img"], (1, "saved", "registry_mismatch", "secret other is for registry.example.com"))
        .await;

    for (image_id, credentials, outcome) in [("taken", "u:p", "saved"), ("refused", "u:guess", "skipped")] {
        let build = json!({
            "workspace": "acme", "image_id": image_id, "existing_image_uri": reference,
            "existing_image_creds": credentials, "verify": true,
        });
        let answer = stack.post("/v1/builds", &build).await;
        assert_eq!(answer.text("outcome"), outcome, "{answer:?}");
    }
    stack.container("acme", "c-refused", "refused", "w1").await;
    stack.wait_for_outcome("c-refused").await;
    let refused = (1, "saved", "verification_failed", "and took the version that is saved");
    expect(&stack, ["container", "c-refused"], refused).await;
    expect(&stack, ["image", "refused"], refused).await;
}
