//! `GET /v1/now`: how much happens, how far the scheduler is, and what each worker has.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, Uri},
    response::{IntoResponse as _, Response},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use waybill_domain::fleet::WorkerLoad;
use waybill_platform::trace;
use waybill_schemas::{Timestamp, WorkspaceId, v1::TokenRole};

use super::{App, openapi::ReadProblems, problem::Problem, request};
use crate::console::Kind;

/// Figures of the moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Figures {
    /// Builds of the last minute.
    pub(crate) builds: u64,
    /// Requests and ends of containers in the last minute.
    pub(crate) requests: u64,
    /// Decisions of the last minute.
    pub(crate) decisions: u64,
    /// Pulls of the last minute, and failures to pull.
    pub(crate) pulls: u64,
    /// Placements that go on.
    pub(crate) placements: usize,
    /// Those of them that failed.
    pub(crate) failing: usize,
    /// Events that the scheduler has not read; absent where no scheduler reads.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) lag: Option<u64>,
    /// Messages that cannot be read and are not given up.
    pub(crate) unreadable: usize,
    /// The workers that something is placed on.
    #[schema(value_type = Vec<WorkerAnswer>)]
    pub(crate) workers: Vec<WorkerLoad>,
}

/// What a worker has.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the domain's WorkerLoad in the OpenAPI document")]
pub(super) struct WorkerAnswer {
    /// The worker.
    worker_id: String,
    /// Placements on it that go on.
    placements: u64,
    /// Those of them that failed.
    broken: u64,
    /// Those of them that wait.
    in_flight: u64,
    /// When the log last heard of it.
    #[schema(required = false, nullable = false, value_type = String, format = DateTime)]
    heard_at: Option<Timestamp>,
}

/// Whose.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct NowQuery {
    /// Owner of what is counted; the token's own workspace, or all where it opens all.
    #[param(example = "acme")]
    workspace: Option<String>,
}

/// Shows the figures of the moment.
///
/// Rates are of the last minute, by the log's clock.
#[utoipa::path(
    get,
    path = "/v1/now",
    operation_id = "showFigures",
    tag = "events",
    security(("bearer" = [])),
    params(NowQuery),
    responses((status = 200, description = "The figures", body = Figures), ReadProblems)
)]
pub(super) async fn show(State(app): State<Arc<App>>, uri: Uri, headers: HeaderMap) -> Result<Response, Problem> {
    let holder = request::authenticate(&app, &headers, TokenRole::Reader)?;
    let query: NowQuery = request::query(&uri)?;
    let workspace = request::scope(query.workspace, &holder)?;
    Ok(Json(read_figures(&app, workspace.as_ref()).await?).into_response())
}

/// The figures of a workspace, or of all.
pub(crate) async fn read_figures(app: &App, own: Option<&WorkspaceId>) -> Result<Figures, Problem> {
    let (feed, now) = (&app.feed, trace::now());
    let reader = request::in_time(app, app.recorder.log.scheduler_reader()).await?;
    let workers = app.look_at_fleet(|fleet| fleet.workers(own.map(WorkspaceId::as_str)))?;
    let sum = |count: fn(&WorkerLoad) -> usize| workers.iter().map(count).sum();
    let rate = |kind| feed.pulse.per_minute(kind, own, now);
    Ok(Figures {
        builds: rate(Kind::Builds),
        requests: rate(Kind::Requests),
        decisions: rate(Kind::Decisions),
        pulls: rate(Kind::Pulls),
        placements: sum(|load| load.placements),
        failing: sum(|load| load.broken),
        lag: reader.map(|reader| reader.pending),
        unreadable: feed.pulse.list_unreadable(own).len(),
        workers,
    })
}
