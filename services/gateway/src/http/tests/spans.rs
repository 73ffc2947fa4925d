//! The server span of a request, and the trace that its answer and its event name.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::http::StatusCode;
use opentelemetry::{
    Context, SpanId, Value as Attribute,
    trace::{SpanKind, Status, TracerProvider as _},
};
use opentelemetry_sdk::{
    error::OTelSdkResult,
    trace::{SdkTracerProvider, Span, SpanData, SpanProcessor},
};
use serde_json::json;
use tracing_subscriber::layer::SubscriberExt as _;

use waybill_platform::testing::Failure;

use super::support::{Gateway, post};

/// Spans that ended.
#[derive(Debug, Clone, Default)]
struct Ended(Arc<Mutex<Vec<SpanData>>>);

impl SpanProcessor for Ended {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        self.0.lock().unwrap().push(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

impl Ended {
    fn of_kind(&self, kind: &SpanKind) -> Vec<SpanData> {
        self.0.lock().unwrap().iter().filter(|span| span.span_kind == *kind).cloned().collect()
    }

    /// The only server span.
    fn only(&self) -> SpanData {
        let [span] = self.of_kind(&SpanKind::Server).try_into().unwrap();
        span
    }
}

fn attribute(span: &SpanData, key: &str) -> Option<Attribute> {
    span.attributes.iter().find(|attribute| attribute.key.as_str() == key).map(|attribute| attribute.value.clone())
}

fn traced(provider: &SdkTracerProvider) -> tracing::subscriber::DefaultGuard {
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
    tracing::subscriber::set_default(tracing_subscriber::registry().with(layer))
}

fn provider() -> (SdkTracerProvider, Ended) {
    let ended = Ended::default();
    (SdkTracerProvider::builder().with_span_processor(ended.clone()).build(), ended)
}

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

#[tokio::test]
async fn a_request_continues_its_callers_trace() {
    let (provider, ended) = provider();
    let _guard = traced(&provider);
    let gateway = Gateway::new().await;
    let body = json!({"workspace": "acme", "image_id": "i", "base_image": "a.b/c", "base_image_creds": "u:p"});
    let request = post("/v1/builds").header("traceparent", format!("00-{TRACE}-b7ad6b7169203331-01"));
    let answer = gateway.send(request.body(body.to_string().into()).unwrap()).await;
    assert_eq!(answer.json()["trace_id"], TRACE);
    let span = ended.only();
    assert_eq!((span.name.as_ref(), span.span_kind.clone()), ("POST /v1/builds", SpanKind::Server));
    assert_eq!(span.parent_span_id, SpanId::from_hex("b7ad6b7169203331").unwrap());
    let expected = [
        ("http.request.method", Attribute::from("POST")),
        ("http.route", "/v1/builds".into()),
        ("url.path", "/v1/builds".into()),
        ("url.scheme", "http".into()),
        ("http.response.status_code", 201_i64.into()),
    ];
    for (key, value) in expected {
        assert_eq!(attribute(&span, key), Some(value), "{key}");
    }
    assert_eq!(span.status, Status::Unset);
    let published = ended.of_kind(&SpanKind::Producer);
    let published: Vec<_> =
        published.iter().filter(|publish| publish.parent_span_id == span.span_context.span_id()).collect();
    assert_eq!(published.len(), 2, "the secret's event and the image's");
    for (event, publish) in gateway.events().iter().zip(published) {
        let context = event.envelope.traceparent.as_ref().unwrap();
        assert_eq!(context.as_str(), format!("00-{TRACE}-{}-01", publish.span_context.span_id()));
    }
}

#[tokio::test]
async fn without_a_caller_a_trace_begins() {
    let malformed = ["", "garbage", "00-00000000000000000000000000000000-b7ad6b7169203331-01"];
    for traceparent in malformed {
        let (provider, ended) = provider();
        let _guard = traced(&provider);
        let body = json!({"workspace": "acme", "container_id": "c", "worker_id": "w"}).to_string();
        let request = post("/v1/containers").header("traceparent", traceparent).body(body.into()).unwrap();
        let answer = Gateway::new().await.send(request).await;
        let span = ended.only();
        assert_eq!(span.parent_span_id, SpanId::INVALID, "{traceparent}");
        assert_eq!(answer.json()["trace_id"], span.span_context.trace_id().to_string(), "{traceparent}");
    }
}

#[tokio::test]
async fn a_replay_names_the_trace_that_recorded() {
    let (provider, _) = provider();
    let _guard = traced(&provider);
    let gateway = Gateway::new().await;
    let body = json!({"workspace": "acme", "container_id": "c", "worker_id": "w"});
    let first = gateway.post_once("/v1/containers", "k", &body).await.json();
    let again = gateway.post_once("/v1/containers", "k", &body).await;
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    assert_eq!(again.json()["trace_id"], first["trace_id"]);
}

#[tokio::test]
async fn only_the_servers_own_failures_are_errors() {
    let cases = [
        (None, "i", StatusCode::OK, false),
        (None, "a.b", StatusCode::UNPROCESSABLE_ENTITY, false),
        (Some(Failure::Unavailable), "i", StatusCode::SERVICE_UNAVAILABLE, true),
        (Some(Failure::Refused(10054)), "i", StatusCode::INTERNAL_SERVER_ERROR, true),
    ];
    for (failure, image_id, status, failed) in cases {
        let (provider, ended) = provider();
        let _guard = traced(&provider);
        let gateway = Gateway::new().await;
        failure.iter().for_each(|failure| gateway.fail(failure));
        let answer = gateway.post("/v1/builds", &json!({"workspace": "acme", "image_id": image_id})).await;
        assert_eq!(answer.status, status);
        let span = ended.only();
        assert_eq!(matches!(span.status, Status::Error { .. }), failed, "{status}: {:?}", span.status);
        let kind = failed.then(|| Attribute::from(status.as_str().to_owned()));
        assert_eq!(attribute(&span, "error.type"), kind, "{status}");
    }
}

#[tokio::test]
async fn without_a_collector_there_is_a_trace_id_all_the_same() {
    let provider = SdkTracerProvider::builder().build();
    let _guard = traced(&provider);
    let gateway = Gateway::new().await;
    let answer = gateway.post("/v1/builds", &json!({"workspace": "acme", "image_id": "i"})).await.json();
    assert_eq!(answer["trace_id"].as_str().unwrap().len(), 32);
    let traceparent = gateway.events()[0].envelope.traceparent.clone().unwrap();
    assert_eq!(traceparent.trace_id(), answer["trace_id"].as_str().unwrap());
}
