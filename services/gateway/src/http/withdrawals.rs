//! `POST /v1/secrets/{workspace}/{name}/revoke` and `/shred`, and `DELETE`: a secret is in use no more.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, Uri},
    response::Response,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use waybill_schemas::{
    Event,
    v1::{MAX_REASON, TokenRole},
};

use super::{
    App,
    answer::{Place, respond},
    body, json,
    openapi::{Problems, StoredProblems},
    problem::{self, Problem},
    request,
    secrets::Addressed,
};
use crate::{
    idempotency::operation_event_id,
    record::Receipt,
    versions::secret_subject,
    withdrawals::{Withdrawal, record_withdrawal},
};

/// Why a secret is withdrawn, and at which version.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct WithdrawBody {
    /// Why, for whoever reads the log: one line of at most 200 characters, without secrets.
    #[schema(example = "the account was closed", max_length = 200)]
    reason: Option<String>,
    /// The version that the secret must be at.
    #[schema(example = 3)]
    #[serde(default, deserialize_with = "json::optional_integer")]
    if_version: Option<u64>,
}

/// As [`WithdrawBody`], for a request without a body.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct DeleteQuery {
    /// The version that the secret must be at.
    if_version: Option<String>,
    /// Why, for whoever reads the log: one line of at most 200 characters, without secrets.
    reason: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum WithdrawnOutcome {
    Revoked,
    Shredded,
}

/// A secret that is in use no more.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct WithdrawnAnswer {
    #[schema(inline)]
    outcome: WithdrawnOutcome,
    /// The secret.
    #[schema(example = "team-registry")]
    secret_name: String,
    /// Its newest version: it and all before it are withdrawn.
    #[schema(minimum = 1)]
    version: u64,
    /// Registry host that they are bound to.
    #[schema(example = "registry.example.com")]
    registry: String,
    #[serde(flatten)]
    place: Place,
}

/// Withdraws a secret.
///
/// No container gets it any more, and the workers of those that have it are told to drop it. What was withdrawn at the registry
/// itself is not the gateway's business: do that too.
#[utoipa::path(
    post,
    path = "/v1/secrets/{workspace}/{name}/revoke",
    operation_id = "revokeSecret",
    tag = "secrets",
    request_body(content = WithdrawBody, example = json!({"reason": "the account was closed"})),
    security(("bearer" = [])),
    params(
        ("workspace" = String, Path, description = "Owner of the secret", example = "acme"),
        ("name" = String, Path, description = "The secret", example = "team-registry"),
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 128 visible ASCII characters. The same key again is the \
         same event, as long as that is the newest about the secret."),
    ),
    responses(
        (
            status = 200, description = "The revocation is recorded", body = WithdrawnAnswer,
            headers(("Idempotent-Replayed" = bool, description = "An earlier request with the same key recorded it")),
        ),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "There is no such secret"),
        (
            status = 409, body = Problem, content_type = "application/problem+json",
            description = "`withdrawn`: it is revoked or shredded already; `version_conflict`: it is at another version",
        ),
        Problems,
    )
)]
pub(super) async fn revoke(
    State(app): State<Arc<App>>,
    Path((workspace, name)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let secret = Addressed::read(&app, &headers, TokenRole::Builder, workspace, name)?;
    let body = body::read(&headers, body, app.limits).await?;
    withdraw(&app, &headers, secret, body, false).await
}

/// Withdraws a secret and erases it.
///
/// As a revocation; then every version and every grant of it is erased from the vault. A secret that is revoked can be shredded.
#[utoipa::path(
    post,
    path = "/v1/secrets/{workspace}/{name}/shred",
    operation_id = "shredSecret",
    tag = "secrets",
    request_body(content = WithdrawBody, example = json!({"reason": "the account was closed"})),
    security(("bearer" = [])),
    params(
        ("workspace" = String, Path, description = "Owner of the secret", example = "acme"),
        ("name" = String, Path, description = "The secret", example = "team-registry"),
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 128 visible ASCII characters. The same key again is the \
         same event, as long as that is the newest about the secret."),
    ),
    responses(
        (
            status = 200, description = "The shredding is recorded", body = WithdrawnAnswer,
            headers(("Idempotent-Replayed" = bool, description = "An earlier request with the same key recorded it")),
        ),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "There is no such secret"),
        (
            status = 409, body = Problem, content_type = "application/problem+json",
            description = "`withdrawn`: it is shredded already; `version_conflict`: it is at another version",
        ),
        Problems,
    )
)]
pub(super) async fn shred(
    State(app): State<Arc<App>>,
    Path((workspace, name)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let secret = Addressed::read(&app, &headers, TokenRole::Builder, workspace, name)?;
    let body = body::read(&headers, body, app.limits).await?;
    withdraw(&app, &headers, secret, body, true).await
}

/// Shreds a secret.
///
/// As `POST …/shred`, with parameters instead of a body.
#[utoipa::path(
    delete,
    path = "/v1/secrets/{workspace}/{name}",
    operation_id = "deleteSecret",
    tag = "secrets",
    security(("bearer" = [])),
    params(
        ("workspace" = String, Path, description = "Owner of the secret", example = "acme"),
        ("name" = String, Path, description = "The secret", example = "team-registry"),
        DeleteQuery,
        ("Idempotency-Key" = Option<String>, Header, description = "As for `POST …/shred`"),
    ),
    responses(
        (
            status = 200, description = "The shredding is recorded", body = WithdrawnAnswer,
            headers(("Idempotent-Replayed" = bool, description = "An earlier request with the same key recorded it")),
        ),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "There is no such secret"),
        (
            status = 409, body = Problem, content_type = "application/problem+json",
            description = "`withdrawn`: it is shredded already; `version_conflict`: it is at another version",
        ),
        StoredProblems,
    )
)]
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    Path((workspace, name)): Path<(String, String)>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let secret = Addressed::read(&app, &headers, TokenRole::Builder, workspace, name)?;
    let DeleteQuery { if_version, reason } = request::query(&uri)?;
    let if_version = if_version.map(|text| request::number("if_version", &text)).transpose()?;
    withdraw(&app, &headers, secret, WithdrawBody { reason, if_version }, true).await
}

async fn withdraw(
    app: &App,
    headers: &HeaderMap,
    secret: Addressed,
    body: WithdrawBody,
    shred: bool,
) -> Result<Response, Problem> {
    let key = request::idempotency_key(headers)?;
    let reason = read_reason(body.reason)?;
    let subject = secret_subject(&secret.workspace, &secret.name);
    let event_id = operation_event_id(if shred { "shred" } else { "revoke" }, &subject, key.as_ref());
    let Addressed { workspace, name: secret_name, holder } = secret;
    let withdrawal = Withdrawal { workspace, secret_name, shred, reason, if_version: body.if_version, event_id };
    answer(&record(app, &holder.actor(), withdrawal).await?)
}

/// Records a withdrawal for an actor.
pub(crate) async fn record(app: &App, actor: &str, withdrawal: Withdrawal) -> Result<Receipt, Problem> {
    let session = app.recorder.begin(actor);
    app.see_through(async move {
        let receipt = record_withdrawal(&session, &withdrawal).await?;
        log_withdrawn(&receipt);
        Ok(receipt)
    })
    .await
}

/// The reason that somebody gives, if it can stand in an event.
pub(crate) fn read_reason(reason: Option<String>) -> Result<Option<String>, Problem> {
    let reason = reason.filter(|reason| !reason.is_empty());
    let fits = |text: &String| text.chars().count() <= MAX_REASON && !text.chars().any(char::is_control);
    match reason {
        Some(reason) if !fits(&reason) => {
            Err(Problem::invalid("reason", format!("the reason is not one line of at most {MAX_REASON} characters"))
                .in_own_words())
        }
        reason => Ok(reason),
    }
}

fn log_withdrawn(receipt: &Receipt) {
    let (sequence, replayed) = (receipt.sequence, receipt.replayed.then_some(true));
    let version = receipt.event.version();
    match &receipt.event {
        Event::CredentialSecretRevoked(revoked) => tracing::info!(
            secret_name = %revoked.secret_name,
            registry = %revoked.registry,
            workspace = %revoked.workspace,
            version,
            sequence,
            replayed,
            "credential secret revoked"
        ),
        Event::CredentialSecretShredded(shredded) => tracing::info!(
            secret_name = %shredded.secret_name,
            registry = %shredded.registry,
            workspace = %shredded.workspace,
            version,
            sequence,
            replayed,
            "credential secret shredded"
        ),
        other => tracing::error!(event = %other.event_type(), "not what a withdrawal becomes"),
    }
}

fn answer(receipt: &Receipt) -> Result<Response, Problem> {
    let (outcome, secret_name, version, registry) = match &receipt.event {
        Event::CredentialSecretRevoked(event) => {
            (WithdrawnOutcome::Revoked, &event.secret_name, event.version, &event.registry)
        }
        Event::CredentialSecretShredded(event) => {
            (WithdrawnOutcome::Shredded, &event.secret_name, event.version, &event.registry)
        }
        _ => return Err(problem::internal()),
    };
    let (secret_name, registry) = (secret_name.to_string(), registry.clone());
    let answer = WithdrawnAnswer { outcome, secret_name, version, registry, place: Place::from(receipt) };
    Ok(respond(receipt, StatusCode::OK, answer))
}
