//! What spans and errors say of a failure.

use std::{error::Error, fmt::Display};

use tracing::Span;

/// Marks a span as failed. The span must have the fields `otel.status_code` and `otel.status_description`.
pub(crate) fn record_outcome(span: &Span, error: Option<&impl Display>) {
    if let Some(error) = error {
        span.record("otel.status_code", "ERROR");
        span.record("otel.status_description", error.to_string());
    }
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
