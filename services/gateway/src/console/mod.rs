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
        .route("/", get(now::show_now))
        .route("/signin", get(sign_in::show_form).post(sign_in::begin_session))
        .route("/signout", post(sign_in::end_session))
        .route("/live", get(live::follow_log))
        .route("/workspace", post(sign_in::choose_workspace))
        .route("/theme", post(sign_in::choose_theme))
        .route("/assets/{stamp}/{name}", get(assets::serve_asset))
        .route("/containers", get(lists::show_containers))
        .route("/containers/{workspace}/{id}", get(stories::show_container))
        .route("/images/{workspace}/{id}", get(stories::show_image))
        .route("/secrets", get(lists::show_secrets))
        .route("/secrets/{workspace}/{name}", get(stories::show_secret))
        .route("/secrets/{workspace}/{name}/{action}", get(act::show_form).post(act::carry_out_form))
        .route("/workers", get(workers::show_list))
        .route("/workers/{id}", get(workers::show_worker))
        .route("/quarantine", get(quarantine::show_list))
        .route("/quarantine/{sequence}/{action}", post(quarantine::record_choice))
        .route("/events/{sequence}", get(event::show_event))
        .route("/find", get(find::show_found))
        .layer(map_response(ask::add_headers))
}
