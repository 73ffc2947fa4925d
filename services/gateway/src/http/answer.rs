//! What the log says, told to the client and to the operator.

use axum::{
    Json,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::{
    ToSchema,
    openapi::{ObjectBuilder, schema::Type},
};
use uuid::Uuid;
use waybill_schemas::{
    Event,
    v1::{CredType, CredentialSecretSaved, CredentialSecretSkipped, SaveSkipReason},
};

use super::{
    problem::{self, Problem},
    verify::VerifiedAnswer,
};
use crate::record::Receipt;

/// Where an event stands.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Place {
    /// Id of the event.
    event_id: Uuid,
    /// Its sequence in the log.
    #[schema(minimum = 1)]
    sequence: u64,
    /// Trace of the request that recorded it, 32 hexadecimal digits; absent only where spans are switched off.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, pattern = "^[0-9a-f]{32}$", example = "0af7651916cd43dd8448eb211c80319c")]
    trace_id: Option<String>,
}

impl Place {
    pub(super) fn of(receipt: &Receipt) -> Self {
        Self { event_id: receipt.event_id, sequence: receipt.sequence, trace_id: receipt.trace_id.clone() }
    }
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Saved {
    Saved,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Skipped {
    Skipped,
}

/// The credentials are in the log, sealed to the scheduler.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SavedAnswer {
    #[schema(inline)]
    outcome: Saved,
    /// Registry host that the credentials are bound to.
    #[schema(example = "registry.example.com")]
    registry: String,
    /// Label of the secret.
    #[schema(example = "oci-registry-registry-example-com")]
    secret_name: String,
    /// Kind of the credentials.
    #[schema(schema_with = cred_types)]
    cred_type: &'static str,
    /// With `verify: true`: what the registry said of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    verified: Option<VerifiedAnswer>,
    #[serde(flatten)]
    place: Place,
}

/// Nothing was saved, which is in the log too.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SkippedAnswer {
    #[schema(inline)]
    outcome: Skipped,
    /// Why.
    #[schema(schema_with = reasons)]
    reason: &'static str,
    /// With `incomplete_credentials`: the name of the missing key.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "AWS_SECRET_ACCESS_KEY")]
    missing_key: Option<String>,
    /// Whom the credentials are for, where that is not the image. Not in the log, so not told to a repeated request.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    detail: Option<String>,
    /// Registry host of the image, where the build named one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "registry.example.com")]
    registry: Option<String>,
    /// Label that the secret would have had.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "oci-registry-registry-example-com")]
    secret_name: Option<String>,
    /// Kind of the credentials, as far as it was told.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = cred_types)]
    cred_type: Option<&'static str>,
    #[serde(flatten)]
    place: Place,
}

fn cred_types() -> ObjectBuilder {
    words(CredType::ALL.iter().map(|word| word.as_str()))
}

fn reasons() -> ObjectBuilder {
    words(SaveSkipReason::ALL.iter().map(|word| word.as_str()))
}

fn words(words: impl Iterator<Item = &'static str>) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some(words.collect::<Vec<_>>()))
}

/// The log line of a build, whose message and first fields people search for.
pub(super) fn log_build(receipt: &Receipt) {
    let replayed = receipt.replayed.then_some(true);
    match &receipt.event {
        Event::CredentialSecretSaved(saved) => tracing::info!(
            image_id = %saved.image_id,
            secret_name = %saved.secret_name,
            registry = %saved.registry,
            cred_type = %saved.cred_type,
            workspace = %saved.workspace,
            sequence = receipt.sequence,
            replayed,
            "credential secret saved"
        ),
        Event::CredentialSecretSkipped(skipped) => tracing::info!(
            image_id = %skipped.image_id,
            reason = %skipped.reason,
            workspace = %skipped.workspace,
            sequence = receipt.sequence,
            replayed,
            "no credentials provided, skipping secret creation"
        ),
        other => tracing::error!(event = %other.event_type(), "not what a build becomes"),
    }
}

/// The answer to a build: what the log holds, which for a repeated request is what the first one recorded.
/// `detail` is this request's own.
pub(super) fn of_build(
    receipt: &Receipt,
    verified: Option<VerifiedAnswer>,
    detail: Option<String>,
) -> Result<Response, Problem> {
    let detail = detail.filter(|_| !receipt.replayed);
    match &receipt.event {
        Event::CredentialSecretSaved(event) => Ok(with(receipt, StatusCode::CREATED, saved(event, receipt, verified))),
        Event::CredentialSecretSkipped(event) => Ok(with(receipt, StatusCode::OK, skipped(event, receipt, detail))),
        _ => Err(problem::internal()),
    }
}

fn saved(event: &CredentialSecretSaved, receipt: &Receipt, verified: Option<VerifiedAnswer>) -> SavedAnswer {
    SavedAnswer {
        outcome: Saved::Saved,
        registry: event.registry.clone(),
        secret_name: event.secret_name.clone(),
        cred_type: event.cred_type.as_str(),
        verified,
        place: Place::of(receipt),
    }
}

fn skipped(event: &CredentialSecretSkipped, receipt: &Receipt, detail: Option<String>) -> SkippedAnswer {
    SkippedAnswer {
        outcome: Skipped::Skipped,
        reason: event.reason.as_str(),
        missing_key: event.missing_key.clone(),
        detail,
        registry: event.registry.clone(),
        secret_name: event.secret_name.clone(),
        cred_type: event.cred_type.map(CredType::as_str),
        place: Place::of(receipt),
    }
}

/// An answer that says whether an earlier request with the same key is what counts.
pub(super) fn with(receipt: &Receipt, status: StatusCode, body: impl Serialize) -> Response {
    let replayed = (HeaderName::from_static("idempotent-replayed"), HeaderValue::from_static("true"));
    let headers: HeaderMap = receipt.replayed.then_some(replayed).into_iter().collect();
    (status, headers, Json(body)).into_response()
}
