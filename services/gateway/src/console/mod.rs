//! The console: what the log says, as pages for people.
//!
//! Pages are functions from view types to markup; the handlers beside them ask the same functions as the HTTP interface. Each
//! page works without scripts; with them it follows the log.

mod act;
mod ask;
mod assets;
mod event;
mod find;
mod flow;
mod hops;
mod impact;
mod layout;
mod lists;
mod live;
mod moments;
mod now;
mod pulse;
mod quarantine;
mod session;
mod sign_in;
mod stories;
mod story;
#[cfg(test)]
mod testing;
mod workers;

use std::sync::Arc;

use axum::{
    Router,
    middleware::map_response,
    routing::{get, post},
};

use crate::http::App;

pub(crate) use pulse::{Kind, Pulse};

/// What the console needs beside what the handlers share.
#[derive(Debug, Default)]
pub(crate) struct Console {
    /// Where traces can be looked at (`WAYBILL_JAEGER_URL`).
    pub(crate) traces: Option<String>,
    pub(crate) ended: session::Ended,
}

/// The console's routes.
pub(crate) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/", get(now::show))
        .route("/signin", get(sign_in::form).post(sign_in::begin))
        .route("/signout", post(sign_in::end))
        .route("/live", get(live::follow))
        .route("/theme", post(sign_in::theme))
        .route("/assets/{stamp}/{name}", get(assets::get))
        .route("/containers", get(lists::containers))
        .route("/containers/{workspace}/{id}", get(stories::container))
        .route("/images/{workspace}/{id}", get(stories::image))
        .route("/secrets", get(lists::secrets))
        .route("/secrets/{workspace}/{name}", get(stories::secret))
        .route("/secrets/{workspace}/{name}/{action}", get(act::form).post(act::run))
        .route("/workers", get(workers::list))
        .route("/workers/{id}", get(workers::one))
        .route("/quarantine", get(quarantine::list))
        .route("/quarantine/{sequence}/{action}", post(quarantine::run))
        .route("/events/{sequence}", get(event::one))
        .route("/find", get(find::find))
        .layer(map_response(ask::protect))
}
