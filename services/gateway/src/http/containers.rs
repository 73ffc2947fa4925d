//! `POST /v1/containers`: a container was placed on a worker and needs its image; and `/ended`: it is gone.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::Response,
};
use serde::Deserialize;
use utoipa::ToSchema;
use waybill_schemas::{
    WorkspaceId,
    v1::{ContainerEnded, ContainerRequested},
};

use super::{
    App,
    answer::{self, Place},
    body,
    openapi::Problems,
    problem::Problem,
    request,
};

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
    #[schema(example = "img-1", pattern = "^[A-Za-z0-9_-]{0,128}$")]
    image_id: Option<String>,
    /// The worker it was placed on.
    #[schema(example = "worker-1", pattern = "^[A-Za-z0-9_-]{1,128}$")]
    worker_id: String,
    /// True for a container that builds an image.
    #[serde(default)]
    build_container: bool,
}

/// Asks for a container's credentials.
///
/// Answers when the log has acknowledged the request. What becomes of it will be in the log too.
#[utoipa::path(
    post,
    path = "/v1/containers",
    tag = "containers",
    request_body(content = ContainerBody, example = json!({
        "workspace": "acme", "container_id": "c-1", "image_id": "img-1", "worker_id": "worker-1"
    })),
    security(("bearer" = [])),
    params((
        "Idempotency-Key" = Option<String>, Header,
        description = "1 to 128 visible ASCII characters. The same key again, in the same workspace about the same \
                       container, is the same event.",
    )),
    responses(
        (
            status = 202, description = "The request is recorded", body = Place,
            headers(("Idempotent-Replayed" = bool, description = "An earlier request with the same key recorded it")),
        ),
        Problems,
    )
)]
pub(super) async fn post(State(app): State<Arc<App>>, headers: HeaderMap, body: Body) -> Result<Response, Problem> {
    let of_token = request::authenticate(&app, &headers)?;
    let key = request::idempotency_key(&headers)?;
    let event = read(body::read(&headers, body, app.limits).await?, of_token)?;
    let recorder = app.recorder.clone();
    let recording = async move {
        let (container_id, worker_id) = (event.container_id.clone(), event.worker_id.clone());
        let receipt = recorder.record("containers", event.into(), key.as_ref()).await?;
        let replayed = receipt.replayed.then_some(true);
        tracing::info!(%container_id, %worker_id, sequence = receipt.sequence, replayed, "container requested");
        Ok(receipt)
    };
    let receipt = app.see_through(recording).await?;
    Ok(answer::with(&receipt, StatusCode::ACCEPTED, Place::of(&receipt)))
}

fn read(body: ContainerBody, of_token: &WorkspaceId) -> Result<ContainerRequested, Problem> {
    Ok(ContainerRequested {
        workspace: request::authorize(body.workspace, of_token)?,
        container_id: request::id(body.container_id)?,
        image_id: request::optional_id(body.image_id)?,
        worker_id: request::id(body.worker_id)?,
        build_container: body.build_container,
    })
}

/// A container that is gone.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct EndedBody {
    /// Owner of the container.
    #[schema(example = "acme", pattern = "^[A-Za-z0-9_-]{1,128}$")]
    workspace: String,
    /// The container.
    #[schema(example = "c-1", pattern = "^[A-Za-z0-9_-]{1,128}$")]
    container_id: String,
}

/// Says that a container is gone.
///
/// It hears of no rotation or revocation any more.
#[utoipa::path(
    post,
    path = "/v1/containers/ended",
    tag = "containers",
    request_body(content = EndedBody, example = json!({"workspace": "acme", "container_id": "c-1"})),
    security(("bearer" = [])),
    params((
        "Idempotency-Key" = Option<String>, Header,
        description = "1 to 128 visible ASCII characters. The same key again, in the same workspace about the same \
                       container, is the same event.",
    )),
    responses(
        (
            status = 202, description = "The end is recorded", body = Place,
            headers(("Idempotent-Replayed" = bool, description = "An earlier request with the same key recorded it")),
        ),
        Problems,
    )
)]
pub(super) async fn ended(State(app): State<Arc<App>>, headers: HeaderMap, body: Body) -> Result<Response, Problem> {
    let of_token = request::authenticate(&app, &headers)?;
    let key = request::idempotency_key(&headers)?;
    let body: EndedBody = body::read(&headers, body, app.limits).await?;
    let (workspace, container_id) = (request::authorize(body.workspace, of_token)?, request::id(body.container_id)?);
    let recorder = app.recorder.clone();
    let recording = async move {
        let event = ContainerEnded { workspace, container_id };
        let told = event.container_id.clone();
        let receipt = recorder.record("ended", event.into(), key.as_ref()).await?;
        let replayed = receipt.replayed.then_some(true);
        tracing::info!(container_id = %told, sequence = receipt.sequence, replayed, "container ended");
        Ok(receipt)
    };
    let receipt = app.see_through(recording).await?;
    Ok(answer::with(&receipt, StatusCode::ACCEPTED, Place::of(&receipt)))
}
