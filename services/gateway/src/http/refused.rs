//! Which requests leave a fact when they are refused, and what of their answers it may say.

use std::sync::Arc;

use axum::{
    extract::{MatchedPath, Request, State},
    http::Method,
    middleware::Next,
    response::Response,
};
use waybill_schemas::v1::{RefusalCode, RefusedOperation};

use super::{App, problem::Refusal};
use crate::refusals::{
    Answer,
    witness::{self, Named},
};

/// Notes what became of a request that would have recorded something. Its answer waits for nothing here.
pub(super) async fn note(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    let path = request.uri().path();
    let Some(operation) = find_operation(request.method(), route, path) else { return next.run(request).await };
    let named = Named::from_path(path);
    let (response, known) = witness::watch(named, next.run(request)).await;
    match response.extensions().get::<Refusal>() {
        Some(refusal) => {
            if let Some(answer) = find_answer(refusal) {
                app.refusals.refuse(operation, &known, answer);
            }
        }
        None if !response.status().is_client_error() && !response.status().is_server_error() => {
            app.refusals.accept(operation, &known);
        }
        None => {}
    }
    response
}

/// What a request asks for, where it would record something of a container, an image or a secret.
fn find_operation(method: &Method, route: &str, path: &str) -> Option<RefusedOperation> {
    let action = || match path.rsplit('/').next() {
        Some("rotate") => Some(RefusedOperation::RotateSecret),
        Some("revoke") => Some(RefusedOperation::RevokeSecret),
        Some("shred") => Some(RefusedOperation::ShredSecret),
        _ => None,
    };
    match (method.as_str(), route) {
        ("POST", "/v1/builds") => Some(RefusedOperation::RecordBuild),
        ("POST", "/v1/containers") => Some(RefusedOperation::RequestContainer),
        ("POST", "/v1/containers/ended") => Some(RefusedOperation::EndContainer),
        ("PUT", "/v1/secrets/{workspace}/{name}") => Some(RefusedOperation::PutSecret),
        ("DELETE", "/v1/secrets/{workspace}/{name}") => Some(RefusedOperation::RevokeSecret),
        (
            "POST",
            "/v1/secrets/{workspace}/{name}/rotate"
            | "/v1/secrets/{workspace}/{name}/revoke"
            | "/v1/secrets/{workspace}/{name}/shred"
            | "/secrets/{workspace}/{name}/{action}",
        ) => action(),
        _ => None,
    }
}

/// What may be said of an answer. None for those of which nobody has to hear: the gateway's own failures have log lines, and
/// what is withdrawn already needs nothing more.
fn find_answer(refusal: &Refusal) -> Option<Answer> {
    let Refusal { status, code, field, detail, remedy } = refusal.clone();
    let code = RefusalCode::ALL.iter().copied().find(|known| known.as_str() == code && status.is_client_error())?;
    Some(Answer { status: status.as_u16(), code, field, detail, remedy })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_that_would_record_something_are_known_by_their_route() {
        let secret = "/v1/secrets/{workspace}/{name}";
        let cases = [
            ("POST", "/v1/builds", "/v1/builds", Some(RefusedOperation::RecordBuild)),
            ("GET", "/v1/containers", "/v1/containers", None),
            ("POST", "/v1/containers", "/v1/containers", Some(RefusedOperation::RequestContainer)),
            ("POST", "/v1/containers/ended", "/v1/containers/ended", Some(RefusedOperation::EndContainer)),
            ("PUT", secret, "/v1/secrets/a/rotate", Some(RefusedOperation::PutSecret)),
            ("DELETE", secret, "/v1/secrets/a/b", Some(RefusedOperation::RevokeSecret)),
            ("GET", secret, "/v1/secrets/a/b", None),
            (
                "POST",
                "/v1/secrets/{workspace}/{name}/rotate",
                "/v1/secrets/a/b/rotate",
                Some(RefusedOperation::RotateSecret),
            ),
            ("POST", "/secrets/{workspace}/{name}/{action}", "/secrets/a/b/shred", Some(RefusedOperation::ShredSecret)),
            ("POST", "/secrets/{workspace}/{name}/{action}", "/secrets/a/b/burn", None),
            ("POST", "/v1/tokens", "/v1/tokens", None),
        ];
        for (method, route, path, expected) in cases {
            assert_eq!(find_operation(&method.parse().unwrap(), route, path), expected, "{method} {path}");
        }
    }
}
