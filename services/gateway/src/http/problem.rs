//! Errors as RFC 9457 problem documents: what is wrong, with which field, and what to do.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

/// A problem document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Problem {
    /// Kind of problem, `urn:waybill:problem:…`.
    #[serde(rename = "type")]
    kind: String,
    /// Short name of the status.
    title: &'static str,
    /// HTTP status.
    status: u16,
    /// What is wrong.
    detail: String,
    /// Field or header of the request that is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
    #[serde(skip)]
    #[schema(ignore)]
    header: Option<(header::HeaderName, HeaderValue)>,
}

impl Problem {
    /// A problem of a kind, such as `invalid-field`.
    pub(crate) fn new(status: StatusCode, kind: &str, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("urn:waybill:problem:{kind}"),
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

    pub(crate) fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    fn header(mut self, name: header::HeaderName, value: &'static str) -> Self {
        self.header = Some((name, HeaderValue::from_static(value)));
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let extra = self.header.clone();
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
        .header(header::WWW_AUTHENTICATE, "Bearer realm=\"waybill\"")
}

pub(crate) fn another_workspace() -> Problem {
    Problem::new(StatusCode::FORBIDDEN, "another-workspace", "the token is not for this workspace")
        .field("workspace")
        .remedy("use the token of the workspace that the request is about")
}

pub(crate) fn log_away(reason: &str) -> Problem {
    tracing::warn!(reason, "the event log does not acknowledge");
    Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "log-unavailable",
        "the event log did not acknowledge in time; whether it holds the event is not known",
    )
    .remedy("send the same request again; with the same Idempotency-Key it is recorded once")
    .header(header::RETRY_AFTER, "2")
}

pub(crate) fn method_not_allowed() -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "the route has no such method")
        .remedy("see /openapi.json")
}

pub(crate) fn no_such_route() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "no-such-route", "there is nothing at this path").remedy("see /openapi.json")
}
