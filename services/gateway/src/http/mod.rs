//! The HTTP surface: routes that answer when the log has the event, routes that tell what it holds, the console, health, and the
//! document that describes them.

mod answer;
pub(crate) mod body;
mod builds;
mod containers;
mod events;
mod explain;
pub(crate) mod failures;
mod fleet;
mod forecast;
mod identities;
mod json;
pub(crate) mod now;
pub mod openapi;
pub(crate) mod problem;
mod refused;
pub(crate) mod request;
pub(crate) mod secret_list;
pub(crate) mod secrets;
mod span;
mod verify;
pub(crate) mod withdrawals;

#[cfg(test)]
mod tests;

use std::{future::Future, sync::Arc};

use axum::{
    Router, middleware,
    routing::{MethodRouter, get, post},
};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;
use tracing::{Instrument as _, Span};
use waybill_domain::fleet::Fleet;
use waybill_platform::{explain::Explainer, health::HealthState, log::EventLog};

use crate::{
    config::Limits,
    console::{self, Console},
    feed::Feed,
    port::Verifies,
    record::{RecordError, Recorder},
    refusals::Refusals,
    tokens::Tokens,
};
use problem::Problem;

/// What the handlers share.
pub(crate) struct App {
    pub(crate) recorder: Recorder,
    pub(crate) explainer: Explainer,
    /// The log as it comes.
    pub(crate) feed: Arc<Feed>,
    /// Streams of events that may be open at a time.
    pub(crate) streams: Arc<Semaphore>,
    /// Who asks registries; none where that is off.
    pub(crate) verifies: Option<Arc<dyn Verifies>>,
    pub(crate) tokens: Tokens,
    /// The way to the issuer, over the servers of the log; none where there are none, as in tests.
    pub(crate) issuer: Option<EventLog>,
    pub(crate) limits: Limits,
    pub(crate) console: Console,
    /// Refused requests, on their way to the log.
    pub(crate) refusals: Refusals,
    /// Recordings under way.
    pub(crate) recordings: TaskTracker,
}

impl App {
    /// Looks at the fleet, once the gateway has read the log.
    pub(crate) fn look_at_fleet<T>(&self, look: impl FnOnce(&Fleet) -> T) -> Result<T, Problem> {
        self.feed.look(look).ok_or_else(|| problem::still_reading(self.feed.position()))
    }

    /// Runs something to its end, also when the client goes away in the middle: what the log takes gets its log line.
    pub(crate) async fn see_through<T: Send + 'static>(
        &self,
        recording: impl Future<Output = Result<T, RecordError>> + Send + 'static,
    ) -> Result<T, Problem> {
        let recording = async { recording.await.map_err(Problem::from) };
        self.recordings.spawn(recording.instrument(Span::current())).await.unwrap_or_else(|error| {
            tracing::error!(%error, "a recording ended early");
            Err(problem::internal())
        })
    }
}

/// Most streams of events that are open at a time.
pub(crate) const MOST_STREAMS: usize = 256;

/// The routes that need a token, each with the path under which the document has it.
fn routes() -> [(&'static str, MethodRouter<Arc<App>>); 15] {
    [
        ("/v1/builds", post(builds::post)),
        ("/v1/events", get(events::list)),
        ("/v1/now", get(now::show)),
        ("/v1/failures", get(failures::list)),
        ("/v1/forecast", get(forecast::list)),
        ("/v1/containers", get(fleet::containers).post(containers::post)),
        ("/v1/containers/ended", post(containers::ended)),
        ("/v1/secrets/{workspace}", get(secret_list::list)),
        ("/v1/secrets/{workspace}/{name}", get(secret_list::get).put(secrets::put).delete(withdrawals::delete)),
        ("/v1/secrets/{workspace}/{name}/rotate", post(secrets::rotate)),
        ("/v1/secrets/{workspace}/{name}/revoke", post(withdrawals::revoke)),
        ("/v1/secrets/{workspace}/{name}/shred", post(withdrawals::shred)),
        ("/v1/secrets/{workspace}/{name}/explain", get(explain::secret)),
        ("/v1/images/{workspace}/{id}/explain", get(explain::image)),
        ("/v1/containers/{workspace}/{id}/explain", get(explain::container)),
    ]
}

/// All routes.
pub(crate) fn router(app: Arc<App>, health: &HealthState) -> Router {
    routes()
        .into_iter()
        .chain(identities::routes())
        .fold(Router::new(), |router, (path, handler)| router.route(path, handler))
        .merge(console::routes())
        .route_layer(middleware::from_fn_with_state(app.clone(), refused::note))
        .route_layer(middleware::from_fn(span::trace))
        .with_state(app)
        .merge(health.routes())
        .merge(openapi::routes())
        .method_not_allowed_fallback(|| async { problem::method_not_allowed() })
        .fallback(|| async { problem::no_such_route() })
}
