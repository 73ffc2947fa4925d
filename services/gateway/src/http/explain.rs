//! `GET /v1/{images,containers,secrets}/{workspace}/{id}/explain`: which hop broke, why, and what to do.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    http::{HeaderMap, Uri},
    response::{IntoResponse as _, Response},
};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use waybill_domain::explain::{Asked, Difference};
use waybill_platform::{events::Place, explain::Explainer};
use waybill_schemas::WorkspaceId;

use super::{App, openapi::ReadProblems, problem::Problem, request};

/// Explains an image.
///
/// What a container that asks for the image would find, from the log itself.
#[utoipa::path(
    get,
    path = "/v1/images/{workspace}/{id}/explain",
    operation_id = "explainImage",
    tag = "explain",
    security(("bearer" = [])),
    params(("workspace" = String, Path, description = "Owner of the image"), ("id" = String, Path, description = "The image's id"), MomentQuery),
    responses((status = 200, description = "What the log says", body = Explained), ReadProblems)
)]
pub(super) async fn image(
    State(app): State<Arc<App>>,
    uri: Uri,
    headers: HeaderMap,
    Path((workspace, id)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let workspace = authorized(&app, &headers, workspace)?;
    answer(&app, &uri, &workspace, &Asked::Image(request::id(id)?)).await
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
    params(("workspace" = String, Path, description = "Owner of the container"), ("id" = String, Path, description = "The container's id"), MomentQuery),
    responses((status = 200, description = "What the log says", body = Explained), ReadProblems)
)]
pub(super) async fn container(
    State(app): State<Arc<App>>,
    uri: Uri,
    headers: HeaderMap,
    Path((workspace, id)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let workspace = authorized(&app, &headers, workspace)?;
    answer(&app, &uri, &workspace, &Asked::Container(request::id(id)?)).await
}

/// Explains a secret.
///
/// What became of its versions, and on which workers, from the log itself.
#[utoipa::path(
    get,
    path = "/v1/secrets/{workspace}/{name}/explain",
    operation_id = "explainSecret",
    tag = "explain",
    security(("bearer" = [])),
    params(
        ("workspace" = String, Path, description = "Owner of the secret"),
        ("name" = String, Path, description = "The secret"),
        MomentQuery,
    ),
    responses((status = 200, description = "What the log says", body = Explained), ReadProblems)
)]
pub(super) async fn secret(
    State(app): State<Arc<App>>,
    uri: Uri,
    headers: HeaderMap,
    Path((workspace, name)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let workspace = authorized(&app, &headers, workspace)?;
    answer(&app, &uri, &workspace, &Asked::Secret(request::id(name)?)).await
}

fn authorized(app: &App, headers: &HeaderMap, workspace: String) -> Result<WorkspaceId, Problem> {
    let holder = request::authenticate(app, headers)?;
    request::authorize(workspace, holder)
}

/// Which moments.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct MomentQuery {
    /// As it was when the log ended at this sequence, or at this time (RFC 3339).
    as_of: Option<String>,
    /// What changed since this sequence or time, instead of the whole story.
    diff: Option<String>,
}

/// Asks about one moment, or about two.
async fn answer(app: &App, uri: &Uri, workspace: &WorkspaceId, asked: &Asked) -> Result<Response, Problem> {
    let query: MomentQuery = request::query(uri)?;
    let [as_of, diff] = [("as_of", query.as_of), ("diff", query.diff)].map(|(field, text)| request::place(field, text));
    let (as_of, diff) = (as_of?, diff?);
    let now = match as_of {
        Some(place) => explainer_at(app, "as_of", place).await?,
        None => app.explainer.clone(),
    };
    let Some(diff) = diff else {
        return Ok(Json(request::in_time(app, now.explain(workspace, asked)).await?).into_response());
    };
    let then = explainer_at(app, "diff", diff).await?;
    let both = async { Ok((then.explain(workspace, asked).await?, now.explain(workspace, asked).await?)) };
    let (before, after) = request::in_time(app, both).await?;
    Ok(Json(Difference::between(&before, after)).into_response())
}

async fn explainer_at(app: &App, field: &str, place: Place) -> Result<Explainer, Problem> {
    let found = request::in_time(app, app.explainer.at(place)).await?;
    found.ok_or_else(|| Problem::invalid(field, "the log has no event at this sequence"))
}

/// An explanation, or with `diff` what changed.
#[derive(ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "describes the answers in the OpenAPI document")]
pub(super) enum Explained {
    /// The whole story.
    Story(Answer),
    /// What changed between two moments.
    Changes(DifferenceAnswer),
}

/// What changed between two moments.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the domain's Difference in the OpenAPI document")]
pub(super) struct DifferenceAnswer {
    /// `image`, `container` or `secret`.
    kind: String,
    /// Its owner.
    workspace: String,
    /// Its id, or the secret's name.
    id: String,
    /// True if the verdict is another one.
    changed: bool,
    /// The verdict then.
    before: AnswerVerdict,
    /// The verdict afterwards.
    after: AnswerVerdict,
    /// What happened in between, in the order of the log.
    steps: Vec<AnswerStep>,
    /// Facts that are new.
    notes: Vec<String>,
}

/// What happened to an image, a container or a secret.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the domain's Explanation in the OpenAPI document")]
pub(super) struct Answer {
    /// `image`, `container` or `secret`.
    kind: String,
    /// Its owner.
    workspace: String,
    /// Its id, or the secret's name.
    id: String,
    /// The container's newest placement.
    #[schema(nullable = false)]
    placement: Option<u64>,
    /// The worker that it is on.
    #[schema(nullable = false)]
    worker_id: Option<String>,
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
    /// `saved`, `requested`, `attached`, `provider`, `pull` or `withdrawn`.
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
    /// `done`, `skipped`, `failed` or `ignored`.
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
    /// Who asked for it, where that is known.
    #[schema(nullable = false)]
    actor: Option<String>,
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
    /// The worker that it was on.
    worker_id: String,
    /// How it ended: `healthy`, `broken` or `in_flight`.
    state: String,
    /// Why, as one word.
    code: String,
    /// Why, in one sentence.
    sentence: String,
}
