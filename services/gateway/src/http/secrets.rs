//! `PUT /v1/secrets/{workspace}/{name}` and `POST …/rotate`: new credentials for a secret.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::Response,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use waybill_domain::{
    credentials::CredentialInput,
    reference::{ImageReference, RegistryHost},
};
use waybill_schemas::{Event, EventType, SecretName, Timestamp, WorkspaceId, v1::TokenRole};

use super::{
    App,
    answer::{Place, cred_types, respond},
    body,
    builds::Credentials,
    json,
    openapi::Problems,
    problem::{self, Problem},
    request, verify,
    verify::VerifiedAnswer,
};
use crate::{
    idempotency::operation_event_id,
    operations::{Operation, record_operation},
    record::Receipt,
    tokens::Holder,
    versions::{Saved, secret_subject},
};

/// Credentials for a secret.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PutBody {
    /// Registry host that the secret is for. It stays the same for all versions.
    #[schema(example = "registry.example.com")]
    registry: String,
    /// The credentials.
    #[schema(value_type = Credentials)]
    credentials: CredentialInput,
    /// The version that the secret must be at, 0 for none.
    #[schema(example = 0)]
    #[serde(default, deserialize_with = "json::optional_integer")]
    if_version: Option<u64>,
    /// An image of the registry to try the credentials with before they are saved. Credentials that the registry refuses never
    /// replace ones that it took.
    #[schema(example = "registry.example.com/team/app:1")]
    verify_image: Option<String>,
}

/// New credentials for a secret that is there.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RotateBody {
    /// The credentials, for the secret's registry.
    #[schema(value_type = Credentials)]
    credentials: CredentialInput,
    /// The version that the secret must be at.
    #[schema(example = 3)]
    #[serde(default, deserialize_with = "json::optional_integer")]
    if_version: Option<u64>,
}

/// `saved` for a first version, `rotated` for one that takes the place of others.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum VersionOutcome {
    Saved,
    Rotated,
}

/// The newest version of a secret.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct VersionAnswer {
    #[schema(inline)]
    outcome: VersionOutcome,
    /// The secret.
    #[schema(example = "team-registry")]
    secret_name: String,
    /// The version that the credentials are.
    #[schema(minimum = 1)]
    version: u64,
    /// Registry host that they are bound to.
    #[schema(example = "registry.example.com")]
    registry: String,
    /// Kind of the credentials.
    #[schema(schema_with = cred_types)]
    cred_type: &'static str,
    /// True if the secret had these credentials already: there is no new version, and the event is the one that brought them.
    unchanged: bool,
    /// When they stop working, where they say so.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = String, format = DateTime)]
    expires_at: Option<Timestamp>,
    /// What was dropped from the values before they were saved.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    note: Option<String>,
    /// What the registry said of them, where it was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    verified: Option<VerifiedAnswer>,
    #[serde(flatten)]
    place: Place,
}

/// Saves credentials under a name.
///
/// They are the secret's first version, or take the place of the earlier ones for every image and container that uses it.
#[utoipa::path(
    put,
    path = "/v1/secrets/{workspace}/{name}",
    operation_id = "putSecret",
    tag = "secrets",
    request_body(content = PutBody, examples(
        ("a new secret" = (value = json!({
            "registry": "registry.example.com", "credentials": {"USERNAME": "puller", "PASSWORD": "…"}, "if_version": 0
        }))),
        ("whatever is there" = (value = json!({"registry": "registry.example.com", "credentials": "puller:…"}))),
    )),
    security(("bearer" = [])),
    params(
        ("workspace" = String, Path, description = "Owner of the secret", example = "acme"),
        ("name" = String, Path, description = "The secret: 1 to 128 characters of A-Z a-z 0-9 _ - .", example = "team-registry"),
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 128 visible ASCII characters. The same key again is the \
         same event, as long as that is the newest about the secret. The values of credentials are not compared."),
    ),
    responses(
        (
            status = 201, description = "There is a new version", body = VersionAnswer,
            headers(("Idempotent-Replayed" = bool, description = "An earlier request with the same key recorded it")),
        ),
        (status = 200, description = "The secret has these credentials already", body = VersionAnswer),
        (
            status = 409, body = Problem, content_type = "application/problem+json",
            description = "`version_conflict`: the secret is at another version; `registry_mismatch`: it is for another \
                           registry; `verification_failed`: the registry refuses the credentials and took the present ones",
        ),
        Problems,
    )
)]
pub(super) async fn put(
    State(app): State<Arc<App>>,
    Path((workspace, name)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let secret = Addressed::read(&app, &headers, TokenRole::Builder, workspace, name)?;
    let key = request::idempotency_key(&headers)?;
    let body: PutBody = body::read(&headers, body, app.limits).await?;
    let registry = RegistryHost::parse(body.registry.trim())
        .map_err(|error| Problem::invalid("registry", waybill_platform::chain(&error)).in_own_words())?;
    let verifies = verify::wanted(&app, body.verify_image.is_some(), "verify_image")?;
    let image = body.verify_image.map(|image| verify_image(&image, &registry)).transpose()?;
    let subject = secret_subject(&secret.workspace, &secret.name);
    let operation = Operation {
        workspace: secret.workspace,
        secret_name: secret.name,
        registry: Some(registry),
        credentials: body.credentials,
        if_version: body.if_version,
        event_id: operation_event_id("put", &subject, key.as_ref()),
        verify: image.zip(verifies),
    };
    answer(save(&app, secret.holder.actor(), operation).await?)
}

fn verify_image(text: &str, registry: &RegistryHost) -> Result<ImageReference, Problem> {
    let image = ImageReference::parse(text)
        .map_err(|error| Problem::invalid("verify_image", waybill_platform::chain(&error)).in_own_words())?;
    if image.registry() == registry {
        return Ok(image);
    }
    Err(Problem::invalid("verify_image", format!("the image is on {}, not on {registry}", image.registry())))
}

/// Replaces a secret's credentials.
///
/// Containers asked for later get the new ones. Those that have the old ones are given the new ones too. A secret that was
/// revoked is in use again.
#[utoipa::path(
    post,
    path = "/v1/secrets/{workspace}/{name}/rotate",
    operation_id = "rotateSecret",
    tag = "secrets",
    request_body(content = RotateBody, example = json!({"credentials": "puller:…"})),
    security(("bearer" = [])),
    params(
        ("workspace" = String, Path, description = "Owner of the secret", example = "acme"),
        ("name" = String, Path, description = "The secret", example = "team-registry"),
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 128 visible ASCII characters. The same key again is the \
         same event, as long as that is the newest about the secret. The values of credentials are not compared."),
    ),
    responses(
        (
            status = 201, description = "There is a new version", body = VersionAnswer,
            headers(("Idempotent-Replayed" = bool, description = "An earlier request with the same key recorded it")),
        ),
        (status = 200, description = "The secret has these credentials already", body = VersionAnswer),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "There is no such secret"),
        (
            status = 409, body = Problem, content_type = "application/problem+json",
            description = "`version_conflict`: the secret is at another version",
        ),
        Problems,
    )
)]
pub(super) async fn rotate(
    State(app): State<Arc<App>>,
    Path((workspace, name)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let secret = Addressed::read(&app, &headers, TokenRole::Builder, workspace, name)?;
    let key = request::idempotency_key(&headers)?;
    let body: RotateBody = body::read(&headers, body, app.limits).await?;
    let subject = secret_subject(&secret.workspace, &secret.name);
    let operation = Operation {
        workspace: secret.workspace,
        secret_name: secret.name,
        registry: None,
        credentials: body.credentials,
        if_version: body.if_version,
        event_id: operation_event_id("rotate", &subject, key.as_ref()),
        verify: None,
    };
    answer(save(&app, secret.holder.actor(), operation).await?)
}

/// A secret that a path names, and who asks.
pub(super) struct Addressed {
    pub(super) workspace: WorkspaceId,
    pub(super) name: SecretName,
    pub(super) holder: Holder,
}

impl Addressed {
    /// Reads the path, if the token is for its workspace and for this use.
    pub(super) fn read(
        app: &App,
        headers: &HeaderMap,
        role: TokenRole,
        workspace: String,
        name: String,
    ) -> Result<Self, Problem> {
        let holder = request::authenticate(app, headers, role)?;
        Ok(Self { workspace: request::authorize(workspace, &holder)?, name: request::id(name)?, holder })
    }
}

/// Records new credentials of a secret for an actor.
pub(crate) async fn save(app: &App, actor: String, operation: Operation) -> Result<Saved, Problem> {
    let recorder = app.recorder.clone();
    let recording = async move {
        let saved = record_operation(&recorder, &actor, &operation).await?;
        if let Saved::New { receipt, .. } = &saved {
            log_version(receipt);
        }
        Ok(saved)
    };
    app.see_through(recording).await
}

fn log_version(receipt: &Receipt) {
    let (sequence, replayed) = (receipt.sequence, receipt.replayed.then_some(true));
    let (Some(secret_name), Some(stored)) = (receipt.event.secret_name(), receipt.event.stored_version()) else {
        return;
    };
    let (registry, cred_type, version) = (&stored.registry, stored.cred_type, stored.version);
    let workspace = receipt.event.workspace().map(tracing::field::display);
    match receipt.event.event_type() {
        EventType::CredentialSecretRotated => tracing::info!(
            %secret_name, %registry, %cred_type, workspace, version, sequence, replayed, "credential secret rotated"
        ),
        _ => tracing::info!(
            %secret_name, %registry, %cred_type, workspace, version, sequence, replayed, "credential secret saved"
        ),
    }
}

fn answer(saved: Saved) -> Result<Response, Problem> {
    let (secret_name, stored, receipt, unchanged) = match saved {
        Saved::New { secret_name, stored, receipt, .. } => (secret_name, stored, receipt, false),
        Saved::Unchanged { secret_name, stored, receipt } => (secret_name, stored, receipt, true),
        Saved::BoundElsewhere { .. } | Saved::Refused { .. } => return Err(problem::internal()),
    };
    let outcome = match receipt.event {
        Event::CredentialSecretRotated(_) => VersionOutcome::Rotated,
        _ => VersionOutcome::Saved,
    };
    let answer = VersionAnswer {
        outcome,
        secret_name: secret_name.to_string(),
        version: stored.version,
        registry: stored.registry,
        cred_type: stored.cred_type.as_str(),
        unchanged,
        expires_at: stored.expires_at,
        note: stored.note,
        verified: stored.verified.map(VerifiedAnswer::from),
        place: Place::from(&receipt),
    };
    let status = if unchanged { StatusCode::OK } else { StatusCode::CREATED };
    Ok(respond(&receipt, status, answer))
}
