//! Errors as RFC 9457 problem documents: what is wrong, with which field, and what to do.

use axum::{
    Json,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Serialize, Serializer};
use utoipa::ToSchema;
use waybill_schemas::MAX_BODY_BYTES;

use crate::record::RecordError;

/// A problem document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Problem {
    /// Kind of problem, `urn:waybill:problem:…`.
    #[serde(rename = "type", serialize_with = "as_urn")]
    #[schema(value_type = String, example = "urn:waybill:problem:invalid-field")]
    kind: &'static str,
    /// Short name of the status.
    title: &'static str,
    /// HTTP status.
    status: u16,
    /// What is wrong.
    detail: String,
    /// Field or header of the request that is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    field: Option<String>,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    remedy: Option<&'static str>,
    /// Name and value of one more header.
    #[serde(skip)]
    #[schema(ignore)]
    header: Option<&'static (&'static str, &'static str)>,
}

fn as_urn<S: Serializer>(kind: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("urn:waybill:problem:{kind}"))
}

impl Problem {
    /// A problem of a kind, such as `invalid-field`.
    pub(crate) fn new(status: StatusCode, kind: &'static str, detail: impl Into<String>) -> Self {
        Self {
            kind,
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            detail: detail.into(),
            field: None,
            remedy: None,
            header: None,
        }
    }

    /// A field whose value cannot be used.
    pub(crate) fn invalid(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid-field", detail).field(field)
    }

    pub(crate) fn field(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    pub(crate) fn remedy(mut self, remedy: &'static str) -> Self {
        self.remedy = Some(remedy);
        self
    }

    fn header(mut self, header: &'static (&'static str, &'static str)) -> Self {
        self.header = Some(header);
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let extra = self.header.map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        let mut response = (status, Json(self)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.extend(extra);
        response
    }
}

pub(crate) fn unauthenticated() -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "unauthenticated", "the request has no valid bearer token")
        .field("Authorization")
        .remedy("send `Authorization: Bearer <token>`; `waybill init` wrote the token to tokens/<workspace>.token")
        .header(&("www-authenticate", "Bearer realm=\"waybill\""))
}

pub(crate) fn another_workspace() -> Problem {
    Problem::new(StatusCode::FORBIDDEN, "another-workspace", "the token is not for this workspace")
        .field("workspace")
        .remedy("use the token of the workspace that the request is about")
}

fn log_away(reason: &str) -> Problem {
    tracing::warn!(reason, "the event log does not acknowledge");
    Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "log-unavailable",
        "the event log did not acknowledge in time; whether it holds the event is not known",
    )
    .remedy("send the same request again; with the same Idempotency-Key it is recorded once")
    .header(&("retry-after", "2"))
}

pub(crate) fn log_unread(reason: &str) -> Problem {
    tracing::warn!(reason, "the event log cannot be read");
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "log-unavailable", "the event log does not answer")
        .remedy("ask again; `waybill explain` asks the log without this gateway")
        .header(&("retry-after", "2"))
}

fn log_refuses(reason: &str) -> Problem {
    tracing::error!(reason, "the event log refuses what this gateway publishes");
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "log-refused", "the event log refuses the event")
        .remedy("look at the gateway's log; are its NATS permissions those that `waybill init` writes?")
}

fn key_reused() -> Problem {
    let detail = "the Idempotency-Key was used for another request about the same image or container";
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "idempotency-key-reused", detail)
        .field("Idempotency-Key")
        .remedy("use a new key for a new request")
}

fn event_too_large(bytes: usize) -> Problem {
    let detail = format!("sealed, the event would have {bytes} bytes; at most {MAX_BODY_BYTES} are recorded");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "event-too-large", detail)
        .remedy("send only the credentials that the image needs")
}

impl From<RecordError> for Problem {
    fn from(error: RecordError) -> Self {
        match error {
            RecordError::Unavailable(reason) => log_away(&reason),
            RecordError::Unread(reason) => log_unread(&reason),
            RecordError::Refused(reason) => log_refuses(&reason),
            RecordError::KeyReused => key_reused(),
            RecordError::TooLarge(bytes) => event_too_large(bytes),
        }
    }
}

pub(crate) fn internal() -> Problem {
    Problem::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "internal",
        "the gateway failed; whether the event is recorded is not known",
    )
    .remedy("send the same request again; with the same Idempotency-Key it is recorded once")
}

pub(crate) fn method_not_allowed() -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "the route has no such method")
        .remedy("see /openapi.json")
}

pub(crate) fn no_such_route() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "no-such-route", "there is nothing at this path").remedy("see /openapi.json")
}
