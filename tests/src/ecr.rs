//! An in-process ECR: GetAuthorizationToken over AWS JSON 1.1, with its expiry, its faults and its callers in hand.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::State as Shared;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::error::StartError;
use crate::login::Login;
use crate::registry::Accounts;
use crate::serving::Serving;

const TARGET: &str = "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken";

/// Host of a private registry of ECR. Nothing is asked of it in tests: a server here plays it.
pub const ECR_HOST: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";

/// A reference to the same image, as an image of ECR.
pub fn as_ecr(reference: &str) -> String {
    let reference = reference.trim_start_matches("docker://");
    let repository = reference.split_once('/').map_or(reference, |(_, repository)| repository);
    format!("{ECR_HOST}/{repository}")
}

/// A running ECR endpoint. It reads who signed a request, but verifies no signature.
#[derive(Debug)]
pub struct Ecr {
    state: Arc<Mutex<State>>,
    serving: Serving,
}

/// One call as it was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EcrCall {
    /// The access key id that signed it.
    pub access_key_id: String,
    /// The region it was signed for.
    pub region: String,
    /// The answer.
    pub status: StatusCode,
}

#[derive(Debug)]
struct State {
    accounts: Accounts,
    access_key_id: String,
    lifetime: Lifetime,
    delay: Duration,
    failures: Vec<(StatusCode, String)>,
    issued: Vec<Login>,
    calls: Vec<EcrCall>,
    running: usize,
    most_running: usize,
}

/// What a token's `expiresAt` is counted from now.
#[derive(Debug, Clone, Copy)]
enum Lifetime {
    Left(Duration),
    Over(Duration),
}

impl Ecr {
    /// Starts one that issues twelve-hour tokens to this access key id, and makes each an account of a registry.
    pub fn start(access_key_id: &str, accounts: &Accounts) -> Result<Self, StartError> {
        let state = Arc::new(Mutex::new(State {
            accounts: accounts.clone(),
            access_key_id: access_key_id.to_owned(),
            lifetime: Lifetime::Left(Duration::from_secs(12 * 3600)),
            delay: Duration::ZERO,
            failures: Vec::new(),
            issued: Vec::new(),
            calls: Vec::new(),
            running: 0,
            most_running: 0,
        }));
        let shared = state.clone();
        let serving = Serving::start("the in-process ECR", |_| Router::new().fallback(handle).with_state(shared))?;
        Ok(Self { state, serving })
    }

    /// The endpoint to configure in place of AWS's.
    pub fn endpoint(&self) -> String {
        self.serving.url()
    }

    /// From now on, tokens are said to expire this long after they are issued.
    pub fn tokens_last(&self, lifetime: Duration) {
        lock(&self.state).lifetime = Lifetime::Left(lifetime);
    }

    /// From now on, tokens are said to have expired this long before they are issued, as moto has it.
    pub fn tokens_expired(&self, ago: Duration) {
        lock(&self.state).lifetime = Lifetime::Over(ago);
    }

    /// From now on, every answer takes this long.
    pub fn slow(&self, delay: Duration) {
        lock(&self.state).delay = delay;
    }

    /// Answers the next call with this status and AWS error type (`AccessDeniedException`, `ThrottlingException`, …).
    /// Called again, it also spoils the call after that.
    pub fn fail_next(&self, status: u16, error_type: &str) {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        lock(&self.state).failures.push((status, error_type.to_owned()));
    }

    /// Fails no further calls.
    pub fn heal(&self) {
        lock(&self.state).failures.clear();
    }

    /// Has the registry refuse every token issued so far, whatever was said of its expiry.
    pub fn revoke_tokens(&self) {
        let state = lock(&self.state);
        state.issued.iter().for_each(|login| state.accounts.revoke(login));
    }

    /// The tokens issued so far, oldest first, as the logins that they are.
    pub fn issued(&self) -> Vec<Login> {
        lock(&self.state).issued.clone()
    }

    /// The calls answered so far, oldest first.
    pub fn calls(&self) -> Vec<EcrCall> {
        lock(&self.state).calls.clone()
    }

    /// How many calls were under way at once, at most.
    pub fn most_at_once(&self) -> usize {
        lock(&self.state).most_running
    }
}

async fn handle(Shared(state): Shared<Arc<Mutex<State>>>, headers: HeaderMap) -> Response {
    let delay = lock(&state).enter();
    tokio::time::sleep(delay).await;
    lock(&state).answer(&headers)
}

impl State {
    fn enter(&mut self) -> Duration {
        self.running += 1;
        self.most_running = self.most_running.max(self.running);
        self.delay
    }

    fn answer(&mut self, headers: &HeaderMap) -> Response {
        self.running = self.running.saturating_sub(1);
        let (access_key_id, region) = signer(headers).unwrap_or_default();
        let answer = self.judge(headers, &access_key_id, &region);
        self.calls.push(EcrCall { access_key_id, region, status: answer.status() });
        answer
    }

    fn judge(&mut self, headers: &HeaderMap, access_key_id: &str, region: &str) -> Response {
        if headers.get("x-amz-target").is_none_or(|target| target != TARGET) {
            return error(StatusCode::BAD_REQUEST, "UnknownOperationException");
        }
        if !self.failures.is_empty() {
            let (status, error_type) = self.failures.remove(0);
            return error(status, &error_type);
        }
        if access_key_id != self.access_key_id {
            return error(StatusCode::BAD_REQUEST, "UnrecognizedClientException");
        }
        self.issue(region)
    }

    fn issue(&mut self, region: &str) -> Response {
        let login = Login::new("AWS", format!("ecr-{}", Uuid::new_v4().simple()));
        self.accounts.allow(&login);
        let data = json!({
            "authorizationToken": login.basic(),
            "expiresAt": self.lifetime.end(),
            "proxyEndpoint": format!("https://123456789012.dkr.ecr.{region}.amazonaws.com"),
        });
        self.issued.push(login);
        json_answer(StatusCode::OK, &json!({ "authorizationData": [data] }))
    }
}

impl Lifetime {
    /// Seconds since 1970.
    fn end(self) -> f64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        match self {
            Self::Left(left) => now.saturating_add(left).as_secs_f64(),
            Self::Over(ago) => now.saturating_sub(ago).as_secs_f64(),
        }
    }
}

/// Access key id and region from `AWS4-HMAC-SHA256 Credential=<id>/<date>/<region>/ecr/aws4_request, …`.
fn signer(headers: &HeaderMap) -> Option<(String, String)> {
    let header = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (_, credential) = header.split_once("Credential=")?;
    let mut parts = credential.split('/');
    let access_key_id = parts.next()?.to_owned();
    Some((access_key_id, parts.nth(1)?.to_owned()))
}

fn error(status: StatusCode, error_type: &str) -> Response {
    json_answer(status, &json!({ "__type": error_type, "message": error_type }))
}

fn json_answer(status: StatusCode, body: &Value) -> Response {
    (status, [(CONTENT_TYPE, "application/x-amz-json-1.1")], body.to_string()).into_response()
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
