//! What both routes do with a request before they look at what it says.

use axum::http::{HeaderMap, StatusCode, header};
use waybill_schemas::{IdError, WorkspaceId};

use super::{App, problem, problem::Problem};
use crate::idempotency::IdempotencyKey;

/// The workspace that the request's bearer token is for.
pub(super) fn authenticate<'a>(app: &'a App, headers: &HeaderMap) -> Result<&'a WorkspaceId, Problem> {
    let value = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let token =
        value.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, token)| token);
    token.and_then(|token| app.tokens.workspace_of(token.trim())).ok_or_else(problem::unauthenticated)
}

/// The workspace of the body, if the token is for it.
pub(super) fn authorize(workspace: String, of_token: &WorkspaceId) -> Result<WorkspaceId, Problem> {
    let workspace: WorkspaceId = id(workspace)?;
    if workspace == *of_token { Ok(workspace) } else { Err(problem::another_workspace()) }
}

/// A valid id, or a problem that names its field.
pub(super) fn id<T: TryFrom<String, Error = IdError>>(text: String) -> Result<T, Problem> {
    T::try_from(text).map_err(|error| Problem::invalid(error.field(), error.to_string()))
}

/// As [`id`], for a field that may be absent or empty.
pub(super) fn optional_id<T: TryFrom<String, Error = IdError>>(text: Option<String>) -> Result<Option<T>, Problem> {
    text.filter(|text| !text.is_empty()).map(id).transpose()
}

/// The idempotency key, if there is one.
pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<IdempotencyKey>, Problem> {
    let mut values = headers.get_all("idempotency-key").iter();
    let Some(value) = values.next() else { return Ok(None) };
    let key = IdempotencyKey::parse(value.as_bytes()).filter(|_| values.next().is_none());
    key.map(Some).ok_or_else(|| {
        let detail = "the Idempotency-Key must be given once, as 1 to 128 visible ASCII characters";
        Problem::new(StatusCode::BAD_REQUEST, "invalid-header", detail).field("Idempotency-Key").remedy("use a UUID")
    })
}
