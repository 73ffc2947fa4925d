//! `POST /v1/containers`: a container was placed on a worker and needs its image; and `/ended`: it is gone.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::Response,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use waybill_schemas::v1::{ContainerRequested, TokenRole};

use super::{
    App,
    answer::{Place, respond},
    body, json,
    openapi::Problems,
    problem::Problem,
    request,
};
use crate::{
    placements::{record_end, record_request},
    record::Receipt,
    tokens::Holder,
};

/// A placement, and the event that says something of it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PlacementAnswer {
    /// Number of the placement: the sequence of its request. An end names it.
    #[schema(minimum = 1, example = 17)]
    placement: u64,
    #[serde(flatten)]
    place: Place,
}

fn answer(receipt: &Receipt, placement: u64) -> Response {
    respond(receipt, StatusCode::ACCEPTED, PlacementAnswer { placement, place: Place::from(receipt) })
}

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

/// Places a container on a worker, and asks for its credentials.
///
/// A newer request for the same container takes the place of an earlier one, wherever that was. Answers when the log has
/// acknowledged the request. What becomes of it will be in the log too.
#[utoipa::path(
    post,
    path = "/v1/containers",
    operation_id = "requestContainer",
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
            status = 202, description = "The request is recorded", body = PlacementAnswer,
            headers(("Idempotent-Replayed" = bool, description = "An earlier request with the same key recorded it")),
        ),
        Problems,
    )
)]
pub(super) async fn post(State(app): State<Arc<App>>, headers: HeaderMap, body: Body) -> Result<Response, Problem> {
    let holder = request::identify(&app, &headers)?;
    // The body before all that may be refused: a refusal says what it was about.
    let body = body::receive(&headers, body, app.limits).await;
    request::require(&holder, TokenRole::Orchestrator)?;
    let key = request::idempotency_key(&headers)?;
    let requested = read(json::parse(&body?)?, &holder)?;
    let token = request::subject_token("containers", key.as_ref())?;
    let session = app.recorder.begin(&holder.actor());
    let recording = async move {
        let (container_id, worker_id) = (requested.container_id.clone(), requested.worker_id.clone());
        let receipt = record_request(&session, requested, token).await?;
        let replayed = receipt.replayed.then_some(true);
        tracing::info!(%container_id, %worker_id, placement = receipt.sequence, replayed, "container requested");
        Ok(receipt)
    };
    let receipt = app.see_through(recording).await?;
    Ok(answer(&receipt, receipt.sequence))
}

fn read(body: ContainerBody, holder: &Holder) -> Result<ContainerRequested, Problem> {
    Ok(ContainerRequested {
        workspace: request::authorize(body.workspace, holder)?,
        container_id: request::id(body.container_id)?,
        image_id: request::optional_id(body.image_id)?,
        worker_id: request::id(body.worker_id)?,
        build_container: body.build_container,
    })
}

/// A placement that is over.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct EndedBody {
    /// Owner of the container.
    #[schema(example = "acme", pattern = "^[A-Za-z0-9_-]{1,128}$")]
    workspace: String,
    /// The container.
    #[schema(example = "c-1", pattern = "^[A-Za-z0-9_-]{1,128}$")]
    container_id: String,
    /// Number of the placement, as the request was answered with it.
    #[schema(minimum = 1, example = 17)]
    #[serde(deserialize_with = "json::integer")]
    placement: u64,
}

/// Says that a placement is over.
///
/// Its worker drops the credentials. The end of a placement that a newer one has superseded is recorded, and takes nothing from
/// the newer one. A placement ends once: saying it again is answered with what was recorded, with or without an
/// Idempotency-Key.
#[utoipa::path(
    post,
    path = "/v1/containers/ended",
    operation_id = "endContainer",
    tag = "containers",
    request_body(content = EndedBody, example = json!({"workspace": "acme", "container_id": "c-1", "placement": 17})),
    security(("bearer" = [])),
    params(("Idempotency-Key" = Option<String>, Header, description = "Accepted, and not needed.")),
    responses(
        (
            status = 202, description = "The end is recorded", body = PlacementAnswer,
            headers(("Idempotent-Replayed" = bool, description = "It was recorded before")),
        ),
        (
            status = 404, body = Problem, content_type = "application/problem+json",
            description = "The container has no such placement",
        ),
        Problems,
    )
)]
pub(super) async fn ended(State(app): State<Arc<App>>, headers: HeaderMap, body: Body) -> Result<Response, Problem> {
    let holder = request::identify(&app, &headers)?;
    let body = body::receive(&headers, body, app.limits).await;
    request::require(&holder, TokenRole::Orchestrator)?;
    request::idempotency_key(&headers)?;
    let EndedBody { workspace, container_id, placement } = json::parse(&body?)?;
    let (workspace, container_id) = (request::authorize(workspace, &holder)?, request::id(container_id)?);
    let session = app.recorder.begin(&holder.actor());
    let recording = async move {
        let receipt = record_end(&session, &workspace, &container_id, placement).await?;
        let (sequence, replayed) = (receipt.sequence, receipt.replayed.then_some(true));
        tracing::info!(%container_id, placement, sequence, replayed, "container ended");
        Ok(receipt)
    };
    let receipt = app.see_through(recording).await?;
    Ok(answer(&receipt, placement))
}
