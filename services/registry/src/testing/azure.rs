//! Entra ID's token endpoint ("OAuth 2.0 client credentials flow") and a registry's exchange ("Azure Container Registry
//! authentication with the REST API"), on one host.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::{Call, Script};

pub(crate) const TENANT: &str = "72f988bf-86f1-41af-91ab-2d7cd011db47";
const IDENTITY: &str = "/72f988bf-86f1-41af-91ab-2d7cd011db47/oauth2/v2.0/token";

/// Takes the secret `s3cr3t-azure&=+` of `app-1` and then its token; the refresh token of the n-th call has an `exp`.
pub(crate) fn azure(call: &Call, number: usize, script: &Script) -> (u16, Value) {
    let fields: Vec<&str> = call.form.keys().map(String::as_str).collect();
    match call.path.as_str() {
        IDENTITY if fields == ["client_id", "client_secret", "grant_type", "scope"] => identity(call),
        "/oauth2/exchange" if fields == ["access_token", "grant_type", "service", "tenant"] => {
            exchange(call, number, script.life)
        }
        path => (404, json!({ "error": "not_found", "error_description": format!("{path} {fields:?}") })),
    }
}

fn identity(call: &Call) -> (u16, Value) {
    let [grant, scope] = ["grant_type", "scope"].map(|name| call.field(name));
    let words = match (grant, scope, call.field("client_id"), call.field("client_secret")) {
        ("client_credentials", "https://containerregistry.azure.net/.default", "app-1", "s3cr3t-azure&=+") => {
            return (200, json!({ "token_type": "Bearer", "expires_in": 3599, "access_token": "s3cr3t-access-token" }));
        }
        // As hostile as can be: it repeats what it was sent.
        ("client_credentials", "https://containerregistry.azure.net/.default", "app-1", secret) => {
            format!("AADSTS7000215: Invalid client secret provided: {secret}.\r\nTrace ID: 1\r\nTimestamp: 2")
        }
        _ => format!("AADSTS900144: {:?}", call.form),
    };
    (401, json!({ "error": "invalid_client", "error_description": words, "error_codes": [7000215] }))
}

fn exchange(call: &Call, number: usize, life: i64) -> (u16, Value) {
    let asked = ["grant_type", "tenant", "access_token"].map(|name| call.field(name));
    if asked != ["access_token", TENANT, "s3cr3t-access-token"] || call.field("service").is_empty() {
        return (401, json!({ "errors": [{ "code": "UNAUTHORIZED", "message": "authentication required" }] }));
    }
    (200, json!({ "refresh_token": refresh_token(number, life) }))
}

fn refresh_token(number: usize, life: i64) -> String {
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let end = OffsetDateTime::now_utc().unix_timestamp() + life;
    let claims = json!({ "jti": format!("refresh-{number}"), "exp": end, "grant_type": "refresh_token" });
    format!("{}.{}.c2lnbmF0dXJl", part(json!({ "alg": "RS256" })), part(claims))
}
