//! What the build did, or did not do.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use waybill_platform::trace;
use waybill_schemas::Timestamp;
use waybill_tests::{
    docker_registry::DockerRegistry,
    ecr::{ECR_HOST, Ecr},
    image::TinyImage,
    login::Login,
    registry::{Registry, Scheme},
    require,
    skopeo::Skopeo,
    stack::{Plan, Service},
    wait::eventually,
};

use super::{asked, expect};
use crate::forge::{publish, publish_torn};

/// A real registry with authentication: right, wrong and no credentials.
#[tokio::test]
async fn against_a_real_registry() {
    let ada = Login::new("ada", "right-password");
    let skopeo = require!(Skopeo::find());
    let registry = require!(DockerRegistry::start(std::slice::from_ref(&ada)).await);
    let image = TinyImage::new("private").unwrap();
    let pushed = registry.push(&skopeo, &image, "team/app", "1", &ada).await.unwrap();
    let reference = pushed.trim_start_matches("docker://");
    let stack = require!(Plan::default().plain_http(&[&registry.host()]).start().await);
    stack.build("acme", "right", reference, json!("ada:right-password")).await;
    // Under a name of its own: what an account's newest build brings counts for every image of that account.
    let wrong = json!({
        "workspace": "acme", "image_id": "wrong", "existing_image_uri": reference, "existing_image_creds": "ada:guess",
        "existing_image_secret": "wrong",
    });
    assert_eq!(stack.post("/v1/builds", &wrong).await.text("outcome"), "saved");
    stack.build("acme", "none", reference, Value::Null).await;
    stack.build("acme", "gone", &registry.reference("team/app", "2"), json!("ada:right-password")).await;
    for (container, image_id, expected) in [
        ("c-right", "right", (0, "pull", "pulled", "was pulled with creds-")),
        ("c-wrong", "wrong", (1, "pull", "unauthorized", "did not accept the credentials (401")),
        ("c-none", "none", (1, "saved", "no_credentials_provided", "carried no credentials")),
        ("c-gone", "gone", (1, "pull", "not_found", "answered 404")),
    ] {
        stack.container("acme", container, image_id, "w1").await;
        stack.wait_for_outcome(container).await;
        expect(&stack, ["container", container], expected).await;
    }
    expect(&stack, ["image", "right"], (0, "saved", "saved", "version 1 (basic)")).await;
    expect(&stack, ["image", "none"], (1, "saved", "no_credentials_provided", "carried no credentials")).await;

    let (_, answer) = asked(&stack, &["container", "c-right"]).await;
    let steps = answer["timeline"].as_array().unwrap();
    let hops: Vec<_> = steps.iter().map(|step| step["hop"].as_str().unwrap()).collect();
    assert_eq!(hops, ["saved", "saved", "requested", "attached", "provider", "pull"], "{answer:#}");
    for step in steps {
        assert_eq!(step["version"], "0.1.0", "{step}");
        assert_eq!(step["trace_id"].as_str().unwrap().len(), 32, "{step}");
        assert!(step["service"].as_str().unwrap().starts_with("/waybill/"), "{step}");
    }
    assert!(steps[1..].iter().all(|step| step["after_ms"].as_i64().is_some()), "{answer:#}");
}

/// A JSON Web Token that expires at this second of the epoch.
fn jwt(exp: u64) -> String {
    let part = |json: Value| URL_SAFE_NO_PAD.encode(json.to_string());
    format!("{}.{}.c2ln", part(json!({ "alg": "RS256" })), part(json!({ "exp": exp })))
}

/// What the gateway decides from the request alone, each with a container that suffers from it.
#[tokio::test]
async fn what_a_build_can_lack() {
    let registry = Registry::start(Scheme::Basic).unwrap();
    let image = TinyImage::new("private").unwrap();
    let reference = registry.serve("team/app", "1", &image);
    let plan = Plan::default().workspaces(&["acme", "umbrella"]).plain_http(&[&registry.host()]);
    let stack = require!(plan.start().await);
    let build = async |image_id: &str, extra: Value| {
        let mut body = json!({ "workspace": "acme", "image_id": image_id, "existing_image_uri": reference });
        body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        assert_eq!(stack.post("/v1/builds", &body).await.text("outcome"), "skipped", "{image_id}");
    };
    let creds = |creds: Value| json!({ "existing_image_creds": creds });
    let other =
        json!({ "registry": "other.example", "type": "basic", "credentials": { "USERNAME": "u", "PASSWORD": "p" } });
    let of_ecr =
        |keys: Value| json!({ "existing_image_uri": format!("{ECR_HOST}/team/app:1"), "existing_image_creds": keys });
    build("incomplete", of_ecr(json!({ "AWS_ACCESS_KEY_ID": "AKIA" }))).await;
    build("modified", json!({ "modified": true, "existing_image_creds": "u:p" })).await;
    build("mismatch", creds(Value::String(other.to_string()))).await;
    build(
        "expired",
        of_ecr(json!({
            "AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "s",
            "AWS_CREDENTIAL_EXPIRATION": "2020-01-01T00:00:00Z",
        })),
    )
    .await;
    build("ended", creds(json!({ "USERNAME": "u", "PASSWORD": jwt(1_577_836_800) }))).await;
    build("public", json!({ "existing_image_uri": "public.ecr.aws/team/app:1" })).await;
    build("nameless", json!({ "existing_image_uri": "" })).await;
    stack.build("umbrella", "theirs", &reference, json!("u:p")).await;
    for (image_id, expected) in [
        ("incomplete", (1, "saved", "incomplete_credentials", "AWS_SECRET_ACCESS_KEY is missing")),
        ("modified", (1, "saved", "image_modified", "the build changed")),
        ("mismatch", (1, "saved", "registry_mismatch", "for another registry than")),
        ("expired", (1, "saved", "expired_credentials", "had expired when the build gave them")),
        ("ended", (1, "saved", "expired_credentials", "had expired when the build gave them")),
        ("nameless", (1, "saved", "no_image_reference", "named no image reference")),
        ("theirs", (1, "saved", "other_workspace", "built in workspace umbrella")),
        ("never", (1, "saved", "nothing_built", "no build of image never")),
    ] {
        let container = format!("c-{image_id}");
        stack.container("acme", &container, image_id, "w1").await;
        stack.wait_for_outcome(&container).await;
        expect(&stack, ["container", &container], expected).await;
    }
    stack.build("acme", "lasting", &reference, json!({ "TOKEN": jwt(4_102_444_800) })).await;
    expect(&stack, ["image", "lasting"], (0, "saved", "saved", "until 2100-01-01T00:00:00Z")).await;
    // A pull from a public registry would leave this machine.
    expect(&stack, ["image", "public"], (0, "saved", "public_registry", "public.ecr.aws is a public registry")).await;
    expect(&stack, ["image", "modified"], (0, "saved", "image_modified", "the build changed")).await;
    expect(&stack, ["image", "theirs"], (1, "saved", "other_workspace", "built in workspace umbrella")).await;

    // Over HTTP, a workspace learns nothing of another one.
    let url = format!("{}/v1/images/acme/theirs/explain", stack.gateway_url());
    let answer = reqwest::Client::new().get(url).bearer_auth(stack.token("acme")).send().await.unwrap();
    let text = answer.text().await.unwrap();
    assert!(text.contains("nothing_built") && !text.contains("umbrella"), "{text}");
}

#[tokio::test]
async fn what_comes_too_late_and_what_cannot_be_read() {
    let registry = Registry::start(Scheme::Basic).unwrap();
    let login = Login::new("u", "p");
    registry.accounts().allow(&login);
    let reference = registry.serve("team/app", "1", &TinyImage::new("late").unwrap());
    let stack = require!(Plan::default().plain_http(&[&registry.host()]).start().await);

    stack.container("acme", "c-late", "late", "w1").await;
    stack.wait_for_outcome("c-late").await;
    stack.build("acme", "late", &reference, json!("u:p")).await;
    expect(&stack, ["container", "c-late"], (1, "saved", "saved_after_request", "after the container asked")).await;
    stack.container("acme", "c-late", "late", "w1").await;
    let again = "ImagePullSucceeded";
    stack.wait_for_event(again, "c-late").await;
    expect(&stack, ["container", "c-late"], (0, "pull", "pulled", "was pulled with")).await;
    let (_, answer) = asked(&stack, &["container", "c-late"]).await;
    assert_eq!(answer["earlier"][0]["code"], "saved_after_request", "{answer:#}");

    let torn = publish_torn(&stack).await;
    publish(&stack, "gateway", "waybill.events.container.acme.c-gone.r-1", "ContainerRequested", "{\"torn\":").await;
    stack.container("acme", "c-torn", "torn", "w1").await;
    stack.wait_for_outcome("c-torn").await;
    expect(&stack, ["container", "c-torn"], (1, "saved", "quarantined", "cannot be read and is in quarantine")).await;
    expect(&stack, ["image", "torn"], (1, "saved", "quarantined", "cannot be read and is in quarantine")).await;
    expect(&stack, ["container", "c-gone"], (1, "requested", "quarantined", "cannot be read")).await;
    // What is given up is not spoken of any more.
    let given_up = stack.run(&["quarantine", "discard", &torn.to_string()]).await;
    assert!(given_up.status.success(), "{}{}", given_up.stdout, given_up.stderr);
    expect(&stack, ["container", "c-torn"], (1, "saved", "nothing_built", "no build of image torn")).await;
    expect(&stack, ["container", "c-never"], (1, "requested", "not_requested", "no request for container c-never"))
        .await;
}

#[tokio::test]
async fn credentials_that_expire_on_the_way() {
    let registry = Registry::start(Scheme::Basic).unwrap();
    let ecr = Ecr::start("AKIA", registry.accounts()).unwrap();
    let plan = Plan::default().workers(&["w1", "w2"]).setting("WAYBILL_AWS_ECR_ENDPOINT", ecr.endpoint());
    let mut stack = require!(plan.start().await);
    let away = Service::Worker("w2".to_owned());
    stack.stop(&away).await;
    // Long enough for a build, a request and three questions on a busy machine.
    let soon = Timestamp::from(trace::now().instant() + Duration::from_secs(15));
    let keys = json!({
        "AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "s", "AWS_REGION": "eu-west-1",
        "AWS_CREDENTIAL_EXPIRATION": soon.to_string(),
    });
    stack.build("acme", "short", "123456789012.dkr.ecr.eu-west-1.amazonaws.com/app:1", keys).await;
    expect(&stack, ["image", "short"], (0, "saved", "saved", "until ")).await;
    stack.container("acme", "c-attached", "short", "w2").await;
    stack.wait_for_event("ContainerCredentialsAttached", "c-attached").await;

    eventually(Duration::from_secs(40), "the expiry", async || (trace::now() > soon).then_some(())).await.unwrap();
    stack.container("acme", "c-late", "short", "w1").await;
    stack.wait_for_outcome("c-late").await;
    expect(&stack, ["container", "c-late"], (1, "attached", "secret_expired", "which expired at")).await;
    expect(&stack, ["image", "short"], (1, "saved", "secret_expired", "which expired at")).await;
    // The worker comes back too late: AWS does not take these keys any more.
    ecr.fail_next(400, "ExpiredTokenException");
    stack.spawn(&away).unwrap();
    stack.wait_for_outcome("c-attached").await;
    expect(&stack, ["container", "c-attached"], (1, "provider", "expired_before_pull", "the credentials of secret"))
        .await;
}
