//! What the log says of a build, told to the client and to the operator.

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
use waybill_platform::metrics;
use waybill_schemas::{
    Event,
    v1::{CredType, CredentialSecretSkipped, ImageSecretNamed, SaveSkipReason},
};

use super::{
    problem::{self, Problem},
    verify::VerifiedAnswer,
};
use crate::{builds::BuildReceipt, record::Receipt};

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

impl From<&Receipt> for Place {
    fn from(receipt: &Receipt) -> Self {
        Self { event_id: receipt.event_id, sequence: receipt.sequence, trace_id: receipt.trace_id.clone() }
    }
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum SavedOutcome {
    Saved,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum UnsavedOutcome {
    Named,
    Skipped,
}

/// The credentials are the newest version of a secret, and the image uses it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SavedAnswer {
    #[schema(inline)]
    outcome: SavedOutcome,
    /// The secret.
    #[schema(example = "oci-registry-registry-example-com")]
    secret_name: String,
    /// The version that the credentials are.
    #[schema(minimum = 1)]
    version: u64,
    /// Registry host that the credentials are bound to.
    #[schema(example = "registry.example.com")]
    registry: String,
    /// Kind of the credentials.
    #[schema(schema_with = cred_types)]
    cred_type: &'static str,
    /// True if the secret had these credentials already, so that there is no new version.
    unchanged: bool,
    /// What was dropped from the values before they were saved.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    note: Option<String>,
    /// With `verify: true`: what the registry said of them. A repeated request is answered with it while the version is the
    /// secret's newest.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    verified: Option<VerifiedAnswer>,
    #[serde(flatten)]
    place: Place,
}

/// No credentials were saved: the image uses a secret by its name, or has none, and why.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct UnsavedAnswer {
    #[schema(inline)]
    outcome: UnsavedOutcome,
    /// Why the image has no secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = reasons)]
    reason: Option<&'static str>,
    /// With `incomplete_credentials`: the name of the missing key.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "AWS_SECRET_ACCESS_KEY")]
    missing_key: Option<String>,
    /// More words for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    detail: Option<String>,
    /// Registry host of the image, where the build named one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "registry.example.com")]
    registry: Option<String>,
    /// The secret that the build named.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "team-registry")]
    secret_name: Option<String>,
    /// Kind of the credentials, as far as it was told.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = cred_types)]
    cred_type: Option<&'static str>,
    #[serde(flatten)]
    place: Place,
}

pub(super) fn cred_types() -> ObjectBuilder {
    words(CredType::ALL.iter().map(|word| word.as_str()))
}

fn reasons() -> ObjectBuilder {
    words(SaveSkipReason::ALL.iter().map(|word| word.as_str()))
}

pub(super) fn words(words: impl Iterator<Item = &'static str>) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some(words.collect::<Vec<_>>()))
}

/// True if the build's credentials were the secret's already: its event follows from none that saved them.
fn is_unchanged(receipt: &Receipt) -> bool {
    receipt.causation_id.is_none()
}

/// The log line of a build, whose message and first fields people search for.
pub(super) fn log_build(receipt: &Receipt) {
    let (sequence, replayed) = (receipt.sequence, receipt.replayed.then_some(true));
    match &receipt.event {
        Event::ImageSecretNamed(named) if named.version.is_some() => tracing::info!(
            image_id = %named.image_id,
            secret_name = %named.secret_name,
            registry = %named.registry,
            cred_type = named.cred_type.map(tracing::field::display),
            workspace = %named.workspace,
            version = named.version,
            unchanged = is_unchanged(receipt).then_some(true),
            sequence,
            replayed,
            "credential secret saved"
        ),
        Event::ImageSecretNamed(named) => tracing::info!(
            image_id = %named.image_id,
            secret_name = %named.secret_name,
            registry = %named.registry,
            workspace = %named.workspace,
            sequence,
            replayed,
            "image uses a credential secret by its name"
        ),
        Event::CredentialSecretSkipped(skipped) => tracing::info!(
            image_id = %skipped.image_id,
            reason = %skipped.reason,
            workspace = %skipped.workspace,
            sequence,
            replayed,
            "no credentials provided, skipping secret creation"
        ),
        other => tracing::error!(event = %other.event_type(), "not what a build becomes"),
    }
}

/// Counts what is new; a repeated request was counted when it came first.
pub(super) fn count_build(receipt: &Receipt) {
    match &receipt.event {
        _ if receipt.replayed => {}
        Event::ImageSecretNamed(named) if named.version.is_none() => metrics::save("named", None),
        Event::ImageSecretNamed(_) if is_unchanged(receipt) => metrics::save("unchanged", None),
        Event::ImageSecretNamed(_) => metrics::save("saved", None),
        Event::CredentialSecretSkipped(skipped) => metrics::save("skipped", Some(skipped.reason.as_str())),
        _ => {}
    }
}

/// The answer to a build: what the log holds, which for a repeated request is what the first one recorded.
pub(super) fn answer_build(build: BuildReceipt) -> Result<Response, Problem> {
    let receipt = &build.receipt;
    match &receipt.event {
        Event::ImageSecretNamed(named) => match (named.version, named.cred_type) {
            (Some(version), Some(cred_type)) => {
                let answer = SavedAnswer {
                    outcome: SavedOutcome::Saved,
                    secret_name: named.secret_name.to_string(),
                    version,
                    registry: named.registry.clone(),
                    cred_type: cred_type.as_str(),
                    unchanged: is_unchanged(receipt),
                    note: build.note,
                    verified: build.verified.map(VerifiedAnswer::from),
                    place: Place::from(receipt),
                };
                Ok(respond(receipt, StatusCode::CREATED, answer))
            }
            _ => Ok(respond(receipt, StatusCode::OK, named_answer(named, receipt))),
        },
        Event::CredentialSecretSkipped(event) => Ok(respond(receipt, StatusCode::OK, skipped_answer(event, receipt))),
        _ => Err(problem::internal()),
    }
}

fn named_answer(event: &ImageSecretNamed, receipt: &Receipt) -> UnsavedAnswer {
    UnsavedAnswer {
        outcome: UnsavedOutcome::Named,
        reason: None,
        missing_key: None,
        detail: None,
        registry: Some(event.registry.clone()),
        secret_name: Some(event.secret_name.to_string()),
        cred_type: None,
        place: Place::from(receipt),
    }
}

fn skipped_answer(event: &CredentialSecretSkipped, receipt: &Receipt) -> UnsavedAnswer {
    UnsavedAnswer {
        outcome: UnsavedOutcome::Skipped,
        reason: Some(event.reason.as_str()),
        missing_key: event.missing_key.clone(),
        detail: event.detail.clone(),
        registry: event.registry.clone(),
        secret_name: event.secret_name.as_ref().map(ToString::to_string),
        cred_type: event.cred_type.map(CredType::as_str),
        place: Place::from(receipt),
    }
}

/// An answer that says whether an earlier request is what counts.
pub(super) fn respond(receipt: &Receipt, status: StatusCode, body: impl Serialize) -> Response {
    let replayed = (HeaderName::from_static("idempotent-replayed"), HeaderValue::from_static("true"));
    let headers: HeaderMap = receipt.replayed.then_some(replayed).into_iter().collect();
    (status, headers, Json(body)).into_response()
}
