//! Providers against a tiny ECR.

mod roles;

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures_util::future::join_all;
use serde_json::json;
use time::OffsetDateTime;
use waybill_domain::credentials::AwsKeys;

use super::*;
use crate::testing::{FakeEcr, Lines, PrivateCa, assert_absent, nobody};

mod many;

const SECRETS: [&str; 2] = ["s3cr3t-aws-key", "s3cr3t-session"];

fn host(text: &str) -> RegistryHost {
    RegistryHost::parse(text).unwrap()
}

fn keys() -> AwsKeys {
    AwsKeys {
        access_key_id: "ASIAEXAMPLE".to_owned(),
        secret_access_key: Secret::from(SECRETS[0]),
        session_token: Some(Secret::from(SECRETS[1])),
        region: "eu-west-1".to_owned(),
        role: None,
        expires_at: None,
    }
}

fn cache(endpoint: String) -> TokenCache {
    TokenCache::new(CloudConfig { ecr_endpoint: Some(endpoint), ..CloudConfig::default() })
}

fn provider(credentials: Credentials, tokens: &TokenCache) -> Provider {
    let plan = CustomPlan { registry: host("a.b"), credentials };
    Provider::new(plan, &"acme".parse().unwrap(), tokens)
}

fn ecr(tokens: &TokenCache) -> Provider {
    provider(Credentials::Aws(keys()), tokens)
}

fn password(issued: &Issued) -> &str {
    match &issued.login {
        RegistryLogin::Basic(login) if login.username == "AWS" => login.password.expose(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn no_other_host_is_offered_anything() {
    let fake = FakeEcr::start().await;
    let tokens = cache(fake.endpoint());
    let basic = BasicLogin { username: "u".to_owned(), password: Secret::from("p") };
    let providers = [
        provider(Credentials::Basic(basic), &tokens),
        provider(Credentials::Token(RegistryToken { username: None, token: Secret::from("t") }), &tokens),
        ecr(&tokens),
    ];
    for provider in &providers {
        for other in ["a-b.localhost", "a.b:443", "b.a", "sub.a.b", "docker.io", "localhost"] {
            let error = provider.login(&host(other)).await.unwrap_err();
            assert_eq!(error, ProviderError::OtherHost { bound: host("a.b"), asked: host(other) });
        }
        assert_eq!(fake.calls(), 0, "nobody is asked in vain");
    }
    for provider in &providers {
        assert!(provider.login(&host("a.b")).await.is_ok(), "{provider:?}");
    }
}

#[tokio::test]
async fn a_hundred_logins_are_one_exchange() {
    let fake = FakeEcr::start().await;
    let tokens = cache(fake.endpoint());
    let registry = host("a.b");
    // Each container has a provider of its own; they share the workspace's token.
    let providers: Vec<Provider> = (0..100).map(|_| ecr(&tokens)).collect();
    for issued in join_all(providers.iter().map(|provider| provider.login(&registry))).await {
        let issued = issued.unwrap();
        assert_eq!((password(&issued), issued.from_before), ("ecr-token-1", false));
    }
    assert_eq!(fake.calls(), 1);
    let headers = fake.script().calls[0].clone();
    let signed = headers["authorization"].to_str().unwrap();
    assert!(signed.contains("Credential=ASIAEXAMPLE/") && signed.contains("/eu-west-1/ecr/"), "{signed}");
    assert_eq!(headers["x-amz-security-token"], SECRETS[1]);
    assert!(providers[0].login(&registry).await.unwrap().from_before);
}

#[tokio::test]
async fn a_token_is_used_until_its_true_end() {
    let (lines, _guard) = Lines::capture();
    let fake = FakeEcr::start().await;
    let tokens = cache(fake.endpoint());
    let (provider, registry) = (ecr(&tokens), host("a.b"));
    // As moto has it: issued with an end long past. Each use is one exchange, and there is no loop.
    fake.script().life = -300_000_000;
    for number in 1..=3 {
        let issued = provider.login(&registry).await.unwrap();
        assert_eq!((password(&issued), fake.calls()), (FakeEcr::password(number).as_str(), number));
        assert!(issued.expires_at.unwrap().to_string().starts_with("20"), "the end is told as it is");
    }
    fake.script().life = 3600;
    for _ in 0..3 {
        assert_eq!(password(&provider.login(&registry).await.unwrap()), "ecr-token-4");
    }
    // The registry refused it: one more exchange, for all.
    let refused = provider.login(&registry).await.unwrap();
    provider.forget(&refused.login);
    ecr(&tokens).forget(&refused.login);
    assert_eq!(password(&provider.login(&registry).await.unwrap()), "ecr-token-5");
    assert_eq!(fake.calls(), 5);
    assert!(!lines.with("ECR token received").is_empty());
    for secret in [SECRETS[0], SECRETS[1], "ecr-token-1", "ecr-token-5"] {
        assert_absent(secret, "the log", &lines.text());
    }
}

#[tokio::test]
async fn other_keys_and_other_workspaces_exchange_for_themselves() {
    let fake = FakeEcr::start().await;
    let tokens = cache(fake.endpoint());
    let plan = || CustomPlan { registry: host("a.b"), credentials: Credentials::Aws(keys()) };
    for (number, workspace) in ["acme", "umbrella"].iter().enumerate() {
        let provider = Provider::new(plan(), &workspace.parse().unwrap(), &tokens);
        let issued = provider.login(&host("a.b")).await.unwrap();
        assert_eq!(password(&issued), FakeEcr::password(number + 1));
    }
}

/// Errors that ECR answers with, or a body in place of a token; what kind of error comes of it, and what it says.
type Case =
    (&'static str, Vec<(u16, &'static str)>, Option<serde_json::Value>, fn(&ProviderError) -> bool, &'static str);

#[tokio::test]
async fn failures_have_a_kind_and_no_secrets() {
    let (lines, _guard) = Lines::capture();
    let refused: fn(&ProviderError) -> bool = |error| matches!(error, ProviderError::Refused { .. });
    let unavailable: fn(&ProviderError) -> bool = |error| matches!(error, ProviderError::Unavailable { .. });
    let unusable: fn(&ProviderError) -> bool = |error| matches!(error, ProviderError::Unusable { .. });
    let cases: Vec<Case> = vec![
        ("refused", vec![(400, "UnrecognizedClientException")], None, refused, "UnrecognizedClientException"),
        ("forbidden", vec![(403, "AccessDeniedException")], None, refused, "AccessDeniedException"),
        ("down", vec![(500, "ServerException"); 3], None, unavailable, "ServerException"),
        ("asked too often", vec![(400, "ThrottlingException"); 3], None, unavailable, "at the moment: Throttling"),
        ("no data", vec![], Some(json!({})), unusable, "without a token"),
        ("empty data", vec![], Some(json!({"authorizationData": []})), unusable, "without a token"),
        (
            "no base64",
            vec![],
            Some(json!({"authorizationData": [{"authorizationToken": "?", "expiresAt": 1}]})),
            unusable,
            "not base64 of user:password",
        ),
        ("no JSON", vec![], Some(json!("s3cr3t-aws-key")), unusable, "cannot be read"),
    ];
    for (name, failures, body, kind, words) in cases {
        let fake = FakeEcr::start().await;
        fake.script().failures = failures;
        fake.script().body = body;
        let error = ecr(&cache(fake.endpoint())).login(&host("a.b")).await.unwrap_err();
        assert!(kind(&error) && error.to_string().contains(words), "{name}: {error}");
        assert!(error.to_string().starts_with("ECR in eu-west-1"), "{name}: {error}");
        assert!(error.to_string().len() < 450 && error.is_passing() == unavailable(&error), "{name}: {error}");
        for secret in SECRETS {
            assert_absent(secret, name, &format!("{error} {error:?}"));
        }
    }
    for secret in SECRETS {
        assert_absent(secret, "the log", &lines.text());
    }
}

#[tokio::test]
async fn an_issuer_that_does_not_answer() {
    let (away, _socket) = nobody();
    let nobody = ecr(&cache(format!("http://{away}"))).login(&host("a.b")).await.unwrap_err();
    assert!(matches!(nobody, ProviderError::Unreachable { .. }) && nobody.is_passing(), "{nobody}");
    let fake = FakeEcr::start().await;
    fake.hang();
    let limited = CloudConfig {
        limit: Some(Duration::from_millis(300)),
        ecr_endpoint: Some(fake.endpoint()),
        ..CloudConfig::default()
    };
    let silent = ecr(&TokenCache::new(limited)).login(&host("a.b")).await.unwrap_err();
    assert!(matches!(silent, ProviderError::TimedOut { .. }) && silent.is_passing(), "{silent}");
}

#[tokio::test]
async fn the_public_registry_s_tokens_are_those_of_its_own_service() {
    let fake = FakeEcr::start().await;
    let token = STANDARD.encode("AWS:public-token");
    fake.script().body = Some(json!({ "authorizationData": { "authorizationToken": token, "expiresAt": 1 } }));
    let (registry, login) =
        (host("public.ecr.aws"), Credentials::Aws(AwsKeys { region: "us-east-1".to_owned(), ..keys() }));
    let plan = CustomPlan { registry: registry.clone(), credentials: login };
    let provider = Provider::new(plan, &"acme".parse().unwrap(), &cache(fake.endpoint()));
    assert_eq!(password(&provider.login(&registry).await.unwrap()), "public-token");
    let headers = fake.script().calls[0].clone();
    assert_eq!(headers["x-amz-target"], "SpencerFrontendService.GetAuthorizationToken");
    assert!(headers["authorization"].to_str().unwrap().contains("/us-east-1/ecr-public/"), "{headers:?}");
    fake.script().failures = vec![(400, "AccessDeniedException")];
    let error = provider.login(&registry).await.unwrap_err().to_string();
    assert!(error.starts_with("ECR Public in us-east-1: AccessDeniedException"), "{error}");
}

#[tokio::test]
async fn aws_is_trusted_by_the_operator_s_own_authority_too() {
    let ca = PrivateCa::new();
    let fake = FakeEcr::start_tls(&ca).await;
    let with = |ca: Option<bytes::Bytes>| {
        ecr(&TokenCache::new(CloudConfig { ecr_endpoint: Some(fake.tls_endpoint()), ca, ..CloudConfig::default() }))
    };
    let pem = std::fs::read(ca.file()).unwrap();
    assert_eq!(password(&with(Some(pem.into())).login(&host("a.b")).await.unwrap()), "ecr-token-1");
    let error = with(None).login(&host("a.b")).await.unwrap_err();
    assert!(matches!(error, ProviderError::Unreachable { .. }) && error.to_string().contains("certificate"), "{error}");
}

#[test]
fn nothing_shows_a_secret() {
    let tokens = TokenCache::new(CloudConfig::default());
    let basic = BasicLogin { username: "u".to_owned(), password: Secret::from(SECRETS[0]) };
    let issued = Issued { login: RegistryLogin::Basic(basic.clone()), expires_at: None, from_before: false };
    let shown = format!(
        "{:?} {:?} {:?} {issued:?} {:?} {tokens:?}",
        provider(Credentials::Basic(basic), &tokens),
        ecr(&tokens),
        keys(),
        RegistryLogin::Bearer(Secret::from(SECRETS[1])),
    );
    for secret in SECRETS {
        assert_absent(secret, "Debug", &shown);
    }
}
