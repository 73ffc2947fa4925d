//! What builds carried that is not right: refused, left out, or saved and of no use. Each with what people are told.

use serde_json::{Value, json};
use waybill_tests::{
    ecr::ECR_HOST,
    image::TinyImage,
    login::Login,
    registry::{Registry, Scheme},
    require,
    stack::{Plan, Stack},
};

use super::{Expected, expect_remedy};

/// Reports a build of an image with these fields, and asks for a container of it, which has the image's name.
async fn build_and_ask(stack: &Stack, name: &str, fields: Value) {
    let mut body = json!({ "workspace": "acme", "image_id": name });
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    stack.post("/v1/builds", &body).await;
    stack.container("acme", name, name, "w1").await;
    stack.wait_for_outcome(name).await;
}

#[tokio::test]
async fn each_mistake_of_a_build_has_its_cause_and_remedy() {
    let registry = Registry::start(Scheme::Basic).unwrap();
    registry.accounts().allow(&Login::new("u", "p"));
    let here = registry.serve("team/app", "1", &TinyImage::new("carried").unwrap());
    let stack = require!(Plan::default().plain_http(&[&registry.host()]).start().await);
    let carried = |creds: Value| json!({ "existing_image_uri": here, "existing_image_creds": creds });
    let named = |reference: String| json!({ "existing_image_uri": reference, "existing_image_creds": "u:p" });
    let of_ecr =
        |keys: Value| json!({ "existing_image_uri": format!("{ECR_HOST}/app:1"), "existing_image_creds": keys });
    let elsewhere = json!({ "auths": { "ghcr.io": { "auth": "dTpw" } } }).to_string();
    let secret = "AWS_SECRET_ACCESS_KEY";
    let rows: Vec<(&str, Value, Expected<'_>, &str)> = vec![
        (
            "typo",
            carried(json!({ "USERNAM": "u", "PASSWORD": "p" })),
            (1, "saved", "incomplete_credentials", "there is a key whose name is almost USERNAME"),
            "Add USERNAME",
        ),
        (
            "unknown-keys",
            carried(json!({ "USER": "u", "PASS": "p" })),
            (1, "saved", "unrecognized_credentials", "of no known kind"),
            "user:password",
        ),
        (
            "unset",
            carried(json!({ "USERNAME": "", "PASSWORD": "" })),
            (1, "saved", "no_credentials_provided", "PASSWORD, USERNAME came without a value"),
            "Pass credentials for",
        ),
        (
            "other-registry",
            carried(json!(elsewhere)),
            (1, "saved", "no_credentials_provided", "has credentials for ghcr.io, but none for 127.0.0.1"),
            "Pass credentials for 127.0.0.1",
        ),
        (
            "other-cloud",
            carried(json!({ "AWS_ACCESS_KEY_ID": "AKIA", secret: "s", "AWS_REGION": "eu-west-1" })),
            (1, "saved", "registry_mismatch", "for another registry than"),
            "Pass credentials for 127.0.0.1",
        ),
        (
            "half-a-session",
            of_ecr(json!({ "AWS_ACCESS_KEY_ID": "ASIAEXAMPLE", secret: "s" })),
            (1, "saved", "incomplete_credentials", "AWS_SESSION_TOKEN is missing"),
            "Add AWS_SESSION_TOKEN",
        ),
        (
            "misplaced",
            json!({ "existing_image_uri": here, "base_image_creds": "u:p" }),
            (1, "saved", "no_credentials_provided", "there is base_image_creds, which is not for this image"),
            "existing_image_creds",
        ),
        (
            "wrong-tag",
            named(format!("{}/team/app:2", registry.host())),
            (1, "pull", "not_found", "404 MANIFEST_UNKNOWN"),
            "Check the repository, tag and digest",
        ),
        (
            "wrong-repository",
            named(format!("{}/team/ap:1", registry.host())),
            (1, "pull", "not_found", "404 MANIFEST_UNKNOWN"),
            "Check the repository, tag and digest",
        ),
        (
            "misspelt-field",
            json!({ "existing_image_url": here, "existing_image_creds": "u:p" }),
            (1, "saved", "request_refused", "is existing_image_uri meant?"),
            "the fields are in /openapi.json; then send the request again",
        ),
        (
            "capitals",
            named(here.replace("team", "Team")),
            (1, "saved", "request_refused", "field existing_image_uri"),
            "In field existing_image_uri of POST /v1/builds",
        ),
        (
            "with-a-scheme",
            named(format!("https://{here}")),
            (1, "saved", "request_refused", "field existing_image_uri"),
            "In field existing_image_uri of POST /v1/builds",
        ),
        (
            "a-line-break",
            carried(json!({ "USERNAME": "u", "PASSWORD": "p\nq" })),
            (1, "saved", "request_refused", "existing_image_creds"),
            "existing_image_creds",
        ),
        (
            "no-such-secret",
            json!({ "existing_image_uri": here, "existing_image_secret": "nobody" }),
            (1, "attached", "secret_not_found", "there was no secret nobody"),
            "waybill secrets put nobody",
        ),
        (
            "changed",
            json!({ "existing_image_uri": here, "existing_image_creds": "u:p", "modified": true }),
            (1, "saved", "image_modified", "the build changed"),
            "modified: false",
        ),
        (
            "nothing-named",
            json!({ "existing_image_creds": "u:p" }),
            (1, "saved", "no_image_reference", "named no image reference"),
            "Pass existing_image_uri or base_image",
        ),
        (
            "a-guess",
            json!({ "existing_image_uri": here, "existing_image_creds": "u:guess", "existing_image_secret": "guess" }),
            (1, "pull", "unauthorized", "did not accept the credentials (401"),
            "waybill secrets rotate guess",
        ),
    ];
    for (name, fields, expected, remedy) in rows {
        build_and_ask(&stack, name, fields).await;
        expect_remedy(&stack, name, expected, remedy).await;
    }
    // A newer build without credentials is what counts.
    build_and_ask(&stack, "twice", carried(json!("u:p"))).await;
    build_and_ask(&stack, "twice", json!({ "existing_image_uri": here })).await;
    stack.wait_for_event("ImagePullFailed", "twice").await;
    let newest = (1, "saved", "no_credentials_provided", "the build carried no credentials");
    expect_remedy(&stack, "twice", newest, "name a secret with existing_image_secret").await;
}
