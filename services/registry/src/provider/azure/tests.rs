//! Azure's exchange against an identity service and a registry that check what they are sent.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use futures_util::future::join_all;
use serde_json::{Value, json};
use waybill_domain::{credentials::Credentials, provider::CustomPlan};

use super::*;
use crate::{
    provider::{Issued, Provider, RegistryLogin, TokenCache},
    testing::{FakeCloud, Lines, PrivateCa, TENANT, assert_absent, azure, nobody},
};

const SECRET: &str = "s3cr3t-azure&=+";
const SECRETS: [&str; 3] = [SECRET, "s3cr3t-access-token", "c2lnbmF0dXJl"];

fn keys(secret: &str) -> AzureKeys {
    AzureKeys {
        tenant: TENANT.to_owned(),
        client_id: "app-1".to_owned(),
        client_secret: Secret::from(secret),
        authority: "https://login.microsoftonline.com",
    }
}

/// The identity service and the registry are both this fake.
fn cache(fake: &FakeCloud, limit: Option<Duration>) -> TokenCache {
    let config =
        CloudConfig { azure_endpoint: Some(fake.url()), plain_http: vec![host(fake)], limit, ..CloudConfig::default() };
    TokenCache::new(config)
}

fn host(fake: &FakeCloud) -> RegistryHost {
    RegistryHost::parse(fake.host()).unwrap()
}

fn provider(fake: &FakeCloud, secret: &str, tokens: &TokenCache) -> Provider {
    let plan = CustomPlan { registry: host(fake), credentials: Credentials::Azure(keys(secret)) };
    Provider::new(plan, &"acme".parse().unwrap(), tokens)
}

async fn login(fake: &FakeCloud, secret: &str, tokens: &TokenCache) -> Result<Issued, ProviderError> {
    provider(fake, secret, tokens).login(&host(fake)).await
}

/// The refresh token's `jti`.
fn token_id(issued: &Issued) -> String {
    let RegistryLogin::Basic(login) = &issued.login else { panic!("{issued:?}") };
    assert_eq!(login.username, USER);
    let claims = login.password.expose().split('.').nth(1).unwrap();
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap();
    claims["jti"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_secret_becomes_the_registry_s_refresh_token() {
    let (lines, _guard) = Lines::capture();
    let fake = FakeCloud::start(azure).await;
    let tokens = cache(&fake, None);
    let issued = login(&fake, SECRET, &tokens).await.unwrap();
    assert_eq!((token_id(&issued).as_str(), fake.calls()), ("refresh-2", 2));
    assert_eq!(fake.script().calls[1].field("service"), fake.host());
    let within = |seconds: i64| Timestamp::from(OffsetDateTime::now_utc() + time::Duration::seconds(seconds));
    let end = issued.expires_at.unwrap();
    assert!(within(3500) < end && end <= within(3600), "{end}");
    let shown = format!("{issued:?} {tokens:?} {:?} {:?}", keys(SECRET), provider(&fake, SECRET, &tokens));
    for secret in SECRETS {
        assert_absent(secret, "the log", &lines.text());
        assert_absent(secret, "Debug", &shown);
    }
}

#[tokio::test]
async fn twenty_logins_are_one_exchange_until_its_end() {
    let fake = FakeCloud::start(azure).await;
    let tokens = cache(&fake, None);
    fake.script().life = -10;
    for issued in join_all((0..20).map(|_| login(&fake, SECRET, &tokens))).await {
        assert_eq!(token_id(&issued.unwrap()), "refresh-2");
    }
    assert_eq!(fake.calls(), 2);
    fake.script().life = 3 * 3600;
    for _ in 0..3 {
        assert_eq!(token_id(&login(&fake, SECRET, &tokens).await.unwrap()), "refresh-4", "the first one has ended");
    }
    let error = login(&fake, "s3cr3t-other", &tokens).await.unwrap_err();
    assert!(matches!(error, ProviderError::Refused { .. }), "no other secret gets that token: {error}");
}

/// Spoilt answers to the first calls; what comes of it.
type Case = (&'static str, &'static str, Vec<(u16, String)>, usize, fn(&ProviderError) -> bool, &'static str);

#[tokio::test]
async fn failures_have_a_kind_and_no_secrets() {
    let (lines, _guard) = Lines::capture();
    let refused: fn(&ProviderError) -> bool = |error| matches!(error, ProviderError::Refused { .. });
    let unavailable: fn(&ProviderError) -> bool = |error| matches!(error, ProviderError::Unavailable { .. });
    let unusable: fn(&ProviderError) -> bool = |error| matches!(error, ProviderError::Unusable { .. });
    let identity = || (200, json!({ "access_token": SECRETS[1] }).to_string());
    let denied = json!({ "errors": [{ "code": "DENIED", "message": format!("{} may not", SECRETS[1]) }] }).to_string();
    let slow_down = json!({ "error": "temporarily_unavailable", "error_description": SECRET }).to_string();
    let wrong = "invalid_client: AADSTS7000215";
    let cases: Vec<Case> = vec![
        ("a wrong secret", "s3cr3t-wrong", vec![], 1, refused, wrong),
        ("spent", SECRET, vec![(429, slow_down); 3], 3, unavailable, "temporarily_unavailable"),
        ("no access token", SECRET, vec![(200, "{}".to_owned())], 1, unusable, "without an access_token"),
        ("no JSON", SECRET, vec![(200, SECRET.to_owned())], 1, unusable, "status 200 that cannot be read"),
        ("denied by the registry", SECRET, vec![identity(), (403, denied)], 2, refused, "DENIED"),
        ("no exchange there", SECRET, vec![identity(), (404, "no page".to_owned())], 2, unusable, "status 404"),
        ("no refresh token", SECRET, vec![identity(), (200, "{}".to_owned())], 2, unusable, "without a refresh_token"),
        ("too long", SECRET, vec![identity(), (200, "x".repeat(300 * 1024))], 2, unusable, "far too long"),
    ];
    for (name, secret, spoilt, calls, kind, words) in cases {
        let fake = FakeCloud::start(azure).await;
        spoilt.iter().for_each(|(status, body)| fake.spoil(*status, body));
        let error = login(&fake, secret, &cache(&fake, None)).await.unwrap_err();
        assert!(kind(&error) && error.to_string().contains(words), "{name}: {error}");
        let issuer = if calls == 2 { "the registry 127.0.0.1" } else { "Azure at 127.0.0.1" };
        assert!(error.to_string().starts_with(issuer), "{name}: {error}");
        assert!(error.to_string().len() < 450 && error.is_passing() == unavailable(&error), "{name}: {error}");
        assert_eq!(fake.calls(), calls, "{name}");
        for secret in SECRETS.iter().chain(&["s3cr3t-wrong"]) {
            assert_absent(secret, name, &format!("{error} {error:?}"));
        }
    }
    for secret in SECRETS {
        assert_absent(secret, "the log", &lines.text());
    }
}

#[tokio::test]
async fn a_token_without_an_end_serves_once() {
    let fake = FakeCloud::start(azure).await;
    let tokens = cache(&fake, None);
    for token in ["opaque", "a.b.c", "a.e30.c"] {
        fake.spoil(200, json!({ "access_token": "t" }));
        fake.spoil(200, json!({ "refresh_token": token }));
        let issued = login(&fake, SECRET, &tokens).await.unwrap();
        assert!(issued.expires_at.unwrap() <= Timestamp::from(OffsetDateTime::now_utc()), "{token}");
    }
    assert_eq!(fake.calls(), 6);
}

#[tokio::test]
async fn an_issuer_that_does_not_answer() {
    let fake = FakeCloud::start(azure).await;
    let (away, _socket) = nobody();
    let config = CloudConfig { azure_endpoint: Some(format!("http://{away}")), ..CloudConfig::default() };
    let tokens = TokenCache::new(config);
    let nobody = login(&fake, SECRET, &tokens).await.unwrap_err();
    assert!(matches!(nobody, ProviderError::Unreachable { .. }) && nobody.is_passing(), "{nobody}");
    fake.hang();
    let silent = login(&fake, SECRET, &cache(&fake, Some(Duration::from_millis(300)))).await.unwrap_err();
    assert!(matches!(silent, ProviderError::TimedOut { .. }) && silent.is_passing(), "{silent}");
}

#[tokio::test]
async fn an_operator_s_authority_is_trusted_with_both_steps() {
    let ca = PrivateCa::new();
    let fake = FakeCloud::start_tls(azure, &ca).await;
    let pem = Bytes::from(std::fs::read(ca.file()).unwrap());
    let config = |ca: Option<Bytes>| CloudConfig {
        azure_endpoint: Some(format!("https://{}/", fake.host())),
        ca,
        ..CloudConfig::default()
    };
    let tokens = |ca| TokenCache::new(config(ca));
    assert_eq!(token_id(&login(&fake, SECRET, &tokens(Some(pem))).await.unwrap()), "refresh-2");
    let stranger = login(&fake, SECRET, &tokens(None)).await.unwrap_err();
    let words = stranger.to_string();
    assert!(stranger.is_passing() && words.contains("certificate"), "{stranger}");
    assert_eq!(fake.calls(), 2);
}
