//! What programs of the node find: the provider in force, and after a restart the newest decision's.

use std::sync::Arc;

use waybill_schemas::RecordedEvent;

use super::*;
use crate::{
    attached::FromLog,
    node::{Answer, Answerer, NodeDir, Request, Running},
    testing::{FakeEcr, FakeRegistry, Image},
};

struct Node {
    scratch: tempfile::TempDir,
}

impl Node {
    fn new() -> Self {
        Self { scratch: tempfile::tempdir().unwrap() }
    }

    /// The folder as a worker that starts finds it.
    fn running(&self) -> Running {
        Running::open(NodeDir::open(self.scratch.path(), None).unwrap()).unwrap()
    }

    /// `user password` or the code, asked with the key of container `c-1`; none without a key.
    async fn get(&self, bench: Bench) -> Option<String> {
        self.ask(&Self::answerer(bench)).await
    }

    fn answerer(bench: Bench) -> Answerer {
        let running = bench.handler.running.clone().unwrap();
        let log = FromLog { handler: Arc::new(bench.handler), worker_id: "w1".parse().unwrap() };
        Answerer::new(running, Arc::new(log))
    }

    async fn ask(&self, answerer: &Answerer) -> Option<String> {
        let access = std::fs::read_to_string(self.scratch.path().join("acme/c-1/access")).ok()?;
        let request = Request::Get { access: access.into(), registry: None, image: None };
        match answerer.answer(&request).await {
            Answer::Login(given) => Some(format!("{} {}", given.username, given.password.expose())),
            Answer::Error { error } => Some(error.code.to_string()),
            other => panic!("{other:?}"),
        }
    }
}

fn bench(node: &Node, registry: &FakeRegistry) -> Bench {
    let mut bench = Bench::new(registry.host());
    bench.handler.running = Some(node.running());
    bench
}

impl Bench {
    /// Decisions in the log, as the scheduler recorded them.
    fn record(&self, sequence: u64, said: impl Into<Event>) {
        let Decision { id, .. } = decision(self.ada("c-1"));
        let envelope = Envelope { id, ..decision(self.ada("c-1")).envelope(Derivation::Provider, trace::now()) };
        let event = RecordedEvent { envelope, event: said.into() };
        self.handler.log.stored().push(crate::testing::Stored { sequence, event, expected: Expect::Nothing });
    }
}

#[tokio::test]
async fn a_decision_in_force_is_kept_and_one_without_credentials_ends_it() {
    let registry = FakeRegistry::basic(Image::new(), "ada", PASSWORD).await;
    let expected = Some(format!("ada {PASSWORD}"));
    let node = Node::new();
    let bench_1 = bench(&node, &registry);
    bench_1.first(bench_1.ada("c-1")).await;
    assert_eq!(node.get(bench_1).await, expected);

    for reason in [AttachSkipReason::NoSecretForImage, AttachSkipReason::SecretExpired] {
        let node = Node::new();
        let bench = bench(&node, &registry);
        bench.first(bench.ada("c-1")).await;
        bench.handler.log.stored().clear();
        bench.first(bench.skipped(reason)).await;
        assert_eq!(node.get(bench).await, None, "{reason}");
    }
}

/// The cloud fails the first exchange after a rotation: the container runs, and its programs may ask again.
#[tokio::test]
async fn a_renewal_without_a_login_yet_leaves_the_container_its_key() {
    let registry = FakeRegistry::start(Image::new(), |_| None).await;
    let ecr = FakeEcr::start().await;
    let node = Node::new();
    let mut bench = Bench::ecr(registry.host(), &ecr);
    bench.handler.running = Some(node.running());
    bench.first(bench.aws("c-1")).await;
    let key = std::fs::read_to_string(node.scratch.path().join("acme/c-1/access")).unwrap();

    ecr.script().failures = vec![(500, "ServerException"); 3];
    let keys = json!({ "AWS_ACCESS_KEY_ID": "AKIB", "AWS_SECRET_ACCESS_KEY": PASSWORD, "AWS_REGION": "eu-west-1" });
    let renewed = bench.attached("c-1", CredType::Aws, &keys);
    bench.handler.log.stored().clear();
    bench.first(ContainerCredentialsAttached { saved_by: REQUESTED + 1, ..renewed }).await;
    assert_eq!(bench.handler.log.names(), ["CredentialProviderFailed"]);
    assert_eq!(std::fs::read_to_string(node.scratch.path().join("acme/c-1/access")).unwrap(), key);
    assert!(ecr.script().failures.is_empty());
    let answerer = Node::answerer(bench);
    let given = loop {
        match node.ask(&answerer).await.unwrap() {
            resting if resting == "exchange_failed" => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
            given => break given,
        }
    };
    assert!(given.starts_with("AWS "), "{given}");
}

#[tokio::test]
async fn after_a_restart_the_newest_decision_counts() {
    let registry = FakeRegistry::basic(Image::new(), "ada", PASSWORD).await;
    let node = Node::new();
    let before = bench(&node, &registry);
    before.first(before.ada("c-1")).await;

    let after = bench(&node, &registry);
    after.record(DECIDED, after.ada("c-1"));
    assert_eq!(node.get(after).await, Some(format!("ada {PASSWORD}")));

    let rotated = bench(&node, &registry);
    rotated.record(DECIDED, rotated.ada("c-1"));
    let new = json!({ "USERNAME": "ada", "PASSWORD": "rotated" });
    rotated.record(DECIDED + 5, rotated.attached("c-1", CredType::Basic, &new));
    assert_eq!(node.get(rotated).await.as_deref(), Some("ada rotated"));

    let withdrawn = bench(&node, &registry);
    withdrawn.record(DECIDED, withdrawn.ada("c-1"));
    withdrawn.record(DECIDED + 5, withdrawn.skipped(AttachSkipReason::NoSecretForImage));
    assert_eq!(node.get(withdrawn).await.as_deref(), Some("not_found"));

    let nothing = bench(&node, &registry);
    assert_eq!(node.get(nothing).await.as_deref(), Some("not_found"));
}

/// The registry takes new credentials only, and they are in the log behind the decision that is being served.
#[tokio::test]
async fn a_pull_goes_on_with_credentials_that_were_rotated_meanwhile() {
    let registry = FakeRegistry::basic(Image::new(), "ada", "rotated").await;
    let new = json!({ "USERNAME": "ada", "PASSWORD": "rotated" });
    let rotated = Bench::new(registry.host());
    rotated.record(DECIDED + 5, rotated.attached("c-1", CredType::Basic, &new));
    rotated.first(rotated.ada("c-1")).await;
    assert_eq!(rotated.handler.log.names().last().copied(), Some("ImagePullSucceeded"));
    let asked = registry.asked().len();

    let wrong = Bench::new(registry.host());
    wrong.record(DECIDED, wrong.ada("c-1"));
    wrong.first(wrong.ada("c-1")).await;
    assert_eq!(wrong.handler.log.names().last().copied(), Some("ImagePullFailed"));
    assert!(registry.asked().len() - asked < asked, "nothing newer, so no second pull");
}
