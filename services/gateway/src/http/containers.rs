//! `POST /v1/containers`: a container was placed on a worker and needs its image.

use std::sync::Arc;

use axum::{
    Json,
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use waybill_schemas::v1::ContainerRequested;

use super::{App, body, builds::replayed, problem::Problem, request};

/// A container that is about to start.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ContainerBody {
    /// Owner of the container.
    #[schema(example = "acme", pattern = "^[A-Za-z0-9_-]{1,128}$")]
    workspace: String,
    /// The container.
    #[schema(example = "c-1", pattern = "^[A-Za-z0-9_-]{1,128}$")]
    container_id: String,
    /// The image it runs; absent or empty when it has none of its own.
    #[schema(example = "img-1")]
    image_id: Option<String>,
    /// The worker it was placed on.
    #[schema(example = "worker-1", pattern = "^[A-Za-z0-9_-]{1,128}$")]
    worker_id: String,
    /// True for a container that builds an image.
    #[serde(default)]
    build_container: bool,
}

/// The request is in the log; what becomes of it will be too.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ContainerAnswer {
    /// Id of the event.
    event_id: uuid::Uuid,
    /// Its sequence in the log.
    sequence: u64,
    /// Trace of the request that recorded it.
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<String>,
}

/// Asks for a container's credentials.
#[utoipa::path(
    post, path = "/v1/containers", tag = "containers", request_body = ContainerBody, security(("bearer" = [])),
    params(("Idempotency-Key" = Option<String>, Header, description = "The same key again, about the same container, is the same event")),
    responses(
        (status = 202, description = "The request is recorded", body = ContainerAnswer),
        (status = "4XX", description = "The request is wrong; nothing was published", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The log is away; send the request again", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn post(State(app): State<Arc<App>>, headers: HeaderMap, body: Body) -> Result<Response, Problem> {
    let of_token = request::authenticate(&app, &headers)?;
    let key = request::idempotency_key(&headers)?;
    let body: ContainerBody = body::read(&headers, body, app.limits).await?;
    let event = ContainerRequested {
        workspace: request::authorize(body.workspace, of_token)?,
        container_id: request::id(body.container_id)?,
        image_id: request::optional_id(body.image_id)?,
        worker_id: request::id(body.worker_id)?,
        build_container: body.build_container,
    };
    let (container_id, worker_id) = (event.container_id.clone(), event.worker_id.clone());
    let receipt = app.recorder.record("containers", event.into(), key.as_ref()).await?;
    tracing::info!(%container_id, %worker_id, sequence = receipt.sequence, "container requested");
    let headers = replayed(&receipt);
    let answer = ContainerAnswer { event_id: receipt.event_id, sequence: receipt.sequence, trace_id: receipt.trace_id };
    Ok((StatusCode::ACCEPTED, headers, Json(answer)).into_response())
}
