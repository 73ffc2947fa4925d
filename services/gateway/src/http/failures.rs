//! `GET /v1/failures`: what failed in a time span, grouped by root cause, each with the one remedy.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, Uri},
    response::{IntoResponse as _, Response},
};
use futures_util::{StreamExt as _, stream};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use waybill_domain::fleet::Group;
use waybill_platform::{
    events::Since,
    explain::{Explainer, Remedied, explain_group},
    trace,
};
use waybill_schemas::{Timestamp, v1::TokenRole};

use super::{
    App,
    fleet::{codes, hops, states},
    openapi::ReadProblems,
    problem::Problem,
    request,
};

/// Groups that are explained at the same time.
const AT_ONCE: usize = 8;

/// Which failures.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct FailuresQuery {
    /// Owner of the containers; the token's own workspace.
    #[param(example = "acme")]
    workspace: Option<String>,
    /// How far back: `30m`, `1h`, `2d`, or a sequence or time (RFC 3339); 1 hour if it is not given.
    #[param(example = "1h")]
    since: Option<String>,
    /// Most causes, 1 to 1000; 100 if it is not given.
    limit: Option<String>,
}

/// Root causes, the widest first.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct FailuresAnswer {
    /// The time span begins here.
    #[schema(value_type = String, format = DateTime)]
    since: Timestamp,
    /// Sequence of the last event that counts.
    position: u64,
    /// False if failures of the span's beginning are forgotten: a day's, and 200,000, are kept.
    complete: bool,
    /// The causes.
    #[schema(value_type = Vec<CauseAnswer>)]
    causes: Vec<Remedied>,
    /// True if there are more causes than are told.
    more: bool,
}

/// One root cause.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what is told of the domain's Group in the OpenAPI document")]
pub(super) struct CauseAnswer {
    /// The hop that broke.
    #[schema(schema_with = hops)]
    hop: String,
    /// Why, as one word.
    #[schema(schema_with = codes)]
    code: String,
    /// What has to be mended: a secret, an image, a registry, a worker, the scheduler, the workspace's programs, or a request that
    /// was refused, by the answer's code and field.
    #[schema(example = "secret team-registry")]
    about: String,
    /// `broken`, or `in_flight` where everybody waits.
    #[schema(schema_with = states)]
    state: String,
    /// Containers that failed of it.
    containers: u64,
    /// Those of them that still stand so.
    still: u64,
    /// Images of theirs.
    images: u64,
    /// Workers of theirs.
    workers: u64,
    /// Secrets of theirs.
    secrets: u64,
    /// Workspaces of theirs.
    workspaces: u64,
    /// The first failure of the span.
    first: PlaceAnswer,
    /// The last one.
    last: PlaceAnswer,
    /// One container that failed so, or what one refused request was about.
    example: ExampleAnswer,
    /// Why it failed, in one sentence.
    sentence: String,
    /// What to do; empty where there is nothing to do.
    remedy: String,
}

/// A place in the log.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the domain's Place in the OpenAPI document")]
pub(super) struct PlaceAnswer {
    /// Stream sequence.
    sequence: u64,
    /// The stream's time.
    #[schema(format = DateTime)]
    time: String,
}

/// A container that failed, or what a refused request was about.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the domain's Example in the OpenAPI document")]
pub(super) struct ExampleAnswer {
    /// `container`, `image` or `secret`; `event` where the request named none of them.
    #[schema(example = "container")]
    kind: String,
    /// Its owner, where it has one.
    #[schema(nullable = false)]
    workspace: Option<String>,
    /// The container, the image or the secret, or the sequence of the event.
    id: String,
    /// The placement that failed.
    #[schema(nullable = false)]
    placement: Option<u64>,
}

/// Groups the failures of a time span by root cause.
///
/// Failures with one cause need one remedy: a thousand containers of a secret that expired are one entry.
#[utoipa::path(
    get,
    path = "/v1/failures",
    operation_id = "listFailures",
    tag = "explain",
    security(("bearer" = [])),
    params(FailuresQuery),
    responses((status = 200, description = "The causes", body = FailuresAnswer), ReadProblems)
)]
pub(super) async fn list(State(app): State<Arc<App>>, uri: Uri, headers: HeaderMap) -> Result<Response, Problem> {
    let holder = request::authenticate(&app, &headers, TokenRole::Reader)?;
    let query: FailuresQuery = request::query(&uri)?;
    let workspace = request::scope(query.workspace, &holder)?;
    let since: Since =
        query.since.as_deref().unwrap_or("1h").parse().map_err(|error| Problem::invalid("since", error))?;
    let limit = request::limit(query.limit)?;
    let now = trace::now();
    let since = request::in_time(&app, since.time(app.recorder.log.as_ref(), now)).await?;
    let (mut groups, position, complete) = app.look_at_fleet(|fleet| {
        let groups = fleet.group_failures(workspace.as_ref().map(|workspace| workspace.as_str()), since, now);
        (groups, fleet.position(), fleet.failures_complete_from().is_none_or(|complete| complete <= since))
    })?;
    let more = groups.len() > limit;
    groups.truncate(limit);
    let causes = request::in_time(&app, explain_all(&app.explainer, groups)).await?;
    Ok(Json(FailuresAnswer { since, position, complete, causes, more }).into_response())
}

/// What a group's example is explained with stands for the group.
pub(crate) async fn explain_all(
    explainer: &Explainer,
    groups: Vec<Group>,
) -> Result<Vec<Remedied>, waybill_platform::log::LogError> {
    let explaining = groups.into_iter().map(|group| explain_group(explainer, group));
    stream::iter(explaining).buffered(AT_ONCE).collect::<Vec<_>>().await.into_iter().collect()
}
