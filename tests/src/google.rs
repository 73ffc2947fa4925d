//! An in-process Google: it verifies what a service account signed, takes the token of a federated identity and lets it act as
//! the service account, and makes each token an account of a registry.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::extract::{Path, State as Shared};
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use axum::{Form, Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::crypto::ring;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::sign::SigningKey as _;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::error::StartError;
use crate::login::Login;
use crate::registry::Accounts;
use crate::serving::Serving;

const KEY: &str = include_str!("google.pem");
const EMAIL: &str = "puller@project.iam.gserviceaccount.com";
const AUDIENCE: &str = "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/pool/providers/ci";
const TOKEN_TYPE: &str = "urn:ietf:params:oauth:token-type:jwt";
/// Further off than any token's end.
const FAR_OFF: &str = "9999-12-31T23:59:59Z";
const TOKEN_URI: &str = "https://oauth2.googleapis.com/token";
/// Bytes of an `RSAPublicKey` of 2048 bits with the usual exponent; a `SubjectPublicKeyInfo` ends with it.
const PUBLIC_KEY: usize = 270;

/// A running token endpoint that knows one service account.
#[derive(Debug)]
pub struct Google {
    state: Arc<Mutex<State>>,
    serving: Serving,
}

#[derive(Debug)]
struct State {
    accounts: Accounts,
    /// The token that the pool of identities accepts.
    subject_token: Option<String>,
    /// Tokens of identities that may act as the service account.
    identities: Vec<String>,
    calls: usize,
}

impl Google {
    /// Starts one that issues one-hour tokens.
    pub fn start(accounts: &Accounts) -> Result<Self, StartError> {
        let state = Arc::new(Mutex::new(State {
            accounts: accounts.clone(),
            subject_token: None,
            identities: Vec::new(),
            calls: 0,
        }));
        let routes = Router::new()
            .route("/token", post(handle))
            .route("/v1/projects/-/serviceAccounts/{account}", post(impersonate))
            .with_state(state.clone());
        let serving = Serving::start("the in-process Google", |_| routes)?;
        Ok(Self { state, serving })
    }

    /// The endpoint to configure in place of Google's.
    pub fn token_endpoint(&self) -> String {
        format!("{}/token", self.serving.url())
    }

    /// The endpoint to configure in place of the one where identities become service accounts.
    pub fn iam_endpoint(&self) -> String {
        self.serving.url()
    }

    /// From now on, the pool of identities accepts this token of another identity service.
    pub fn accept(&self, subject_token: &str) {
        lock(&self.state).subject_token = Some(subject_token.to_owned());
    }

    /// The file of a federated identity that acts as this service account. It names a file that nobody is to read.
    pub fn external_file(email: &str) -> String {
        let url =
            format!("https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/{email}:generateAccessToken");
        let file = json!({
            "type": "external_account", "audience": AUDIENCE, "subject_token_type": TOKEN_TYPE,
            "token_url": "https://sts.googleapis.com/v1/token", "credential_source": { "file": "/etc/hostname" },
            "service_account_impersonation_url": url,
        });
        file.to_string()
    }

    /// The file of a federated identity that acts as the account that the endpoint knows.
    pub fn known_external_file() -> String {
        Self::external_file(EMAIL)
    }

    /// The key file of a service account; only the one that the endpoint knows gets a token.
    pub fn key_file(email: &str) -> String {
        let file = json!({
            "type": "service_account", "project_id": "project", "private_key_id": "key-1", "private_key": KEY,
            "client_email": email, "client_id": "1", "token_uri": TOKEN_URI,
        });
        file.to_string()
    }

    /// The key file of the account that the endpoint knows.
    pub fn known_key_file() -> String {
        Self::key_file(EMAIL)
    }

    /// How many calls were answered.
    pub fn calls(&self) -> usize {
        lock(&self.state).calls
    }
}

async fn handle(
    Shared(state): Shared<Arc<Mutex<State>>>,
    Form(form): Form<BTreeMap<String, String>>,
) -> (StatusCode, Json<Value>) {
    let mut state = lock(&state);
    state.calls += 1;
    let field = |name: &str| form.get(name).map_or("", String::as_str);
    if field("grant_type") == "urn:ietf:params:oauth:grant-type:token-exchange" {
        return exchange(&mut state, field);
    }
    let refused = match field("grant_type") {
        "urn:ietf:params:oauth:grant-type:jwt-bearer" => refusal(field("assertion")),
        _ => Some("Unsupported grant type"),
    };
    if let Some(words) = refused {
        let body = json!({ "error": "invalid_grant", "error_description": words });
        return (StatusCode::BAD_REQUEST, Json(body));
    }
    let login = Login::new("oauth2accesstoken", format!("ya29-{}", Uuid::new_v4().simple()));
    state.accounts.allow(&login);
    let body = json!({ "access_token": login.password(), "expires_in": 3599, "token_type": "Bearer" });
    (StatusCode::OK, Json(body))
}

/// AIP-4117, "Token exchange".
fn exchange<'f>(state: &mut State, field: impl Fn(&str) -> &'f str) -> (StatusCode, Json<Value>) {
    let expected = [
        ("audience", AUDIENCE),
        ("requested_token_type", "urn:ietf:params:oauth:token-type:access_token"),
        ("subject_token_type", TOKEN_TYPE),
    ];
    // The token is only for becoming the service account: Google's own clients ask for the narrower scope.
    let scopes = ["https://www.googleapis.com/auth/cloud-platform", "https://www.googleapis.com/auth/iam"];
    let known = state.subject_token.as_deref() == Some(field("subject_token"));
    if !known || !scopes.contains(&field("scope")) || expected.iter().any(|(name, value)| field(name) != *value) {
        let words = "The given credential is rejected by the attribute condition.";
        return (StatusCode::BAD_REQUEST, Json(json!({ "error": "invalid_grant", "error_description": words })));
    }
    let token = format!("identity-{}", Uuid::new_v4().simple());
    state.identities.push(token.clone());
    let issued = "urn:ietf:params:oauth:token-type:access_token";
    let body =
        json!({ "access_token": token, "issued_token_type": issued, "expires_in": 3599, "token_type": "Bearer" });
    (StatusCode::OK, Json(body))
}

/// "Method: projects.serviceAccounts.generateAccessToken".
async fn impersonate(
    Shared(state): Shared<Arc<Mutex<State>>>,
    Path(account): Path<String>,
    headers: HeaderMap,
    Json(asked): Json<Value>,
) -> (StatusCode, Json<Value>) {
    let mut state = lock(&state);
    state.calls += 1;
    let bearer = headers.get(AUTHORIZATION).and_then(|header| header.to_str().ok()?.strip_prefix("Bearer "));
    let known = bearer.is_some_and(|token| state.identities.iter().any(|identity| identity == token));
    if !known
        || account != format!("{EMAIL}:generateAccessToken")
        || asked.get("lifetime").and_then(Value::as_str) != Some("3600s")
    {
        let words = "Permission 'iam.serviceAccounts.getAccessToken' denied on resource (or it may not exist).";
        let error = json!({ "code": 403, "message": words, "status": "PERMISSION_DENIED" });
        return (StatusCode::FORBIDDEN, Json(json!({ "error": error })));
    }
    let login = Login::new("oauth2accesstoken", format!("ya29-{}", Uuid::new_v4().simple()));
    state.accounts.allow(&login);
    (StatusCode::OK, Json(json!({ "accessToken": login.password(), "expireTime": FAR_OFF })))
}

/// What is wrong with an assertion, if anything is.
fn refusal(assertion: &str) -> Option<&'static str> {
    let Some((message, signature)) = assertion.rsplit_once('.') else { return Some("Bad JWT") };
    if !is_signed(message, signature).unwrap_or_default() {
        return Some("Invalid JWT Signature.");
    }
    let claims = message.split('.').nth(1).and_then(|part| URL_SAFE_NO_PAD.decode(part).ok());
    let claims = claims.and_then(|json| serde_json::from_slice::<Value>(&json).ok()).unwrap_or_default();
    let number = |name: &str| claims.get(name).and_then(Value::as_u64).unwrap_or_default();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let timely = number("iat") <= now && now < number("exp") && number("exp") - number("iat") <= 3600;
    match (claims.get("iss")?.as_str()?, claims.get("aud")?.as_str()?) {
        (EMAIL, TOKEN_URI) if timely => None,
        (EMAIL, TOKEN_URI) => Some("Invalid JWT: Token must be a short-lived token"),
        (EMAIL, _) => Some("Invalid JWT: Failed audience check"),
        _ => Some("Invalid grant: account not found"),
    }
}

fn is_signed(message: &str, signature: &str) -> Option<bool> {
    let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
    let der = PrivateKeyDer::from_pem_slice(KEY.as_bytes()).ok()?;
    let key = ring::sign::RsaSigningKey::new(&der).ok()?;
    let public = key.public_key()?;
    let public = public.get(public.len().checked_sub(PUBLIC_KEY)?..)?;
    let schemes = ring::default_provider().signature_verification_algorithms.mapping;
    let (_, rs256) = schemes.iter().find(|(scheme, _)| *scheme == rustls::SignatureScheme::RSA_PKCS1_SHA256)?;
    Some(rs256.iter().any(|one| one.verify_signature(public, message.as_bytes(), &signature).is_ok()))
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
