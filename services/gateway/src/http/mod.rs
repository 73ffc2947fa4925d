//! The HTTP surface: two POST routes that answer when the log has the event, health, and the document that describes them.

mod body;
mod builds;
mod containers;
pub mod openapi;
mod problem;
mod request;
mod span;

use std::sync::Arc;

use axum::{Router, http::StatusCode, middleware, routing::post};
use waybill_platform::{
    health::HealthState,
    sealing::{PrivateKey, PublicKey},
};

use crate::{config::Limits, record::Recorder, tokens::Tokens};
use problem::Problem;

/// What the handlers share.
pub(crate) struct App {
    pub(crate) recorder: Recorder,
    pub(crate) tokens: Tokens,
    pub(crate) sealing_key: PrivateKey,
    pub(crate) scheduler_key: PublicKey,
    pub(crate) limits: Limits,
}

/// All routes.
pub(crate) fn router(app: Arc<App>, health: &HealthState) -> Router {
    let api = Router::new()
        .route("/v1/builds", post(builds::post))
        .route("/v1/containers", post(containers::post))
        .with_state(app)
        .route_layer(middleware::from_fn(span::trace))
        .method_not_allowed_fallback(|| async { problem::method_not_allowed() });
    api.merge(health.routes()).merge(openapi::routes()).fallback(|| async { problem::no_such_route() })
}

impl From<crate::record::RecordError> for Problem {
    fn from(error: crate::record::RecordError) -> Self {
        use crate::record::RecordError;
        match error {
            RecordError::Unavailable(reason) => problem::log_away(&reason),
            RecordError::Refused(reason) => {
                tracing::error!(reason, "the event log refuses what this gateway publishes");
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "log-refused", "the event log refuses the event")
                    .remedy("run `waybill doctor`, or look at the gateway's log")
            }
            RecordError::KeyReused => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "idempotency-key-reused",
                "the Idempotency-Key was used for another request about the same image or container",
            )
            .field("Idempotency-Key")
            .remedy("use a new key for a new request"),
        }
    }
}
