//! AWS roles: the keys assume one at STS, and ECR's token is the role's.

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
    stack::Plan,
    sts::RefusingSts,
};

const ACCESS_KEY_ID: &str = "AKIAEXAMPLE";
const ROLE: &str = "arn:aws:iam::123456789012:role/pull";

fn keys(secret: &str, external_id: &str) -> Value {
    json!({
        "AWS_ACCESS_KEY_ID": ACCESS_KEY_ID,
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_REGION": "eu-west-1",
        "AWS_ROLE_ARN": ROLE,
        "AWS_EXTERNAL_ID": external_id,
        "AWS_ROLE_SESSION_NAME": "waybill-tests",
    })
}

#[tokio::test]
async fn an_assumed_role_s_token_pulls() {
    let (secret, external_id) = (Canary::new("aws secret"), Canary::new("external id"));
    let skopeo = require!(Skopeo::find());
    let mut moto = require!(Moto::start().await);
    let login = moto.login();
    let registry = require!(DockerRegistry::start(std::slice::from_ref(&login)).await);
    let image = TinyImage::new("ecr").unwrap();
    let reference = registry.push(&skopeo, &image, "team/app", "1", &login).await.unwrap();
    let plan = Plan::default()
        .played_by(&[(ECR_HOST, &registry.host())])
        .setting("WAYBILL_AWS_ECR_ENDPOINT", moto.endpoint())
        .setting("WAYBILL_AWS_STS_ENDPOINT", moto.endpoint());
    let stack = require!(plan.start().await);
    let saved = stack.build("acme", "img", &as_ecr(&reference), keys(secret.value(), external_id.value())).await;
    assert_eq!(saved.text("cred_type"), "aws", "{saved:?}");

    assert_eq!(stack.container("acme", "c-1", "img", "w1").await.status, 202);
    let event = stack.wait_for_outcome("c-1").await;
    assert_eq!(event.name, "ImagePullSucceeded", "{}", event.line);
    let output = std::fs::read_to_string(moto.process().log_file()).unwrap();
    let calls = output.lines().filter(|line| line.contains("\"POST / HTTP/1.1\" 200")).count();
    assert_eq!(calls, 2, "STS, then ECR:\n{output}");
    Search::new([&secret, &external_id]).assert_absent_in_dir(stack.dir());
}

#[tokio::test]
async fn a_refused_role_is_told_in_aws_s_words() {
    let (secret, external_id) = (Canary::new("aws secret"), Canary::new("external id"));
    let registry = require!(Registry::start(Scheme::Basic));
    let ecr = require!(Ecr::start(ACCESS_KEY_ID, registry.accounts()));
    let sts = require!(RefusingSts::start());
    let reference = registry.serve("team/app", "1", &TinyImage::new("ecr").unwrap());
    let plan = Plan::default()
        .played_by(&[(ECR_HOST, &registry.host())])
        .setting("WAYBILL_AWS_ECR_ENDPOINT", ecr.endpoint())
        .setting("WAYBILL_AWS_STS_ENDPOINT", sts.endpoint());
    let stack = require!(plan.start().await);
    stack.build("acme", "img", &as_ecr(&reference), keys(secret.value(), external_id.value())).await;

    assert_eq!(stack.container("acme", "c-1", "img", "w1").await.status, 202);
    let event = stack.wait_for_outcome("c-1").await;
    assert_eq!((event.name.as_str(), event.text("reason")), ("CredentialProviderFailed", "token_exchange_failed"));
    let expected = "STS in eu-west-1: AccessDenied: User: arn:aws:iam::123456789012:user/ada is not authorized";
    assert!(event.text("detail").contains(expected), "{}", event.line);
    assert_eq!(sts.asked().len(), 1, "{:?}", sts.asked());
    assert!(sts.asked()[0].contains("RoleSessionName=waybill-tests"), "{:?}", sts.asked());
    assert!(ecr.calls().is_empty() && registry.seen().is_empty(), "nobody is asked as somebody else");
    Search::new([&secret, &external_id]).assert_absent_in_dir(stack.dir());
}
