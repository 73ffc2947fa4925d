//! AWS ECR: keys become a token, a token is used until its true end, and what AWS refuses is told in its words.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use waybill_tests::{
    canary::{Canary, Search},
    docker_registry::DockerRegistry,
    ecr::{ECR_HOST, Ecr, as_ecr},
    image::TinyImage,
    moto::Moto,
    registry::{Registry, Scheme},
    require,
    skopeo::Skopeo,
    stack::{Plan, Service, Stack},
};

const ACCESS_KEY_ID: &str = "AKIAEXAMPLE";

fn keys(secret: &str) -> Value {
    json!({ "AWS_ACCESS_KEY_ID": ACCESS_KEY_ID, "AWS_SECRET_ACCESS_KEY": secret, "AWS_REGION": "eu-west-1" })
}

async fn outcome(stack: &Stack, container: &str) -> (String, String) {
    assert_eq!(stack.container("acme", container, "img", "w1").await.status, 202);
    let event = stack.wait_for_outcome(container).await;
    (event.name.clone(), event.text("reason").to_owned())
}

fn succeeded() -> (String, String) {
    ("ImagePullSucceeded".to_owned(), String::new())
}

#[tokio::test]
async fn moto_s_token_logs_in_to_docker_registry() {
    let skopeo = require!(Skopeo::find());
    let mut moto = require!(Moto::start().await);
    let login = moto.login();
    let registry = require!(DockerRegistry::start(std::slice::from_ref(&login)).await);
    let image = TinyImage::new("ecr").unwrap();
    let reference = registry.push(&skopeo, &image, "team/app", "1", &login).await.unwrap();
    let plan = Plan::default().played_by(&[(ECR_HOST, &registry.host())]);
    let plan = plan.setting("WAYBILL_AWS_ECR_ENDPOINT", moto.endpoint());
    let stack = require!(plan.start().await);
    let saved = stack.build("acme", "img", &as_ecr(&reference), keys("secret")).await;
    assert_eq!(saved.text("cred_type"), "aws", "{saved:?}");

    assert_eq!(outcome(&stack, "c-1").await, succeeded());
    let provider = stack.wait_for_event("CredentialProviderAttached", "c-1").await;
    assert!(provider.text("token_expires_at").starts_with("2015-"), "{}", provider.line);
    assert_eq!(outcome(&stack, "c-2").await, succeeded());
    let output = std::fs::read_to_string(moto.process().log_file()).unwrap();
    let exchanges = output.lines().filter(|line| line.contains("\"POST / HTTP/1.1\" 200")).count();
    assert_eq!(exchanges, 2, "a token that expired in 2015 serves the pull it was had for, and no other:\n{output}");
}

/// A registry that takes the tokens of an in-process ECR, and a stack that knows both.
async fn with_ecr() -> Result<(Registry, Ecr, Stack), waybill_tests::error::StartError> {
    let registry = Registry::start(Scheme::Basic)?;
    let ecr = Ecr::start(ACCESS_KEY_ID, registry.accounts())?;
    let image = TinyImage::new("ecr").map_err(waybill_tests::error::StartError::setup("an image"))?;
    let reference = as_ecr(&registry.serve("team/app", "1", &image));
    let plan = Plan::default().played_by(&[(ECR_HOST, &registry.host())]);
    let plan = plan.setting("WAYBILL_AWS_ECR_ENDPOINT", ecr.endpoint());
    let stack = plan.start().await?;
    stack.build("acme", "img", &reference, keys("secret")).await;
    Ok((registry, ecr, stack))
}

#[tokio::test]
async fn one_exchange_serves_until_the_token_s_end() {
    let (_registry, ecr, stack) = require!(with_ecr().await);
    ecr.slow(Duration::from_millis(300));
    for number in 0..20 {
        assert_eq!(stack.container("acme", &format!("c-{number}"), "img", "w1").await.status, 202);
    }
    for number in 0..20 {
        let event = stack.wait_for_outcome(&format!("c-{number}")).await;
        assert_eq!(event.name, "ImagePullSucceeded", "{}", event.line);
    }
    assert_eq!(ecr.calls().len(), 1, "{:?}", ecr.calls());
}

#[tokio::test]
async fn an_expired_token_is_exchanged_again_and_not_used() {
    let (registry, ecr, stack) = require!(with_ecr().await);
    ecr.tokens_expired(Duration::from_secs(1));
    assert_eq!(outcome(&stack, "c-1").await, succeeded());
    // The registry no longer takes the first token: using it would be seen as a refusal.
    ecr.revoke_tokens();
    ecr.tokens_last(Duration::from_secs(3600));
    let before = registry.seen().len();
    assert_eq!(outcome(&stack, "c-2").await, succeeded());
    assert_eq!(outcome(&stack, "c-3").await, succeeded());
    let refused =
        registry.seen().iter().skip(before).filter(|seen| seen.status == 401 && seen.account.is_some()).count();
    assert_eq!((refused, ecr.calls().len()), (0, 2));
}

#[tokio::test]
async fn a_token_that_the_registry_refuses_is_exchanged_once_more() {
    let (_registry, ecr, stack) = require!(with_ecr().await);
    assert_eq!(outcome(&stack, "c-1").await, succeeded());
    ecr.revoke_tokens();
    assert_eq!(outcome(&stack, "c-2").await, succeeded());
    assert_eq!(ecr.calls().len(), 2);
}

/// The old keys are disabled while a container waits for its worker; the new ones are in the log by then.
#[tokio::test]
async fn keys_that_were_rotated_meanwhile_serve_where_the_old_ones_are_refused() {
    let (_registry, ecr, mut stack) = require!(with_ecr().await);
    let reference = format!("{ECR_HOST}/team/app:1");
    let disabled = json!({
        "AWS_ACCESS_KEY_ID": "AKIADISABLED", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "eu-west-1",
    });
    let built = stack.build("acme", "img-disabled", &reference, disabled).await;
    assert_eq!(built.status, 201, "{built:?}");
    let worker = Service::Worker("w1".to_owned());
    stack.sigkill(&worker);
    assert_eq!(stack.container("acme", "c-1", "img-disabled", "w1").await.status, 202);
    let attached = stack.wait_for_event("ContainerCredentialsAttached", "c-1").await;
    assert_eq!(attached.data["version"], 1, "{}", attached.line);
    let rotation = json!({ "credentials": keys("new secret") });
    let rotated = stack.change_secret("acme", built.text("secret_name"), "rotate", &rotation).await;
    assert_eq!(rotated.status, 201, "{rotated:?}");
    stack
        .wait_for("the renewal", |events| {
            events.iter().any(|event| event.name == "WorkerCredentialsRenewed").then_some(())
        })
        .await;
    stack.spawn(&worker).unwrap();
    let event = stack.wait_for_outcome("c-1").await;
    assert_eq!(event.name, "ImagePullSucceeded", "{}", event.line);
    let taken = ecr.calls().into_iter().filter(|call| call.status == 200).count();
    assert_eq!(taken, 1, "{:?}", ecr.calls());
}

#[tokio::test]
async fn what_aws_refuses_is_told_in_its_words() {
    let canary = Canary::new("aws secret");
    let (registry, ecr, stack) = require!(with_ecr().await);
    let reference = format!("{ECR_HOST}/team/app:1");
    stack.build("acme", "img", &reference, keys(canary.value())).await;
    ecr.fail_next(400, "InvalidSignatureException");
    let failed = ("CredentialProviderFailed".to_owned(), "token_exchange_failed".to_owned());
    assert_eq!(outcome(&stack, "c-1").await, failed);
    let event = stack.wait_for_event("CredentialProviderFailed", "c-1").await;
    assert!(event.text("detail").contains("ECR in eu-west-1: InvalidSignatureException"), "{}", event.line);
    assert!(!stack.events().await.iter().any(|event| event.is("ImagePullFailed", "c-1")), "no pull as somebody else");
    assert!(registry.seen().is_empty(), "{:?}", registry.seen());
    Search::new([&canary]).assert_absent_in_dir(stack.dir());
}

#[tokio::test]
async fn refused_keys_are_not_sent_for_every_container_and_new_ones_at_once() {
    let (_registry, ecr, stack) = require!(with_ecr().await);
    let reference = format!("{ECR_HOST}/team/app:1");
    let deleted = json!({
        "AWS_ACCESS_KEY_ID": "AKIADELETED", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "eu-west-1",
    });
    stack.build("acme", "img", &reference, deleted).await;
    let began = Instant::now();
    let failed = ("CredentialProviderFailed".to_owned(), "token_exchange_failed".to_owned());
    assert_eq!(outcome(&stack, "c-0").await, failed);
    for number in 1..20 {
        assert_eq!(outcome(&stack, &format!("c-{number}")).await, failed);
    }
    // Five seconds after the first refusal, at the earliest, there may be another call.
    let most = 1 + began.elapsed().as_secs() / 5;
    assert!(u64::try_from(ecr.calls().len()).unwrap() <= most, "{most}: {:?}", ecr.calls());
    let events = stack.events().await;
    let told = |words: &str| events.iter().filter(|event| event.text("detail").contains(words)).count();
    assert_eq!(told("UnrecognizedClientException"), 20, "{events:?}");
    assert!(told("not asked again for another") >= 15, "{events:?}");

    stack.build("acme", "img", &reference, keys("rotated")).await;
    assert_eq!(outcome(&stack, "c-20").await, succeeded());
}
