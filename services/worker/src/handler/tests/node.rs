//! What programs of the node find: the provider in force, and after a restart the newest decision's.

use std::sync::Arc;

use waybill_registry::node::{Answer, Request};
use waybill_schemas::RecordedEvent;

use super::*;
use crate::{
    attached::FromLog,
    node::{Answerer, NodeDir, Running},
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

    fn key(&self, owner: &str) -> Option<String> {
        std::fs::read_to_string(self.scratch.path().join(owner).join("access")).ok()
    }

    /// `user password` or the code, asked with the key of container `c-1`; none without a key.
    async fn get(&self, bench: Bench) -> Option<String> {
        let access = self.key("acme/c-1")?;
        Some(ask(bench, &Request::Get { access: access.into(), registry: None, image: None }).await)
    }
}

fn answerer(bench: Bench) -> Answerer {
    let running = bench.handler.running.clone().unwrap();
    let log = FromLog { handler: Arc::new(bench.handler), worker_id: "w1".parse().unwrap() };
    Answerer::new(running, Arc::new(log))
}

async fn ask(bench: Bench, request: &Request) -> String {
    said(&answerer(bench), request).await
}

/// `user password`, `ended`, or the code.
async fn said(answerer: &Answerer, request: &Request) -> String {
    match answerer.answer(request).await {
        Answer::Login(given) => format!("{} {}", given.username, given.password.expose()),
        Answer::Error { error } => error.code.to_string(),
        Answer::Ended { .. } => "ended".to_owned(),
        other => panic!("{other:?}"),
    }
}

fn bench(node: &Node, registry: &FakeRegistry) -> Bench {
    let mut bench = Bench::new(registry.host());
    bench.handler.running = Some(node.running());
    bench
}

impl Bench {
    /// Decisions in the log, as the scheduler recorded them.
    pub(super) fn record(&self, sequence: u64, said: impl Into<Event>) {
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

/// The worker died on it, and started anew: a newer decision in the log counts, and one that is done is carried out.
#[tokio::test]
async fn what_is_delivered_again_is_compared_with_the_newest_decision() {
    let registry = FakeRegistry::basic(Image::new(), "ada", PASSWORD).await;
    for reason in [None, Some(AttachSkipReason::SecretRevoked)] {
        let node = Node::new();
        let here = bench(&node, &registry);
        here.record(DECIDED, here.ada("c-1"));
        if let Some(reason) = reason {
            here.record(DECIDED + 5, here.skipped(reason));
        }
        here.again(here.ada("c-1")).await;
        let expected = reason.is_none().then(|| format!("ada {PASSWORD}"));
        assert_eq!(node.get(here).await, expected, "{reason:?}");
    }

    // An old one that is done, delivered once more after the container asked again.
    let node = Node::new();
    let before = bench(&node, &registry);
    before.first(before.ada("c-1")).await;
    let after = bench(&node, &registry);
    let old = after.skipped(AttachSkipReason::NoSecretForImage);
    after.first(old.clone()).await;
    let anew = bench(&node, &registry);
    anew.first(anew.ada("c-1")).await;
    let started = bench(&node, &registry);
    *started.handler.log.stored() = after.handler.log.stored().clone();
    started.record(DECIDED + 5, started.ada("c-1"));
    started.again(old).await;
    assert_eq!(node.get(started).await, Some(format!("ada {PASSWORD}")));

    let node = Node::new();
    let before = bench(&node, &registry);
    before.first(before.ada("c-1")).await;
    let after = bench(&node, &registry);
    let revoked = after.skipped(AttachSkipReason::SecretRevoked);
    // Its outcome is recorded; the worker died before the key was gone.
    after.first(revoked.clone()).await;
    let died = bench(&node, &registry);
    *died.handler.log.stored() = after.handler.log.stored().clone();
    std::fs::create_dir_all(node.scratch.path().join("acme/c-1")).unwrap();
    std::fs::write(node.scratch.path().join("acme/c-1/auth.json"), "{}").unwrap();
    died.again(revoked).await;
    assert!(!node.scratch.path().join("acme/c-1").exists());
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
    let answerer = answerer(bench);
    let request = Request::Get { access: key.as_str().into(), registry: None, image: None };
    let given = loop {
        match said(&answerer, &request).await {
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

    let of_others = bench(&node, &registry);
    of_others.record(DECIDED, of_others.ada("c-1"));
    let theirs = of_others.attached("c-1", CredType::Basic, &json!({ "USERNAME": "eve", "PASSWORD": "theirs" }));
    let elsewhere = ContainerCredentialsAttached { worker_id: "w2".parse().unwrap(), ..theirs.clone() };
    of_others.record(DECIDED + 1, elsewhere);
    of_others.record(DECIDED + 2, ContainerCredentialsAttached { container_id: "c-2".parse().unwrap(), ..theirs });
    assert_eq!(node.get(of_others).await, Some(format!("ada {PASSWORD}")));

    let nothing = bench(&node, &registry);
    assert_eq!(node.get(nothing).await.as_deref(), Some("not_found"));
}

/// Credentials that are there and cannot be used are not "nothing": a client would go on as nobody.
#[tokio::test]
async fn after_a_restart_unusable_credentials_are_an_error() {
    let registry = FakeRegistry::basic(Image::new(), "ada", PASSWORD).await;
    let node = Node::new();
    let before = bench(&node, &registry);
    before.first(before.ada("c-1")).await;
    let other_key = Bench::new(registry.host()).ada("c-1").credentials;
    type Case = (&'static str, fn(&Bench) -> Event, &'static str);
    let unparsable = |bench: &Bench| bench.attached_text("c-1", CredType::Basic, "[]").into();
    let unsupported = |bench: &Bench| bench.attached("c-1", CredType::Unknown, &json!({})).into();
    let mismatch = |bench: &Bench| {
        Event::from(ContainerCredentialsAttached { image_ref: "c.d/app:1".to_owned(), ..bench.ada("c-1") })
    };
    let cases: [Case; 5] = [
        ("unparsable", unparsable, "unusable"),
        ("unsupported", unsupported, "unusable"),
        ("another registry's", mismatch, "unusable"),
        ("withheld", |bench| bench.skipped(AttachSkipReason::SecretExpired).into(), "unusable"),
        ("ended", |bench| bench.ended(REQUESTED + 5).into(), "no_access"),
    ];
    for (name, said, expected) in cases {
        let after = bench(&node, &registry);
        after.record(DECIDED, said(&after));
        assert_eq!(node.get(after).await.as_deref(), Some(expected), "{name}");
    }
    let sealed_otherwise = bench(&node, &registry);
    let attached = sealed_otherwise.ada("c-1");
    sealed_otherwise.record(DECIDED, ContainerCredentialsAttached { credentials: other_key, ..attached });
    assert_eq!(node.get(sealed_otherwise).await.as_deref(), Some("unusable"));
}

/// One container's cloud refuses; only who asks for its registry hears of it, and waits for it.
#[tokio::test]
async fn after_a_restart_only_the_registry_that_is_asked_for_is_logged_in_to() {
    let registry = FakeRegistry::basic(Image::new(), "ada", PASSWORD).await;
    let other = FakeRegistry::start(Image::new(), |_| None).await;
    let ecr = FakeEcr::start().await;
    let node = Node::new();
    let before = bench(&node, &registry);
    before.first(before.ada("c-1")).await;
    before.first(before.ada("c-2")).await;
    let started = || {
        let mut after = Bench::ecr(other.host(), &ecr);
        after.handler.running = Some(node.running());
        after.record(DECIDED + 1, after.aws("c-2"));
        after.registry = registry.host().to_owned();
        after.record(DECIDED, after.ada("c-1"));
        after
    };
    let access = node.key("acme").unwrap();
    let get =
        |host: &str| Request::Get { access: access.as_str().into(), registry: Some(host.to_owned()), image: None };
    ecr.script().failures = vec![(400, "UnrecognizedClientException")];
    assert_eq!(ask(started(), &get(registry.host())).await, format!("ada {PASSWORD}"));
    assert_eq!(ecr.script().failures.len(), 1, "the cloud was not asked");
    assert_eq!(ask(started(), &get(ECR)).await, "exchange_failed");
}

#[tokio::test]
async fn an_end_takes_away_what_was_asked_for_before() {
    let registry = FakeRegistry::basic(Image::new(), "ada", PASSWORD).await;
    let node = Node::new();
    let here = bench(&node, &registry);
    let folder = node.scratch.path().join("acme/c-1");
    here.first(here.ada("c-1")).await;
    std::fs::write(folder.join("auth.json"), "{}").unwrap();
    let recorded = here.handler.log.names().len();
    here.first(here.ended(REQUESTED + 5)).await;
    assert!(!folder.exists() && here.handler.log.names().len() == recorded, "there is nothing to report");

    // Delivered again, since the worker died before it acknowledged it.
    here.handler.log.stored().clear();
    here.first(here.ada("c-1")).await;
    assert!(!folder.exists());
    here.handler.log.stored().clear();
    here.first(ContainerCredentialsAttached { requested_by: REQUESTED + 10, ..here.ada("c-1") }).await;
    here.again(here.ended(REQUESTED + 5)).await;
    assert!(folder.exists(), "it has asked again since");

    // After a restart the log tells whether the end is old news.
    let asked_again = bench(&node, &registry);
    let newer = ContainerCredentialsAttached { requested_by: REQUESTED + 10, ..asked_again.ada("c-1") };
    asked_again.record(DECIDED + 5, newer);
    asked_again.again(asked_again.ended(REQUESTED + 5)).await;
    assert!(folder.exists());
    let gone = bench(&node, &registry);
    gone.record(DECIDED, gone.ada("c-1"));
    gone.again(gone.ended(REQUESTED + 5)).await;
    assert!(!folder.exists());
}

#[tokio::test]
async fn an_end_is_done_when_the_log_has_it() {
    let registry = FakeRegistry::basic(Image::new(), "ada", PASSWORD).await;
    for (refuses, said) in [(true, "unavailable"), (false, "ended")] {
        let node = Node::new();
        let here = bench(&node, &registry);
        here.first(here.ada("c-1")).await;
        if refuses {
            here.handler.log.refuse();
        }
        let request = Request::End { access: node.key("acme/c-1").unwrap().into() };
        assert_eq!(ask(here, &request).await, said);
        assert_eq!(node.key("acme/c-1").is_some(), refuses, "{said}");
    }
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
