//! `/healthz` and `/readyz`: whether the process lives, and whether each of its parts can do its work. `/metrics`: what it counts.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::IntoResponse,
    routing::get,
};
use serde::Serialize;
use tokio::{net::TcpListener, sync::watch};

use crate::log::Log;

/// What each part last said. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct HealthState {
    components: Arc<Mutex<BTreeMap<&'static str, Option<String>>>>,
}

/// One part of the process, which says whether it is ready.
#[derive(Debug, Clone)]
pub struct ComponentHandle {
    name: &'static str,
    state: HealthState,
}

/// The answer of `/readyz`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Readiness {
    /// Whether every part is ready.
    pub ready: bool,
    /// Each part with `ready`, or why it is not.
    pub components: BTreeMap<&'static str, String>,
}

impl HealthState {
    /// A part, not ready until it says so.
    pub fn component(&self, name: &'static str) -> ComponentHandle {
        let handle = ComponentHandle { name, state: self.clone() };
        handle.not_ready("starting");
        handle
    }

    /// What all parts say now.
    pub fn readiness(&self) -> Readiness {
        let components = self.components.lock().unwrap_or_else(PoisonError::into_inner);
        let said = |problem: &Option<String>| problem.clone().unwrap_or_else(|| "ready".to_owned());
        Readiness {
            ready: !components.is_empty() && components.values().all(Option::is_none),
            components: components.iter().map(|(name, problem)| (*name, said(problem))).collect(),
        }
    }

    /// The routes, to be merged into a service's own.
    pub fn routes(&self) -> Router {
        Router::new()
            .route("/healthz", get(|| async { "alive" }))
            .route("/readyz", get(readyz))
            .route("/metrics", get(metrics))
            .with_state(self.clone())
    }

    fn say(&self, name: &'static str, problem: Option<String>) {
        self.components.lock().unwrap_or_else(PoisonError::into_inner).insert(name, problem);
    }
}

impl ComponentHandle {
    /// The part can do its work.
    pub fn ready(&self) {
        self.state.say(self.name, None);
    }

    /// The part cannot, and why.
    pub fn not_ready(&self, reason: impl Into<String>) {
        self.state.say(self.name, Some(reason.into()));
    }
}

async fn metrics() -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], crate::metrics::text())
}

async fn readyz(State(state): State<HealthState>) -> (StatusCode, Json<Readiness>) {
    let readiness = state.readiness();
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(readiness))
}

/// Keeps a part's readiness with the state of the connection it needs.
pub async fn follow(mut connected: watch::Receiver<bool>, part: ComponentHandle) {
    loop {
        if *connected.borrow_and_update() {
            part.ready();
        } else {
            part.not_ready("not connected to NATS");
        }
        if connected.changed().await.is_err() {
            return part.not_ready("the connection to NATS is closed");
        }
    }
}

/// Why the log takes no events, as this process's last publishes found; none where they found nothing.
pub fn no_room(log: &dyn Log) -> Option<String> {
    let full = log.full().borrow().clone().map(|reason| format!("the event log has no room: {reason}"));
    full.or_else(|| {
        let reason = log.unanswered().borrow().clone()?;
        Some(format!(
            "the event log acknowledges no events: {reason}; where its disk was full, restart nats-server once it has room"
        ))
    })
}

/// Keeps a part's readiness with the log's room: not ready while the log is full, or acknowledges nothing.
pub async fn follow_room(log: &dyn Log, part: ComponentHandle) {
    let (mut full, mut unanswered) = (log.full(), log.unanswered());
    loop {
        full.mark_unchanged();
        unanswered.mark_unchanged();
        match no_room(log) {
            Some(why) => part.not_ready(why),
            None => part.ready(),
        }
        let changed = tokio::select! {
            changed = full.changed() => changed,
            changed = unanswered.changed() => changed,
        };
        if changed.is_err() {
            return;
        }
    }
}

/// Serves the routes until the process ends.
///
/// # Errors
/// Those of the listener.
pub async fn serve(listener: TcpListener, state: HealthState) -> std::io::Result<()> {
    axum::serve(listener, state.routes()).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_when_every_part_is() {
        let state = HealthState::default();
        assert!(!state.readiness().ready, "nothing has said that it is ready");
        let (log, fold) = (state.component("event log"), state.component("fold"));
        log.ready();
        assert!(!state.readiness().ready);
        fold.ready();
        assert!(state.readiness().ready);
        log.not_ready("disconnected");
        let readiness = state.readiness();
        assert!(!readiness.ready);
        assert_eq!(readiness.components["event log"], "disconnected");
        assert_eq!(readiness.components["fold"], "ready");
    }
}
