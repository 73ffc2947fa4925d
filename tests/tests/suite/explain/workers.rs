//! What happens between the scheduler and the worker: keys, boxes, and clouds.

use std::time::Duration;

use serde_json::json;
use uuid::Uuid;
use waybill_domain::credentials::Secret;
use waybill_platform::sealing::{Binding, PrivateKey, seal};
use waybill_tests::{
    canary::{Canary, Search},
    ecr::{ECR_HOST, Ecr, as_ecr},
    image::TinyImage,
    registry::{Fault, Registry, Scheme},
    require,
    stack::{Plan, Service, Stack, event_headers},
};

use super::expect;

fn seed(stack: &Stack, role: &str) -> PrivateKey {
    let file = stack.home().join(format!("keys/{role}.xkey"));
    PrivateKey::from_seed(&Secret::new(std::fs::read_to_string(file).unwrap())).unwrap()
}

/// Writes a saved secret into the log as the gateway's NATS user, sealed by a key of the caller's choice.
async fn save(stack: &Stack, image_id: &str, cred_type: &str, sender: &PrivateKey, credentials: &str) {
    let binding = Binding::Image {
        workspace: "acme".parse().unwrap(),
        image_id: image_id.parse().unwrap(),
        registry: "a.b".to_owned(),
    };
    let to = seed(stack, "scheduler").public().unwrap();
    let sealed = seal(sender, &to, &binding, &Secret::new(credentials.to_owned())).unwrap();
    let saved = json!({
        "workspace": "acme", "image_id": image_id, "image_ref": "a.b/app:1", "registry": "a.b",
        "secret_name": "oci-registry-a-b", "cred_type": cred_type, "source": "from_registry", "credentials": sealed,
    });
    let id = Uuid::new_v4().to_string();
    let subject = format!("waybill.events.image.acme.{image_id}.CredentialSecretSaved");
    let headers = event_headers(&id, "waybill.v1.CredentialSecretSaved");
    stack.user("gateway").await.publish(&subject, &headers, saved.to_string()).await.expect("it is stored");
}

#[tokio::test]
async fn boxes_that_cannot_be_opened_and_what_is_in_them() {
    let canary = Canary::new("boxed");
    let stack = require!(Plan::default().start().await);
    save(&stack, "stranger", "basic", &PrivateKey::generate(), "{}").await;
    save(&stack, "garbage", "basic", &seed(&stack, "gateway"), canary.value()).await;
    // As a gateway of another version might, that knows what it is.
    let odd = json!({ "registry": "a.b", "type": "unknown", "credentials": { "KEY": canary.value() } });
    save(&stack, "odd", "unknown", &seed(&stack, "gateway"), &odd.to_string()).await;
    let strange = json!({ "registry": "c.d", "type": "basic", "credentials": { "KEY": canary.value() } });
    save(&stack, "strange", "basic", &seed(&stack, "gateway"), &strange.to_string()).await;
    stack.build("acme", "good", "a.b/app:1", json!("u:p")).await;
    for (container, image_id, worker, expected) in [
        ("c-1", "stranger", "w1", (1, "attached", "unseal_failed", "the scheduler cannot open the saved credentials")),
        ("c-2", "garbage", "w1", (1, "provider", "unparsable_credentials", "bytes marshalled as basic credentials")),
        ("c-5", "strange", "w1", (1, "provider", "registry_mismatch", "are for another registry than the one")),
        ("c-4", "odd", "w1", (1, "provider", "unsupported", "has no provider for unknown credentials")),
    ] {
        stack.container("acme", container, image_id, worker).await;
        stack.wait_for_outcome(container).await;
        expect(&stack, ["container", container], expected).await;
    }
    stack.container("acme", "c-3", "good", "ghost").await;
    stack.wait_for_event("ContainerCredentialsSkipped", "c-3").await;
    expect(&stack, ["container", "c-3"], (1, "attached", "unknown_worker", "worker ghost had not registered")).await;
    Search::new([&canary]).assert_absent_in_dir(stack.dir());
}

/// A worker whose key is replaced, and one that expects another scheduler.
#[tokio::test]
async fn keys_that_do_not_fit() {
    let mut stack = require!(Plan::default().workers(&["w1", "w2"]).start().await);
    let (w1, w2) = (Service::Worker("w1".to_owned()), Service::Worker("w2".to_owned()));
    stack.build("acme", "img", "a.b/app:1", json!("u:p")).await;
    stack.stop(&w1).await;
    stack.stop(&w2).await;
    stack.container("acme", "c-replaced", "img", "w1").await;
    stack.container("acme", "c-foreign", "img", "w2").await;
    stack.wait_for_event("ContainerCredentialsAttached", "c-replaced").await;
    stack.wait_for_event("ContainerCredentialsAttached", "c-foreign").await;

    let new = PrivateKey::generate().seed().unwrap();
    std::fs::write(stack.home().join("keys/worker-w1.xkey"), new.expose()).unwrap();
    let settings = stack.home().join("worker-w2.env");
    let text = std::fs::read_to_string(&settings).unwrap();
    let scheduler = seed(&stack, "scheduler").public().unwrap().to_string();
    let stranger = PrivateKey::generate().public().unwrap().to_string();
    std::fs::write(&settings, text.replace(&scheduler, &stranger)).unwrap();
    stack.spawn(&w1).unwrap();
    stack.spawn(&w2).unwrap();
    stack.wait_for_outcome("c-replaced").await;
    stack.wait_for_outcome("c-foreign").await;
    expect(&stack, ["container", "c-replaced"], (1, "provider", "worker_key_replaced", "registered a new key")).await;
    expect(&stack, ["container", "c-foreign"], (1, "provider", "unseal_failed", "cannot open the credentials")).await;
}

/// Replaced while a pull was under way: its provider is reported, and cannot be had again.
#[tokio::test]
async fn a_key_that_is_replaced_during_a_pull() {
    let registry = Registry::start(Scheme::Basic).unwrap();
    let reference = registry.serve("team/app", "1", &TinyImage::new("slow").unwrap());
    let mut stack = require!(Plan::default().plain_http(&[&registry.host()]).start().await);
    registry.inject(Fault::slow(Duration::from_secs(600)));
    stack.build("acme", "img", &reference, json!("u:p")).await;
    stack.container("acme", "c-1", "img", "w1").await;
    stack.wait_for_event("CredentialProviderAttached", "c-1").await;
    let worker = Service::Worker("w1".to_owned());
    stack.sigkill(&worker);
    let new = PrivateKey::generate().seed().unwrap();
    std::fs::write(stack.home().join("keys/worker-w1.xkey"), new.expose()).unwrap();
    stack.spawn(&worker).unwrap();
    stack.wait_for_outcome("c-1").await;
    expect(&stack, ["container", "c-1"], (1, "pull", "worker_key_replaced", "registered a new key")).await;
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
    let keys = json!({
        "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY": canary.value(), "AWS_REGION": "eu-west-1",
    });
    stack.build("acme", "img", &reference, keys).await;
    ecr.fail_next(400, "AccessDeniedException");
    stack.container("acme", "c-1", "img", "w1").await;
    stack.wait_for_outcome("c-1").await;
    expect(&stack, ["container", "c-1"], (1, "provider", "token_exchange_failed", "AccessDeniedException")).await;
    // Other keys of the account are not held back. A token that ends before the pull, at a registry that no longer takes it.
    let other = Canary::new("another aws secret");
    let keys = json!({
        "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY": other.value(), "AWS_REGION": "eu-west-1",
    });
    stack.build("acme", "img", &reference, keys).await;
    ecr.tokens_expired(Duration::from_secs(1));
    registry.inject(Fault::status(401));
    stack.container("acme", "c-2", "img", "w1").await;
    stack.wait_for_outcome("c-2").await;
    expect(&stack, ["container", "c-2"], (1, "pull", "expired_before_pull", "the registry token expired")).await;
    Search::new([&canary, &other]).assert_absent_in_dir(stack.dir());
}
