//! Google's exchange against a token endpoint that verifies what it is sent.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::Value;
use waybill_domain::{
    credentials::{Credentials, GoogleCredentials},
    provider::CustomPlan,
    reference::RegistryHost,
};
use waybill_schemas::Timestamp;

use super::*;
use crate::{
    provider::{Issued, Provider, RegistryLogin, TokenCache},
    testing::{AUDIENCE, EMAIL, FakeCloud, Lines, RSA_KEY, TOKEN_URI, assert_absent, google, nobody},
};

const SECRETS: [&str; 4] =
    ["s3cr3t-client&=+", "s3cr3t-refresh", "google-token-1", "MIIEvAIBADANBgkqhkiG9w0BAQEFAASCBKYwggSiAgEAAoIB"];

fn account(key: &str) -> Value {
    json!({
        "type": "service_account", "client_email": EMAIL, "private_key_id": "key-1", "private_key": key,
        "token_uri": TOKEN_URI,
    })
}

fn user(secret: &str) -> Value {
    json!({ "type": "authorized_user", "client_id": "client-1", "client_secret": secret, "refresh_token": SECRETS[1] })
}

/// A federated identity, which becomes the service account or not.
fn external(account: Option<&str>) -> Value {
    let url = |account: &str| {
        format!("https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/{account}:generateAccessToken")
    };
    json!({
        "type": "external_account", "audience": AUDIENCE, "token_url": "https://sts.googleapis.com/v1/token",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt", "credential_source": { "file": "/nowhere" },
        "service_account_impersonation_url": account.map(url),
    })
}

fn keys(file: &Value) -> GoogleKeys {
    keys_with(file, "s3cr3t-subject")
}

fn keys_with(file: &Value, subject_token: &str) -> GoogleKeys {
    GoogleKeys::parse(&Secret::from(file.to_string()), Some(&Secret::from(subject_token))).unwrap()
}

fn cache(url: &str, limit: Option<Duration>) -> TokenCache {
    let (google_endpoint, google_iam_endpoint) = (Some(format!("{url}/token")), Some(format!("{url}/")));
    let config = CloudConfig { google_endpoint, google_iam_endpoint, limit, ..CloudConfig::default() };
    TokenCache::new(config)
}

fn host() -> RegistryHost {
    RegistryHost::parse("eu-docker.pkg.dev").unwrap()
}

fn provider(file: &Value, tokens: &TokenCache) -> Provider {
    let plan = CustomPlan { registry: host(), credentials: Credentials::Google(GoogleCredentials::Keys(keys(file))) };
    Provider::new(plan, &"acme".parse().unwrap(), tokens)
}

async fn login(file: &Value, tokens: &TokenCache) -> Result<Issued, ProviderError> {
    provider(file, tokens).login(&host()).await
}

fn password(issued: &Issued) -> &str {
    match &issued.login {
        RegistryLogin::Basic(login) if login.username == "oauth2accesstoken" => login.password.expose(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn every_kind_of_key_becomes_an_access_token() {
    let (lines, _guard) = Lines::capture();
    let cases = [
        (account(RSA_KEY), "google-token-1", 1),
        (user(SECRETS[0]), "google-token-1", 1),
        (external(None), "google-token-1", 1),
        (external(Some(EMAIL)), "google-token-2", 2),
    ];
    for (file, token, calls) in cases {
        let fake = FakeCloud::start(google).await;
        let issued = login(&file, &cache(&fake.url(), None)).await.unwrap();
        assert_eq!((password(&issued), fake.calls()), (token, calls), "{file}");
        let within = |seconds: i64| Timestamp::from(OffsetDateTime::now_utc() + time::Duration::seconds(seconds));
        let end = issued.expires_at.unwrap();
        assert!(within(3500) < end && end <= within(3600), "{end}");
    }
    for secret in SECRETS.iter().chain(&["google-token-2", "s3cr3t-subject"]) {
        assert_absent(secret, "the log", &lines.text());
    }
}

#[tokio::test]
async fn a_federated_identity_is_refused_at_either_step() {
    let (lines, _guard) = Lines::capture();
    let step = |body: Value| vec![(200, json!({ "access_token": "s3cr3t-step" }).to_string()), (200, body.to_string())];
    let (own, other) = (external(Some(EMAIL)), external(Some("other@p.iam.gserviceaccount.com")));
    let down =
        vec![step(Value::Null).remove(0), (503, "{}".to_owned()), (503, "{}".to_owned()), (503, "{}".to_owned())];
    let cases = [
        ("another token", &own, "s3cr3t-other", vec![], "invalid_grant", 1),
        ("another account", &other, "s3cr3t-subject", vec![], "PERMISSION_DENIED", 2),
        ("no token", &own, "s3cr3t-subject", step(json!({})), "an answer without an accessToken", 2),
        ("wrong JSON", &own, "s3cr3t-subject", step(json!({ "accessToken": ["s3cr3t-step"] })), "cannot be read", 2),
        ("down", &own, "s3cr3t-subject", down, "no tokens at the moment", 4),
    ];
    for (name, file, subject, spoilt, words, calls) in cases {
        let fake = FakeCloud::start(google).await;
        spoilt.iter().for_each(|(status, body)| fake.spoil(*status, body));
        let login = Credentials::Google(GoogleCredentials::Keys(keys_with(file, subject)));
        let plan = CustomPlan { registry: host(), credentials: login };
        let provider = Provider::new(plan, &"acme".parse().unwrap(), &cache(&fake.url(), None));
        let error = provider.login(&host()).await.unwrap_err();
        assert!(error.to_string().contains(words) && fake.calls() == calls, "{name}: {} {error}", fake.calls());
        for secret in ["s3cr3t-subject", "s3cr3t-other", "s3cr3t-step", "google-token-1"] {
            assert_absent(secret, name, &format!("{error} {error:?} {:?}", keys_with(file, subject)));
            assert_absent(secret, "the log", &lines.text());
        }
    }
}

#[tokio::test]
async fn a_service_account_s_token_ends_when_it_says() {
    let fake = FakeCloud::start(google).await;
    let (tokens, file) = (cache(&fake.url(), None), external(Some(EMAIL)));
    for answer in [json!({ "accessToken": "t" }), json!({ "accessToken": "t", "expireTime": "soon" })] {
        fake.spoil(200, json!({ "access_token": "identity", "expires_in": 3600 }));
        fake.spoil(200, answer);
        let issued = login(&file, &tokens).await.unwrap();
        assert!(issued.expires_at.unwrap() <= Timestamp::from(OffsetDateTime::now_utc()), "serves once");
    }
    fake.script().life = 1_000_000;
    let issued = login(&file, &tokens).await.unwrap();
    let day = OffsetDateTime::now_utc() + time::Duration::days(1);
    assert_eq!((password(&issued), issued.expires_at.unwrap() <= Timestamp::from(day)), ("google-token-6", true));
    assert!(login(&file, &tokens).await.unwrap().from_before);
}

#[tokio::test]
async fn twenty_logins_are_one_exchange_until_its_end() {
    let fake = FakeCloud::start(google).await;
    let (tokens, file) = (cache(&fake.url(), None), account(RSA_KEY));
    fake.script().life = 0;
    for issued in join_all((0..20).map(|_| login(&file, &tokens))).await {
        assert_eq!(password(&issued.unwrap()), "google-token-1");
    }
    assert_eq!(fake.calls(), 1);
    fake.script().life = 3600;
    for _ in 0..3 {
        assert_eq!(password(&login(&file, &tokens).await.unwrap()), "google-token-2", "the first one has ended");
    }
    let refused = login(&file, &tokens).await.unwrap();
    provider(&file, &tokens).forget(&refused.login);
    assert_eq!(password(&login(&file, &tokens).await.unwrap()), "google-token-3");
    assert_eq!(
        password(&login(&user(SECRETS[0]), &tokens).await.unwrap()),
        "google-token-4",
        "other keys, other token"
    );
}

/// A spoilt answer as often as it is asked for; what comes of it.
type Case = (&'static str, Value, u16, String, usize, fn(&ProviderError) -> bool, &'static str);

#[tokio::test]
async fn failures_have_a_kind_and_no_secrets() {
    let (lines, _guard) = Lines::capture();
    let refused: fn(&ProviderError) -> bool = |error| matches!(error, ProviderError::Refused { .. });
    let unavailable: fn(&ProviderError) -> bool = |error| matches!(error, ProviderError::Unavailable { .. });
    let unusable: fn(&ProviderError) -> bool = |error| matches!(error, ProviderError::Unusable { .. });
    let file = || user(SECRETS[0]);
    let quota = json!({ "error": { "status": "RESOURCE_EXHAUSTED", "message": format!("for {}", SECRETS[1]) } });
    let cases: Vec<Case> = vec![
        ("refused", user("s3cr3t-wrong"), 0, String::new(), 1, refused, "invalid_grant"),
        ("spent", file(), 429, quota.to_string(), 3, unavailable, "RESOURCE_EXHAUSTED"),
        ("down", file(), 503, "<html>".to_owned(), 3, unavailable, "status 503 that cannot be read"),
        ("redirected", file(), 302, "{}".to_owned(), 1, unusable, "status 302 that cannot be read"),
        ("no token", file(), 200, "{}".to_owned(), 1, unusable, "without an access_token"),
        ("empty token", file(), 200, r#"{"access_token":""}"#.to_owned(), 1, unusable, "without an access_token"),
        ("no JSON", file(), 200, SECRETS[0].to_owned(), 1, unusable, "status 200 that cannot be read"),
        (
            "wrong JSON",
            file(),
            200,
            format!("{{\"access_token\":[\"{}\"]}}", SECRETS[1]),
            1,
            unusable,
            "cannot be read",
        ),
        ("too long", file(), 200, "x".repeat(300 * 1024), 1, unusable, "far too long"),
    ];
    for (name, file, status, body, calls, kind, words) in cases {
        let fake = FakeCloud::start(google).await;
        (0..calls).filter(|_| status != 0).for_each(|_| fake.spoil(status, &body));
        let error = login(&file, &cache(&fake.url(), None)).await.unwrap_err();
        assert!(kind(&error) && error.to_string().contains(words), "{name}: {error}");
        assert!(error.to_string().starts_with("Google at 127.0.0.1"), "{name}: {error}");
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
async fn a_passing_fault_is_tried_again() {
    let fake = FakeCloud::start(google).await;
    fake.spoil(429, "{}");
    fake.spoil(500, "oops");
    let issued = login(&account(RSA_KEY), &cache(&fake.url(), None)).await.unwrap();
    assert_eq!((password(&issued), fake.calls()), ("google-token-3", 3));
}

#[tokio::test]
async fn an_issuer_that_asks_for_patience_is_left_alone_for_that_long() {
    let fake = FakeCloud::start(google).await;
    fake.script().retry_after = Some(60);
    fake.spoil(429, r#"{"error":{"status":"RESOURCE_EXHAUSTED","message":"slow down"}}"#);
    let (tokens, file) = (cache(&fake.url(), None), account(RSA_KEY));
    let error = login(&file, &tokens).await.unwrap_err();
    assert_eq!(error.retry_after(), Some(Duration::from_secs(60)), "{error}");
    let kept = login(&file, &tokens).await.unwrap_err();
    assert!(matches!(kept, ProviderError::Kept { left: 2.., .. }) && kept.is_passing(), "{kept}");
    assert_eq!(fake.calls(), 1, "not even at once");

    // A moment is waited for.
    fake.script().retry_after = Some(1);
    fake.spoil(503, "{}");
    assert_eq!(password(&login(&user(SECRETS[0]), &tokens).await.unwrap()), "google-token-3");
}

#[tokio::test]
async fn an_issuer_that_does_not_answer() {
    let (away, _socket) = nobody();
    let file = account(RSA_KEY);
    let nobody = login(&file, &cache(&format!("http://{away}"), None)).await.unwrap_err();
    assert!(matches!(nobody, ProviderError::Unreachable { .. }) && nobody.is_passing(), "{nobody}");
    let fake = FakeCloud::start(google).await;
    fake.hang();
    let silent = login(&file, &cache(&fake.url(), Some(Duration::from_millis(300)))).await.unwrap_err();
    assert!(matches!(silent, ProviderError::TimedOut { .. }) && silent.is_passing(), "{silent}");
}

#[tokio::test]
async fn an_unfit_key_is_named_and_nobody_is_asked() {
    let fake = FakeCloud::start(google).await;
    let broken = RSA_KEY.replace("MII", "MIJ");
    let (file, tokens) = (account(&broken), cache(&fake.url(), None));
    let error = login(&file, &tokens).await.unwrap_err();
    assert!(error.to_string().contains("private_key cannot be used: expected an RSA key in PEM"), "{error}");
    assert_absent(&broken[60..100], "the error", &format!("{error} {error:?} {:?}", provider(&file, &tokens)));
    assert_eq!(fake.calls(), 0);
}
