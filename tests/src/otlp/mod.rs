//! An in-process OTLP collector (HTTP, protobuf) whose spans and metrics a test can ask for.

mod decode;
mod metric;
mod span;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State as Shared};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bytes::Bytes;
use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use prost::Message as _;

pub use metric::Point;
pub use span::{Kind, Link, Span};

use crate::error::StartError;
use crate::serving::Serving;
use crate::wait::{TimedOut, eventually};

const PROTOBUF: &str = "application/x-protobuf";

/// A running collector; it stops when dropped.
#[derive(Debug)]
pub struct Collector {
    received: Arc<Mutex<Received>>,
    serving: Serving,
}

#[derive(Debug, Default)]
struct Received {
    spans: Vec<Span>,
    /// The newest export of each service.
    metrics: Vec<Point>,
    raw: Vec<Bytes>,
}

impl Collector {
    /// Starts one on a free port of 127.0.0.1.
    pub fn start() -> Result<Self, StartError> {
        let received = Arc::new(Mutex::new(Received::default()));
        let shared = received.clone();
        let serving = Serving::start("the OTLP collector", |_| {
            let traces = post(receive).layer(DefaultBodyLimit::disable());
            let metrics = post(receive_metrics).layer(DefaultBodyLimit::disable());
            Router::new().route("/v1/traces", traces).route("/v1/metrics", metrics).with_state(shared)
        })?;
        Ok(Self { received, serving })
    }

    /// The value for `OTEL_EXPORTER_OTLP_ENDPOINT`.
    pub fn endpoint(&self) -> String {
        self.serving.url()
    }

    /// Every span received so far, in the order received.
    pub fn spans(&self) -> Vec<Span> {
        lock(&self.received).spans.clone()
    }

    /// The spans of this service and name.
    pub fn find(&self, service: &str, name: &str) -> Vec<Span> {
        self.spans().into_iter().filter(|span| span.service == service && span.name == name).collect()
    }

    /// The spans of one trace, given by its id in hexadecimal.
    pub fn trace(&self, trace_id: &str) -> Vec<Span> {
        self.spans().into_iter().filter(|span| span.trace_id == trace_id).collect()
    }

    /// The points of every service's newest export.
    pub fn metrics(&self) -> Vec<Point> {
        lock(&self.received).metrics.clone()
    }

    /// Waits until `found` sees what it looks for in all spans so far; `what` names it in the error.
    pub async fn wait_for<T>(
        &self,
        timeout: Duration,
        what: &str,
        mut found: impl FnMut(&[Span]) -> Option<T>,
    ) -> Result<T, TimedOut> {
        eventually(timeout, what, async || found(&lock(&self.received).spans)).await
    }

    /// The request bodies received so far, as they came.
    pub fn raw(&self) -> Vec<Bytes> {
        lock(&self.received).raw.clone()
    }

    /// Writes all request bodies into one file, for a search through everything that was exported.
    pub fn save_raw(&self, file: &Path) -> std::io::Result<()> {
        std::fs::write(file, self.raw().concat())
    }
}

async fn receive(Shared(received): Shared<Arc<Mutex<Received>>>, headers: HeaderMap, body: Bytes) -> Response {
    if headers.get(CONTENT_TYPE).is_none_or(|kind| kind != PROTOBUF) {
        return StatusCode::UNSUPPORTED_MEDIA_TYPE.into_response();
    }
    let Ok(request) = ExportTraceServiceRequest::decode(body.clone()) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let mut received = lock(&received);
    received.spans.extend(decode::spans(request));
    received.raw.push(body);
    ([(CONTENT_TYPE, PROTOBUF)], ExportTraceServiceResponse::default().encode_to_vec()).into_response()
}

async fn receive_metrics(Shared(received): Shared<Arc<Mutex<Received>>>, headers: HeaderMap, body: Bytes) -> Response {
    if headers.get(CONTENT_TYPE).is_none_or(|kind| kind != PROTOBUF) {
        return StatusCode::UNSUPPORTED_MEDIA_TYPE.into_response();
    }
    let Ok(request) = ExportMetricsServiceRequest::decode(body.clone()) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let points: Vec<Point> = metric::points(request).collect();
    let mut received = lock(&received);
    received.metrics.retain(|old| points.iter().all(|new| new.service != old.service));
    received.metrics.extend(points);
    received.raw.push(body);
    ([(CONTENT_TYPE, PROTOBUF)], ExportMetricsServiceResponse::default().encode_to_vec()).into_response()
}

fn lock(received: &Mutex<Received>) -> MutexGuard<'_, Received> {
    received.lock().unwrap_or_else(PoisonError::into_inner)
}
