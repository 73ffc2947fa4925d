//! What spans and errors say of a failure.

use std::error::Error;

use tracing::{Instrument as _, Span};

use crate::provider::ProviderError;

/// Marks a span as failed. The span must have the fields `error.type`, `otel.status_code` and `otel.status_description`.
pub(crate) fn record_outcome(span: &Span, error: Option<&ProviderError>) {
    if let Some(error) = error {
        span.record("error.type", error.failure().as_str());
        span.record("otel.status_code", "ERROR");
        span.record("otel.status_description", error.to_string());
    }
}

/// Asks a cloud for a token, in a client span of this name that has the outcome.
pub(crate) async fn trace_exchange<T>(
    name: &'static str,
    asking: impl Future<Output = Result<T, ProviderError>>,
) -> Result<T, ProviderError> {
    let span = tracing::info_span!(
        "exchange",
        otel.name = name,
        otel.kind = "client",
        error.r#type = tracing::field::Empty,
        otel.status_code = tracing::field::Empty,
        otel.status_description = tracing::field::Empty,
    );
    let outcome = asking.instrument(span.clone()).await;
    record_outcome(&span, outcome.as_ref().err());
    outcome
}

/// The error and its causes: `outer: cause: cause of the cause`.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
