//! What every route does with a request before it looks at what it says.

use axum::{
    extract::Query,
    http::{HeaderMap, StatusCode, Uri, header},
};
use serde::de::DeserializeOwned;
use waybill_platform::{chain, events::Place, log::LogError};
use waybill_schemas::{IdError, RequestId, SecretName, WorkspaceId, v1::TokenRole};

use super::{App, problem, problem::Problem};
use crate::{
    idempotency::{IdempotencyKey, request_id},
    refusals::witness,
    tokens::Holder,
};

/// The request's bearer token.
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok())?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Who holds the request's bearer token, if it is for this use.
pub(super) fn authenticate(app: &App, headers: &HeaderMap, role: TokenRole) -> Result<Holder, Problem> {
    let holder = identify(app, headers)?;
    require(&holder, role)?;
    Ok(holder)
}

/// Who holds the request's bearer token, whatever it is for.
pub(super) fn identify(app: &App, headers: &HeaderMap) -> Result<Holder, Problem> {
    let holder = bearer(headers).and_then(|token| app.tokens.holder(token)).ok_or_else(problem::unauthenticated)?;
    witness::note_holder(&holder);
    Ok(holder)
}

/// A problem unless the token is for this use.
pub(crate) fn require(holder: &Holder, role: TokenRole) -> Result<(), Problem> {
    if holder.may(role) { Ok(()) } else { Err(problem::not_for_this(role)) }
}

/// The workspace that a request names, if the token is for it.
pub(crate) fn authorize(workspace: String, holder: &Holder) -> Result<WorkspaceId, Problem> {
    let workspace: WorkspaceId = id(workspace)?;
    if holder.opens(&workspace) { Ok(workspace) } else { Err(problem::another_workspace()) }
}

/// The workspace that a question is about: the token's own, which it may name, and must where it has several. None stands for
/// all.
pub(super) fn scope(workspace: Option<String>, holder: &Holder) -> Result<Option<WorkspaceId>, Problem> {
    match workspace {
        Some(workspace) => authorize(workspace, holder).map(Some),
        None if holder.workspaces().len() > 1 => {
            let own: Vec<&str> = holder.workspaces().iter().map(|own| own.as_str()).collect();
            let detail = format!("the token is for several workspaces: {}", own.join(", "));
            Err(Problem::invalid("workspace", detail).remedy("name one of them in the query: workspace=NAME"))
        }
        None => Ok(holder.workspace().cloned()),
    }
}

/// The parameters of a question.
pub(super) fn query<T: DeserializeOwned>(uri: &Uri) -> Result<T, Problem> {
    let Query(query) = Query::try_from_uri(uri).map_err(|error| Problem::invalid("query", error.body_text()))?;
    Ok(query)
}

/// A sequence or a time in a parameter.
pub(super) fn place(field: &str, text: Option<String>) -> Result<Option<Place>, Problem> {
    text.map(|text| text.parse().map_err(|error: &str| Problem::invalid(field, error))).transpose()
}

/// A number in a parameter.
pub(super) fn number(field: &str, text: &str) -> Result<u64, Problem> {
    text.parse().map_err(|_| Problem::invalid(field, format!("{field} is not a number")))
}

/// How much a page holds where nothing is said of it, and at most.
const PAGE: usize = 100;
pub(super) const LARGEST_PAGE: usize = 1000;

/// How much a page may hold.
pub(super) fn limit(text: Option<String>) -> Result<usize, Problem> {
    let Some(text) = text else { return Ok(PAGE) };
    let limit = text.parse().ok().filter(|limit| (1..=LARGEST_PAGE).contains(limit));
    limit.ok_or_else(|| Problem::invalid("limit", format!("the limit is a number from 1 to {LARGEST_PAGE}")))
}

/// The last event that a stream's reader has, if it says so.
pub(super) fn last_event_id(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let Some(value) = headers.get("last-event-id") else { return Ok(None) };
    number("Last-Event-ID", value.to_str().unwrap_or_default()).map(Some)
}

/// What the log answers to a question, within the time that it has.
pub(crate) async fn in_time<T>(app: &App, asking: impl Future<Output = Result<T, LogError>>) -> Result<T, Problem> {
    match tokio::time::timeout(app.limits.append, asking).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(problem::log_unread(&chain(&error))),
        Err(_) => Err(problem::log_unread("no answer in time")),
    }
}

/// A valid id, or a problem that names its field.
pub(crate) fn id<T: TryFrom<String, Error = IdError>>(text: String) -> Result<T, Problem> {
    T::try_from(text).map_err(|error| Problem::invalid(error.field(), error.to_string()).remedy(GIVE_AN_ID))
}

/// An id that cannot be one is told to the client with its place; others are told what an id is.
const GIVE_AN_ID: &str = "give 1 to 128 characters of A-Z a-z 0-9 _ - (in names of secrets . as well)";

/// As [`id`], for a field that may be absent or empty.
pub(super) fn optional_id<T: TryFrom<String, Error = IdError>>(text: Option<String>) -> Result<Option<T>, Problem> {
    text.filter(|text| !text.is_empty()).map(id).transpose()
}

/// The name of a secret in a field of the body that may be absent or empty.
pub(super) fn optional_name(field: &'static str, text: Option<String>) -> Result<Option<SecretName>, Problem> {
    let name = text.filter(|text| !text.is_empty()).map(SecretName::try_from).transpose();
    name.map_err(|error| Problem::invalid(field, error.to_string()).remedy(GIVE_AN_ID))
}

/// The idempotency key, if there is one.
pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<IdempotencyKey>, Problem> {
    let mut values = headers.get_all("idempotency-key").iter();
    let Some(value) = values.next() else { return Ok(None) };
    let key = IdempotencyKey::parse(value.as_bytes()).filter(|_| values.next().is_none());
    key.map(Some).ok_or_else(|| {
        let detail = "the Idempotency-Key must be given once, as 1 to 128 visible ASCII characters";
        Problem::new(StatusCode::BAD_REQUEST, "invalid_header", detail).field("Idempotency-Key").remedy("use a UUID")
    })
}

/// The last token of the subject of a build or a container request.
pub(super) fn subject_token(operation: &str, key: Option<&IdempotencyKey>) -> Result<RequestId, Problem> {
    request_id(operation, key).ok_or_else(problem::internal)
}
