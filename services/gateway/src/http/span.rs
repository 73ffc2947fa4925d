//! The server span of a request, continued from the caller's trace (OpenTelemetry HTTP conventions).

use axum::{
    extract::{MatchedPath, Request},
    middleware::Next,
    response::Response,
};
use tracing::{Instrument as _, Span, field::Empty};
use waybill_platform::trace;

/// Opens the span around a request.
pub(super) async fn trace(request: Request, next: Next) -> Response {
    let span = open(&request);
    let response = next.run(request).instrument(span.clone()).await;
    // The OpenTelemetry layer writes unsigned numbers as text.
    span.record("http.response.status_code", i64::from(response.status().as_u16()));
    if response.status().is_server_error() {
        // A client's mistake is no error of this server.
        span.record("error.type", response.status().as_str());
        trace::record_outcome(&span, Some(&response.status()));
    }
    response
}

fn open(request: &Request) -> Span {
    let route = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
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
