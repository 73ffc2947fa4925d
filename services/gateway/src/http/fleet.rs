//! `GET /v1/containers`: what runs where, and how it stands, from the fleet that the gateway keeps folded.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, Uri},
    response::{IntoResponse as _, Response},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema, openapi::ObjectBuilder};
use waybill_domain::{
    explain::{Code, Hop, State as Standing},
    fleet::{Listed, Wanted},
};
use waybill_schemas::{ImageId, SecretName, WorkerId, v1::TokenRole};

use super::{App, answer::words, openapi::ReadProblems, problem::Problem, request};

/// Which containers.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ContainersQuery {
    /// Owner of the containers; the token's own workspace.
    #[param(example = "acme")]
    workspace: Option<String>,
    /// Only those on this worker.
    worker: Option<String>,
    /// Only those that run this image.
    image: Option<String>,
    /// Only those that have this secret.
    secret: Option<String>,
    /// Only those that are `healthy`, `broken` or `in_flight`.
    #[param(example = "broken")]
    state: Option<String>,
    /// Only those with this code, such as `unauthorized`.
    code: Option<String>,
    /// Only placements up to this number, as `next` of the page before has it.
    up_to: Option<String>,
    /// Most containers of one page, 1 to 1000; 100 if it is not given.
    limit: Option<String>,
}

/// Containers whose placements go on, the newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ContainersAnswer {
    /// The containers.
    #[schema(value_type = Vec<ListedAnswer>)]
    containers: Vec<Listed>,
    /// Sequence of the last event that counts.
    position: u64,
    /// With it as `up_to`, the next page follows. Absent where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    next: Option<u64>,
}

/// A placement that goes on.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the domain's Listed in the OpenAPI document")]
pub(super) struct ListedAnswer {
    /// Owner of the container.
    workspace: String,
    /// The container.
    container_id: String,
    /// Number of the placement: the sequence of its request.
    #[schema(minimum = 1)]
    placement: u64,
    /// The worker that it is on.
    worker_id: String,
    /// The image that it runs.
    #[schema(nullable = false)]
    image_id: Option<String>,
    /// The secret that it has, or was to have.
    #[schema(nullable = false)]
    secret_name: Option<String>,
    /// Registry that it pulls from, where a build named one.
    #[schema(nullable = false)]
    registry: Option<String>,
    /// How it stands.
    #[schema(schema_with = states)]
    state: String,
    /// The hop that it is at.
    #[schema(schema_with = hops)]
    hop: String,
    /// Why, as one word.
    #[schema(schema_with = codes)]
    code: String,
    /// When it was asked for.
    #[schema(format = DateTime)]
    requested_at: String,
    /// Sequence of the event that says how it stands.
    #[schema(minimum = 1)]
    sequence: u64,
    /// The log's time of that event.
    #[schema(format = DateTime)]
    since: String,
}

pub(super) fn states() -> ObjectBuilder {
    words(Standing::ALL.iter().map(|state| state.as_str()))
}

pub(super) fn hops() -> ObjectBuilder {
    words(Hop::ALL.iter().map(|hop| hop.as_str()))
}

pub(super) fn codes() -> ObjectBuilder {
    words(Code::ALL.iter().map(|code| code.as_str()))
}

/// Lists the containers of a workspace.
///
/// Those whose placements go on, the newest first: where each runs, and how it stands. One that ended is forgotten here, and
/// explained all the same.
#[utoipa::path(
    get,
    path = "/v1/containers",
    operation_id = "listContainers",
    tag = "containers",
    security(("bearer" = [])),
    params(ContainersQuery),
    responses((status = 200, description = "The containers", body = ContainersAnswer), ReadProblems)
)]
pub(super) async fn containers(State(app): State<Arc<App>>, uri: Uri, headers: HeaderMap) -> Result<Response, Problem> {
    let holder = request::authenticate(&app, &headers, TokenRole::Reader)?;
    let query: ContainersQuery = request::query(&uri)?;
    let workspace = request::scope(query.workspace, &holder)?;
    let wanted = Wanted {
        workspace: workspace.map(|id| id.to_string()),
        worker: checked::<WorkerId>(query.worker)?,
        image: checked::<ImageId>(query.image)?,
        secret: checked::<SecretName>(query.secret)?,
        state: one_of("state", query.state, Standing::ALL, Standing::as_str)?,
        code: one_of("code", query.code, Code::ALL, Code::as_str)?,
    };
    let until = query.up_to.map_or(Ok(u64::MAX), |text| request::number("up_to", &text))?;
    let limit = request::limit(query.limit)?;
    let ((containers, next), position) =
        app.look_at_fleet(|fleet| (fleet.list(&wanted, until, limit), fleet.position()))?;
    Ok(Json(ContainersAnswer { containers, position, next }).into_response())
}

/// An id as text, once it is known to be one.
fn checked<T: TryFrom<String, Error = waybill_schemas::IdError>>(
    text: Option<String>,
) -> Result<Option<String>, Problem> {
    text.map(|text| request::id::<T>(text.clone()).map(|_| text)).transpose()
}

/// The word of a closed set that a parameter names.
fn one_of<T: Copy>(
    field: &str,
    text: Option<String>,
    all: &[T],
    word: impl Fn(T) -> &'static str,
) -> Result<Option<T>, Problem> {
    let Some(text) = text else { return Ok(None) };
    let found = all.iter().copied().find(|one| word(*one) == text);
    found.map(Some).ok_or_else(|| {
        let words: Vec<&str> = all.iter().copied().map(word).collect();
        Problem::invalid(field, format!("there is no such {field}; it is one of {}", words.join(", ")))
    })
}
