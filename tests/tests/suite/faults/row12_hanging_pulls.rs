//! Pulls that hang in all of a worker's slots hold back no withdrawal.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use axum::{Router, http::StatusCode, routing::get};
use tokio::sync::watch;
use waybill_tests::{
    image::TinyImage,
    login::Login,
    registry::{Accounts, Registry, Scheme},
    require,
    stack::Plan,
    wait::eventually,
};

use super::{PATIENCE, contract, fleet::Fleet};

const SLOTS: usize = 2;

/// A repository whose manifests come when the test opens the gate.
struct Gate {
    waiting: Arc<AtomicUsize>,
    open: watch::Sender<bool>,
}

impl Gate {
    fn new() -> Self {
        Self { waiting: Arc::new(AtomicUsize::new(0)), open: watch::Sender::new(false) }
    }

    fn routes(&self) -> Router {
        let (waiting, open) = (self.waiting.clone(), self.open.subscribe());
        let wait = move || async move {
            waiting.fetch_add(1, Ordering::SeqCst);
            // An error means that the test has ended.
            let _ = open.clone().wait_for(|open| *open).await;
            StatusCode::NOT_FOUND
        };
        Router::new().route("/v2/team/hanging/manifests/{tag}", get(wait))
    }

    async fn until_waiting(&self, pulls: usize) {
        let waiting = eventually(PATIENCE, "pulls that hang", async || {
            (self.waiting.load(Ordering::SeqCst) >= pulls).then_some(())
        });
        waiting.await.unwrap();
    }
}

#[tokio::test]
async fn a_revocation_is_acted_upon_while_every_slot_hangs() {
    let login = Login::new("puller", "pass");
    let gate = Gate::new();
    let accounts = Accounts::default();
    accounts.allow(&login);
    let registry = Registry::with_routes(Scheme::Basic, &accounts, gate.routes()).unwrap();
    let (host, image) = (registry.host(), TinyImage::new("withdrawn").unwrap());
    let reference = registry.serve("team/app", "1", &image);
    let plan = Plan::default().plain_http(&[&host]).setting("WAYBILL_WORKER_CONCURRENCY", SLOTS.to_string());
    let fleet = require!(Fleet::start(plan, &["node-1"]).await);
    fleet.build("img", &reference, &login).await;
    fleet.build("img-hanging", &format!("{host}/team/hanging:1"), &login).await;
    fleet.run_container("c-1", "img", "node-1").await;
    let program = fleet.program("node-1", "c-1", &host).await;
    program.until_given(&login).await;
    let hanging: Vec<String> = (0..SLOTS).map(|number| format!("c-hanging-{number}")).collect();
    for container in &hanging {
        fleet.request(container, "img-hanging", "node-1").await;
    }
    gate.until_waiting(SLOTS).await;

    assert!(contract::revoke(&fleet.stack, "img").await.status.is_success());
    program.until_refused("while every pull hangs").await;
    let events = fleet.stack.events().await;
    let pulled = events.iter().find(|event| {
        event.name.starts_with("ImagePull") && hanging.iter().any(|container| event.text("container_id") == container)
    });
    assert!(pulled.is_none(), "a pull had to end first: {}", pulled.unwrap().line);
    gate.open.send_replace(true);
    for container in &hanging {
        fleet.stack.wait_for_outcome(container).await;
    }
}
