//! Crashes between any two steps: each outcome is recorded once, and the recorded one counts.

use waybill_domain::provider::Failure as NoProvider;
use waybill_platform::testing::Failure;
use waybill_schemas::v1::ProviderFailure;

use super::*;
use crate::{
    outcome::Provided,
    testing::{FakeRegistry, Image, nobody},
};

/// Records what an earlier run did before it died.
async fn earlier(bench: &Bench, assignment: &Assignment, step: &str) {
    let placed = Placed::from_decision(assignment.decision()).unwrap();
    let event = match step {
        "provided" => {
            let provided = Provided { name: "creds-then".to_owned(), credential: None, token_expires_at: None };
            assignment.provider_attached(&placed, &provided)
        }
        "failed" => {
            let failure = NoProvider { reason: ProviderFailure::UnsealFailed, detail: "then".to_owned() };
            assignment.provider_failed(&placed, &failure)
        }
        "pulled" => assignment.pulled(&placed, &Ok("sha256:then".to_owned())),
        "ended" => crate::outcome::ended(&"w1".parse().unwrap(), &placed),
        other => panic!("{other}"),
    };
    bench.log.append(&event, Expect::Anything, None).await.unwrap();
}

/// A worker that died, or whose consumer was made anew (fault 4), repeats neither pulls nor outcomes.
#[tokio::test]
async fn a_redelivery_does_what_is_left() {
    const BOTH: &[&str] = &["CredentialProviderAttached", "ImagePullSucceeded"];
    let registry = FakeRegistry::basic(Image::new(), "ada", PASSWORD).await;
    let cases: [(&[&str], &[&str], bool); 6] = [
        (&[], BOTH, true),
        (&["provided"], BOTH, true),
        (&["failed"], &["CredentialProviderFailed"], false),
        (&["provided", "pulled"], BOTH, false),
        (&["ended"], &["ContainerEnded"], false),
        (&["provided", "ended"], &["CredentialProviderAttached", "ContainerEnded"], false),
    ];
    for (before, after, pulls) in cases {
        let mut bench = Bench::new(registry.host()).await;
        let credential = bench.ada(1).await;
        let assignment = bench.attach("c-1", 10, credential).await;
        for step in before {
            earlier(&bench, &assignment, step).await;
        }
        let asked = registry.asked().len();
        bench.work(&assignment).await;
        assert_eq!((bench.outcomes(), registry.asked().len() > asked), (after.to_vec(), pulls), "{before:?}");
        let asked = registry.asked().len();
        bench.work(&assignment).await;
        bench.restart();
        bench.work(&assignment).await;
        assert_eq!(bench.outcomes(), after, "{before:?}, once more");
        assert_eq!(registry.asked().len(), asked, "{before:?}: nothing is pulled twice");
    }
}

/// The end is reported while the placement's work is under way.
#[tokio::test]
async fn an_outcome_that_lost_a_race_is_not_reported() {
    let registry = FakeRegistry::basic(Image::new(), "ada", PASSWORD).await;
    let bench = Bench::new(registry.host()).await;
    let credential = bench.ada(1).await;
    let assignment = bench.attach("c-1", 10, credential).await;
    let placed = placed("c-1", 10);
    let found = Box::new(bench.handler.look_up(&placed, None).await.unwrap());
    bench.handler.tell(Input::LookedUp { placed: placed.clone(), found, purpose: crate::view::Purpose::Work });
    earlier(&bench, &assignment, "provided").await;
    earlier(&bench, &assignment, "pulled").await;
    bench.handler.provide(&assignment, &placed).await.unwrap();
    assert_eq!(bench.outcomes(), ["CredentialProviderAttached", "ImagePullSucceeded"]);
    assert_eq!(bench.field(1, "digest"), "sha256:then", "the recorded one counts");
    assert!(registry.asked().is_empty());
}

#[tokio::test]
async fn a_lost_acknowledgement_is_no_second_outcome() {
    let registry = FakeRegistry::basic(Image::new(), "ada", PASSWORD).await;
    let bench = Bench::new(registry.host()).await;
    let credential = bench.ada(1).await;
    let assignment = bench.attach("c-1", 10, credential).await;
    bench.log.fail([Failure::LostAck, Failure::LostAck]);
    bench.work(&assignment).await;
    assert_eq!(bench.outcomes(), ["CredentialProviderAttached", "ImagePullSucceeded"]);
}

/// What the re-run comes to is the other outcome: the recorded provider stands, and the pull is what fails.
#[tokio::test]
async fn a_provider_that_cannot_be_had_again_fails_the_pull() {
    let registry = FakeRegistry::start(Image::new(), |_| None).await;
    let ecr = FakeEcr::start().await;
    let (away, _socket) = nobody();
    let away = CloudConfig { ecr_endpoint: Some(format!("http://{away}")), ..CloudConfig::default() };
    let benches = [
        (Bench::new(registry.host()).await, false, "no_login"),
        (Bench::ecr(registry.host(), &ecr).await, true, "no_login"),
        (Bench::at_ecr(registry.host(), away).await, true, "unreachable"),
    ];
    for (bench, granted, reason) in &benches {
        ecr.script().failures = vec![(400, "ExpiredTokenException")];
        let credential = bench.aws("s", 1).await;
        if !granted {
            bench.vault.erase(&grant_key(&credential)).await.unwrap();
        }
        let assignment = bench.attach("c-1", 10, credential).await;
        earlier(bench, &assignment, "provided").await;
        bench.work(&assignment).await;
        assert_eq!(bench.outcomes(), ["CredentialProviderAttached", "ImagePullFailed"]);
        assert_eq!(bench.field(1, "reason"), *reason);
    }
    assert!(registry.asked().is_empty());
}

/// Faults 1 and 4: an old decision comes again after its placement is over.
#[tokio::test]
async fn what_is_over_is_neither_pulled_nor_reported() {
    let registry = FakeRegistry::basic(Image::new(), "ada", PASSWORD).await;
    for superseded in [false, true] {
        let mut bench = Bench::new(registry.host()).await;
        let credential = bench.ada(1).await;
        let old = bench.attach("c-1", 10, credential.clone()).await;
        let newer = if superseded {
            Some(bench.attach("c-1", 20, credential).await)
        } else {
            bench.withdraw("c-1", 10, WithdrawReason::SecretRevoked).await;
            None
        };
        bench.work(&old).await;
        assert!(bench.outcomes().is_empty() && registry.asked().is_empty(), "superseded: {superseded}");
        if let Some(newer) = newer {
            bench.work(&newer).await;
            let key = std::fs::read_to_string(bench.node.path().join("acme/c-1/access")).unwrap();
            bench.restart();
            bench.work(&old).await;
            assert_eq!(bench.outcomes().len(), 2, "the newer one's");
            assert_eq!(std::fs::read_to_string(bench.node.path().join("acme/c-1/access")).unwrap(), key);
        }
    }
}

/// A withdrawal comes after the look-up, and before the work begins.
#[tokio::test]
async fn work_on_what_is_over_by_then_is_left() {
    let registry = FakeRegistry::basic(Image::new(), "ada", PASSWORD).await;
    let bench = Bench::new(registry.host()).await;
    let credential = bench.ada(1).await;
    let assignment = bench.attach("c-1", 10, credential).await;
    let placed = placed("c-1", 10);
    let found = Box::new(bench.handler.look_up(&placed, None).await.unwrap());
    bench.handler.tell(Input::LookedUp { placed: placed.clone(), found, purpose: crate::view::Purpose::Work });
    bench.work(&bench.withdraw("c-1", 10, WithdrawReason::SecretRevoked).await).await;
    bench.handler.provide(&assignment, &placed).await.unwrap();
    assert!(bench.outcomes().is_empty() && registry.asked().is_empty());
    assert!(bench.handler.view().granted().is_empty());
}
