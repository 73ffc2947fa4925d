//! The provider decision as a table: what a worker does with what it was sent.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use waybill_domain::{
    credentials::{CredentialInput, Secret, marshal, parse},
    provider::{Login, ProviderPlan, plan_to_try, plan_with_credentials, plan_without_credentials},
    reference::RegistryHost,
};
use waybill_schemas::{
    Sealed,
    v1::{AttachSkipReason, ContainerCredentialsAttached, CredType, ProviderFailure},
};

const KEY: &str = "XAB3NANV3M6N7AHSQP2U5FRWKKUT7EG2ZXXABV4XVXYQRJGM4S2CZGHT";
const CANARY: &str = "canary-5up3r-s3cr3t";

fn attached(image_ref: &str, registry: &str) -> ContainerCredentialsAttached {
    ContainerCredentialsAttached {
        workspace: "ws".parse().unwrap(),
        container_id: "c1".parse().unwrap(),
        image_id: "i".parse().unwrap(),
        worker_id: "w1".parse().unwrap(),
        image_ref: image_ref.to_owned(),
        secret_name: "oci-registry-a-b".to_owned(),
        registry: registry.to_owned(),
        cred_type: CredType::Basic,
        credentials_length: 1,
        saved_by: 1,
        requested_by: 2,
        expires_at: None,
        credentials: Sealed {
            sender: KEY.parse().unwrap(),
            recipient: KEY.parse().unwrap(),
            ciphertext: String::new(),
        },
    }
}

fn json(registry: &str, cred_type: &str, credentials: &str) -> Option<Secret> {
    let text = format!(r#"{{"registry":"{registry}","type":"{cred_type}","credentials":{credentials}}}"#);
    Some(Secret::new(text))
}

#[test]
fn credentials_become_a_login() {
    let basic = format!(r#"{{"USERNAME":"u","PASSWORD":"{CANARY}"}}"#);
    let token = format!(r#"{{"TOKEN":"{CANARY}"}}"#);
    let aws = format!(r#"{{"AWS_ACCESS_KEY_ID":"a","AWS_SECRET_ACCESS_KEY":"{CANARY}","AWS_REGION":"eu-west-1"}}"#);
    let google = format!(r#"{{"GCP_ACCESS_TOKEN":"{CANARY}"}}"#);
    let azure =
        format!(r#"{{"AZURE_CLIENT_ID":"x","AZURE_CLIENT_SECRET":"{CANARY}","AZURE_TENANT_ID":"contoso.example"}}"#);
    let cases = [("basic", &basic), ("token", &token), ("aws", &aws), ("gcp", &google), ("azure", &azure)];
    for (cred_type, values) in cases {
        let plan = plan_with_credentials(&attached("a.b/app:1", "a.b"), json("a.b", cred_type, values).as_ref());
        assert!(!format!("{plan:?}").contains(CANARY), "{cred_type}: printed");
        let ProviderPlan::Custom(plan) = plan else { panic!("{cred_type}: no provider") };
        assert_eq!((plan.provider_name().as_str(), plan.cred_type.as_str()), ("creds-a.b", cred_type));
        let fits = matches!(
            (cred_type, &plan.login),
            ("basic" | "gcp", Login::Basic(_))
                | ("token", Login::Bearer(_))
                | ("aws", Login::Ecr(_))
                | ("azure", Login::Azure(_))
        );
        assert!(fits, "{cred_type}: {:?}", plan.login);
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
        ("eu-docker.pkg.dev", &[("GCP_ACCESS_TOKEN", CANARY)], "oauth2accesstoken"),
    ];
    for (registry, keys, user) in cases {
        let host = RegistryHost::parse(registry).unwrap();
        let keys = keys.iter().map(|(key, value)| ((*key).to_owned(), Secret::from(*value))).collect();
        let parsed = parse(&CredentialInput::Keys(keys), &host).unwrap();
        let plan = plan_to_try(&marshal(&parsed, &host)).unwrap();
        let Login::Basic(login) = plan.login else { panic!("{registry}: {:?}", plan.login) };
        assert_eq!(
            (login.username.as_str(), login.password.expose(), &plan.registry),
            (user, CANARY, &host),
            "{registry}"
        );
    }
}

#[test]
fn what_cannot_become_a_login_says_why() {
    let right = attached("a.b/app:1", "a.b");
    let basic = format!(r#"{{"USERNAME":"u","PASSWORD":"{CANARY}"}}"#);
    let cases = [
        ("not opened", right.clone(), None, ProviderFailure::UnsealFailed),
        ("not JSON", right.clone(), Some(Secret::new(CANARY.to_owned())), ProviderFailure::UnparsableCredentials),
        (
            "a key missing",
            right.clone(),
            json("a.b", "basic", r#"{"USERNAME":"u"}"#),
            ProviderFailure::UnparsableCredentials,
        ),
        ("unknown type", right.clone(), json("a.b", "magic", &basic), ProviderFailure::UnparsableCredentials),
        ("bound elsewhere", right.clone(), json("c.d", "basic", &basic), ProviderFailure::RegistryMismatch),
        (
            "event's registry differs",
            attached("a.b/app:1", "c.d"),
            json("a.b", "basic", &basic),
            ProviderFailure::RegistryMismatch,
        ),
        (
            "image elsewhere",
            attached("c.d/app:1", "a.b"),
            json("a.b", "basic", &basic),
            ProviderFailure::RegistryMismatch,
        ),
        (
            "host only in the path",
            attached("c.d/a.b/app:1", "a.b"),
            json("a.b", "basic", &basic),
            ProviderFailure::RegistryMismatch,
        ),
        ("no valid image", attached("::", "a.b"), json("a.b", "basic", &basic), ProviderFailure::RegistryMismatch),
        ("no provider", right.clone(), json("a.b", "unknown", &basic), ProviderFailure::Unsupported),
        (
            "no Azure tenant",
            right.clone(),
            json("a.b", "azure", r#"{"AZURE_CLIENT_ID":"x"}"#),
            ProviderFailure::UnparsableCredentials,
        ),
        (
            "no Google key",
            right.clone(),
            json("a.b", "gcp", &format!(r#"{{"GOOGLE_APPLICATION_CREDENTIALS":"{CANARY}"}}"#)),
            ProviderFailure::UnparsableCredentials,
        ),
        (
            "a Google key that leads elsewhere",
            right,
            json(
                "a.b",
                "gcp",
                r#"{"GOOGLE_APPLICATION_CREDENTIALS":"{\"type\":\"external_account\",\"credential_source\":{\"environment_id\":\"aws1\"}}"}"#,
            ),
            ProviderFailure::Unsupported,
        ),
    ];
    for (name, attached, opened, reason) in cases {
        let ProviderPlan::Fail(failure) = plan_with_credentials(&attached, opened.as_ref()) else { panic!("{name}") };
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
