//! Google's token endpoint: it takes assertions that a service account signed, refresh tokens, and tokens of federated
//! identities, for which there are a service account's at another path ("Using OAuth 2.0 for Server to Server Applications",
//! "Using OAuth 2.0 for Web Server Applications", AIP-4117, "generateAccessToken").

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use rustls::{
    SignatureScheme,
    crypto::ring,
    pki_types::{PrivateKeyDer, pem::PemObject as _},
    sign::SigningKey as _,
};
use serde_json::{Value, json};
use time::OffsetDateTime;
use waybill_schemas::Timestamp;

use super::{Call, Script};

pub(crate) const EMAIL: &str = "puller@project.iam.gserviceaccount.com";
pub(crate) const TOKEN_URI: &str = "https://oauth2.googleapis.com/token";
pub(crate) const RSA_KEY: &str = include_str!("rsa.pem");
/// Bytes of an `RSAPublicKey` of 2048 bits with the usual exponent; a `SubjectPublicKeyInfo` ends with it.
const PUBLIC_KEY: usize = 270;

/// Gives the n-th caller `google-token-<n>`, if the form is in order.
pub(crate) fn google(call: &Call, number: usize, script: &Script) -> (u16, Value) {
    if let Some(body) = &call.json {
        return impersonated(call, body, number, script);
    }
    match judge(call) {
        Ok(()) => (
            200,
            json!({ "access_token": format!("google-token-{number}"), "expires_in": script.life, "token_type": "Bearer" }),
        ),
        Err((error, words)) => (400, json!({ "error": error, "error_description": words })),
    }
}

fn judge(call: &Call) -> Result<(), (&'static str, String)> {
    let fields: Vec<&str> = call.form.keys().map(String::as_str).collect();
    match (call.path.as_str(), call.field("grant_type")) {
        ("/token", "urn:ietf:params:oauth:grant-type:jwt-bearer") if fields == ["assertion", "grant_type"] => {
            assertion(call.field("assertion")).map_err(|words| ("invalid_grant", words.to_owned()))
        }
        ("/token", "refresh_token") if fields == ["client_id", "client_secret", "grant_type", "refresh_token"] => {
            match [call.field("client_id"), call.field("client_secret"), call.field("refresh_token")] {
                ["client-1", "s3cr3t-client&=+", "s3cr3t-refresh"] => Ok(()),
                // As hostile as can be: it repeats what it was sent.
                [_, secret, token] => Err(("invalid_grant", format!("Bad Request: {secret} {token}"))),
            }
        }
        ("/token", "urn:ietf:params:oauth:grant-type:token-exchange") if fields == FEDERATED => federated(call),
        _ => Err(("invalid_request", format!("{} {fields:?}", call.path))),
    }
}

const FEDERATED: [&str; 6] =
    ["audience", "grant_type", "requested_token_type", "scope", "subject_token", "subject_token_type"];
pub(crate) const AUDIENCE: &str =
    "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/x";

fn federated(call: &Call) -> Result<(), (&'static str, String)> {
    let expected = [
        ("audience", AUDIENCE),
        ("requested_token_type", "urn:ietf:params:oauth:token-type:access_token"),
        ("scope", "https://www.googleapis.com/auth/cloud-platform"),
        ("subject_token_type", "urn:ietf:params:oauth:token-type:jwt"),
    ];
    if let Some((name, _)) = expected.iter().find(|(name, value)| call.field(name) != *value) {
        return Err(("invalid_request", format!("Invalid value for {name}")));
    }
    match call.field("subject_token") {
        "s3cr3t-subject" => Ok(()),
        token => {
            Err(("invalid_grant", format!("The given credential is rejected by the attribute condition: {token}")))
        }
    }
}

/// The n-th caller is the service account if it has the token of the caller before.
fn impersonated(call: &Call, body: &Value, number: usize, script: &Script) -> (u16, Value) {
    let path = format!("/v1/projects/-/serviceAccounts/{EMAIL}:generateAccessToken");
    let asked = json!({ "scope": ["https://www.googleapis.com/auth/devstorage.read_only"], "lifetime": "3600s" });
    let bearer = format!("Bearer google-token-{}", number - 1);
    if (&call.path, body, &call.authorization) != (&path, &asked, &bearer) {
        let words = format!("Permission 'iam.serviceAccounts.getAccessToken' denied: {} {body}", call.authorization);
        return (403, json!({ "error": { "code": 403, "status": "PERMISSION_DENIED", "message": words } }));
    }
    let end = Timestamp::from(OffsetDateTime::now_utc() + time::Duration::seconds(script.life));
    (200, json!({ "accessToken": format!("google-token-{number}"), "expireTime": end }))
}

fn assertion(text: &str) -> Result<(), &'static str> {
    let (message, signature) = text.rsplit_once('.').ok_or("Bad JWT")?;
    let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| "Bad JWT")?;
    if !is_signed(message.as_bytes(), &signature) {
        return Err("Invalid JWT Signature.");
    }
    let (header, claims) = message.split_once('.').ok_or("Bad JWT")?;
    let json = |part: &str| serde_json::from_slice::<Value>(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap();
    let (header, claims) = (json(header), json(claims));
    if header != json!({ "alg": "RS256", "typ": "JWT", "kid": "key-1" }) {
        return Err("Invalid JWT header");
    }
    if claims["iss"] != EMAIL || claims["aud"] != TOKEN_URI {
        return Err("Invalid grant: account not found");
    }
    if claims["scope"] != "https://www.googleapis.com/auth/devstorage.read_only" {
        return Err("Invalid OAuth scope");
    }
    let now = OffsetDateTime::now_utc().unix_timestamp();
    let (issued, end) = (claims["iat"].as_i64().unwrap(), claims["exp"].as_i64().unwrap());
    let timely = (now - 60..=now).contains(&issued) && end > now && end - issued <= 3600;
    if timely { Ok(()) } else { Err("Invalid JWT: Token must be a short-lived token and in a reasonable timeframe") }
}

fn is_signed(message: &[u8], signature: &[u8]) -> bool {
    let der = PrivateKeyDer::from_pem_slice(RSA_KEY.as_bytes()).unwrap();
    let key = ring::sign::RsaSigningKey::new(&der).unwrap();
    let public = key.public_key().unwrap();
    let public = &public[public.len() - PUBLIC_KEY..];
    let algorithms = ring::default_provider().signature_verification_algorithms;
    let (_, rs256) =
        algorithms.mapping.iter().find(|(scheme, _)| *scheme == SignatureScheme::RSA_PKCS1_SHA256).unwrap();
    rs256.iter().any(|algorithm| algorithm.verify_signature(public, message, signature).is_ok())
}
