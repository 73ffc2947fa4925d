//! A gateway without a network, and what its tests ask of it.

use std::{
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderMap, Request, StatusCode, header, request::Builder},
};
use serde_json::Value;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;
use tracing_subscriber::fmt::MakeWriter;
use waybill_platform::{health::HealthState, sealing::PrivateKey};

use crate::{
    config::Limits,
    fake::Fake,
    http::{App, router},
    port::Verifies,
    record::Recorder,
    tokens,
};

/// Token of the workspace `acme`.
pub(super) const TOKEN: &str = "wb_acme_token";
/// Token of the workspace `other`.
pub(super) const OTHER_TOKEN: &str = "wb_other_token";

pub(super) struct Gateway {
    pub(super) log: Arc<Fake>,
    pub(super) health: HealthState,
    pub(super) scheduler: PrivateKey,
    pub(super) recordings: TaskTracker,
    pub(super) router: Router,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) text: String,
}

impl Answer {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

impl Gateway {
    pub(super) fn new() -> Self {
        // Long enough for a busy machine, short enough to wait for.
        let short = Duration::from_millis(200);
        Self::with(Limits { body_bytes: 256 * 1024, body: short, append: short, drain: short })
    }

    /// One that may ask registries.
    pub(super) fn verifying(verifies: Arc<dyn Verifies>) -> Self {
        let short = Duration::from_millis(200);
        Self::made(Limits { body_bytes: 256 * 1024, body: short, append: short, drain: short }, Some(verifies))
    }

    pub(super) fn with(limits: Limits) -> Self {
        Self::made(limits, None)
    }

    fn made(limits: Limits, verifies: Option<Arc<dyn Verifies>>) -> Self {
        let recordings = TaskTracker::new();
        let (log, health) = (Arc::new(Fake::default()), HealthState::default());
        let (gateway, scheduler) = (PrivateKey::generate(), PrivateKey::generate());
        let file = format!("acme {}\nother {}\n", tokens::hash(TOKEN), tokens::hash(OTHER_TOKEN));
        let app = App {
            recorder: Recorder { log: log.clone(), limit: limits.append },
            explains: log.clone(),
            verifies,
            tokens: file.parse().unwrap(),
            sealing_key: gateway,
            scheduler_key: scheduler.public().unwrap(),
            limits,
            recordings: recordings.clone(),
        };
        let router = router(Arc::new(app), &health);
        Self { log, health, scheduler, recordings, router }
    }

    pub(super) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let text = String::from_utf8(to_bytes(body, usize::MAX).await.unwrap().to_vec()).unwrap();
        Answer { status: parts.status, headers: parts.headers, text }
    }

    pub(super) async fn get(&self, path: &str) -> Answer {
        self.send(Request::get(path).body(Body::empty()).unwrap()).await
    }

    /// Posts a body as `acme`.
    pub(super) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(post(path).body(body.to_string().into()).unwrap()).await
    }

    /// Posts a body as `acme`, with an idempotency key.
    pub(super) async fn post_once(&self, path: &str, key: &str, body: &Value) -> Answer {
        self.send(post(path).header("Idempotency-Key", key).body(body.to_string().into()).unwrap()).await
    }
}

/// A request by `acme`, still without a body.
pub(super) fn post(path: &str) -> Builder {
    bare(path).header(header::AUTHORIZATION, format!("Bearer {TOKEN}"))
}

/// A request by nobody, still without a body.
pub(super) fn bare(path: &str) -> Builder {
    Request::post(path).header(header::CONTENT_TYPE, "application/json")
}

/// Log lines of the current thread, as JSON objects.
#[derive(Clone, Default)]
pub(super) struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    /// Captures everything from here on, at every level and of every target, until the guard is dropped.
    pub(super) fn capture() -> (Self, tracing::subscriber::DefaultGuard) {
        let lines = Self::default();
        let subscriber = tracing_subscriber::fmt()
            .json()
            .flatten_event(true)
            .with_max_level(tracing::Level::TRACE)
            .with_span_events(tracing_subscriber::fmt::format::FmtSpan::FULL)
            .with_writer(lines.clone())
            .finish();
        (lines, tracing::subscriber::set_default(subscriber))
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    /// Lines with this message.
    pub(super) fn with(&self, message: &str) -> Vec<Value> {
        let text = self.text();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.filter(|line| line["message"] == message).collect()
    }
}

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'w> MakeWriter<'w> for Lines {
    type Writer = Self;

    fn make_writer(&'w self) -> Self {
        self.clone()
    }
}
