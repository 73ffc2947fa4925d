//! `GET /v1/forecast`: what will break and when, as far as the log tells, each with the command that prevents it.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, Uri},
    response::{IntoResponse as _, Response},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema, openapi::ObjectBuilder};
use waybill_domain::fleet::{Forecast, ForecastKind, forecast};
use waybill_platform::{events::Within, trace};
use waybill_schemas::{Timestamp, v1::TokenRole};

use super::{App, answer::words, openapi::ReadProblems, problem::Problem, request};

/// What of the future.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ForecastQuery {
    /// Owner of what breaks; the token's own workspace, or all where it opens all.
    #[param(example = "acme")]
    workspace: Option<String>,
    /// How far ahead: `12h`, `7d`; 7 days if it is not given.
    #[param(example = "7d")]
    within: Option<String>,
    /// Most forecasts, 1 to 1000; 100 if it is not given.
    limit: Option<String>,
}

/// What breaks, what is broken already first, then the soonest.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ForecastAnswer {
    /// The time span ends here.
    #[schema(value_type = String, format = DateTime)]
    until: Timestamp,
    /// Sequence of the last event that counts.
    position: u64,
    /// What breaks.
    #[schema(value_type = Vec<BreakAnswer>)]
    forecasts: Vec<Forecast>,
    /// True if there are more than are told.
    more: bool,
}

/// Something that breaks, unless somebody does something about it.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the domain's Forecast in the OpenAPI document")]
pub(super) struct BreakAnswer {
    /// What kind of thing breaks.
    #[schema(schema_with = kinds)]
    kind: String,
    /// Its owner, where it has one.
    #[schema(nullable = false)]
    workspace: Option<String>,
    /// The secret, the token, the worker or the image.
    id: String,
    /// When; absent where it is broken already.
    #[schema(required = false, nullable = false, value_type = String, format = DateTime)]
    at: Option<String>,
    /// Since when it is broken, where it is.
    #[schema(required = false, nullable = false, value_type = String, format = DateTime)]
    since: Option<String>,
    /// Containers that it touches.
    containers: u64,
    /// Images of theirs.
    images: u64,
    /// Workers of theirs.
    workers: u64,
    /// What breaks and why, in one sentence.
    sentence: String,
    /// The command that prevents or mends it.
    #[schema(example = "waybill secrets rotate team-registry --creds FILE --workspace acme")]
    remedy: String,
}

fn kinds() -> ObjectBuilder {
    words(ForecastKind::ALL.iter().map(|kind| kind.as_str()))
}

/// Tells what will break within a time.
///
/// Secrets and tokens that end with nobody renewing them, workers with placements that are silent for far longer than usual, and
/// images whose last pull failed. What is usually renewed in time is told only once that is overdue.
#[utoipa::path(
    get,
    path = "/v1/forecast",
    operation_id = "forecast",
    tag = "explain",
    security(("bearer" = [])),
    params(ForecastQuery),
    responses((status = 200, description = "What breaks", body = ForecastAnswer), ReadProblems)
)]
pub(super) async fn list(State(app): State<Arc<App>>, uri: Uri, headers: HeaderMap) -> Result<Response, Problem> {
    let holder = request::authenticate(&app, &headers, TokenRole::Reader)?;
    let query: ForecastQuery = request::query(&uri)?;
    let workspace = request::scope(query.workspace, &holder)?;
    let within: Within = query
        .within
        .as_deref()
        .unwrap_or("7d")
        .parse()
        .map_err(|error: &str| Problem::invalid("within", error.to_owned()))?;
    let limit = request::limit(query.limit)?;
    let now = trace::now();
    let own = workspace.as_ref().map(|workspace| workspace.as_str());
    let (mut forecasts, position) =
        app.look_at_fleet(|fleet| (forecast(fleet, own, now, within.0), fleet.position()))?;
    let more = forecasts.len() > limit;
    forecasts.truncate(limit);
    Ok(Json(ForecastAnswer { until: within.after(now), position, forecasts, more }).into_response())
}
