//! The in-process registry behaves as registries do, as seen by skopeo and by plain HTTP.

use std::time::Duration;

use reqwest::{Client, StatusCode};
use waybill_tests::image::TinyImage;
use waybill_tests::login::Login;
use waybill_tests::registry::{Credential, Endpoint, Fault, Registry, Scheme};
use waybill_tests::require;
use waybill_tests::scratch::Scratch;
use waybill_tests::skopeo::Skopeo;

const BEARER: Scheme = Scheme::Bearer(Duration::from_secs(300));

fn ada() -> Login {
    Login::new("ada", "love:lace")
}

fn bob() -> Login {
    Login::new("bob", "builder")
}

/// A registry with an image that Ada may pull; Bob has an account, but not for this repository.
fn private(scheme: Scheme) -> (Registry, String) {
    let registry = Registry::start(scheme).unwrap();
    registry.accounts().allow(&ada());
    registry.accounts().allow_only(&bob(), &["team/other"]);
    let reference = registry.serve("team/app", "1.0", &TinyImage::new("private").unwrap());
    (registry, reference)
}

fn manifest_url(registry: &Registry) -> String {
    format!("{}/v2/team/app/manifests/1.0", registry.url())
}

async fn bearer(client: &Client, registry: &Registry, login: &Login) -> String {
    let url = format!("{}/token?service=waybill-tests&scope=repository:team/app:pull", registry.url());
    let answer = client.get(url).basic_auth(login.user(), Some(login.password())).send().await.unwrap();
    let answer: serde_json::Value = answer.error_for_status().unwrap().json().await.unwrap();
    assert_eq!(answer["expires_in"], 300);
    answer["token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn skopeo_pulls_with_either_scheme() {
    let skopeo = require!(Skopeo::find());
    for (scheme, credential) in [(Scheme::Basic, Credential::Basic), (BEARER, Credential::Bearer)] {
        let (registry, reference) = private(scheme);
        let scratch = Scratch::new("pulled").unwrap();
        let pull =
            async |to: &str, login: Option<&Login>| skopeo.pull(&reference, &scratch.path().join(to), login).await;

        pull("nobody", None).await.unwrap_err();
        pull("wrong", Some(&Login::new("ada", "wrong"))).await.unwrap_err();
        pull("bob", Some(&bob())).await.unwrap_err();
        let served = |endpoint, account: &str, status| {
            let named = Some(account.to_owned());
            registry.seen().into_iter().any(|seen| {
                (seen.endpoint, seen.status, seen.credential) == (endpoint, status, credential) && seen.account == named
            })
        };
        assert!(served(Endpoint::Manifest, "bob", StatusCode::FORBIDDEN), "{scheme:?}");
        assert!(!registry.seen().iter().any(|seen| seen.endpoint == Endpoint::Manifest && seen.status.is_success()));

        pull("ada", Some(&ada())).await.unwrap();
        assert!(served(Endpoint::Manifest, "ada", StatusCode::OK), "{scheme:?}");
        assert!(served(Endpoint::Blob, "ada", StatusCode::OK), "{scheme:?}");
        let debug = format!("{registry:?}{:?}", registry.seen());
        assert!(!debug.contains("love:lace") && !debug.contains("builder"));
    }
}

#[tokio::test]
async fn skopeo_pulls_from_an_open_registry_without_an_account() {
    let skopeo = require!(Skopeo::find());
    let (_registry, reference) = private(Scheme::Open);
    let scratch = Scratch::new("pulled").unwrap();
    skopeo.pull(&reference, &scratch.path().join("open"), None).await.unwrap();
}

#[tokio::test]
async fn an_expired_token_is_refused() {
    let (registry, _) = private(BEARER);
    let client = waybill_tests::http::client().unwrap();
    let token = bearer(&client, &registry, &ada()).await;
    let get = async |token: &str| client.get(manifest_url(&registry)).bearer_auth(token).send().await.unwrap();

    let answer = get(&token).await;
    assert_eq!(answer.status(), StatusCode::OK);
    let digest = TinyImage::new("private").unwrap().digest().to_owned();
    assert_eq!(answer.headers()["docker-content-digest"], digest.as_str());

    registry.expire_tokens();
    let answer = get(&token).await;
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    let challenge = answer.headers()["www-authenticate"].to_str().unwrap();
    let realm = format!(r#"Bearer realm="{}/token""#, registry.url());
    assert!(challenge.starts_with(&realm) && challenge.ends_with(r#"scope="repository:team/app:pull""#), "{challenge}");
    assert_eq!(get(&bearer(&client, &registry, &ada()).await).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_revoked_account_is_refused() {
    let (registry, _) = private(Scheme::Basic);
    let client = waybill_tests::http::client().unwrap();
    let get = async || {
        let request = client.head(manifest_url(&registry)).basic_auth("ada", Some("love:lace"));
        request.send().await.unwrap().status()
    };
    assert_eq!(get().await, StatusCode::OK);
    registry.accounts().revoke(&ada());
    assert_eq!(get().await, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn faults_strike_and_heal() {
    let (registry, _) = private(Scheme::Open);
    let client = waybill_tests::http::client().unwrap();
    let get = async || client.get(manifest_url(&registry)).send().await.unwrap();

    registry.inject(Fault::status(429).on(Endpoint::Manifest).times(1));
    let limited = get().await;
    assert_eq!(limited.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(limited.headers()["retry-after"], "1");
    assert_eq!(limited.json::<serde_json::Value>().await.unwrap()["errors"][0]["code"], "TOOMANYREQUESTS");
    assert_eq!(get().await.status(), StatusCode::OK);

    for code in [401, 403, 404, 500] {
        registry.inject(Fault::status(code));
        assert_eq!(get().await.status().as_u16(), code);
        registry.heal();
    }

    let delay = Duration::from_millis(200);
    registry.inject(Fault::slow(delay).times(1));
    let began = std::time::Instant::now();
    assert_eq!(get().await.status(), StatusCode::OK);
    assert!(began.elapsed() >= delay);

    registry.inject(Fault::redirect("http://blobs.example").times(1));
    assert_eq!(get().await.headers()["location"], "http://blobs.example/v2/team/app/manifests/1.0");
}
