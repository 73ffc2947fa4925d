//! Roles: assumed first, and the token is theirs.

use waybill_domain::credentials::AwsRole;

use super::*;
use crate::testing::{FakeSts, ROLE_KEY, ROLE_SECRET, ROLE_SESSION};

const ARN: &str = "arn:aws:iam::123456789012:role/pull";
const EXTERNAL_ID: &str = "s3cr3t-external-id";

fn as_role(external_id: Option<&str>, session_name: &str) -> AwsKeys {
    let external_id = external_id.map(Secret::from);
    let role = AwsRole { arn: ARN.to_owned(), external_id, session_name: session_name.to_owned() };
    AwsKeys { role: Some(role), ..keys() }
}

fn with_sts(ecr: &FakeEcr, sts: &FakeSts) -> TokenCache {
    let (endpoint, sts_endpoint) = (Some(ecr.endpoint()), Some(sts.endpoint()));
    TokenCache::new(CloudConfig { ecr_endpoint: endpoint, sts_endpoint, ..CloudConfig::default() })
}

/// Seconds from now until the login ends.
fn left(issued: &Issued) -> i64 {
    let end = issued.expires_at.unwrap().instant();
    (end - OffsetDateTime::now_utc()).whole_seconds()
}

#[tokio::test]
async fn the_role_s_keys_ask_for_the_token() {
    let (lines, _guard) = Lines::capture();
    let (ecr, sts) = (FakeEcr::start().await, FakeSts::start().await);
    let tokens = with_sts(&ecr, &sts);
    let provider = provider(Credentials::Aws(as_role(Some(EXTERNAL_ID), "node-1")), &tokens);
    let issued = provider.login(&host("a.b")).await.unwrap();
    assert_eq!(password(&issued), "ecr-token-1");
    assert!((3500..=3600).contains(&left(&issued)), "the role ends before the token: {}", left(&issued));

    let (signed, form) = sts.script().calls[0].clone();
    assert!(signed.contains("Credential=ASIAEXAMPLE/") && signed.contains("/eu-west-1/sts/"), "{signed}");
    for part in ["Action=AssumeRole", "role%2Fpull", "RoleSessionName=node-1", "ExternalId=s3cr3t-external-id"] {
        assert!(form.contains(part), "{part}: {form}");
    }
    let headers = ecr.script().calls[0].clone();
    assert!(headers["authorization"].to_str().unwrap().contains(&format!("Credential={ROLE_KEY}/")));
    assert_eq!(headers["x-amz-security-token"], ROLE_SESSION);

    assert!(provider.login(&host("a.b")).await.unwrap().from_before);
    assert_eq!((sts.script().calls.len(), ecr.calls()), (1, 1), "one exchange is two calls");
    for secret in [SECRETS[0], SECRETS[1], EXTERNAL_ID, ROLE_SECRET, ROLE_SESSION, "ecr-token-1"] {
        assert_absent(secret, "the log", &lines.text());
    }
}

#[tokio::test]
async fn the_token_ends_with_whatever_ends_first() {
    for (role, token, expected) in [(7200, 3600, 3600), (900, 43_200, 900), (-10, 3600, -10)] {
        let (ecr, sts) = (FakeEcr::start().await, FakeSts::start().await);
        (sts.script().life, ecr.script().life) = (role, token);
        let provider = provider(Credentials::Aws(as_role(None, "waybill")), &with_sts(&ecr, &sts));
        let issued = provider.login(&host("a.b")).await.unwrap();
        assert!((expected - 100..=expected).contains(&left(&issued)), "{role} {token}: {}", left(&issued));
        assert!(!sts.script().calls[0].1.contains("ExternalId"));
    }
}

#[tokio::test]
async fn a_refused_role_is_told_in_the_words_of_sts() {
    let (lines, _guard) = Lines::capture();
    let (ecr, sts) = (FakeEcr::start().await, FakeSts::start().await);
    sts.script().refusal = Some("AccessDenied");
    let provider = provider(Credentials::Aws(as_role(Some(EXTERNAL_ID), "node-1")), &with_sts(&ecr, &sts));
    let error = provider.login(&host("a.b")).await.unwrap_err();
    assert!(matches!(error, ProviderError::Refused { .. }), "{error}");
    let told = error.to_string();
    assert!(told.starts_with("STS in eu-west-1: AccessDenied"), "{told}");
    assert_eq!((sts.script().calls.len(), ecr.calls()), (1, 0), "no token as somebody else");
    for secret in [SECRETS[0], EXTERNAL_ID] {
        assert_absent(secret, "the error", &format!("{error:?}"));
        assert_absent(secret, "the log", &lines.text());
    }
}

#[tokio::test]
async fn what_ecr_says_of_the_role_s_keys_holds_none_of_them() {
    let (ecr, sts) = (FakeEcr::start().await, FakeSts::start().await);
    ecr.script().failures = vec![(400, "AccessDeniedException")];
    let provider = provider(Credentials::Aws(as_role(None, "waybill")), &with_sts(&ecr, &sts));
    let error = provider.login(&host("a.b")).await.unwrap_err().to_string();
    assert!(error.starts_with("ECR in eu-west-1: AccessDeniedException"), "{error}");
    for secret in [ROLE_SECRET, ROLE_SESSION, SECRETS[0]] {
        assert_absent(secret, "the error", &error);
    }
}
