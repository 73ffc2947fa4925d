//! Tokens as a cluster signs them, and everything that makes one worthless.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::{
    rand::SystemRandom,
    rsa::PublicKeyComponents,
    signature::{RSA_PKCS1_SHA256, RsaKeyPair},
};
use rustls::pki_types::{PrivateKeyDer, pem::PemObject as _};
use serde_json::{Value, json};

use super::*;
use crate::testing::{
    RSA_KEY,
    cluster::{AUDIENCE, Cluster, ISSUER, claims},
};

/// Settings with these rules, whose keys are in a file.
pub(in crate::node) fn identities(dir: &Path, keys: &[Value], rules: &Value) -> PodIdentities {
    fs::write(dir.join("jwks.json"), json!({ "keys": keys }).to_string()).unwrap();
    let settings = json!({ "issuer": ISSUER, "audience": AUDIENCE, "keys_file": "jwks.json", "rules": rules });
    fs::write(dir.join("pods.json"), settings.to_string()).unwrap();
    PodIdentities::read(&dir.join("pods.json")).unwrap()
}

async fn identify(identities: &PodIdentities, token: &str) -> String {
    match identities.identify(&Secret::from(token)).await {
        Ok(identity) => format!("{}/{}", identity.namespace, identity.service_account),
        Err(error) => {
            assert!(!error.message.contains("system:"), "{error}");
            error.to_string()
        }
    }
}

#[tokio::test]
async fn only_the_cluster_s_own_tokens_for_us_and_now_are_taken() {
    let dir = tempfile::tempdir().unwrap();
    let (cluster, stranger) = (Cluster::new("k1"), Cluster::new("k1"));
    let pem = PrivateKeyDer::from_pem_slice(RSA_KEY.as_bytes()).unwrap();
    let rsa = RsaKeyPair::from_pkcs8(pem.secret_der()).unwrap();
    let public = PublicKeyComponents::<Vec<u8>>::from(rsa.public());
    let [n, e] = [public.n, public.e].map(|part| URL_SAFE_NO_PAD.encode(part));
    // What this worker cannot use hides no key that it can.
    let odd = json!({ "kty": "OKP", "kid": "odd", "crv": "Ed448", "x": "AA" });
    let keys = [odd, cluster.jwk(), json!({ "kty": "RSA", "kid": "r1", "n": n, "e": e })];
    let identities = identities(dir.path(), &keys, &json!([{ "workspace": "acme" }]));
    let good = claims("shop", "web");
    let sign_rsa = |claims: &Value| {
        let header = json!({ "alg": "RS256", "kid": "r1" });
        let signed = [&header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string())).join(".");
        let mut signature = vec![0; rsa.public().modulus_len()];
        rsa.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    };
    let with = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        cluster.sign(&claims)
    };
    let without = |name: &str| {
        let mut claims = good.clone();
        claims.as_object_mut().unwrap().remove(name);
        cluster.sign(&claims)
    };
    let header = |header: Value| cluster.sign_with(&header, &good);
    let now = time::OffsetDateTime::now_utc().unix_timestamp();
    let unsigned = header(json!({ "alg": "none" }));
    let unsigned = format!("{}.", unsigned.rsplit_once('.').unwrap().0);
    let cut = format!("{}.AAAA", cluster.sign(&good).rsplit_once('.').unwrap().0);
    let cases = [
        (cluster.sign(&good), "shop/web"),
        (sign_rsa(&good), "shop/web"),
        (header(json!({ "alg": "ES256" })), "shop/web"),
        (with("aud", json!("waybill")), "shop/web"),
        (with("aud", json!(["other", "waybill"])), "shop/web"),
        (with("exp", json!(now - 30)), "shop/web"),
        (with("aud", json!(["https://kubernetes.default.svc"])), "another audience"),
        (without("aud"), "another audience"),
        (with("iss", json!("https://other.example.com")), "another issuer"),
        (without("iss"), "another issuer"),
        (with("exp", json!(now - 61)), "has expired"),
        (with("nbf", json!(now + 3600)), "not valid yet"),
        (without("exp"), "has expired"),
        (with("sub", json!("alice")), "no service account of a namespace"),
        (with("sub", json!("system:serviceaccount:shop")), "no service account of a namespace"),
        (with("sub", json!("system:serviceaccount:shop:a\u{1b}[2J")), "no service account of a namespace"),
        (without("sub"), "no service account token"),
        (stranger.sign(&good), "none of the issuer's keys"),
        (header(json!({ "alg": "ES256", "kid": "unknown" })), "none of the issuer's keys"),
        (header(json!({ "alg": "ES256", "kid": "r1" })), "none of the issuer's keys"),
        (header(json!({ "alg": "HS256", "kid": "k1" })), "algorithm that is not accepted"),
        (unsigned, "algorithm that is not accepted"),
        (cut, "none of the issuer's keys"),
        ("opaque".to_owned(), "no service account token"),
        ("a.b.c".to_owned(), "no service account token"),
        (String::new(), "no service account token"),
    ];
    for (at, (token, expected)) in cases.iter().enumerate() {
        let found = identify(&identities, token).await;
        assert!(found.contains(expected), "case {at}: {found}, not {expected}");
    }
}

/// A cluster that changes its keys: the new one is found when a token names it, but not more often than once a pause.
#[tokio::test]
async fn keys_are_fetched_again_for_a_name_that_is_new() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("jwks.json");
    let write = |keys: &[Value]| fs::write(&file, json!({ "keys": keys }).to_string()).unwrap();
    let (old, new) = (Cluster::new("old").jwk(), Cluster::new("new").jwk());
    let count = async |keys: &Keys, id: &str| keys.find(Some(id)).await.unwrap().len();
    for (pause, found) in [(Duration::ZERO, 1), (Duration::from_secs(3600), 0)] {
        write(std::slice::from_ref(&old));
        let keys = Keys::new(Source::File(file.clone()), pause);
        assert_eq!((count(&keys, "old").await, count(&keys, "new").await), (1, 0));
        write(&[old.clone(), new.clone()]);
        assert_eq!(count(&keys, "new").await, found);
    }
}

#[tokio::test]
async fn an_issuer_is_asked_where_its_keys_are() {
    let cluster = Cluster::new("k1");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let issuer = format!("http://{}", listener.local_addr().unwrap());
    let (of, keys) = (issuer.clone(), json!({ "keys": [cluster.jwk()] }));
    let answer = move |of: &str, jwks_uri: &str| axum::Json(json!({ "issuer": of, "jwks_uri": jwks_uri }));
    let foreign = answer("https://other.example.com", &format!("{of}/keys"));
    let elsewhere = answer(&format!("{of}/elsewhere"), "http://keys.example.com/");
    let found = answer(&of, &format!("{of}/keys"));
    let routes = axum::Router::new()
        .route("/.well-known/openid-configuration", axum::routing::get(async || found))
        .route("/foreign/.well-known/openid-configuration", axum::routing::get(async || foreign))
        .route("/elsewhere/.well-known/openid-configuration", axum::routing::get(async || elsewhere))
        .route("/keys", axum::routing::get(async || axum::Json(keys)));
    tokio::spawn(async move { axum::serve(listener, routes).await });
    let cases =
        [("", "1"), ("/foreign", "speaks for another issuer"), ("/elsewhere", "no https:// address"), ("/gone", "404")];
    for (path, expected) in cases {
        let keys = Keys::new(Source::issuer(&format!("{issuer}{path}"), None).unwrap(), PAUSE);
        let found = keys.find(Some("k1")).await.map_or_else(|problem| problem, |keys| keys.len().to_string());
        assert!(found.contains(expected), "{path}: {found}");
    }
    assert!(Source::issuer("http://issuer.example.com", None).is_err(), "keys come over TLS");
}

#[test]
fn settings_that_do_not_work_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let rules = json!([{ "workspace": "acme" }]);
    fs::write(dir.path().join("no.json"), "{}").unwrap();
    let cases = [
        (
            json!({ "issuer": "i", "audience": "a", "keys_file": "none.json", "rules": rules }),
            "none.json cannot be read",
        ),
        (json!({ "issuer": "i", "audience": "a", "keys_file": "no.json", "rules": rules }), "is no JWK set"),
        (json!({ "issuer": "i", "audience": "a", "rules": rules }), "name a keys_file"),
        (json!({ "issuer": "https://i", "audience": "a", "rules": [] }), "must not be empty"),
        (json!({ "issuer": "https://i", "audience": "a" }), "missing field `rules`"),
        (json!({ "issuer": "https://i", "audience": "a", "rules": rules, "ca_file": "none.pem" }), "none.pem"),
        (json!({ "issuer": "https://i", "audience": "a", "rules": [{ "workspace": "{pod}" }] }), "must be an id"),
    ];
    for (settings, expected) in cases {
        fs::write(dir.path().join("pods.json"), settings.to_string()).unwrap();
        let problem = PodIdentities::read(&dir.path().join("pods.json")).unwrap_err();
        assert!(problem.contains(expected) && problem.contains("pods.json"), "{problem}, not {expected}");
    }
}
