//! Google and Azure: their keys become tokens that a registry takes, and what they refuse is told in their words.

use std::time::Duration;

use serde_json::{Value, json};
use waybill_tests::{
    azure::{Azure, CLIENT_ID, TENANT},
    canary::{Canary, Search},
    error::StartError,
    google::Google,
    image::TinyImage,
    login::Login,
    registry::{Accounts, Registry, Scheme},
    require,
    stack::{Plan, Stack},
};

use super::explain::expect;

/// Hosts that a registry here plays.
const GOOGLE_HOST: &str = "eu-docker.pkg.dev";
const AZURE_HOST: &str = "waybilltests.azurecr.io";

/// A registry that takes the tokens of both clouds, and a stack that knows them all.
struct Clouds {
    registry: Registry,
    google: Google,
    azure: Azure,
    stack: Stack,
}

impl Clouds {
    async fn start(azure_secret: &str) -> Result<Self, StartError> {
        let azure = Azure::start(azure_secret)?;
        let bearer = Scheme::Bearer(Duration::from_secs(300));
        let accounts = Accounts::default();
        let registry = Registry::with_routes(bearer, &accounts, azure.exchange(&accounts))?;
        let google = Google::start(&accounts)?;
        let image = TinyImage::new("clouds").map_err(StartError::setup("an image"))?;
        registry.serve("team/app", "1", &image);
        let plan = Plan::default()
            .played_by(&[(GOOGLE_HOST, &registry.host()), (AZURE_HOST, &registry.host())])
            .setting("WAYBILL_GOOGLE_TOKEN_ENDPOINT", google.token_endpoint())
            .setting("WAYBILL_GOOGLE_IAM_ENDPOINT", google.iam_endpoint())
            .setting("WAYBILL_AZURE_LOGIN_ENDPOINT", azure.login_endpoint());
        let stack = plan.start().await?;
        Ok(Self { registry, google, azure, stack })
    }

    /// Builds an image with these credentials and asks for a container of it, which has the image's name.
    async fn ask(&self, name: &str, cred_type: &str, credentials: Value) {
        let host = if cred_type == "gcp" { GOOGLE_HOST } else { AZURE_HOST };
        let saved = self.stack.build("acme", name, &format!("{host}/team/app:1"), credentials).await;
        assert_eq!(saved.text("cred_type"), cred_type, "{saved:?}");
        self.container(name, name).await;
    }

    async fn container(&self, name: &str, image: &str) {
        assert_eq!(self.stack.container("acme", name, image, "w1").await.status, 202);
        self.stack.wait_for_outcome(name).await;
    }
}

fn azure(secret: &str) -> Value {
    json!({ "AZURE_CLIENT_ID": CLIENT_ID, "AZURE_CLIENT_SECRET": secret, "AZURE_TENANT_ID": TENANT })
}

#[tokio::test]
async fn cloud_keys_become_logins() {
    let canary = Canary::new("azure secret");
    let clouds = require!(Clouds::start(canary.value()).await);
    let token = Login::new("oauth2accesstoken", "ya29-given");
    clouds.registry.accounts().allow(&token);
    clouds.ask("account", "gcp", json!({ "GOOGLE_APPLICATION_CREDENTIALS": Google::known_key_file() })).await;
    clouds.ask("token", "gcp", json!({ "GCP_ACCESS_TOKEN": token.password() })).await;
    clouds.ask("principal", "azure", azure(canary.value())).await;
    clouds.container("account-2", "account").await;
    clouds.container("principal-2", "principal").await;
    for name in ["account", "account-2", "token", "principal", "principal-2"] {
        expect(&clouds.stack, ["container", name], (0, "pull", "pulled", "was pulled with creds-")).await;
        let provider = clouds.stack.wait_for_event("CredentialProviderAttached", name).await;
        assert_eq!(provider.text("token_expires_at").is_empty(), name == "token", "{}", provider.line);
    }
    assert_eq!((clouds.google.calls(), clouds.azure.calls()), (1, 2), "one exchange for each key");
    Search::new([&canary]).assert_absent_in_dir(clouds.stack.dir());
}

#[tokio::test]
async fn a_federated_identity_acts_as_a_service_account() {
    let (subject, other) = (Canary::new("subject token"), Canary::new("another subject token"));
    let clouds = require!(Clouds::start("secret").await);
    clouds.google.accept(subject.value());
    let keys = |file: String, token: &Canary| json!({ "GOOGLE_APPLICATION_CREDENTIALS": file, "GOOGLE_SUBJECT_TOKEN": token.value() });
    clouds.ask("identity", "gcp", keys(Google::known_external_file(), &subject)).await;
    clouds.container("identity-2", "identity").await;
    for name in ["identity", "identity-2"] {
        expect(&clouds.stack, ["container", name], (0, "pull", "pulled", "was pulled with creds-")).await;
        let provider = clouds.stack.wait_for_event("CredentialProviderAttached", name).await;
        assert!(!provider.text("token_expires_at").is_empty(), "{}", provider.line);
    }
    assert_eq!(clouds.google.calls(), 2, "one exchange of two calls");

    clouds.ask("token", "gcp", keys(Google::known_external_file(), &other)).await;
    clouds.ask("account", "gcp", keys(Google::external_file("b@c.example"), &subject)).await;
    let cases = [
        ("token", "invalid_grant: The given credential is rejected by the attribute condition."),
        ("account", "PERMISSION_DENIED: Permission 'iam.serviceAccounts.getAccessToken' denied"),
    ];
    for (name, words) in cases {
        expect(&clouds.stack, ["container", name], (1, "provider", "token_exchange_failed", words)).await;
    }
    Search::new([&subject, &other]).assert_absent_in_dir(clouds.stack.dir());
}

#[tokio::test]
async fn what_a_cloud_refuses_is_told_in_its_words() {
    let canary = Canary::new("azure secret");
    let clouds = require!(Clouds::start("another").await);
    clouds.ask("secret", "azure", azure(canary.value())).await;
    clouds.ask("account", "gcp", json!({ "GOOGLE_APPLICATION_CREDENTIALS": Google::key_file("b@c.example") })).await;
    let cases = [
        ("secret", "token_exchange_failed", "invalid_client: Invalid client secret provided."),
        ("account", "token_exchange_failed", "invalid_grant"),
    ];
    for (name, code, words) in cases {
        expect(&clouds.stack, ["container", name], (1, "provider", code, words)).await;
    }
    assert!(clouds.registry.seen().is_empty(), "no pull as somebody else: {:?}", clouds.registry.seen());
    Search::new([&canary]).assert_absent_in_dir(clouds.stack.dir());
}

#[tokio::test]
async fn keys_that_lead_elsewhere_are_refused_when_they_are_saved() {
    let stack = require!(Plan::default().start().await);
    let source = json!({ "environment_id": "aws1", "url": "http://169.254.169.254/latest" });
    let external = json!({ "type": "external_account", "credential_source": source }).to_string();
    let tenant = json!({ "AZURE_CLIENT_ID": "a", "AZURE_CLIENT_SECRET": "b", "AZURE_TENANT_ID": "../common" });
    let cases = [
        (
            "eu-docker.pkg.dev/team/app:1",
            json!({ "GOOGLE_APPLICATION_CREDENTIALS": external }),
            "GOOGLE_APPLICATION_CREDENTIALS.credential_source.environment_id is not supported: a worker's own",
        ),
        ("my.azurecr.io/team/app:1", tenant, "the value of AZURE_TENANT_ID is malformed"),
    ];
    for (reference, credentials, words) in cases {
        let answer = stack.build("acme", "img", reference, credentials).await;
        assert_eq!(answer.status, 422, "{answer:?}");
        assert!(answer.text("detail").contains(words), "{answer:?}");
    }
    // Where a token is found on a machine is not followed; the token itself is asked for.
    let file = json!({ "GOOGLE_APPLICATION_CREDENTIALS": Google::known_external_file() });
    let answer = stack.build("acme", "img", "eu-docker.pkg.dev/team/app:1", file).await;
    let said = (answer.text("reason"), answer.text("missing_key"));
    assert_eq!(said, ("incomplete_credentials", "GOOGLE_SUBJECT_TOKEN"), "{answer:?}");
}
