//! Whoever says that a container has ended, its key and its login file go, be the worker there or not.

use super::*;
use waybill_tests::{require, stack::Recorded};

impl Node {
    /// A container with a login file: its placement's number, and its folder.
    async fn with_login_file(&self, container: &str) -> (u64, PathBuf) {
        let placed = self.attach("acme", container, "a.b/app:1", &Login::new("ada", "pw")).await;
        let written = self.waybill("login-file", "acme", container);
        assert_eq!(written.code, 0, "{}", written.stderr);
        let folder = self.root().join("acme").join(container);
        assert!(folder.join("auth.json").exists());
        (placed.number, folder)
    }

    async fn say_ended(&self, container: &str, placement: u64) {
        let ended = self.stack.end("acme", container, placement).await;
        assert_eq!((ended.status.as_u16(), ended.placement()), (202, placement), "{ended:?}");
    }

    async fn gone(&self, folder: &Path) {
        let gone = eventually(Duration::from_secs(30), "the folder to go", async || (!folder.exists()).then_some(()));
        gone.await.unwrap_or_else(|error| panic!("{error}\n{}", self.stack.logs()));
    }
}

#[tokio::test]
async fn an_end_that_the_gateway_is_told_takes_the_files_away() {
    let node = require!(Node::start(Plan::default()).await);
    let (placement, folder) = node.with_login_file("c1").await;
    node.say_ended("c1", placement).await;
    node.gone(&folder).await;
    assert_eq!(node.docker("acme", "get", "a.b").code, 1, "it does not count for the workspace either");
    let told = |events: &[Recorded]| {
        let told = events.iter().find(|event| event.is("ContainerCredentialsWithdrawn", "c1"));
        told.map(|event| (event.data["reason"].clone(), event.data["placement"].clone()))
    };
    assert_eq!(node.stack.wait_for("the decision", told).await, (json!("ended"), json!(placement)));
    let mut verify = node.stack.waybill();
    verify.args(["replay", "--verify"]);
    let said = run(verify, "");
    assert_eq!(said.code, 0, "{}{}", said.stdout, said.stderr);

    // Who asks again under the same name has a key of its own, and the hook that comes late takes nothing from it.
    node.attach("acme", "c1", "a.b/app:1", &Login::new("ada", "again")).await;
    node.say_ended("c1", placement).await;
    node.attach("acme", "c2", "a.b/app:1", &Login::new("ada", "again")).await;
    assert!(node.docker("acme/c1", "get", "a.b").stdout.contains("again"));
}

/// The runtime says at the node that a container has ended: the end names the placement that the key was made for.
#[tokio::test]
async fn the_end_that_a_node_is_told_names_its_placement() {
    let node = require!(Node::start(Plan::default()).await);
    let (placement, folder) = node.with_login_file("c1").await;
    let outcome = node.stack.wait_for_outcome("c1").await;
    let ended = node.waybill("container-ended", "acme", "c1");
    assert_eq!((ended.code, ended.stdout.as_str()), (0, ""), "{}", ended.stderr);
    assert!(!folder.exists());
    let recorded = node.stack.wait_for_event("ContainerEnded", "c1").await;
    assert_eq!(recorded.data["placement"], placement, "{}", recorded.line);
    let subject = format!("waybill.events.outcome.w1.acme.c1.{placement}");
    assert_eq!([&outcome, &recorded].map(|event| event.line["natssubject"].clone()), [json!(subject), json!(subject)]);
    // The gateway hears of what is over already.
    node.say_ended("c1", placement).await;
    let unknown = node.stack.end("acme", "c1", placement + 1).await;
    assert_eq!(unknown.status, 404, "{unknown:?}");
}

#[tokio::test]
async fn an_end_is_made_up_for_when_the_worker_comes_back() {
    let mut node = require!(Node::start(Plan::default()).await);
    let (placement, folder) = node.with_login_file("c1").await;
    node.stack.sigkill(&Service::Worker("w1".to_owned()));
    let ended = node.waybill("container-ended", "acme", "c1");
    assert_eq!(ended.code, 2);
    for words in ["no_answer", "auth.json is removed", "/v1/containers/ended"] {
        assert!(ended.stderr.contains(words), "{}", ended.stderr);
    }
    assert!(!folder.join("auth.json").exists() && folder.join("access").exists());
    node.say_ended("c1", placement).await;
    node.stack.start_all().await.unwrap();
    node.gone(&folder).await;
}

/// The worker was killed while it removed the container.
#[tokio::test]
async fn what_an_end_has_left_goes_at_the_next_start() {
    let mut node = require!(Node::start(Plan::default()).await);
    let (_, folder) = node.with_login_file("c1").await;
    std::fs::remove_file(folder.join("access")).unwrap();
    node.restart().await;
    node.gone(&folder).await;
}
