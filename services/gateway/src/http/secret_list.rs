//! `GET /v1/secrets/{workspace}` and `…/{name}`: which secrets there are. Never a value.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    http::{HeaderMap, Uri},
    response::{IntoResponse as _, Response},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema, openapi::ObjectBuilder};
use uuid::Uuid;
use waybill_domain::{fold::SecretState, secret::SecretHead};
use waybill_schemas::{
    Event, Filter, Recorded, RecordedEvent, SecretName, Timestamp, WorkspaceId,
    v1::{CredType, TokenRole},
};

use super::{
    App,
    answer::{cred_types, words},
    openapi::ReadProblems,
    problem::{self, Problem},
    request,
    secrets::Addressed,
    verify::VerifiedAnswer,
};
use crate::versions::{Head, read_head, secret_subject};

/// A secret, without its credentials.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SecretAnswer {
    /// The secret.
    #[schema(example = "team-registry")]
    secret_name: String,
    /// `active`, `revoked` or `shredded`.
    #[schema(schema_with = states)]
    state: &'static str,
    /// Number of the newest version.
    #[schema(minimum = 1)]
    version: u64,
    /// Registry host that it is for.
    #[schema(example = "registry.example.com")]
    registry: String,
    /// Kind of the newest version's credentials, while it is active.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = cred_types)]
    cred_type: Option<&'static str>,
    /// Length of the credentials JSON in bytes, while it is active.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    credentials_length: Option<u64>,
    /// When they stop working, where they say so.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = String, format = DateTime)]
    expires_at: Option<Timestamp>,
    /// What was dropped from the values before they were saved.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    note: Option<String>,
    /// What the registry said of them before they were saved, where it was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    verified: Option<VerifiedAnswer>,
    /// Why it was revoked or shredded, in the words of whoever asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    reason: Option<String>,
    /// Who asked for what its newest event says.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "token/acme")]
    actor: Option<String>,
    /// Time of its newest event.
    #[schema(value_type = String, format = DateTime)]
    changed_at: Timestamp,
    /// Id of its newest event.
    event_id: Uuid,
    /// Sequence of its newest event.
    #[schema(minimum = 1)]
    sequence: u64,
}

/// Secrets of a workspace.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SecretsAnswer {
    /// The secrets, by name.
    secrets: Vec<SecretAnswer>,
    /// With it as `after`, the next page follows. Absent where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    next: Option<String>,
}

/// Which page.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct SecretsQuery {
    /// Only secrets whose names come after this one.
    after: Option<String>,
    /// Most secrets of one page, 1 to 1000; 100 if it is not given.
    limit: Option<String>,
}

fn states() -> ObjectBuilder {
    words(["active", "revoked", "shredded"].into_iter())
}

/// Lists the secrets of a workspace.
///
/// Never a value.
#[utoipa::path(
    get,
    path = "/v1/secrets/{workspace}",
    operation_id = "listSecrets",
    tag = "secrets",
    security(("bearer" = [])),
    params(("workspace" = String, Path, description = "Owner of the secrets", example = "acme"), SecretsQuery),
    responses((status = 200, description = "The secrets", body = SecretsAnswer), ReadProblems)
)]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    Path(workspace): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let holder = request::authenticate(&app, &headers, TokenRole::Reader)?;
    let workspace = request::authorize(workspace, &holder)?;
    let SecretsQuery { after, limit } = request::query(&uri)?;
    let limit = request::limit(limit)?;
    let after = after.map(SecretName::try_from).transpose();
    let after = after.map_err(|error| Problem::invalid("after", error.to_string()))?;
    // The log cannot look up by a part of a name: a page costs what all secrets of the workspace do.
    let heads = read_heads(&app, &holder.actor(), Some(workspace)).await?;
    let mut secrets: Vec<SecretAnswer> =
        heads.into_iter().filter_map(|head| describe(head.head, &head.recorded)).collect();
    secrets.retain(|secret| after.as_ref().is_none_or(|after| secret.secret_name.as_str() > after.as_str()));
    let more = secrets.len() > limit;
    secrets.truncate(limit);
    let next = secrets.last().filter(|_| more).map(|last| last.secret_name.clone());
    Ok(Json(SecretsAnswer { secrets, next }).into_response())
}

/// The heads of a workspace's secrets, or of all, by name.
pub(crate) async fn read_heads(app: &App, actor: &str, workspace: Option<WorkspaceId>) -> Result<Vec<Head>, Problem> {
    let recorded = app.recorder.begin(actor).lasts(&Filter::Secrets(workspace), usize::MAX).await?;
    let mut heads: Vec<Head> = recorded.into_iter().filter_map(Head::from_recorded).collect();
    let name = |head: &Head| {
        let event = &head.recorded.value.event;
        (event.secret_name().cloned(), event.workspace().cloned())
    };
    heads.sort_by_key(name);
    Ok(heads)
}

/// Shows a secret.
///
/// Never a value.
#[utoipa::path(
    get,
    path = "/v1/secrets/{workspace}/{name}",
    operation_id = "getSecret",
    tag = "secrets",
    security(("bearer" = [])),
    params(
        ("workspace" = String, Path, description = "Owner of the secret", example = "acme"),
        ("name" = String, Path, description = "The secret", example = "team-registry"),
    ),
    responses(
        (status = 200, description = "The secret", body = SecretAnswer),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "There is no such secret"),
        ReadProblems,
    )
)]
pub(super) async fn get(
    State(app): State<Arc<App>>,
    Path((workspace, name)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let secret = Addressed::read(&app, &headers, TokenRole::Reader, workspace, name)?;
    let session = app.recorder.begin(&secret.holder.actor());
    let head = read_head(&session, &secret_subject(&secret.workspace, &secret.name)).await?;
    let answer = head.and_then(|head| describe(head.head, &head.recorded)).ok_or_else(problem::no_such_secret)?;
    Ok(Json(answer).into_response())
}

fn describe(head: SecretHead, recorded: &Recorded<RecordedEvent>) -> Option<SecretAnswer> {
    let RecordedEvent { envelope, event, .. } = &recorded.value;
    let stored = head.stored;
    let reason = match event {
        Event::CredentialSecretRevoked(revoked) => revoked.reason.clone(),
        Event::CredentialSecretShredded(shredded) => shredded.reason.clone(),
        _ => None,
    };
    Some(SecretAnswer {
        secret_name: event.secret_name()?.to_string(),
        state: match head.state {
            SecretState::Active => "active",
            SecretState::Revoked => "revoked",
            SecretState::Shredded => "shredded",
        },
        version: head.version,
        registry: head.registry,
        cred_type: stored.as_ref().map(|stored| CredType::as_str(stored.cred_type)),
        credentials_length: stored.as_ref().map(|stored| stored.credentials_length),
        expires_at: stored.as_ref().and_then(|stored| stored.expires_at),
        note: stored.as_ref().and_then(|stored| stored.note.clone()),
        verified: stored.and_then(|stored| stored.verified).map(VerifiedAnswer::from),
        reason,
        actor: envelope.actor.clone(),
        changed_at: recorded.at,
        event_id: envelope.id,
        sequence: recorded.sequence,
    })
}
