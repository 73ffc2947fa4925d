//! Crashes between any two steps: each outcome is recorded once, and the recorded one counts.

use super::*;
use crate::testing::{FakeRegistry, Image, nobody};

/// Records what an earlier run did before it died.
async fn earlier(bench: &Bench, decision: &Decision, kind: Derivation, event: Event) {
    let new = NewEvent { envelope: decision.envelope(kind, trace::now()), event };
    bench.handler.log.append(&new, Expect::Nothing).await.unwrap();
}

fn failed(decision: &Decision) -> Event {
    let failure = Failure { reason: ProviderFailure::TokenExchangeFailed, detail: "then".to_owned() };
    decision.provider_failed(failure)
}

fn provided(decision: &Decision) -> Event {
    decision.provider_attached("creds-then".to_owned(), None)
}

#[tokio::test]
async fn a_redelivery_does_what_is_left() {
    let registry = FakeRegistry::basic(Image::new(), "ada", PASSWORD).await;
    let cases: [(&str, &[&str], &[&str]); 4] = [
        ("nothing", &[], &["CredentialProviderAttached", "ImagePullSucceeded"]),
        ("the provider", &["provided"], &["CredentialProviderAttached", "ImagePullSucceeded"]),
        ("its failure", &["failed"], &["CredentialProviderFailed"]),
        ("everything", &["provided", "pulled"], &["CredentialProviderAttached", "ImagePullSucceeded"]),
    ];
    for (name, before, after) in cases {
        let bench = Bench::new(registry.host());
        let decision = decision(bench.ada("c-1"));
        for step in before {
            let (kind, event) = match *step {
                "provided" => (Derivation::Provider, provided(&decision)),
                "failed" => (Derivation::Provider, failed(&decision)),
                _ => (Derivation::Pull, decision.pulled(Ok("sha256:then".to_owned()))),
            };
            earlier(&bench, &decision, kind, event).await;
        }
        let asked = registry.asked().len();
        bench.again(bench.ada("c-1")).await;
        assert_eq!(bench.handler.log.names(), after, "{name}");
        let pulls = !before.contains(&"failed") && !before.contains(&"pulled");
        assert_eq!(registry.asked().len() > asked, pulls, "{name}");
        bench.again(bench.ada("c-1")).await;
        assert_eq!(bench.handler.log.names(), after, "{name}, once more");
    }
}

/// The acknowledgement of the publish was lost, or the consumer was made anew: this looks like a first delivery.
#[tokio::test]
async fn a_first_delivery_finds_what_an_earlier_run_recorded() {
    let registry = FakeRegistry::basic(Image::new(), "ada", PASSWORD).await;
    let bench = Bench::new(registry.host());
    let decided = decision(bench.ada("c-1"));
    earlier(&bench, &decided, Derivation::Provider, failed(&decided)).await;
    bench.first(bench.ada("c-1")).await;
    assert_eq!(bench.handler.log.names(), ["CredentialProviderFailed"], "no pull after a failed provider");
    assert!(registry.asked().is_empty());

    let bench = Bench::new(registry.host());
    earlier(&bench, &decided, Derivation::Provider, provided(&decided)).await;
    bench.first(bench.ada("c-1")).await;
    assert_eq!(bench.handler.log.names(), ["CredentialProviderAttached", "ImagePullSucceeded"]);
    assert_eq!(bench.field(0, "provider_name"), "creds-then", "the recorded one counts");
    let before = registry.asked().len();
    bench.first(bench.ada("c-1")).await;
    assert_eq!((bench.handler.log.names().len(), registry.asked().len()), (2, before), "nothing is pulled twice");
}

/// What the re-run comes to is the other outcome: the recorded provider stands, and the pull is what fails.
#[tokio::test]
async fn a_provider_that_cannot_be_had_again_fails_the_pull() {
    let registry = FakeRegistry::start(Image::new(), |_| None).await;
    let ecr = FakeEcr::start().await;
    let (away, _socket) = nobody();
    let away = EcrConfig { endpoint: Some(format!("http://{away}")), ..EcrConfig::default() };
    let (own, other) = (Bench::new(registry.host()), Bench::new(registry.host()));
    let (refused, unreachable) = (Bench::ecr(registry.host(), &ecr), Bench::at_ecr(registry.host(), away));
    for (bench, said, reason) in [
        (&own, other.ada("c-1"), "no_login"),
        (&refused, refused.aws("c-1"), "no_login"),
        (&unreachable, unreachable.aws("c-1"), "unreachable"),
    ] {
        for redelivered in [false, true] {
            let decided = decision(said.clone());
            bench.handler.log.stored().clear();
            earlier(bench, &decided, Derivation::Provider, provided(&decided)).await;
            ecr.script().failures = vec![(400, "ExpiredTokenException")];
            bench.handler.work(&decided, redelivered).await.unwrap();
            assert_eq!(bench.handler.log.names(), ["CredentialProviderAttached", "ImagePullFailed"]);
            assert_eq!(bench.field(1, "reason"), reason);
        }
    }
    assert!(registry.asked().is_empty());
}

#[tokio::test]
async fn decisions_about_one_container_do_not_mix() {
    let registry = FakeRegistry::basic(Image::new(), "ada", PASSWORD).await;
    let bench = Bench::new(registry.host());
    let mut other = decision(bench.ada("c-1"));
    other.id = Uuid::from_u128(99);
    earlier(&bench, &other, Derivation::Provider, failed(&other)).await;
    bench.again(bench.ada("c-1")).await;
    let names = ["CredentialProviderFailed", "CredentialProviderAttached", "ImagePullSucceeded"];
    assert_eq!(bench.handler.log.names(), names);
}

/// A rotation or a revocation of what the container has changes the provider. There is nothing to pull.
#[tokio::test]
async fn a_renewal_pulls_nothing() {
    let registry = FakeRegistry::basic(Image::new(), "ada", PASSWORD).await;
    let bench = Bench::new(registry.host());
    let renewed = ContainerCredentialsAttached { saved_by: REQUESTED + 1, ..bench.ada("c-1") };
    bench.first(renewed.clone()).await;
    bench.again(renewed).await;
    assert_eq!(bench.handler.log.names(), ["CredentialProviderAttached"]);
    let revoked = bench.skipped(AttachSkipReason::SecretRevoked);
    bench.first(ContainerCredentialsSkipped { image_event: Some(REQUESTED + 2), ..revoked }).await;
    assert_eq!(bench.handler.log.names(), ["CredentialProviderAttached", "CredentialProviderFailed"]);
    assert_eq!(bench.field(1, "reason"), "credentials_withheld");
    assert!(registry.asked().is_empty());
}
