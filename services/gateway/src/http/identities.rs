//! Workers that join and retire, workspaces, and bearer tokens: asked of the issuer, which checks the right itself.

use std::sync::Arc;

use axum::{
    Json,
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse as _, Response},
    routing::{MethodRouter, get, post, put},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use waybill_domain::credentials::Secret;
use waybill_platform::{
    identity::{Admission, Answer, Ask, By, NewToken, ask_issuer, proof},
    sealing::HashKey,
};
use waybill_schemas::{Timestamp, v1::TokenRole};

use super::{
    App, body,
    problem::{self, Problem, RETRY},
    request,
};
use crate::tokens::Known;

/// The routes, each with the path under which the document has it.
pub(super) fn routes() -> [(&'static str, MethodRouter<Arc<App>>); 5] {
    [
        ("/v1/workers/join", post(join)),
        ("/v1/workers/{id}/retire", post(retire)),
        ("/v1/workspaces/{workspace}", put(add_workspace)),
        ("/v1/tokens", get(list_tokens).post(create_token)),
        ("/v1/tokens/{id}", axum::routing::delete(revoke_token)),
    ]
}

/// A worker that wants to be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct JoinBody {
    /// Its id. A service account's token of Kubernetes names the node itself.
    #[schema(example = "node-7", pattern = "^[A-Za-z0-9_-]{1,128}$", nullable = false)]
    worker_id: Option<String>,
    /// Public half of its NATS user's key. The private half stays where it was made.
    #[schema(example = "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4")]
    user_key: String,
}

/// What a node needs beside its own keys.
#[derive(Serialize, ToSchema)]
pub(super) struct AdmissionAnswer {
    /// Token of the NATS user, for a credentials file.
    token: String,
    /// When it ends, in Unix seconds. The process renews it by itself.
    ends_at: i64,
    /// Which worker it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    worker_id: Option<String>,
    /// Addresses of the NATS servers, comma separated.
    servers: String,
    /// The servers' certificate authority, as PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    ca: Option<String>,
    /// The scheduler's public key.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    scheduler_key: Option<String>,
}

impl From<Admission> for AdmissionAnswer {
    fn from(admission: Admission) -> Self {
        let Admission { token, ends_at, worker_id, servers, ca, scheduler_key } = admission;
        let worker_id = worker_id.map(|id| id.to_string());
        let scheduler_key = scheduler_key.map(|key| key.to_string());
        Self { token, ends_at, worker_id, servers, ca, scheduler_key }
    }
}

/// What was recorded.
#[derive(Serialize, ToSchema)]
pub(super) struct RecordedAnswer {
    /// Stream sequence of the event.
    #[schema(minimum = 1)]
    sequence: u64,
}

/// What can be wrong with a request of this kind.
#[derive(utoipa::IntoResponses)]
#[expect(dead_code, reason = "describes Problem in the OpenAPI document")]
pub(super) enum IdentityProblems {
    /// The body is not a JSON object in UTF-8; nothing was recorded
    #[response(status = 400, content_type = "application/problem+json")]
    BadRequest(Problem),
    /// No bearer token; nothing was recorded
    #[response(status = 401, content_type = "application/problem+json")]
    Unauthenticated(Problem),
    /// The token is not known, has ended, is used up, or is not for this
    #[response(status = 403, content_type = "application/problem+json")]
    Forbidden(Problem),
    /// There is no such worker or token
    #[response(status = 404, content_type = "application/problem+json")]
    NotFound(Problem),
    /// The body did not arrive in time; nothing was recorded
    #[response(status = 408, content_type = "application/problem+json")]
    Timeout(Problem),
    /// There is another one of that name
    #[response(status = 409, content_type = "application/problem+json")]
    Conflict(Problem),
    /// The body is too large; nothing was recorded
    #[response(status = 413, content_type = "application/problem+json")]
    TooLarge(Problem),
    /// The body is not application/json; nothing was recorded
    #[response(status = 415, content_type = "application/problem+json")]
    MediaType(Problem),
    /// A field cannot be used
    #[response(status = 422, content_type = "application/problem+json")]
    Invalid(Problem),
    /// The issuer, or the gateway, failed
    #[response(status = 500, content_type = "application/problem+json")]
    Failed(Problem),
    /// The issuer does not answer; send the same request again
    #[response(status = 503, content_type = "application/problem+json")]
    Unavailable(Problem),
}

/// Lets a worker join.
///
/// The bearer token is a join token, or a service account's token of Kubernetes that was made for Waybill.
#[utoipa::path(
    post, path = "/v1/workers/join", operation_id = "joinWorker", tag = "identities", request_body = JoinBody,
    security(("bearer" = [])),
    responses((status = 200, description = "The worker has credentials", body = AdmissionAnswer), IdentityProblems),
)]
pub(super) async fn join(State(app): State<Arc<App>>, headers: HeaderMap, body: Body) -> Result<Response, Problem> {
    let by = read_right(&headers)?;
    let JoinBody { worker_id, user_key } = body::read(&headers, body, app.limits).await?;
    let worker_id = request::optional_id(worker_id)?;
    answer(ask(&app, Ask::Join { by, worker_id, user_key }).await?)
}

/// Retires a worker: its credentials end at once, and whatever is placed on it is withdrawn.
#[utoipa::path(
    post, path = "/v1/workers/{id}/retire", operation_id = "retireWorker", tag = "identities",
    security(("bearer" = [])), params(("id" = String, Path, description = "The worker", example = "node-7")),
    responses((status = 200, description = "It is no more", body = RecordedAnswer), IdentityProblems),
)]
pub(super) async fn retire(
    State(app): State<Arc<App>>,
    Path(worker_id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let by = read_right(&headers)?;
    answer(ask(&app, Ask::Retire { by, worker_id: request::id(worker_id)? }).await?)
}

/// A workspace that is to be.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct WorkspaceBody {
    /// Public half of the key of an orchestrator's NATS user, if one is wanted.
    #[schema(nullable = false)]
    user_key: Option<String>,
}

/// Adds a workspace, and signs credentials for an orchestrator of it that brings a key.
#[utoipa::path(
    put, path = "/v1/workspaces/{workspace}", operation_id = "addWorkspace", tag = "identities",
    request_body = WorkspaceBody, security(("bearer" = [])),
    params(("workspace" = String, Path, description = "The workspace", example = "acme")),
    responses(
        (status = 200, description = "The workspace is there; with a key, what an orchestrator needs", body = AdmissionAnswer),
        IdentityProblems,
    ),
)]
pub(super) async fn add_workspace(
    State(app): State<Arc<App>>,
    Path(workspace): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let by = read_right(&headers)?;
    let workspace = request::id(workspace)?;
    let WorkspaceBody { user_key } = body::read(&headers, body, app.limits).await?;
    answer(ask(&app, Ask::AddWorkspace { by, workspace, user_key }).await?)
}

/// A token that is to be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TokenBody {
    /// Its name.
    #[schema(example = "ci-main", pattern = "^[A-Za-z0-9_-]{1,128}$")]
    token_id: String,
    /// `join` alone, or some of `builder`, `orchestrator`, `reader`, `admin`.
    #[schema(value_type = Vec<String>, example = json!(["builder"]))]
    roles: Vec<TokenRole>,
    /// Workspaces that it is for, 16 at most; none for every workspace.
    #[serde(default)]
    #[schema(required = false, example = json!(["acme"]))]
    workspaces: Vec<String>,
    /// When it ends.
    #[schema(value_type = Option<String>, format = "date-time", nullable = false)]
    ends_at: Option<Timestamp>,
    /// How many workers may join by it.
    #[schema(nullable = false)]
    uses: Option<u64>,
    /// What their ids begin with.
    #[schema(nullable = false)]
    worker_prefix: Option<String>,
}

/// A token that was made.
#[derive(Serialize, ToSchema)]
pub(super) struct CreatedAnswer {
    /// Its name.
    token_id: String,
    /// The token itself, which is shown this once.
    token: String,
    /// Stream sequence of the event.
    #[schema(minimum = 1)]
    sequence: u64,
}

/// Makes a token.
#[utoipa::path(
    post, path = "/v1/tokens", operation_id = "createToken", tag = "identities", request_body = TokenBody,
    security(("bearer" = [])),
    responses((status = 201, description = "The token", body = CreatedAnswer), IdentityProblems),
)]
pub(super) async fn create_token(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let by = read_right(&headers)?;
    let body: TokenBody = body::read(&headers, body, app.limits).await?;
    let workspaces = body.workspaces.into_iter().map(request::id).collect::<Result<_, Problem>>();
    let token = NewToken {
        token_id: request::id(body.token_id)?,
        roles: body.roles,
        workspaces: workspaces.map_err(|problem| problem.field("workspaces"))?,
        ends_at: body.ends_at,
        uses: body.uses,
        worker_prefix: request::optional_id(body.worker_prefix)?,
    };
    let token_id = token.token_id.to_string();
    let random = HashKey::generate().map_err(|_| problem::internal())?;
    let text = Secret::new(format!("wb_{}", random.expose()));
    match ask(&app, Ask::CreateToken { by, token, proof: proof(&text) }).await? {
        Answer::Recorded { sequence } => {
            let created = CreatedAnswer { token_id, token: text.expose().to_owned(), sequence };
            Ok((StatusCode::CREATED, Json(created)).into_response())
        }
        other => answer(other),
    }
}

/// Revokes a token.
#[utoipa::path(
    delete, path = "/v1/tokens/{id}", operation_id = "revokeToken", tag = "identities", security(("bearer" = [])),
    params(("id" = String, Path, description = "Its name", example = "ci-main")),
    responses((status = 200, description = "It is good no more", body = RecordedAnswer), IdentityProblems),
)]
pub(super) async fn revoke_token(
    State(app): State<Arc<App>>,
    Path(token_id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let by = read_right(&headers)?;
    answer(ask(&app, Ask::RevokeToken { by, token_id: request::id(token_id)? }).await?)
}

/// A token, never its text.
#[derive(Serialize, ToSchema)]
pub(super) struct TokenAnswer {
    /// Its name.
    token_id: String,
    /// What it is for.
    roles: Vec<&'static str>,
    /// Workspaces that it is for; none for every workspace.
    workspaces: Vec<String>,
    /// When it ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "date-time", nullable = false)]
    ends_at: Option<Timestamp>,
    /// When this gateway last took it, since it started.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "date-time", nullable = false)]
    last_used_at: Option<Timestamp>,
}

impl TokenAnswer {
    fn of(known: &Known) -> Self {
        let token = &known.token;
        Self {
            token_id: token.token_id.to_string(),
            roles: token.roles.iter().map(|role| role.as_str()).collect(),
            workspaces: token.workspaces.iter().map(ToString::to_string).collect(),
            ends_at: token.ends_at,
            last_used_at: known.last_used(),
        }
    }
}

/// Lists the tokens that were made while everything runs: those that are good, or were until they ended.
#[utoipa::path(
    get, path = "/v1/tokens", operation_id = "listTokens", tag = "identities", security(("bearer" = [])),
    responses((status = 200, description = "The tokens", body = Vec<TokenAnswer>), IdentityProblems),
)]
pub(super) async fn list_tokens(State(app): State<Arc<App>>, headers: HeaderMap) -> Result<Response, Problem> {
    request::authenticate(&app, &headers, TokenRole::Admin)?;
    let tokens: Vec<TokenAnswer> = app.tokens.recorded().all().iter().map(|known| TokenAnswer::of(known)).collect();
    Ok(Json(tokens).into_response())
}

/// By which right somebody asks. Whether it is one is the issuer's to know: what a stolen gateway says must not be enough.
fn read_right(headers: &HeaderMap) -> Result<By, Problem> {
    let token = request::bearer(headers).filter(|token| !token.is_empty()).ok_or_else(problem::unauthenticated)?;
    let is_jwt = token.starts_with("ey") && token.split('.').count() == 3;
    Ok(if is_jwt { By::ServiceAccount(token.to_owned()) } else { By::Proof(proof(&Secret::new(token))) })
}

async fn ask(app: &App, ask: Ask) -> Result<Answer, Problem> {
    let silent = |reason: String| {
        tracing::warn!(reason, "the issuer does not answer");
        problem::unavailable(
            "issuer_unavailable",
            "the issuer does not answer; whether it did what was asked is not known",
        )
        .remedy("start `waybill issuer`, then send the same request again")
        .header(&RETRY)
    };
    let Some(issuer) = &app.issuer else { return Err(silent("there is none".to_owned())) };
    ask_issuer(issuer, &ask).await.map_err(silent)
}

fn answer(answer: Answer) -> Result<Response, Problem> {
    match answer {
        Answer::Admitted(admission) => Ok(Json(AdmissionAnswer::from(*admission)).into_response()),
        Answer::Recorded { sequence } => Ok(Json(RecordedAnswer { sequence }).into_response()),
        Answer::Refused(refusal) => {
            let (status, code) = match refusal.code.as_str() {
                "not_allowed" => (StatusCode::FORBIDDEN, "not_allowed"),
                "not_found" => (StatusCode::NOT_FOUND, "not_found"),
                "conflict" => (StatusCode::CONFLICT, "conflict"),
                "invalid" => (StatusCode::UNPROCESSABLE_ENTITY, "invalid_field"),
                _ => (StatusCode::SERVICE_UNAVAILABLE, "issuer_unavailable"),
            };
            Err(Problem::new(status, code, refusal.detail))
        }
    }
}
