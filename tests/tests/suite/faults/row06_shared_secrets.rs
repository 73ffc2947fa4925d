//! A rotation of credentials that many containers share costs the log one event for each worker, and other requests do
//! not wait for it.

use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use waybill_tests::{
    login::Login,
    require,
    stack::{Plan, Service, Stack},
    wait::eventually,
};

use super::{
    admin::Admin,
    contract::{self, WORKSPACE},
    fleet::service,
};

const CONTAINERS: usize = 800;
/// Requests under way at once.
const CLIENTS: usize = 16;
const PASSWORD_BYTES: usize = 60_000;
const WORKERS: u64 = 1;
/// What a rotation may add to the log: the rotation itself, the other request with its decision, and a part for each
/// worker.
const ROTATION_BYTES: u64 = 16 * 1024 + 2 * 1024 * WORKERS;
/// Events that may come between a request and its decision while a rotation is under way.
const EVENTS_BETWEEN: u64 = 20;
const PATIENCE: Duration = Duration::from_secs(300);

/// Requests all containers; returns their ids in the order of the log.
async fn request_all(stack: &Stack) -> Vec<String> {
    let requests = stream::iter(0..CONTAINERS).map(|number| async move {
        let container = format!("c-{number}");
        let requested = stack.container(WORKSPACE, &container, "img-shared", "w1").await;
        assert_eq!(requested.status, 202, "{requested:?}");
        (requested.sequence(), container)
    });
    let mut requested: Vec<(u64, String)> = requests.buffer_unordered(CLIENTS).collect().await;
    requested.sort();
    requested.into_iter().map(|(_, container)| container).collect()
}

async fn until_decided(stack: &Stack, container: &str) -> u64 {
    let what = format!("the decision for {container}");
    eventually(PATIENCE, &what, async || contract::last_decision(stack, "w1", container).await).await.unwrap()
}

#[tokio::test]
async fn a_rotation_is_small_and_holds_back_no_other_request() {
    let mut stack = require!(Plan::default().setting("WAYBILL_LOG", "info").start().await);
    let admin = Admin::connect(&mut stack).await;
    let large = |fill: &str| Login::new("puller", fill.repeat(PASSWORD_BYTES));
    for (image, login) in [("img-shared", large("a")), ("img-other", Login::new("other", "pass"))] {
        let credentials = contract::credentials(&login);
        let saved = stack.build(WORKSPACE, image, "registry.example.com/team/app:1", credentials).await;
        assert_eq!(saved.status, 201, "{saved:?}");
    }
    // Nothing is pulled here: the log and the scheduler are looked at.
    stack.stop(&service("w1")).await;
    let containers = request_all(&stack).await;
    until_decided(&stack, containers.last().unwrap()).await;

    stack.stop(&Service::Scheduler).await;
    let before = admin.stream_bytes().await;
    let rotated = contract::rotate(&stack, "img-shared", &large("b")).await;
    assert_eq!(rotated.status, 201, "{rotated:?}");
    let requested = stack.container(WORKSPACE, "c-other", "img-other", "w1").await.sequence();
    stack.spawn(&Service::Scheduler).unwrap();
    let decided = until_decided(&stack, "c-other").await;
    let renewed = eventually(PATIENCE, "the rotation to reach the worker", async || {
        contract::is_renewed(&stack, "w1", &containers, rotated.sequence()).await.then_some(())
    });
    renewed.await.unwrap();
    let (between, growth) = (decided - requested - 1, admin.stream_bytes().await - before);
    assert!(
        between <= EVENTS_BETWEEN && growth <= ROTATION_BYTES,
        "{between} events came before the other request's decision (at most {EVENTS_BETWEEN}), \
         and the log grew by {growth} bytes (at most {ROTATION_BYTES})"
    );
}
