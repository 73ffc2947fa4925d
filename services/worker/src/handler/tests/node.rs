//! What programs of the node find: what is in force, and after a restart what the log says of it.

use waybill_platform::testing::Failure;
use waybill_registry::node::{Answer, Request};

use super::*;
use crate::{
    logins::Logins,
    node::Answerer,
    questions::Questions,
    testing::{FakeRegistry, Image},
};

impl Bench {
    fn answerer(&self) -> Answerer {
        let running = self.handler.running.clone().unwrap();
        let (handler, stop) = (self.handler.clone(), CancellationToken::new());
        let questions = Questions::start(handler.worker_id.clone(), handler.log.clone(), stop);
        Answerer::new(running, Arc::new(Logins { handler, questions }))
    }

    /// The key in the access file of `acme` or `acme/<container>`.
    fn key(&self, owner: &str) -> Option<String> {
        std::fs::read_to_string(self.node.path().join(owner).join("access")).ok()
    }

    /// `user password` or the code, asked with the key of container `c-1`; none without a key.
    async fn get(&self) -> Option<String> {
        let access = self.key("acme/c-1")?;
        Some(self.ask(&Request::Get { access: access.into(), registry: None, image: None }).await)
    }

    /// `user password`, `ended`, or the code.
    async fn ask(&self, request: &Request) -> String {
        match self.answerer().answer(request).await {
            Answer::Login(given) => format!("{} {}", given.username, given.password.expose()),
            Answer::Error { error } => error.code.to_string(),
            Answer::Ended { .. } => "ended".to_owned(),
            other => panic!("{other:?}"),
        }
    }

    async fn end(&self) -> String {
        self.ask(&Request::End { access: self.key("acme/c-1").unwrap().into() }).await
    }
}

async fn served() -> (FakeRegistry, Bench) {
    let registry = FakeRegistry::basic(Image::new(), "ada", PASSWORD).await;
    let bench = Bench::new(registry.host()).await;
    let credential = bench.ada(1).await;
    bench.work(&bench.attach("c-1", 10, credential).await).await;
    (registry, bench)
}

#[tokio::test]
async fn a_placement_s_key_gives_what_it_has() {
    let (_registry, bench) = served().await;
    assert!(bench.key("acme/c-1").unwrap().starts_with("10."));
    assert_eq!(bench.get().await, Some(format!("ada {PASSWORD}")));
    for (number, reason, expected) in
        [(11, AttachSkipReason::NoSecretForImage, "not_found"), (12, AttachSkipReason::SecretExpired, "unusable")]
    {
        bench.work(&bench.skip("c-1", number, reason).await).await;
        assert_eq!(bench.get().await.as_deref(), Some(expected), "{reason}");
    }
}

/// Faults 1 and 2: the container moved away, and came back as another placement.
#[tokio::test]
async fn a_withdrawal_removes_its_own_placement_s_files_only() {
    let (_registry, bench) = served().await;
    let folder = bench.node.path().join("acme/c-1");
    std::fs::write(folder.join("auth.json"), "{}").unwrap();
    let withdrawal = bench.withdraw("c-1", 10, WithdrawReason::Superseded).await;
    bench.work(&withdrawal).await;
    assert!(!folder.exists());
    let credential = bench.ada(1).await;
    bench.work(&bench.attach("c-1", 20, credential).await).await;
    bench.work(&withdrawal).await;
    assert_eq!(bench.get().await, Some(format!("ada {PASSWORD}")));
}

#[tokio::test]
async fn a_renewal_keeps_the_key() {
    let (_registry, bench) = served().await;
    let key = bench.key("acme/c-1");
    let credential = bench.basic(2, "rotated").await;
    bench.work(&bench.renew(credential, RenewCause::Rotation).await).await;
    assert_eq!(bench.get().await.as_deref(), Some("ada rotated"));
    assert_eq!(bench.key("acme/c-1"), key);
}

/// The cloud fails the first exchange after a rotation: the container runs, and its programs may ask again.
#[tokio::test]
async fn a_renewal_without_a_login_yet_leaves_the_container_its_key() {
    let registry = FakeRegistry::start(Image::new(), |_| None).await;
    let ecr = FakeEcr::start().await;
    let bench = Bench::ecr(registry.host(), &ecr).await;
    let first = bench.aws("s", 1).await;
    bench.work(&bench.attach("c-1", 10, first).await).await;
    ecr.script().failures = vec![(500, "ServerException"); 3];
    let second = bench.aws("s", 2).await;
    bench.work(&bench.renew(second, RenewCause::Rotation).await).await;
    assert_eq!(bench.outcomes().last(), Some(&"SecretRenewalFailed"));
    assert!(ecr.script().failures.is_empty());
    let given = loop {
        match bench.get().await.unwrap() {
            resting if resting == "exchange_failed" => tokio::time::sleep(Duration::from_millis(20)).await,
            given => break given,
        }
    };
    assert!(given.starts_with("AWS "), "{given}");
}

/// A worker that starts anew knows its access files, and asks the log about each when somebody asks it.
#[tokio::test]
async fn after_a_restart_the_log_tells_what_a_placement_has() {
    type Meanwhile = for<'b> fn(&'b Bench) -> futures_util::future::BoxFuture<'b, ()>;
    let cases: [(&str, &str, Meanwhile); 7] = [
        ("nothing", "ada s3cr3t-password-0123456789", |_| Box::pin(async {})),
        ("a rotation", "ada rotated", |bench| {
            Box::pin(async {
                let credential = bench.basic(2, "rotated").await;
                bench.renew(credential, RenewCause::Rotation).await;
            })
        }),
        ("a revocation", "no_access", |bench| {
            Box::pin(async { drop(bench.withdraw("c-1", 10, WithdrawReason::SecretRevoked).await) })
        }),
        ("a newer placement here", "no_access", |bench| {
            Box::pin(async { drop(bench.skip("c-1", 20, AttachSkipReason::NoSecretForImage).await) })
        }),
        ("news of an older placement", "ada s3cr3t-password-0123456789", |bench| {
            Box::pin(async { drop(bench.withdraw("c-1", 5, WithdrawReason::Superseded).await) })
        }),
        ("decisions about others", "ada s3cr3t-password-0123456789", |bench| {
            Box::pin(async {
                let eve = json!({ "USERNAME": "eve", "PASSWORD": "theirs" });
                let credential = bench.grant("t", 1, CredType::Basic, &eve).await;
                let theirs = bench.attach("c-2", 20, credential).await;
                let elsewhere = Decision { worker_id: "w2".parse().unwrap(), ..theirs.decision().clone() };
                bench.append(elsewhere.subject(), elsewhere.to_event()).await;
            })
        }),
        ("an erased grant", "unusable", |bench| {
            Box::pin(async {
                let credential = credential(&bench.registry, "s", 1, CredType::Basic);
                bench.vault.erase(&grant_key(&credential)).await.unwrap();
            })
        }),
    ];
    for (name, expected, meanwhile) in cases {
        let (_registry, mut bench) = served().await;
        meanwhile(&bench).await;
        bench.restart();
        assert_eq!(bench.get().await.as_deref(), Some(expected), "{name}");
        let is_over = expected == "no_access";
        assert_eq!(bench.key("acme/c-1").is_none(), is_over, "{name}: what is over leaves nothing");
    }
}

#[tokio::test]
async fn a_log_that_does_not_answer_is_no_answer() {
    let (_registry, mut bench) = served().await;
    bench.restart();
    bench.log.fail([Failure::ReadUnavailable, Failure::ReadUnavailable]);
    assert_eq!(bench.get().await.as_deref(), Some("unavailable"));
    assert_eq!(bench.get().await, Some(format!("ada {PASSWORD}")));
}

/// One container's cloud refuses; only who asks for its registry hears of it, and waits for it.
#[tokio::test]
async fn after_a_restart_only_the_registry_that_is_asked_for_is_logged_in_to() {
    let registry = FakeRegistry::basic(Image::new(), "ada", PASSWORD).await;
    let ecr = FakeEcr::start().await;
    let mut bench = Bench::ecr(registry.host(), &ecr).await;
    registry.host().clone_into(&mut bench.registry);
    let ada = bench.ada(1).await;
    bench.work(&bench.attach("c-1", 10, ada).await).await;
    ECR.clone_into(&mut bench.registry);
    let aws = bench.aws("t", 1).await;
    ecr.script().failures = vec![(400, "UnrecognizedClientException"); 2];
    bench.work(&bench.attach("c-2", 11, aws).await).await;
    registry.host().clone_into(&mut bench.registry);
    bench.restart();
    let access = bench.key("acme").unwrap();
    let get =
        |host: &str| Request::Get { access: access.as_str().into(), registry: Some(host.to_owned()), image: None };
    assert_eq!(bench.ask(&get(registry.host())).await, format!("ada {PASSWORD}"));
    assert_eq!(ecr.script().failures.len(), 1, "the cloud was not asked");
    assert_eq!(bench.ask(&get(ECR)).await, "exchange_failed");
}

#[tokio::test]
async fn an_end_is_recorded_once_and_leaves_nothing() {
    let (_registry, mut bench) = served().await;
    let (folder, key) = (bench.node.path().join("acme/c-1"), bench.key("acme/c-1").unwrap());
    std::fs::write(folder.join("auth.json"), "{}").unwrap();
    bench.log.fail([Failure::LostAck]);
    assert_eq!(bench.end().await, "ended");
    assert!(!folder.exists());
    assert_eq!(bench.outcomes(), ["CredentialProviderAttached", "ImagePullSucceeded", "ContainerEnded"]);
    assert_eq!(bench.field(2, "placement"), json!(10));
    assert_eq!(bench.ask(&Request::End { access: key.into() }).await, "no_access");
    // The end was recorded, and the worker died before it removed anything.
    let credential = bench.ada(1).await;
    bench.work(&bench.attach("c-1", 20, credential).await).await;
    let ended = crate::outcome::ended(&"w1".parse().unwrap(), &placed("c-1", 20));
    bench.log.append(&ended, Expect::Anything, None).await.unwrap();
    bench.restart();
    assert_eq!(bench.end().await, "ended");
    assert!(!folder.exists());
    assert_eq!(bench.outcomes().iter().filter(|name| **name == "ContainerEnded").count(), 2, "one each");
}

/// Recorded, although nothing else follows from it (fault 2): the withdrawal has not come yet.
#[tokio::test]
async fn a_late_end_names_its_own_placement() {
    let (_registry, bench) = served().await;
    bench.withdraw("c-1", 10, WithdrawReason::Superseded).await;
    assert_eq!(bench.end().await, "ended");
    assert_eq!((bench.outcomes().last(), bench.field(2, "placement")), (Some(&"ContainerEnded"), json!(10)));
}

#[tokio::test]
async fn an_end_is_done_when_the_log_has_it() {
    let (_registry, bench) = served().await;
    bench.log.fail([Failure::Refused(10_057)]);
    assert_eq!(bench.end().await, "unavailable");
    assert!(bench.key("acme/c-1").is_some());
    assert_eq!(bench.end().await, "ended");
    assert!(bench.key("acme/c-1").is_none());
}
