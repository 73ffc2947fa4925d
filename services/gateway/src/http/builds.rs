//! `POST /v1/builds`: a build is done; save what its image needs to be pulled, or say why not.

use std::sync::Arc;

use axum::{
    Json,
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderName, StatusCode},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use waybill_domain::{
    credentials::CredentialInput,
    save::{BuildError, BuildRequest, SaveDecision, SavePlan, SaveSkip, decide_save},
};
use waybill_platform::{
    sealing::{Binding, seal},
    trace,
};
use waybill_schemas::{Event, WorkspaceId, v1};

use super::{App, body, problem::Problem, request};
use crate::record::Receipt;

/// A finished build. Credentials are an object of environment-style keys, the JSON text
/// `{"registry","type","credentials"}`, or `user:password`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BuildBody {
    /// Owner of the image.
    #[schema(example = "acme", pattern = "^[A-Za-z0-9_-]{1,128}$")]
    workspace: String,
    /// The image that was built.
    #[schema(example = "img-1", pattern = "^[A-Za-z0-9_-]{1,128}$")]
    image_id: String,
    /// An existing image that the build took as it is. It goes before `base_image`.
    #[schema(example = "registry.example.com/team/app:1")]
    existing_image_uri: Option<String>,
    /// Credentials for `existing_image_uri`.
    #[schema(value_type = Option<Credentials>)]
    existing_image_creds: Option<CredentialInput>,
    /// The image that the build started from.
    base_image: Option<String>,
    /// Credentials for `base_image`.
    #[schema(value_type = Option<Credentials>)]
    base_image_creds: Option<CredentialInput>,
    /// Whether the build changed the image, so that its result is pulled from elsewhere.
    #[serde(default)]
    modified: bool,
}

/// Registry credentials in one of three forms.
#[derive(ToSchema)]
#[schema(example = json!({"USERNAME": "puller", "PASSWORD": "…"}))]
#[serde(untagged)]
#[expect(dead_code, reason = "describes CredentialInput in the OpenAPI document")]
pub(super) enum Credentials {
    /// Environment-style keys.
    Keys(std::collections::BTreeMap<String, String>),
    /// JSON text or `user:password`.
    Text(String),
}

/// What became of a build's credentials.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct BuildAnswer {
    /// `saved` or `skipped`.
    #[schema(example = "saved")]
    outcome: &'static str,
    /// Why nothing was saved.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// With `incomplete_credentials`: the name of the missing key.
    #[serde(skip_serializing_if = "Option::is_none")]
    missing_key: Option<String>,
    /// Registry host that the credentials are bound to.
    #[serde(skip_serializing_if = "Option::is_none")]
    registry: Option<String>,
    /// Label of the secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret_name: Option<String>,
    /// Kind of the credentials.
    #[serde(skip_serializing_if = "Option::is_none")]
    cred_type: Option<String>,
    /// Id of the event.
    event_id: uuid::Uuid,
    /// Its sequence in the log.
    sequence: u64,
    /// Trace of the request that recorded it.
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<String>,
}

/// Records what a build's image needs to be pulled.
#[utoipa::path(
    post, path = "/v1/builds", tag = "builds", request_body = BuildBody, security(("bearer" = [])),
    params(("Idempotency-Key" = Option<String>, Header, description = "The same key again, about the same image, is the same event")),
    responses(
        (status = 201, description = "Credentials saved", body = BuildAnswer),
        (status = 200, description = "Nothing saved, and why", body = BuildAnswer),
        (status = "4XX", description = "The request is wrong; nothing was published", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The log is away; send the request again", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn post(State(app): State<Arc<App>>, headers: HeaderMap, body: Body) -> Result<Response, Problem> {
    let of_token = request::authenticate(&app, &headers)?;
    let key = request::idempotency_key(&headers)?;
    let build = read(body::read(&headers, body, app.limits).await?, of_token)?;
    tracing::debug!(
        image_id = %build.image_id,
        existing_image_uri = build.existing_image_uri.is_some(),
        existing_image_creds_count = build.existing_image_creds.as_ref().map_or(0, CredentialInput::count),
        base_image = build.base_image.is_some(),
        base_image_creds_count = build.base_image_creds.as_ref().map_or(0, CredentialInput::count),
        modified = build.modified,
        "build received"
    );
    let decision = decide_save(&build, trace::now()).map_err(|error| unreadable(&error))?;
    let event = event(&app, build, decision)?;
    let receipt = app.recorder.record("builds", event, key.as_ref()).await?;
    Ok(answer(receipt))
}

fn read(body: BuildBody, of_token: &WorkspaceId) -> Result<BuildRequest, Problem> {
    Ok(BuildRequest {
        workspace: request::authorize(body.workspace, of_token)?,
        image_id: request::id(body.image_id)?,
        existing_image_uri: body.existing_image_uri,
        existing_image_creds: body.existing_image_creds,
        base_image: body.base_image,
        base_image_creds: body.base_image_creds,
        modified: body.modified,
    })
}

fn unreadable(error: &BuildError) -> Problem {
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
    Problem::invalid(error.field(), format!("{error}{cause}"))
}

fn event(app: &App, build: BuildRequest, decision: SaveDecision) -> Result<Event, Problem> {
    match decision {
        SaveDecision::Save(plan) => saved(app, build, plan).map(Event::from),
        SaveDecision::Skip(skip) => Ok(skipped(build, skip).into()),
    }
}

fn saved(app: &App, build: BuildRequest, plan: SavePlan) -> Result<v1::CredentialSecretSaved, Problem> {
    tracing::debug!(image_id = %build.image_id, cred_type = %plan.cred_type, registry = plan.target.registry(), "credential type detected");
    let registry = plan.target.registry();
    let binding = Binding::Image {
        workspace: build.workspace.clone(),
        image_id: build.image_id.clone(),
        registry: registry.clone(),
    };
    let credentials = seal(&app.sealing_key, &app.scheduler_key, &binding, &plan.credentials).map_err(|error| {
        tracing::error!(%error, "credentials cannot be sealed to the scheduler");
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "sealing", "the credentials cannot be sealed to the scheduler")
            .remedy("check WAYBILL_SCHEDULER_SEALING_KEY")
    })?;
    Ok(v1::CredentialSecretSaved {
        workspace: build.workspace,
        image_id: build.image_id,
        image_ref: plan.target.reference.to_string(),
        registry,
        secret_name: plan.target.secret_name(),
        cred_type: plan.cred_type,
        source: plan.target.source,
        expires_at: plan.expires_at,
        credentials,
    })
}

fn skipped(build: BuildRequest, skip: SaveSkip) -> v1::CredentialSecretSkipped {
    let target = skip.target.as_ref();
    v1::CredentialSecretSkipped {
        workspace: build.workspace,
        image_id: build.image_id,
        image_ref: target.map(|target| target.reference.to_string()),
        registry: target.map(|target| target.registry()),
        secret_name: target.map(|target| target.secret_name()),
        cred_type: skip.cred_type,
        source: target.map(|target| target.source),
        reason: skip.reason,
        missing_key: skip.missing_key,
    }
}

/// Logs and answers what the log holds, which for a repeated request is what the first one recorded.
fn answer(receipt: Receipt) -> Response {
    let (status, answer) = match &receipt.event {
        Event::CredentialSecretSaved(saved) => {
            tracing::info!(
                image_id = %saved.image_id,
                secret_name = %saved.secret_name,
                registry = %saved.registry,
                cred_type = %saved.cred_type,
                workspace = %saved.workspace,
                sequence = receipt.sequence,
                "credential secret saved"
            );
            let answer = BuildAnswer {
                outcome: "saved",
                reason: None,
                missing_key: None,
                registry: Some(saved.registry.clone()),
                secret_name: Some(saved.secret_name.clone()),
                cred_type: Some(saved.cred_type.to_string()),
                ..empty(&receipt)
            };
            (StatusCode::CREATED, answer)
        }
        Event::CredentialSecretSkipped(skipped) => {
            tracing::info!(
                image_id = %skipped.image_id,
                reason = %skipped.reason,
                workspace = %skipped.workspace,
                sequence = receipt.sequence,
                "no credentials provided, skipping secret creation"
            );
            let answer = BuildAnswer {
                reason: Some(skipped.reason.to_string()),
                missing_key: skipped.missing_key.clone(),
                registry: skipped.registry.clone(),
                secret_name: skipped.secret_name.clone(),
                cred_type: skipped.cred_type.map(|cred_type| cred_type.to_string()),
                ..empty(&receipt)
            };
            (StatusCode::OK, answer)
        }
        _ => (StatusCode::OK, empty(&receipt)),
    };
    (status, replayed(&receipt), Json(answer)).into_response()
}

fn empty(receipt: &Receipt) -> BuildAnswer {
    BuildAnswer {
        outcome: "skipped",
        reason: None,
        missing_key: None,
        registry: None,
        secret_name: None,
        cred_type: None,
        event_id: receipt.event_id,
        sequence: receipt.sequence,
        trace_id: receipt.trace_id.clone(),
    }
}

/// Tells a client that an earlier request with the same key is what counts.
pub(super) fn replayed(receipt: &Receipt) -> HeaderMap {
    let header = (HeaderName::from_static("idempotent-replayed"), axum::http::HeaderValue::from_static("true"));
    receipt.replayed.then_some(header).into_iter().collect()
}
