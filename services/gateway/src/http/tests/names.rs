//! Which secret a build's credentials become: names, suffixes, and what belongs together.

use serde_json::{Value, json};
use waybill_domain::reference::RegistryHost;

use super::support::Gateway;

/// A build: image id, reference, secret name, credentials; and the name and version that come of it.
type Case = (&'static str, &'static str, Option<&'static str>, Value, &'static str, u64, bool);

async fn check(name: &str, cases: &[Case]) {
    let gateway = Gateway::new().await;
    for (at, (image_id, image, secret, credentials, expected, version, unchanged)) in cases.iter().enumerate() {
        let body = json!({
            "workspace": "acme", "image_id": image_id, "base_image": image, "base_image_creds": credentials,
            "base_image_secret": secret,
        });
        let said = gateway.post("/v1/builds", &body).await.json();
        let got = (&said["secret_name"], &said["version"], &said["unchanged"]);
        assert_eq!(got, (&json!(expected), &json!(version), &json!(unchanged)), "{name}, build {at}: {said}");
        assert_eq!(said["registry"], RegistryHost::parse(image.split('/').next().unwrap()).unwrap().as_str());
    }
}

fn basic(user: &str, password: &str) -> Value {
    json!({"USERNAME": user, "PASSWORD": password})
}

fn sts(id: &str) -> Value {
    json!({"AWS_ACCESS_KEY_ID": format!("ASIA{id}"), "AWS_SECRET_ACCESS_KEY": "s", "AWS_SESSION_TOKEN": "t"})
}

const AB: &str = "oci-registry-a-b";
const ECR: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/app";
const ECR_NAME: &str = "oci-registry-123456789012-dkr-ecr-eu-west-1-amazonaws-com";

#[tokio::test]
async fn an_account_of_a_registry_has_one_secret_whatever_the_image() {
    check(
        "one account",
        &[
            ("i", "a.b/x", None, basic("u", "p"), AB, 1, false),
            ("j", "a.b/y", None, basic("u", "p"), AB, 1, true),
            ("i", "a.b/x", None, basic("u", "q"), AB, 2, false),
            ("j", "a.b/y", None, json!("u:q"), AB, 2, true),
            ("j", "a.b/y", None, basic("u", "p"), AB, 3, false),
        ],
    )
    .await;
}

#[tokio::test]
async fn hosts_and_accounts_that_share_a_name_are_kept_apart() {
    check(
        "registries",
        &[
            ("i", "a.b/x", None, basic("u", "p"), "oci-registry-a-b", 1, false),
            ("j", "a-b:80/x", None, basic("u", "p"), "oci-registry-a-b-80", 1, false),
            ("k", "a.b:80/x", None, basic("u", "p"), "oci-registry-a-b-80-2", 1, false),
            ("k", "a.b:80/x", None, basic("u", "q"), "oci-registry-a-b-80-2", 2, false),
            ("j", "a-b:80/x", None, basic("u", "p"), "oci-registry-a-b-80", 1, true),
        ],
    )
    .await;
    check(
        "accounts",
        &[
            ("i", "a.b/x", None, basic("u", "p"), AB, 1, false),
            ("i", "a.b/x", None, basic("v", "p"), "oci-registry-a-b-2", 1, false),
            ("i", "a.b/x", None, basic("w", "p"), "oci-registry-a-b-3", 1, false),
            ("i", "a.b/x", None, basic("v", "q"), "oci-registry-a-b-2", 2, false),
            ("i", "a.b/x", None, json!({"USERNAME": "u", "TOKEN": "t"}), "oci-registry-a-b-4", 1, false),
        ],
    )
    .await;
}

#[tokio::test]
async fn keys_whose_identity_changes_belong_to_the_image() {
    let of = |image: &str| format!("{ECR_NAME}-{image}");
    let (i, j) = (of("i"), of("j"));
    let (i, j): (&'static str, &'static str) = (i.leak(), j.leak());
    check(
        "STS",
        &[
            ("i", ECR, None, sts("1"), i, 1, false),
            ("j", ECR, None, sts("1"), j, 1, false),
            ("i", ECR, None, sts("2"), i, 2, false),
            ("j", ECR, Some("shared"), sts("3"), "shared", 1, false),
            ("i", ECR, Some("shared"), sts("4"), "shared", 2, false),
            ("k", ECR, None, json!({"AWS_ACCESS_KEY_ID": "AKIA1", "AWS_SECRET_ACCESS_KEY": "s"}), ECR_NAME, 1, false),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_name_that_is_given_is_taken() {
    check(
        "given",
        &[
            ("i", "a.b/x", Some("team.a"), basic("u", "p"), "team.a", 1, false),
            ("j", "a.b/x", Some("team-a"), basic("u", "p"), "team-a", 1, false),
            ("i", "a.b/x", Some("team.a"), basic("another", "p"), "team.a", 2, false),
            ("k", "a.b/x", None, basic("u", "p"), AB, 1, false),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_secret_is_used_by_its_name() {
    let gateway = Gateway::new().await;
    let body = |image: &str| {
        json!({
            "workspace": "acme", "image_id": "i", "existing_image_uri": image, "existing_image_secret": "team.a",
        })
    };
    // It need not be there yet.
    let early = gateway.post("/v1/builds", &body("a.b/x")).await;
    assert_eq!((early.status.as_u16(), &early.json()["outcome"]), (200, &json!("named")), "{}", early.text);
    let put = json!({"registry": "a.b", "credentials": "u:p"});
    assert_eq!(gateway.ask("PUT", "/v1/secrets/acme/team.a", &put).await.status.as_u16(), 201);
    let named = gateway.post("/v1/builds", &body("a.b/x")).await.json();
    assert_eq!((&named["outcome"], &named["secret_name"]), (&json!("named"), &json!("team.a")));
    let elsewhere = gateway.post("/v1/builds", &body("c.d/x")).await.json();
    assert_eq!((&elsewhere["outcome"], &elsewhere["reason"]), (&json!("skipped"), &json!("registry_mismatch")));
    assert_eq!(elsewhere["detail"], "secret team.a is for a.b, the image is on c.d");
    assert_eq!(
        gateway.types(),
        ["ImageSecretNamed", "CredentialSecretSaved", "ImageSecretNamed", "CredentialSecretSkipped"]
    );
    // Credentials for a secret of another registry are not saved either.
    let mut bound = body("c.d/x");
    bound["existing_image_creds"] = json!("u:p");
    let bound = gateway.post("/v1/builds", &bound).await.json();
    assert_eq!((&bound["reason"], &bound["secret_name"]), (&json!("registry_mismatch"), &json!("team.a")), "{bound}");
    assert_eq!(gateway.kept().await.len(), 1);
}

#[tokio::test]
async fn names_of_one_workspace_are_nothing_to_another() {
    let gateway = Gateway::new().await;
    gateway.build("i", "a.b/x", basic("u", "p")).await;
    let body = json!({"workspace": "other", "image_id": "i", "base_image": "a.b/x", "base_image_creds": "u:p"});
    let request =
        super::support::bare("/v1/builds").header("Authorization", format!("Bearer {}", super::support::OTHER_TOKEN));
    let said = gateway.send(request.body(body.to_string().into()).unwrap()).await.json();
    assert_eq!((&said["secret_name"], &said["version"], &said["unchanged"]), (&json!(AB), &json!(1), &json!(false)));
}
