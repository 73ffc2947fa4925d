//! The provider decision as a table: what a worker does with what it was sent.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use waybill_domain::{
    credentials::{CredentialInput, Credentials, Secret},
    provider::{ProviderPlan, plan_to_try, plan_with_credentials, plan_without_credentials},
    reference::RegistryHost,
};
use waybill_schemas::v1::{AttachSkipReason, ProviderFailure};

const CANARY: &str = "canary-5up3r-s3cr3t";

fn json(registry: &str, cred_type: &str, credentials: &str) -> Secret {
    let text = format!(r#"{{"registry":"{registry}","type":"{cred_type}","credentials":{credentials}}}"#);
    Secret::new(text)
}

#[test]
fn credentials_become_a_login() {
    let basic = format!(r#"{{"USERNAME":"u","PASSWORD":"{CANARY}"}}"#);
    let token = format!(r#"{{"TOKEN":"{CANARY}"}}"#);
    let aws = format!(r#"{{"AWS_ACCESS_KEY_ID":"a","AWS_SECRET_ACCESS_KEY":"{CANARY}","AWS_REGION":"eu-west-1"}}"#);
    let google = format!(r#"{{"GCP_ACCESS_TOKEN":"{CANARY}"}}"#);
    let azure =
        format!(r#"{{"AZURE_CLIENT_ID":"x","AZURE_CLIENT_SECRET":"{CANARY}","AZURE_TENANT_ID":"contoso.example"}}"#);
    let cases = [
        ("basic", "a.b", &basic),
        ("token", "a.b", &token),
        ("aws", "public.ecr.aws", &aws),
        ("gcp", "eu-docker.pkg.dev", &google),
        ("azure", "my.azurecr.io", &azure),
    ];
    for (cred_type, host, values) in cases {
        let plan = plan_with_credentials(host, Some(&format!("{host}/app:1")), &json(host, cred_type, values));
        assert!(!format!("{plan:?}").contains(CANARY), "{cred_type}: printed");
        let ProviderPlan::Custom(plan) = plan else { panic!("{cred_type}: no provider: {plan:?}") };
        let found = (plan.registry.as_str(), plan.credentials.cred_type().as_str());
        assert_eq!(found, (host, cred_type));
    }
}

/// Host, keys, and the user name that goes with their secret.
type OwnKeys<'k> = (&'k str, &'k [(&'k str, &'k str)], &'k str);

/// From what a client gives to the user name and the password that the registry's token service is sent.
#[test]
fn a_service_s_own_keys_become_the_pair_that_it_knows() {
    let cases: [OwnKeys<'_>; 11] = [
        ("ghcr.io", &[("GITHUB_USERNAME", "octo"), ("GITHUB_TOKEN", CANARY)], "octo"),
        ("nvcr.io", &[("NGC_API_KEY", CANARY)], "$oauthtoken"),
        ("docker.io", &[("DOCKERHUB_USERNAME", "ada"), ("DOCKERHUB_PASSWORD", CANARY)], "ada"),
        ("registry-1.docker.io", &[("DOCKERHUB_USERNAME", "ada"), ("DOCKERHUB_TOKEN", CANARY)], "ada"),
        ("registry.gitlab.com", &[("CI_DEPLOY_USER", "gitlab+1"), ("CI_DEPLOY_PASSWORD", CANARY)], "gitlab+1"),
        ("registry.gitlab.com", &[("GITLAB_USERNAME", "ada"), ("GITLAB_TOKEN", CANARY)], "ada"),
        ("registry.gitlab.com", &[("CI_REGISTRY_USER", "bob"), ("CI_REGISTRY_PASSWORD", CANARY)], "bob"),
        ("registry.gitlab.com", &[("CI_JOB_TOKEN", CANARY)], "gitlab-ci-token"),
        ("quay.io", &[("QUAY_USERNAME", "team+robot"), ("QUAY_PASSWORD", CANARY)], "team+robot"),
        ("quay.io", &[("QUAY_USERNAME", "$oauthtoken"), ("QUAY_TOKEN", CANARY)], "$oauthtoken"),
        ("ghcr.io", &[("GITHUB_TOKEN", CANARY)], "x-access-token"),
    ];
    for (registry, keys, user) in cases {
        let host = RegistryHost::parse(registry).unwrap();
        let keys = keys.iter().map(|(key, value)| ((*key).to_owned(), Secret::from(*value))).collect();
        let parsed = Credentials::parse(&CredentialInput::Keys(keys), &host).unwrap();
        let plan = plan_to_try(&parsed.credentials.to_json(&host)).unwrap();
        assert_eq!((&plan.registry, &plan.credentials), (&host, &parsed.credentials), "{registry}");
        let (username, password) = match plan.credentials {
            Credentials::Basic(login) => (login.username, login.password),
            Credentials::Token(token) => (token.username.unwrap(), token.token),
            other => panic!("{registry}: {other:?}"),
        };
        assert_eq!((username.as_str(), password.expose()), (user, CANARY), "{registry}");
    }
}

#[test]
fn what_cannot_become_a_login_says_why() {
    let right = ("a.b/app:1", "a.b");
    let basic = format!(r#"{{"USERNAME":"u","PASSWORD":"{CANARY}"}}"#);
    let cases = [
        ("not JSON", right, Secret::from(CANARY), ProviderFailure::UnparsableCredentials),
        ("a key missing", right, json("a.b", "basic", r#"{"USERNAME":"u"}"#), ProviderFailure::UnparsableCredentials),
        ("unknown type", right, json("a.b", "magic", &basic), ProviderFailure::UnparsableCredentials),
        ("bound elsewhere", right, json("c.d", "basic", &basic), ProviderFailure::RegistryMismatch),
        (
            "event's registry differs",
            ("a.b/app:1", "c.d"),
            json("a.b", "basic", &basic),
            ProviderFailure::RegistryMismatch,
        ),
        ("image elsewhere", ("c.d/app:1", "a.b"), json("a.b", "basic", &basic), ProviderFailure::RegistryMismatch),
        (
            "host only in the path",
            ("c.d/a.b/app:1", "a.b"),
            json("a.b", "basic", &basic),
            ProviderFailure::RegistryMismatch,
        ),
        ("no valid image", ("::", "a.b"), json("a.b", "basic", &basic), ProviderFailure::RegistryMismatch),
        ("no provider", right, json("a.b", "unknown", &basic), ProviderFailure::Unsupported),
        (
            "a cloud's keys for another host",
            right,
            json("a.b", "azure", r#"{"AZURE_CLIENT_ID":"x"}"#),
            ProviderFailure::RegistryMismatch,
        ),
        (
            "no Azure tenant",
            ("my.azurecr.io/app:1", "my.azurecr.io"),
            json("my.azurecr.io", "azure", r#"{"AZURE_CLIENT_ID":"x"}"#),
            ProviderFailure::UnparsableCredentials,
        ),
        (
            "no Google key",
            ("gcr.io/app:1", "gcr.io"),
            json("gcr.io", "gcp", &format!(r#"{{"GOOGLE_APPLICATION_CREDENTIALS":"{CANARY}"}}"#)),
            ProviderFailure::UnparsableCredentials,
        ),
        (
            "a Google key that leads elsewhere",
            ("gcr.io/app:1", "gcr.io"),
            json(
                "gcr.io",
                "gcp",
                r#"{"GOOGLE_APPLICATION_CREDENTIALS":"{\"type\":\"external_account\",\"credential_source\":{\"environment_id\":\"aws1\"}}"}"#,
            ),
            ProviderFailure::Unsupported,
        ),
    ];
    for (name, (image, registry), opened, reason) in cases {
        let ProviderPlan::Fail(failure) = plan_with_credentials(registry, Some(image), &opened) else {
            panic!("{name}")
        };
        assert_eq!(failure.reason, reason, "{name}: {}", failure.detail);
        assert!(!failure.detail.contains(CANARY), "{name}: {}", failure.detail);
    }
}

#[test]
fn without_credentials_the_default_chain_is_for_those_who_have_none() {
    for reason in AttachSkipReason::ALL {
        let plan = plan_without_credentials(*reason);
        let fails =
            matches!(&plan, ProviderPlan::Fail(failure) if failure.reason == ProviderFailure::CredentialsWithheld);
        let default = matches!(plan, ProviderPlan::DefaultChain);
        assert_eq!((fails, default), (reason.withholds_credentials(), !reason.withholds_credentials()), "{reason}");
    }
}
