//! The HTTP surface: POST routes that answer when the log has the event, two GET routes that explain what it holds,
//! health, and the document that describes them.

mod answer;
mod body;
mod builds;
mod containers;
mod explain;
mod fact;
mod json;
pub mod openapi;
mod problem;
mod request;
mod secrets;
mod span;
mod verify;

#[cfg(test)]
mod tests;

use std::{future::Future, sync::Arc};

use axum::{
    Router, middleware,
    routing::{MethodRouter, get, post},
};
use tokio_util::task::TaskTracker;
use tracing::{Instrument as _, Span};
use waybill_platform::{
    health::HealthState,
    sealing::{PrivateKey, PublicKey},
};

use crate::{
    config::Limits,
    port::{Explains, Verifies},
    record::Recorder,
    tokens::Tokens,
};
use problem::Problem;

/// What the handlers share.
pub(crate) struct App {
    pub(crate) recorder: Recorder,
    pub(crate) explains: Arc<dyn Explains>,
    /// Who asks registries; none where that is off.
    pub(crate) verifies: Option<Arc<dyn Verifies>>,
    pub(crate) tokens: Tokens,
    pub(crate) sealing_key: PrivateKey,
    pub(crate) scheduler_key: PublicKey,
    pub(crate) limits: Limits,
    /// Recordings under way.
    pub(crate) recordings: TaskTracker,
}

impl App {
    /// Runs something to its end, also when the client goes away in the middle: what the log takes gets its log line.
    async fn see_through<T: Send + 'static>(
        &self,
        recording: impl Future<Output = Result<T, Problem>> + Send + 'static,
    ) -> Result<T, Problem> {
        let task = self.recordings.spawn(recording.instrument(Span::current()));
        task.await.unwrap_or_else(|error| {
            tracing::error!(%error, "a recording ended early");
            Err(problem::internal())
        })
    }
}

/// The routes that record something, each with the path under which the document has it.
fn recording_routes() -> [(&'static str, MethodRouter<Arc<App>>); 5] {
    [
        ("/v1/builds", post(builds::post)),
        ("/v1/containers", post(containers::post)),
        ("/v1/containers/ended", post(containers::ended)),
        ("/v1/secrets/rotate", post(secrets::rotate)),
        ("/v1/secrets/revoke", post(secrets::revoke)),
    ]
}

/// The routes that answer a question from the log, likewise.
fn explaining_routes() -> [(&'static str, MethodRouter<Arc<App>>); 2] {
    [
        ("/v1/images/{workspace}/{id}/explain", get(explain::image)),
        ("/v1/containers/{workspace}/{id}/explain", get(explain::container)),
    ]
}

/// All routes.
pub(crate) fn router(app: Arc<App>, health: &HealthState) -> Router {
    recording_routes()
        .into_iter()
        .chain(explaining_routes())
        .fold(Router::new(), |router, (path, handler)| router.route(path, handler))
        .route_layer(middleware::from_fn(span::trace))
        .with_state(app)
        .merge(health.routes())
        .merge(openapi::routes())
        .method_not_allowed_fallback(|| async { problem::method_not_allowed() })
        .fallback(|| async { problem::no_such_route() })
}
