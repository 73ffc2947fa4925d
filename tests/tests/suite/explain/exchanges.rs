//! Clouds that give no token: each refusal with what is wrong with the keys, and what to do.

use serde_json::{Value, json};
use waybill_tests::{
    azure::{Azure, CLIENT_ID, TENANT},
    ecr::{ECR_HOST, Ecr},
    google::Google,
    registry::Accounts,
    require,
    stack::Plan,
};

use super::{Expected, build_and_run, expect_remedy};

const GOOGLE_HOST: &str = "eu-docker.pkg.dev";
const AZURE_HOST: &str = "waybilltests.azurecr.io";
const REFUSED: &str = "no registry token could be had";
const SILENT: &str = "the cloud could not be asked for a registry token";

#[tokio::test]
async fn each_refusal_of_a_cloud_has_its_cause_and_remedy() {
    let accounts = Accounts::default();
    let ecr = Ecr::start("AKIA", &accounts).unwrap();
    let (google, azure) = (Google::start(&accounts).unwrap(), Azure::start("right").unwrap());
    let plan = Plan::default()
        .setting("WAYBILL_AWS_ECR_ENDPOINT", ecr.endpoint())
        .setting("WAYBILL_GOOGLE_TOKEN_ENDPOINT", google.token_endpoint())
        .setting("WAYBILL_GOOGLE_IAM_ENDPOINT", google.iam_endpoint())
        .setting("WAYBILL_AZURE_LOGIN_ENDPOINT", azure.login_endpoint());
    let stack = require!(plan.start().await);
    // Equal credentials are one version, whose failed exchange is not tried again at once.
    let aws =
        |name: &str| json!({ "AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": name, "AWS_REGION": "eu-west-1" });
    let refused: Expected<'_> = (1, "provider", "token_exchange_failed", REFUSED);
    let silent: Expected<'_> = (1, "provider", "token_exchange_unreachable", SILENT);
    let of_aws = [
        ("aws-denied", 400, "AccessDeniedException", refused, "ecr:GetAuthorizationToken"),
        ("aws-unknown", 400, "UnrecognizedClientException", refused, "does not know the account"),
        ("aws-signature", 400, "InvalidSignatureException", refused, "copy both again"),
        ("aws-mismatch", 403, "SignatureDoesNotMatch", refused, "copy both again"),
        ("aws-expired", 400, "ExpiredTokenException", refused, "issue new ones"),
        ("aws-throttled", 400, "ThrottlingException", silent, "the credentials may be right"),
        ("aws-down", 500, "InternalFailure", silent, "the credentials may be right"),
        ("aws-strange", 400, "SomethingNewException", refused, "Check with the cloud"),
    ];
    for (name, status, error, expected, remedy) in of_aws {
        // The client tries again what may pass.
        (0..8).for_each(|_| ecr.fail_next(status, error));
        build_and_run(&stack, name, &format!("{ECR_HOST}/{name}:1"), aws(name)).await;
        ecr.heal();
        expect_remedy(&stack, name, expected, remedy).await;
    }
    let azure = |secret: &str| json!({ "AZURE_CLIENT_ID": CLIENT_ID, "AZURE_CLIENT_SECRET": secret, "AZURE_TENANT_ID": TENANT });
    let key = |email: &str| json!({ "GOOGLE_APPLICATION_CREDENTIALS": Google::key_file(email) });
    let others: [(&str, &str, Value, &str); 2] = [
        ("azure-secret", AZURE_HOST, azure("wrong"), "copy both again"),
        ("google-account", GOOGLE_HOST, key("gone@project.iam.gserviceaccount.com"), "does not know the account"),
    ];
    for (name, host, credentials, remedy) in others {
        build_and_run(&stack, name, &format!("{host}/team/app:1"), credentials).await;
        expect_remedy(&stack, name, refused, remedy).await;
    }
}
