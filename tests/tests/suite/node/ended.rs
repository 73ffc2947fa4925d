//! Whoever says that a container has ended, its key and its login file go, be the worker there or not.

use super::*;
use waybill_tests::{require, stack::Recorded};

impl Node {
    /// A container with a login file, and its folder.
    async fn with_login_file(&self, container: &str) -> PathBuf {
        self.attach("acme", container, "a.b/app:1", &Login::new("ada", "pw")).await;
        let written = self.waybill("login-file", "acme", container);
        assert_eq!(written.code, 0, "{}", written.stderr);
        let folder = self.root().join("acme").join(container);
        assert!(folder.join("auth.json").exists());
        folder
    }

    async fn say_ended(&self, container: &str) {
        let ended = json!({"workspace": "acme", "container_id": container});
        assert_eq!(self.stack.post("/v1/containers/ended", &ended).await.status, 202);
    }

    async fn gone(&self, folder: &Path) {
        let gone = eventually(Duration::from_secs(30), "the folder to go", async || (!folder.exists()).then_some(()));
        gone.await.unwrap_or_else(|error| panic!("{error}\n{}", self.stack.logs()));
    }
}

#[tokio::test]
async fn an_end_that_the_gateway_is_told_takes_the_files_away() {
    let node = require!(Node::start(Plan::default()).await);
    let folder = node.with_login_file("c1").await;
    node.say_ended("c1").await;
    node.gone(&folder).await;
    assert_eq!(node.docker("acme", "get", "a.b").code, 1, "it does not count for the workspace either");
    let told = |events: &[Recorded]| {
        let told = events.iter().find(|event| event.is("ContainerCredentialsSkipped", "c1"));
        told.map(|event| event.data["reason"].clone())
    };
    assert_eq!(node.stack.wait_for("the decision", told).await, "container_ended");
    let mut verify = node.stack.waybill();
    verify.args(["replay", "--verify"]);
    let said = run(verify, "");
    assert_eq!(said.code, 0, "{}{}", said.stdout, said.stderr);

    // Who asks again under the same name has a key of its own.
    node.attach("acme", "c1", "a.b/app:1", &Login::new("ada", "again")).await;
    assert!(node.docker("acme/c1", "get", "a.b").stdout.contains("again"));
}

#[tokio::test]
async fn an_end_is_made_up_for_when_the_worker_comes_back() {
    let mut node = require!(Node::start(Plan::default()).await);
    let folder = node.with_login_file("c1").await;
    node.stack.sigkill(&Service::Worker("w1".to_owned()));
    let ended = node.waybill("container-ended", "acme", "c1");
    assert_eq!(ended.code, 2);
    for words in ["no_answer", "auth.json is removed", "/v1/containers/ended"] {
        assert!(ended.stderr.contains(words), "{}", ended.stderr);
    }
    assert!(!folder.join("auth.json").exists() && folder.join("access").exists());
    node.say_ended("c1").await;
    node.stack.start_all().await.unwrap();
    node.gone(&folder).await;
}

/// The worker was killed while it removed the container.
#[tokio::test]
async fn what_an_end_has_left_goes_at_the_next_start() {
    let mut node = require!(Node::start(Plan::default()).await);
    let folder = node.with_login_file("c1").await;
    std::fs::remove_file(folder.join("access")).unwrap();
    node.restart().await;
    node.gone(&folder).await;
}
