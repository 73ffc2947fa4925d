//! An in-process Entra ID, and the route with which a registry exchanges its tokens.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::extract::{Path, State as Shared};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Form, Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::error::StartError;
use crate::login::Login;
use crate::registry::Accounts;
use crate::serving::Serving;

/// The directory of the one application.
pub const TENANT: &str = "72f988bf-86f1-41af-91ab-2d7cd011db47";
/// The one application.
pub const CLIENT_ID: &str = "11111111-2222-3333-4444-555555555555";
/// User name with which a registry takes its refresh tokens.
const USER: &str = "00000000-0000-0000-0000-000000000000";

/// A running identity service.
#[derive(Debug)]
pub struct Azure {
    state: Arc<Mutex<State>>,
    serving: Serving,
}

#[derive(Debug)]
struct State {
    secret: String,
    access_tokens: Vec<String>,
    calls: usize,
}

type Answer = (StatusCode, Json<Value>);
type Fields = BTreeMap<String, String>;

impl Azure {
    /// Starts one whose application has this secret.
    pub fn start(secret: &str) -> Result<Self, StartError> {
        let state = State { secret: secret.to_owned(), access_tokens: Vec::new(), calls: 0 };
        let state = Arc::new(Mutex::new(state));
        let routes = Router::new()
            .route("/{tenant}/oauth2/v2.0/token", post(identity))
            .route("/{tenant}/v2.0/.well-known/openid-configuration", get(configuration))
            .route("/common/discovery/instance", get(clouds))
            .with_state(state.clone());
        let serving = Serving::start("the in-process Entra ID", |_| routes)?;
        Ok(Self { state, serving })
    }

    /// The endpoint to configure in place of Azure's.
    pub fn login_endpoint(&self) -> String {
        self.serving.url()
    }

    /// What a registry adds to its routes: an access token becomes a refresh token, which is an account of it.
    pub fn exchange(&self, accounts: &Accounts) -> Router {
        let state = (self.state.clone(), accounts.clone());
        Router::new().route("/oauth2/exchange", post(exchange)).with_state(state)
    }

    /// How many calls were answered, by the identity service and by registries.
    pub fn calls(&self) -> usize {
        lock(&self.state).calls
    }
}

/// Where Microsoft's own client reads the address of the token endpoint (OpenID Connect Discovery 1.0).
async fn configuration(Path(tenant): Path<String>) -> Json<Value> {
    let base = format!("https://login.microsoftonline.com/{tenant}");
    Json(json!({
        "issuer": format!("{base}/v2.0"),
        "authorization_endpoint": format!("{base}/oauth2/v2.0/authorize"),
        "token_endpoint": format!("{base}/oauth2/v2.0/token"),
    }))
}

/// Which hosts are one cloud, as Microsoft's own client asks before it looks into its cache.
async fn clouds() -> Json<Value> {
    let host = "login.microsoftonline.com";
    Json(json!({ "metadata": [{ "preferred_network": host, "preferred_cache": host, "aliases": [host] }] }))
}

async fn identity(
    Shared(state): Shared<Arc<Mutex<State>>>,
    Path(tenant): Path<String>,
    Form(form): Form<Fields>,
) -> Answer {
    let mut state = lock(&state);
    state.calls += 1;
    let asked = ["grant_type", "client_id", "scope"].map(|name| field(&form, name));
    if tenant != TENANT || asked != ["client_credentials", CLIENT_ID, "https://containerregistry.azure.net/.default"] {
        return refused("invalid_request", &format!("AADSTS900144: {tenant} {asked:?}"));
    }
    if field(&form, "client_secret") != state.secret {
        // As the service has it: several lines, and ids to quote to its support. As hostile as can be: the secret.
        let secret = field(&form, "client_secret");
        let words = format!("AADSTS7000215: Invalid client secret provided. {secret}\r\nTrace ID: 1\r\nTimestamp: 2");
        return refused("invalid_client", &words);
    }
    let token = format!("eyJ-{}", Uuid::new_v4().simple());
    state.access_tokens.push(token.clone());
    (StatusCode::OK, Json(json!({ "token_type": "Bearer", "expires_in": 3599, "access_token": token })))
}

async fn exchange(
    Shared((state, accounts)): Shared<(Arc<Mutex<State>>, Accounts)>,
    Form(form): Form<Fields>,
) -> Answer {
    let mut state = lock(&state);
    state.calls += 1;
    let known = state.access_tokens.iter().any(|token| token == field(&form, "access_token"));
    if !known || field(&form, "grant_type") != "access_token" || field(&form, "tenant") != TENANT {
        let error = json!({ "code": "UNAUTHORIZED", "message": "authentication required" });
        return (StatusCode::UNAUTHORIZED, Json(json!({ "errors": [error] })));
    }
    let login = Login::new(USER, refresh_token());
    accounts.allow(&login);
    (StatusCode::OK, Json(json!({ "refresh_token": login.password() })))
}

/// It lives for three hours.
fn refresh_token() -> String {
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let end = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() + 3 * 3600;
    let claims = json!({ "jti": Uuid::new_v4().to_string(), "exp": end, "grant_type": "refresh_token" });
    format!("{}.{}.{}", part(json!({ "alg": "RS256" })), part(claims), Uuid::new_v4().simple())
}

fn refused(error: &str, words: &str) -> Answer {
    (StatusCode::UNAUTHORIZED, Json(json!({ "error": error, "error_description": words })))
}

fn field<'f>(form: &'f Fields, name: &str) -> &'f str {
    form.get(name).map_or("", String::as_str)
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
