//! A tiny cloud: posts are judged by a function, and a test can spoil the next answers or hold them all back.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{
        HeaderMap, Method, StatusCode, Uri,
        header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER},
    },
    response::{IntoResponse as _, Response},
};
use serde_json::Value;
use tokio::sync::Semaphore;

use super::{PrivateCa, Server};

/// A form, or JSON and a bearer token, as the cloud saw it.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) path: String,
    pub(crate) form: BTreeMap<String, String>,
    pub(crate) json: Option<Value>,
    pub(crate) authorization: String,
}

impl Call {
    /// A field, or nothing in it.
    pub(crate) fn field(&self, name: &str) -> &str {
        self.form.get(name).map_or("", String::as_str)
    }
}

pub(crate) struct Script {
    /// Seconds from now to a token's end.
    pub(crate) life: i64,
    /// Status and body of the next answers, whatever was asked.
    pub(crate) spoilt: Vec<(u16, String)>,
    /// Seconds that spoilt answers ask to wait.
    pub(crate) retry_after: Option<u64>,
    /// Every call so far.
    pub(crate) calls: Vec<Call>,
}

/// Answers the n-th call, from 1.
type Judge = fn(&Call, usize, &Script) -> (u16, Value);

struct Shared {
    judge: Judge,
    script: Mutex<Script>,
    gate: Semaphore,
}

pub(crate) struct FakeCloud {
    server: Server,
    shared: Arc<Shared>,
}

impl FakeCloud {
    pub(crate) async fn start(judge: Judge) -> Self {
        Self::start_on(judge, Server::start).await
    }

    /// With TLS: `https://` and its [`host`](Self::host).
    pub(crate) async fn start_tls(judge: Judge, ca: &PrivateCa) -> Self {
        Self::start_on(judge, |router| Server::start_tls(ca, router)).await
    }

    async fn start_on<S: Future<Output = Server>>(judge: Judge, serve: impl FnOnce(Router) -> S) -> Self {
        let script = Mutex::new(Script { life: 3600, spoilt: Vec::new(), retry_after: None, calls: Vec::new() });
        let shared = Arc::new(Shared { judge, script, gate: Semaphore::new(Semaphore::MAX_PERMITS) });
        let server = serve(Router::new().fallback(handle).with_state(shared.clone())).await;
        Self { server, shared }
    }

    pub(crate) fn url(&self) -> String {
        self.server.url()
    }

    pub(crate) fn host(&self) -> &str {
        self.server.host()
    }

    pub(crate) fn script(&self) -> MutexGuard<'_, Script> {
        self.shared.script.lock().unwrap()
    }

    pub(crate) fn calls(&self) -> usize {
        self.script().calls.len()
    }

    /// Spoils the next answer, after those that are spoilt already.
    pub(crate) fn spoil(&self, status: u16, body: impl ToString) {
        self.script().spoilt.push((status, body.to_string()));
    }

    /// Answers nothing from now on.
    pub(crate) fn hang(&self) {
        self.shared.gate.close();
    }
}

async fn handle(
    State(shared): State<Arc<Shared>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let authorization = headers.get(AUTHORIZATION).map_or("", |header| header.to_str().unwrap()).to_owned();
    let json = headers[CONTENT_TYPE] == "application/json" && !authorization.is_empty();
    let posted = method == Method::POST && (json || headers[CONTENT_TYPE] == "application/x-www-form-urlencoded");
    assert!(
        posted && uri.query().is_none(),
        "{method} {uri}: a token is asked for by what is posted, and by nothing in the address"
    );
    let form = if json { BTreeMap::new() } else { form_urlencoded::parse(&body).into_owned().collect() };
    let json = json.then(|| serde_json::from_slice(&body).unwrap());
    let call = Call { path: uri.path().to_owned(), form, json, authorization };
    let number = {
        let mut script = shared.script.lock().unwrap();
        script.calls.push(call.clone());
        script.calls.len()
    };
    if shared.gate.acquire().await.is_err() {
        std::future::pending::<()>().await;
    }
    let mut script = shared.script.lock().unwrap();
    let (status, body, wait) = if script.spoilt.is_empty() {
        let (status, body) = (shared.judge)(&call, number, &script);
        (status, body.to_string(), None)
    } else {
        let (status, body) = script.spoilt.remove(0);
        (status, body, script.retry_after)
    };
    let mut answer =
        (StatusCode::from_u16(status).unwrap(), [(CONTENT_TYPE, "application/json")], body).into_response();
    answer.headers_mut().extend(wait.map(|seconds| (RETRY_AFTER, seconds.into())));
    answer
}
