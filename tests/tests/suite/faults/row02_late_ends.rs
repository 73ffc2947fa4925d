//! The old node of a container that moved says late that the container ended: the new node's copy keeps its login.

use waybill_tests::{
    login::Login,
    require,
    stack::{Plan, Service},
};

use super::{
    contract,
    fleet::{Fleet, verify},
    private_registry,
};

const ATTACHED: &str = "ContainerCredentialsAttached";

/// Requires that the new node was told of one attachment and of nothing else. What is decided of a later request is
/// later in the log than what an end led to.
async fn assert_undisturbed(fleet: &Fleet, container: &str) {
    fleet.run_container("c-marker", "img", "node-2").await;
    let decided = contract::decisions(&fleet.stack.events().await, "node-2", container);
    assert_eq!(decided, [ATTACHED], "decisions for the running copy of {container}");
}

#[tokio::test]
async fn an_end_on_the_old_node_leaves_the_running_copy_alone() {
    let login = Login::new("puller", "pass");
    let (registry, reference) = private_registry("late end", &[&login]);
    let host = registry.host();
    let plan = Plan::default().plain_http(&[&host]);
    let mut fleet = require!(Fleet::start(plan, &["node-1", "node-2"]).await);
    fleet.build("img", &reference, &login).await;
    fleet.run_container("c-2", "img", "node-1").await;
    fleet.request("c-2", "img", "node-2").await;
    let new = fleet.program("node-2", "c-2", &host).await;
    new.until_given(&login).await;
    // The hook may find that the node has nothing of the container any more.
    let hook = fleet.run_stop_hook("node-1", "c-2");
    assert!([0, 2].contains(&hook.code), "{}{}", hook.stdout, hook.stderr);
    assert_undisturbed(&fleet, "c-2").await;
    assert_eq!(new.login(), Some(login.clone()));
    fleet.restart("node-2").await;
    new.until_given(&login).await;
    verify(&fleet.stack).await;
}

/// The end is recorded after the request on the new node, before anything is decided of either.
#[tokio::test]
async fn an_end_of_an_older_placement_is_recorded_and_changes_nothing() {
    let login = Login::new("puller", "pass");
    let (registry, reference) = private_registry("end in between", &[&login]);
    let host = registry.host();
    let plan = Plan::default().plain_http(&[&host]);
    let mut fleet = require!(Fleet::start(plan, &["node-1", "node-2"]).await);
    fleet.build("img", &reference, &login).await;
    fleet.run_container("c-2", "img", "node-1").await;
    fleet.stack.sigkill(&Service::Scheduler);
    let moved = fleet.request("c-2", "img", "node-2").await;
    let hook = fleet.run_stop_hook("node-1", "c-2");
    assert_eq!(hook.code, 0, "{}{}", hook.stdout, hook.stderr);
    let ended = fleet.stack.wait_for_event("ContainerEnded", "c-2").await;
    assert!(ended.sequence > moved, "{}", ended.line);
    fleet.stack.start_all().await.unwrap();
    assert_undisturbed(&fleet, "c-2").await;
    fleet.program("node-2", "c-2", &host).await.until_given(&login).await;
    verify(&fleet.stack).await;
}
