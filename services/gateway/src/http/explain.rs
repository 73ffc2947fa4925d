//! `GET /v1/{images,containers}/{workspace}/{id}/explain`: which hop broke, why, and what to do.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    http::HeaderMap,
    response::{IntoResponse as _, Response},
};
use utoipa::ToSchema;
use waybill_platform::log::LogError;
use waybill_schemas::WorkspaceId;

use super::{App, openapi::ReadProblems, problem, problem::Problem, request};
use crate::port::Explanation;

/// Explains an image.
///
/// What a container that asks for the image would find, from the log itself.
#[utoipa::path(
    get,
    path = "/v1/images/{workspace}/{id}/explain",
    operation_id = "explainImage",
    tag = "explain",
    security(("bearer" = [])),
    params(("workspace" = String, Path, description = "Owner of the image"), ("id" = String, Path, description = "The image's id")),
    responses((status = 200, description = "What the log says", body = Answer), ReadProblems)
)]
pub(super) async fn image(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    Path((workspace, id)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let workspace = authorized(&app, &headers, workspace)?;
    let id = request::id(id)?;
    answer(&app, app.explains.image(&workspace, &id)).await
}

/// Explains a container.
///
/// What became of the container's newest request, from the log itself.
#[utoipa::path(
    get,
    path = "/v1/containers/{workspace}/{id}/explain",
    operation_id = "explainContainer",
    tag = "explain",
    security(("bearer" = [])),
    params(("workspace" = String, Path, description = "Owner of the container"), ("id" = String, Path, description = "The container's id")),
    responses((status = 200, description = "What the log says", body = Answer), ReadProblems)
)]
pub(super) async fn container(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    Path((workspace, id)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let workspace = authorized(&app, &headers, workspace)?;
    let id = request::id(id)?;
    answer(&app, app.explains.container(&workspace, &id)).await
}

fn authorized(app: &App, headers: &HeaderMap, workspace: String) -> Result<WorkspaceId, Problem> {
    let holder = request::authenticate(app, headers)?;
    request::authorize(workspace, holder)
}

async fn answer(app: &App, asking: impl Future<Output = Result<Explanation, LogError>>) -> Result<Response, Problem> {
    match tokio::time::timeout(app.limits.append, asking).await {
        Ok(Ok(explanation)) => Ok(Json(explanation).into_response()),
        Ok(Err(error)) => Err(problem::log_unread(&waybill_platform::chain(&error))),
        Err(_) => Err(problem::log_unread("no answer in time")),
    }
}

/// What happened to an image or a container.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the domain's Explanation in the OpenAPI document")]
pub(super) struct Answer {
    /// `image` or `container`.
    kind: String,
    /// Whose it is.
    workspace: String,
    /// Its id.
    id: String,
    /// The first hop that broke or is still open.
    verdict: AnswerVerdict,
    /// What happened, in the order of the log.
    timeline: Vec<AnswerStep>,
    /// Earlier requests for the same container, oldest first.
    earlier: Vec<AnswerEarlier>,
    /// Further facts.
    notes: Vec<String>,
}

#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the domain's Verdict in the OpenAPI document")]
struct AnswerVerdict {
    /// `healthy`, `broken` or `in_flight`.
    state: String,
    /// `saved`, `requested`, `attached`, `provider` or `pull`.
    hop: String,
    /// Why, as one word.
    code: String,
    /// Why, in one sentence.
    sentence: String,
    /// What to do; empty when there is nothing to do.
    remedy: String,
    /// Stream sequence of the event that says so.
    #[schema(nullable = false)]
    sequence: Option<u64>,
    /// The stream's time of that event.
    #[schema(nullable = false)]
    since: Option<String>,
}

#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the domain's Step in the OpenAPI document")]
struct AnswerStep {
    /// The hop.
    hop: String,
    /// `done`, `skipped` or `failed`.
    outcome: String,
    /// Stream sequence.
    sequence: u64,
    /// The stream's time.
    time: String,
    /// Milliseconds since the step before.
    #[schema(nullable = false)]
    after_ms: Option<i64>,
    /// Name of the event.
    event: String,
    /// Who wrote it.
    service: String,
    /// Version of the program that wrote it.
    #[schema(nullable = false)]
    version: Option<String>,
    /// Reason code of a skip or a failure.
    #[schema(nullable = false)]
    reason: Option<String>,
    /// What it says.
    says: String,
    /// Trace in which it was published.
    #[schema(nullable = false)]
    trace_id: Option<String>,
}

#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the domain's Earlier in the OpenAPI document")]
struct AnswerEarlier {
    /// Stream sequence of the request.
    sequence: u64,
    /// The stream's time of it.
    time: String,
    /// How it ended: `healthy`, `broken` or `in_flight`.
    state: String,
    /// Why, as one word.
    code: String,
}
