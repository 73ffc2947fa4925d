//! Errors as RFC 9457 problem documents: what is wrong, with which field, and what to do.

use std::borrow::Cow;

use axum::{
    Json,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Serialize, Serializer};
use utoipa::ToSchema;
use waybill_domain::secret::SecretRefusal;
use waybill_schemas::{MAX_BODY_BYTES, v1::TokenRole};

use crate::{record::RecordError, versions::LARGEST_CREDENTIALS};

/// A problem document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Problem {
    /// Kind of problem, `urn:waybill:problem:` and the code.
    #[serde(rename = "type", serialize_with = "as_urn")]
    #[schema(value_type = String, example = "urn:waybill:problem:invalid_field")]
    kind: &'static str,
    /// The kind as one word.
    #[schema(example = "invalid_field")]
    code: &'static str,
    /// Short name of the status.
    #[serde(serialize_with = "as_title")]
    #[schema(value_type = String, example = "Unprocessable Entity")]
    title: StatusCode,
    /// HTTP status.
    #[serde(serialize_with = "as_number")]
    #[schema(value_type = u16, example = 422)]
    status: StatusCode,
    /// What is wrong.
    #[schema(value_type = String)]
    detail: Cow<'static, str>,
    /// Field or header of the request that is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = String)]
    field: Option<Box<str>>,
    /// With `version_conflict` and `withdrawn`: the present version of the secret, 0 where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    version: Option<u64>,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    remedy: Option<&'static str>,
    /// Name and value of one more header.
    #[serde(skip)]
    #[schema(ignore)]
    header: Option<&'static (&'static str, &'static str)>,
    /// True if the field's name is the client's own, which could be anything.
    #[serde(skip)]
    #[schema(ignore)]
    foreign_field: bool,
    /// True if the detail is words of the gateway alone, though they were put together for this request.
    #[serde(skip)]
    #[schema(ignore)]
    own_words: bool,
}

fn as_urn<S: Serializer>(kind: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("urn:waybill:problem:{kind}"))
}

fn as_title<S: Serializer>(status: &StatusCode, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(status.canonical_reason().unwrap_or("Error"))
}

fn as_number<S: Serializer>(status: &StatusCode, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u16(status.as_u16())
}

/// What a refused request leaves in logs and metrics: nothing that the client wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) code: &'static str,
    pub(super) field: Option<Box<str>>,
    /// What is wrong, where that is words of the gateway alone.
    pub(super) detail: Option<Box<str>>,
    pub(super) remedy: Option<&'static str>,
}

impl Problem {
    /// A problem of a kind, such as `invalid_field`.
    pub(crate) fn new(status: StatusCode, code: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind: code,
            code,
            title: status,
            status,
            detail: detail.into(),
            field: None,
            version: None,
            remedy: None,
            header: None,
            foreign_field: false,
            own_words: false,
        }
    }

    /// A field whose value cannot be used.
    pub(crate) fn invalid(field: impl Into<String>, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_field", detail).field(field)
    }

    /// A field that there is not, by the client's name for it.
    /// The detail must repeat nothing of the request.
    pub(crate) fn unknown_field(name: String, detail: Cow<'static, str>) -> Self {
        Self { foreign_field: true, ..Self::invalid(name, detail) }.in_own_words()
    }

    /// Says that the detail repeats nothing of the request, so that the log may hold it.
    pub(crate) fn in_own_words(mut self) -> Self {
        self.own_words = true;
        self
    }

    pub(crate) fn field(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into().into());
        self
    }

    fn version(mut self, version: u64) -> Self {
        self.version = Some(version);
        self
    }

    pub(crate) fn remedy(mut self, remedy: &'static str) -> Self {
        self.remedy = Some(remedy);
        self
    }

    pub(crate) fn header(mut self, header: &'static (&'static str, &'static str)) -> Self {
        self.header = Some(header);
        self
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    /// Short name of the status.
    pub(crate) fn title(&self) -> &'static str {
        self.status.canonical_reason().unwrap_or("Error")
    }

    /// What is wrong.
    pub(crate) fn detail(&self) -> &str {
        &self.detail
    }

    /// The remedy, where there is one.
    pub(crate) fn what_to_do(&self) -> Option<&'static str> {
        self.remedy
    }

    /// What may be told of it to others than the client. A text of the program is nobody's secret; one that was put together may
    /// hold a part of the request.
    pub(crate) fn refusal(&self) -> Refusal {
        let is_own = self.own_words || matches!(self.detail, Cow::Borrowed(_));
        Refusal {
            status: self.status,
            code: self.code,
            field: self.field.clone().filter(|_| !self.foreign_field),
            detail: is_own.then(|| self.detail.as_ref().into()),
            remedy: self.remedy,
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.status;
        let extra = self.header.map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        let refusal = self.refusal();
        let mut response = (status, Json(self)).into_response();
        response.extensions_mut().insert(refusal);
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
    Problem::new(StatusCode::FORBIDDEN, "another_workspace", "the token is not for this workspace")
        .field("workspace")
        .remedy("use the token of the workspace that the request is about")
}

pub(crate) fn not_for_this(role: TokenRole) -> Problem {
    Problem::new(StatusCode::FORBIDDEN, "wrong_role", format!("the token is not for this: it has not the role {role}"))
        .in_own_words()
        .field("Authorization")
        .remedy("use a token that has it; an administrator makes one: `waybill token create NAME --role ROLE`")
}

pub(crate) fn no_such_secret() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "not_found", "there is no secret of this name")
        .field("secret_name")
        .remedy("see GET /v1/secrets/<workspace>")
}

pub(crate) const RETRY: (&str, &str) = ("retry-after", "2");
const RETRY_FULL: (&str, &str) = ("retry-after", "30");

pub(crate) fn unavailable(code: &'static str, detail: impl Into<Cow<'static, str>>) -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, code, detail)
}

fn log_away(reason: &str) -> Problem {
    tracing::warn!(reason, "the event log does not acknowledge");
    unavailable("log_unavailable", "the event log did not acknowledge in time; whether it holds the event is not known")
        .remedy("send the same request again; with the same Idempotency-Key it is recorded once")
        .header(&RETRY)
}

pub(crate) fn log_unread(reason: &str) -> Problem {
    tracing::warn!(reason, "the event log cannot be read");
    unavailable("log_unavailable", "the event log does not answer")
        .remedy("send the same request again; with the same Idempotency-Key it is recorded once")
        .header(&RETRY)
}

/// The gateway has only just begun to read the log.
pub(crate) fn still_reading(position: u64) -> Problem {
    let detail = format!("the gateway is still reading the log, and is at sequence {position}");
    unavailable("still_reading", detail).remedy("ask again").header(&RETRY)
}

pub(crate) fn too_many_streams() -> Problem {
    unavailable("too_many_streams", "others have all the streams of events that this gateway serves")
        .remedy("read events page by page")
        .header(&RETRY_FULL)
}

fn log_full(reason: &str) -> Problem {
    tracing::warn!(reason, "the event log has no room");
    unavailable("log_full", "the event log has no room; whether it holds the event is not known")
        .remedy("have the operator make room on the NATS servers, then send the same request again")
        .header(&RETRY_FULL)
}

fn log_refuses(reason: &str) -> Problem {
    tracing::error!(reason, "the event log refuses what this gateway asks for");
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "log_refused", "the event log refuses the event")
        .remedy("look at the gateway's log; are its NATS permissions those that `waybill init` writes?")
}

fn unreadable(reason: &str) -> Problem {
    tracing::error!(reason, "what the event log holds cannot be read");
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "unreadable_event", "what the event log holds cannot be read")
        .remedy("look at the gateway's log; was the event written by a newer version?")
}

fn no_scheduler_key() -> Problem {
    tracing::warn!("the scheduler has published no key to seal to");
    unavailable("no_scheduler_key", "there is no key to seal credentials to; nothing was saved")
        .remedy("start `waybill scheduler`, which publishes its key, then send the same request again")
        .header(&RETRY)
}

fn unsealable(reason: &str) -> Problem {
    tracing::error!(reason, "credentials cannot be sealed to the scheduler");
    let detail = "the credentials cannot be sealed to the scheduler's key";
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "sealing", detail).remedy("rotate it: `waybill keys rotate`")
}

fn contended() -> Problem {
    unavailable("contended", "others changed the secret each time; nothing was recorded")
        .remedy("send the same request again")
        .header(&RETRY)
}

fn key_reused() -> Problem {
    let detail = "the Idempotency-Key was used for another request about the same image, container or secret";
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "idempotency_key_reused", detail)
        .field("Idempotency-Key")
        .remedy("use a new key for a new request")
}

fn event_too_large(bytes: usize) -> Problem {
    let detail = format!("the event would have {bytes} bytes; at most {MAX_BODY_BYTES} are recorded");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "event_too_large", detail)
        .remedy("send only the credentials that the image needs")
}

fn credentials_too_large(bytes: usize) -> Problem {
    let detail = format!("the credentials have {bytes} bytes; at most {LARGEST_CREDENTIALS} are kept");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "credentials_too_large", detail)
        .remedy("send only the credentials that the image needs")
}

fn conflict(code: &'static str, detail: impl Into<Cow<'static, str>>) -> Problem {
    Problem::new(StatusCode::CONFLICT, code, detail)
}

fn secret_refused(refusal: &SecretRefusal) -> Problem {
    let said = refusal.to_string();
    match refusal {
        SecretRefusal::Unknown => no_such_secret(),
        SecretRefusal::Withdrawn { version } => {
            conflict("withdrawn", said).version(*version).remedy("nothing is left to do")
        }
        SecretRefusal::RegistryMismatch { .. } => {
            conflict("registry_mismatch", said).field("registry").remedy("use another name for another registry")
        }
        SecretRefusal::VersionConflict { present, .. } => conflict("version_conflict", said)
            .field("if_version")
            .version(*present)
            .remedy("look at the present version, then ask again with its number"),
    }
}

fn unknown_placement(placement: u64) -> Problem {
    let detail = format!("there is no placement {placement} of this container");
    Problem::new(StatusCode::NOT_FOUND, "not_found", detail)
        .field("placement")
        .remedy("send the number that POST /v1/containers answered with")
}

impl From<RecordError> for Problem {
    fn from(error: RecordError) -> Self {
        match error {
            RecordError::Unacknowledged(reason) => log_away(&reason),
            RecordError::Unread(reason) => log_unread(&reason),
            RecordError::Full(reason) => log_full(&reason),
            RecordError::Refused(reason) => log_refuses(&reason),
            RecordError::Unreadable(reason) => unreadable(&reason),
            RecordError::KeyReused => key_reused(),
            RecordError::EventTooLarge(bytes) => event_too_large(bytes),
            RecordError::CredentialsTooLarge(bytes) => credentials_too_large(bytes),
            RecordError::Contended => contended(),
            RecordError::NoSchedulerKey => no_scheduler_key(),
            RecordError::Unsealable(reason) => unsealable(&reason),
            RecordError::NoFreeName => conflict("no_free_name", "every default name of the registry's secret is taken")
                .remedy("name the secret in the build: base_image_secret or existing_image_secret"),
            RecordError::Secret(refusal) => secret_refused(&refusal),
            RecordError::UnknownPlacement(placement) => unknown_placement(placement),
            RecordError::Credentials(why) => Problem::invalid("credentials", why),
            RecordError::VerificationFailed(why) => {
                let detail = format!("the registry refuses the credentials, and took the version that is saved: {why}");
                conflict("verification_failed", detail)
                    .field("credentials")
                    .remedy("send credentials that work, or leave verify_image out")
            }
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
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "the route has no such method")
        .remedy("see /openapi.json")
}

pub(crate) fn no_such_route() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "no_such_route", "there is nothing at this path").remedy("see /openapi.json")
}
