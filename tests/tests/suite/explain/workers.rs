//! What happens between the vault and the worker: versions, grants, keys, and clouds.

use std::time::Duration;

use serde_json::json;
use waybill_domain::credentials::Secret;
use waybill_platform::sealing::{Binding, PrivateKey, PublicKey, seal_once};
use waybill_tests::{
    canary::{Canary, Search},
    ecr::{ECR_HOST, Ecr, as_ecr},
    image::TinyImage,
    login::Login,
    registry::{Fault, Registry, Scheme},
    require,
    stack::{Plan, Service, Stack},
};

use super::expect;
use crate::forge::{Forged, REGISTRY, name_image, write_grant};

fn stranger() -> PublicKey {
    PrivateKey::generate().public().unwrap()
}

#[tokio::test]
async fn versions_that_cannot_be_opened_and_what_is_in_them() {
    let canary = Canary::new("boxed");
    let stack = require!(Plan::default().start().await);
    let forged = |name, credentials| Forged::new(&stack, name, credentials);
    Forged { to: stranger(), ..forged("stranger", "{}") }.save(&stack).await;
    // The bytes in the vault are others than those that the log speaks of.
    let swapped = forged("swapped", "{}");
    swapped.write_version(&stack).await;
    swapped.write_events(&stack, &format!("sha256:{}", "0".repeat(64))).await;
    let lost = forged("lost", "{}");
    lost.write_events(&stack, &format!("sha256:{}", "0".repeat(64))).await;
    forged("garbage", canary.value()).save(&stack).await;
    // As a gateway of another version might, that knows what it is.
    let odd = json!({ "registry": REGISTRY, "type": "unknown", "credentials": { "KEY": canary.value() } }).to_string();
    Forged { cred_type: "unknown", ..forged("odd", &odd) }.save(&stack).await;
    let login = json!({ "USERNAME": "u", "PASSWORD": canary.value() });
    let strange = json!({ "registry": "c.d", "type": "basic", "credentials": login }).to_string();
    forged("strange", &strange).save(&stack).await;
    name_image(&stack, "unsaved", "never-saved").await;
    for (container, image_id, expected) in [
        ("c-1", "stranger", (1, "provider", "unseal_failed", "version 1 of secret stranger cannot be opened")),
        ("c-2", "swapped", (1, "provider", "unseal_failed", "version 1 of secret swapped cannot be opened")),
        ("c-3", "lost", (1, "provider", "secret_missing", "the vault holds no grant of version 1 of secret lost")),
        ("c-4", "garbage", (1, "provider", "unparsable_credentials", "bytes of basic credentials")),
        ("c-5", "strange", (1, "provider", "registry_mismatch", "are for another registry")),
        ("c-6", "odd", (1, "provider", "unsupported", "has no provider for unknown credentials")),
        ("c-7", "unsaved", (1, "attached", "secret_not_found", "there was no secret never-saved")),
    ] {
        stack.container("acme", container, image_id, "w1").await;
        stack.wait_for_outcome(container).await;
        expect(&stack, ["container", container], expected).await;
    }
    stack.build("acme", "good", "a.b/app:1", json!("u:p")).await;
    stack.container("acme", "c-ghost", "good", "ghost").await;
    stack.wait_for_event("ContainerCredentialsSkipped", "c-ghost").await;
    expect(&stack, ["container", "c-ghost"], (1, "attached", "unknown_worker", "worker ghost was not registered"))
        .await;
    let missing = (1, "saved", "secret_not_found", "there is no secret never-saved");
    expect(&stack, ["image", "unsaved"], missing).await;
    Search::new([&canary]).assert_absent_in_dir(stack.dir());
}

/// Whoever can write into the vault and is not the scheduler has no login to give.
#[tokio::test]
async fn a_grant_that_the_scheduler_did_not_seal() {
    let mut stack = require!(Plan::default().start().await);
    let worker = Service::Worker("w1".to_owned());
    let saved = stack.build("acme", "img", "a.b/app:1", json!("u:p")).await;
    let secret = saved.text("secret_name").to_owned();
    stack.stop(&worker).await;
    stack.container("acme", "c-1", "img", "w1").await;
    stack.wait_for_event("ContainerCredentialsAttached", "c-1").await;
    let own = std::fs::read_to_string(stack.home().join("keys/worker-w1.xkey")).unwrap();
    let to = PrivateKey::from_seed(&Secret::new(own)).unwrap().public().unwrap();
    let binding = Binding::Grant {
        worker_id: "w1".parse().unwrap(),
        workspace: "acme".parse().unwrap(),
        secret: secret.parse().unwrap(),
        version: 1,
        registry: REGISTRY.to_owned(),
    };
    let login = json!({ "registry": REGISTRY, "type": "basic", "credentials": { "USERNAME": "u", "PASSWORD": "p" } });
    let sealed = seal_once(&to, &binding, &Secret::new(login.to_string())).unwrap();
    write_grant(&stack, "w1", &secret, &json!({ "sealed": sealed })).await;
    stack.spawn(&worker).unwrap();
    stack.wait_for_outcome("c-1").await;
    expect(&stack, ["container", "c-1"], (1, "provider", "unseal_failed", "cannot be opened for worker w1")).await;
}

/// A worker's new key cuts off nothing: what it serves is sealed again, before its provider and in the middle of a pull.
#[tokio::test]
async fn a_worker_s_key_that_is_replaced() {
    let registry = Registry::start(Scheme::Basic).unwrap();
    registry.accounts().allow(&Login::new("u", "p"));
    let reference = registry.serve("team/app", "1", &TinyImage::new("slow").unwrap());
    let mut stack = require!(Plan::default().workers(&["w1", "w2"]).plain_http(&[&registry.host()]).start().await);
    let (w1, w2) = (Service::Worker("w1".to_owned()), Service::Worker("w2".to_owned()));
    stack.build("acme", "img", &reference, json!("u:p")).await;
    stack.stop(&w2).await;
    stack.container("acme", "c-away", "img", "w2").await;
    stack.wait_for_event("ContainerCredentialsAttached", "c-away").await;
    registry.inject(Fault::slow(Duration::from_secs(600)));
    stack.container("acme", "c-pulling", "img", "w1").await;
    stack.wait_for_event("CredentialProviderAttached", "c-pulling").await;
    stack.sigkill(&w1);
    registry.heal();

    for worker in ["w1", "w2"] {
        let new = PrivateKey::generate().seed().unwrap();
        std::fs::write(stack.home().join(format!("keys/worker-{worker}.xkey")), new.expose()).unwrap();
    }
    for (worker, container) in [(w1, "c-pulling"), (w2, "c-away")] {
        stack.spawn(&worker).unwrap();
        stack.wait_for_outcome(container).await;
        renewed(&stack, container).await;
        expect(&stack, ["container", container], (0, "pull", "pulled", "was pulled with creds-")).await;
    }
}

/// Waits until the container's worker has taken its new grant.
async fn renewed(stack: &Stack, container: &str) {
    let worker = stack.wait_for_event("ContainerRequested", container).await.text("worker_id").to_owned();
    let taken = |events: &[waybill_tests::stack::Recorded]| {
        events
            .iter()
            .any(|event| event.name == "SecretRenewalApplied" && event.text("worker_id") == worker)
            .then_some(())
    };
    stack.wait_for("the new grant in use", taken).await;
}

#[tokio::test]
async fn what_the_cloud_refuses_is_in_its_own_words() {
    let canary = Canary::new("aws secret");
    let registry = Registry::start(Scheme::Basic).unwrap();
    let ecr = Ecr::start("AKIAEXAMPLE", registry.accounts()).unwrap();
    let reference = as_ecr(&registry.serve("team/app", "1", &TinyImage::new("ecr").unwrap()));
    let plan = Plan::default().played_by(&[(ECR_HOST, &registry.host())]);
    let plan = plan.setting("WAYBILL_AWS_ECR_ENDPOINT", ecr.endpoint());
    let stack = require!(plan.start().await);
    let keys = |secret: &Canary| json!({ "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY": secret.value(), "AWS_REGION": "eu-west-1" });
    stack.build("acme", "img", &reference, keys(&canary)).await;
    ecr.fail_next(400, "AccessDeniedException");
    let refused = stack.container("acme", "c-1", "img", "w1").await;
    stack.wait_for_outcome("c-1").await;
    expect(&stack, ["container", "c-1"], (1, "provider", "token_exchange_failed", "AccessDeniedException")).await;
    // It ends, so that the next version is not for it.
    stack.end("acme", "c-1", refused.placement()).await;
    stack.wait_for_event("ContainerCredentialsWithdrawn", "c-1").await;
    // Other keys of the account are not held back. A token that ends before the pull, at a registry that no longer takes it.
    let other = Canary::new("another aws secret");
    stack.build("acme", "img", &reference, keys(&other)).await;
    ecr.tokens_expired(Duration::from_secs(1));
    registry.inject(Fault::status(401));
    stack.container("acme", "c-2", "img", "w1").await;
    stack.wait_for_outcome("c-2").await;
    expect(&stack, ["container", "c-2"], (1, "pull", "expired_before_pull", "the registry token of secret")).await;
    Search::new([&canary, &other]).assert_absent_in_dir(stack.dir());
}
