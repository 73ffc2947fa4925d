//! Of two processes with one worker id the older stops and says why; the newer has the id to itself.

use waybill_tests::{login::Login, process::Process, require, stack::Plan};

use super::{
    PATIENCE, contract, count_pulls,
    fleet::{Fleet, service},
    private_registry,
};

const CONTAINERS: usize = 6;

#[tokio::test]
async fn the_older_of_two_processes_with_one_id_stops() {
    let login = Login::new("puller", "pass");
    let (registry, reference) = private_registry("twins", &[&login]);
    let host = registry.host();
    let mut fleet = require!(Fleet::start(Plan::default().plain_http(&[&host]), &["node-1"]).await);
    fleet.build("img", &reference, &login).await;
    fleet.run_container("c-before", "img", "node-1").await;

    // Another machine with the same files: it has a node of its own.
    let elsewhere = tempfile::tempdir().unwrap();
    let mut twin = fleet.stack.waybill();
    twin.args(["worker", "--id", "node-1"]).env("WAYBILL_WORKER_NODE_DIR", elsewhere.path().join("node"));
    twin.env("WAYBILL_WORKER_HEALTH_LISTEN", "127.0.0.1:0");
    let mut twin = Process::spawn("worker-twin", twin, fleet.stack.dir()).unwrap();
    let older = fleet.stack.process(&service("node-1"));
    let ended = older.wait(PATIENCE).await.unwrap_or_else(|error| panic!("the older process runs on: {error}"));
    let said = older.last_lines().await;
    assert!(!ended.success() && contract::says_replaced(&said, "node-1"), "{ended}: {said}");

    for number in 0..CONTAINERS {
        fleet.run_container(&format!("c-{number}"), "img", "node-1").await;
    }
    assert_eq!(twin.exit_status(), None, "the newer process serves on");
    assert_eq!(count_pulls(&registry), 1 + CONTAINERS);
    for number in 0..CONTAINERS {
        let access = elsewhere.path().join(format!("node/acme/c-{number}/access"));
        assert!(access.exists(), "c-{number} is served on the newer node");
    }
    fleet.verify().await;
}
