//! The server span of a request, continued from the caller's trace (OpenTelemetry HTTP conventions), and the line that a
//! refused one leaves.

use std::time::Instant;

use axum::{
    extract::{MatchedPath, Request},
    http::{Method, StatusCode},
    middleware::Next,
    response::Response,
};
use tracing::{Instrument as _, Span, field::Empty};
use waybill_platform::{metrics, trace};

use super::problem::Refusal;

/// Opens the span around a request.
pub(super) async fn trace(request: Request, next: Next) -> Response {
    let span = open(&request);
    let route = route(&request).to_owned();
    let method = known_method(request.method());
    let began = Instant::now();
    let response = next.run(request).instrument(span.clone()).await;
    if let Some(refusal) = response.extensions().get::<Refusal>() {
        span.in_scope(|| tell_refused(&route, response.status(), refusal));
    }
    // The OpenTelemetry layer writes unsigned numbers as text.
    span.record("http.response.status_code", i64::from(response.status().as_u16()));
    metrics::answered(method, route, response.status().as_u16(), began.elapsed());
    if response.status().is_server_error() {
        // A client's mistake is no error of this server.
        trace::record_error(&span, response.status().as_str(), &response.status());
    }
    response
}

/// A client that is refused may not tell anyone: its operator finds it here. What it sent is left out.
fn tell_refused(route: &str, status: StatusCode, refusal: &Refusal) {
    metrics::request_refused(refusal.code);
    let (code, field, status) = (refusal.code, refusal.field.as_deref(), status.as_u16());
    match status {
        // Looking whether something is there, and losing a race, are no mistakes.
        404 | 409 => tracing::debug!(route, status, code, field, "request refused"),
        // Those that say what is wrong with the gateway have lines of their own.
        500.. => {}
        _ => tracing::warn!(route, status, code, field, "request refused"),
    }
}

/// Clients may make methods up, and each would be a time series.
fn known_method(method: &Method) -> &'static str {
    let known = ["GET", "PUT", "POST", "DELETE", "HEAD", "OPTIONS", "PATCH"];
    known.into_iter().find(|name| method == name).unwrap_or("_OTHER")
}

fn route(request: &Request) -> &str {
    request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str)
}

fn open(request: &Request) -> Span {
    let route = route(request);
    let span = tracing::info_span!(
        parent: None,
        "http",
        otel.name = format!("{} {route}", request.method()),
        otel.kind = "server",
        http.request.method = %request.method(),
        http.route = route,
        url.path = request.uri().path(),
        url.scheme = "http",
        network.protocol.name = "http",
        http.response.status_code = Empty,
        error.r#type = Empty,
        otel.status_code = Empty,
        otel.status_description = Empty,
    );
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    trace::continue_from(&span, header("traceparent"), header("tracestate"));
    span
}
