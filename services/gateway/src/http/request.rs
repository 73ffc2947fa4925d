//! What every route does with a request before it looks at what it says.

use axum::http::{HeaderMap, StatusCode, header};
use waybill_schemas::{IdError, RequestId, SecretName, WorkspaceId};

use super::{App, problem, problem::Problem};
use crate::{
    idempotency::{IdempotencyKey, request_id},
    tokens::Holder,
};

/// Who holds the request's bearer token.
pub(super) fn authenticate<'a>(app: &'a App, headers: &HeaderMap) -> Result<&'a Holder, Problem> {
    let value = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let token =
        value.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, token)| token);
    token.and_then(|token| app.tokens.holder(token.trim())).ok_or_else(problem::unauthenticated)
}

/// The workspace that a request names, if the token is for it.
pub(super) fn authorize(workspace: String, holder: &Holder) -> Result<WorkspaceId, Problem> {
    let workspace: WorkspaceId = id(workspace)?;
    if workspace == *holder.workspace() { Ok(workspace) } else { Err(problem::another_workspace()) }
}

/// A valid id, or a problem that names its field.
pub(super) fn id<T: TryFrom<String, Error = IdError>>(text: String) -> Result<T, Problem> {
    T::try_from(text).map_err(|error| Problem::invalid(error.field(), error.to_string()))
}

/// As [`id`], for a field that may be absent or empty.
pub(super) fn optional_id<T: TryFrom<String, Error = IdError>>(text: Option<String>) -> Result<Option<T>, Problem> {
    text.filter(|text| !text.is_empty()).map(id).transpose()
}

/// The name of a secret in a field of the body that may be absent or empty.
pub(super) fn optional_name(field: &'static str, text: Option<String>) -> Result<Option<SecretName>, Problem> {
    let name = text.filter(|text| !text.is_empty()).map(SecretName::try_from).transpose();
    name.map_err(|error| Problem::invalid(field, error.to_string()))
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
