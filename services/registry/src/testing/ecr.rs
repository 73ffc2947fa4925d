//! A tiny ECR: GetAuthorizationToken with its expiry, its faults and its callers in hand.

use std::sync::{Arc, Mutex, MutexGuard};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse as _, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use time::OffsetDateTime;
use tokio::sync::Semaphore;

use super::{PrivateCa, Server};

/// Password of the n-th token.
const TOKEN: &str = "ecr-token";

pub(crate) struct Script {
    /// Seconds from now to a token's end.
    pub(crate) life: i64,
    /// Status and type of the next errors.
    pub(crate) failures: Vec<(u16, &'static str)>,
    /// What is answered in place of a token.
    pub(crate) body: Option<Value>,
    /// Headers of every call so far.
    pub(crate) calls: Vec<HeaderMap>,
}

struct Shared {
    script: Mutex<Script>,
    gate: Semaphore,
}

pub(crate) struct FakeEcr {
    server: Server,
    shared: Arc<Shared>,
}

impl FakeEcr {
    /// Issues twelve-hour tokens.
    pub(crate) async fn start() -> Self {
        let shared = Self::shared();
        Self { server: Server::start(routes(&shared)).await, shared }
    }

    /// The same over TLS.
    pub(crate) async fn start_tls(ca: &PrivateCa) -> Self {
        let shared = Self::shared();
        Self { server: Server::start_tls(ca, routes(&shared)).await, shared }
    }

    /// `https://127.0.0.1:<port>`, where it was started with TLS.
    pub(crate) fn tls_endpoint(&self) -> String {
        format!("https://{}", self.server.host())
    }

    fn shared() -> Arc<Shared> {
        let script = Script { life: 12 * 3600, failures: Vec::new(), body: None, calls: Vec::new() };
        Arc::new(Shared { script: Mutex::new(script), gate: Semaphore::new(Semaphore::MAX_PERMITS) })
    }

    pub(crate) fn endpoint(&self) -> String {
        self.server.url()
    }

    pub(crate) fn script(&self) -> MutexGuard<'_, Script> {
        self.shared.script.lock().unwrap()
    }

    pub(crate) fn calls(&self) -> usize {
        self.script().calls.len()
    }

    /// Answers nothing from now on.
    pub(crate) fn hang(&self) {
        self.shared.gate.close();
    }

    /// Has every call wait from now on.
    pub(crate) fn hold(&self) {
        self.shared.gate.forget_permits(Semaphore::MAX_PERMITS);
    }

    /// Answers the calls that wait, and those to come.
    pub(crate) fn release(&self) {
        self.shared.gate.add_permits(Semaphore::MAX_PERMITS);
    }

    pub(crate) fn password(number: usize) -> String {
        format!("{TOKEN}-{number}")
    }
}

fn routes(shared: &Arc<Shared>) -> Router {
    Router::new().fallback(handle).with_state(shared.clone())
}

async fn handle(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    let number = {
        let mut script = shared.script.lock().unwrap();
        script.calls.push(headers);
        script.calls.len()
    };
    if shared.gate.acquire().await.is_err() {
        std::future::pending::<()>().await;
    }
    let mut script = shared.script.lock().unwrap();
    let (status, body) = if script.failures.is_empty() {
        (200, script.body.clone().unwrap_or_else(|| token(number, script.life)))
    } else {
        let (status, code) = script.failures.remove(0);
        // As hostile as can be: it repeats what it knows.
        (
            status,
            json!({ "__type": code, "message": "the key s3cr3t-aws-key and s3cr3t-session s3cr3t-role-key are no good" }),
        )
    };
    let content_type = [(CONTENT_TYPE, "application/x-amz-json-1.1")];
    (StatusCode::from_u16(status).unwrap(), content_type, body.to_string()).into_response()
}

fn token(number: usize, life: i64) -> Value {
    let login = STANDARD.encode(format!("AWS:{}", FakeEcr::password(number)));
    let data = json!({
        "authorizationToken": login,
        "expiresAt": OffsetDateTime::now_utc().unix_timestamp() + life,
        "proxyEndpoint": "https://elsewhere.example",
    });
    json!({ "authorizationData": [data] })
}
