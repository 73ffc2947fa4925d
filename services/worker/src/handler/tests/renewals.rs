//! New versions of secrets: for every placement at once, and in time for pulls that are under way.

use std::sync::OnceLock;

use super::*;
use crate::testing::{FakeRegistry, Image, basic_header};

#[tokio::test]
async fn a_renewal_is_for_every_placement_and_reported_once() {
    let registry = FakeRegistry::basic(Image::new(), "ada", PASSWORD).await;
    let mut bench = Bench::new(registry.host()).await;
    let first = bench.ada(1).await;
    for (container, number) in [("c-1", 10), ("c-2", 11)] {
        bench.work(&bench.attach(container, number, first.clone()).await).await;
    }
    let asked = registry.asked().len();
    let second = bench.basic(2, "rotated").await;
    let renewal = bench.renew(second.clone(), RenewCause::Rotation).await;
    // After a restart the placements of the earlier run count as well.
    bench.restart();
    bench.work(&renewal).await;
    bench.work(&renewal).await;
    bench.restart();
    bench.work(&renewal).await;
    assert_eq!(bench.outcomes()[4..], ["SecretRenewalApplied"]);
    assert_eq!((bench.field(4, "placements"), bench.field(4, "version")), (json!(2), json!(2)));
    assert_eq!(registry.asked().len(), asked, "there is nothing to pull");

    // A key change renews the same version: another decision, and another outcome behind the first.
    let again = bench.renew(second, RenewCause::KeyChange).await;
    bench.work(&again).await;
    bench.work(&renewal).await;
    assert_eq!(bench.outcomes()[4..], ["SecretRenewalApplied", "SecretRenewalApplied"]);
    assert_eq!(bench.field(5, "decided_by"), json!(again.decided.sequence));
}

/// Of two schedulers one was behind: the last renewal is of an older version than the one before it.
#[tokio::test]
async fn the_newest_version_counts_and_not_the_last_renewal() {
    let registry = FakeRegistry::basic(Image::new(), "ada", PASSWORD).await;
    let bench = Bench::new(registry.host()).await;
    let first = bench.basic(1, "first").await;
    let attached = bench.attach("c-1", 10, first).await;
    let (second, third) = (bench.basic(2, "second").await, bench.ada(3).await);
    bench.renew(third, RenewCause::Rotation).await;
    bench.renew(second, RenewCause::Rotation).await;
    bench.work(&attached).await;
    assert_eq!(bench.outcomes(), ["CredentialProviderAttached", "ImagePullSucceeded"]);
    assert_eq!(bench.field(0, "version"), json!(3));
}

#[tokio::test]
async fn a_renewal_that_cannot_be_used_says_why() {
    let registry = FakeRegistry::basic(Image::new(), "ada", PASSWORD).await;
    let ecr = FakeEcr::start().await;
    for (reason, broken) in [("secret_missing", true), ("token_exchange_failed", false)] {
        let bench = Bench::ecr(registry.host(), &ecr).await;
        let first = bench.aws("s", 1).await;
        bench.work(&bench.attach("c-1", 10, first).await).await;
        let second = bench.aws("s", 2).await;
        if broken {
            bench.vault.erase(&grant_key(&second)).await.unwrap();
        }
        ecr.script().failures = vec![(400, "UnrecognizedClientException")];
        bench.work(&bench.renew(second, RenewCause::Rotation).await).await;
        ecr.script().failures.clear();
        assert_eq!(bench.outcomes().last(), Some(&"SecretRenewalFailed"));
        assert_eq!(bench.field(2, "reason"), reason);
    }
}

/// Nobody here has the secret: nothing is opened for it.
#[tokio::test]
async fn a_renewal_without_placements_opens_nothing() {
    let registry = FakeRegistry::basic(Image::new(), "ada", PASSWORD).await;
    let bench = Bench::new(registry.host()).await;
    let credential = credential(registry.host(), "s", 2, CredType::Basic);
    bench.work(&bench.renew(credential, RenewCause::Rotation).await).await;
    assert_eq!((bench.outcomes(), bench.field(0, "placements")), (vec!["SecretRenewalApplied"], json!(0)));
}

/// Keys that were replaced, and disabled at the cloud, before the worker came to exchange them.
#[tokio::test]
async fn an_exchange_that_is_refused_is_tried_with_the_keys_of_a_rotation() {
    let expected = basic_header("AWS", &FakeEcr::password(2));
    let registry = FakeRegistry::start(Image::new(), move |asked| match &asked.authorization {
        None => Some((401, vec![("www-authenticate", "Basic realm=\"ecr\"".to_owned())], Vec::new())),
        Some(header) => (*header != expected).then(|| (401, Vec::new(), Vec::new())),
    })
    .await;
    let ecr = FakeEcr::start().await;
    let bench = Bench::ecr(registry.host(), &ecr).await;
    let first = bench.aws("s", 1).await;
    let warm = bench.attach("c-0", 9, first.clone()).await;
    bench.work(&warm).await;
    let attach = bench.attach("c-1", 10, first).await;
    let second = bench.aws("s", 2).await;
    // It is in the log, and the queue has not delivered it.
    bench.renew(second, RenewCause::Rotation).await;
    bench.work(&attach).await;
    let reported = bench.outcomes();
    assert_eq!(reported[2..], ["CredentialProviderAttached", "ImagePullSucceeded"]);
    assert_eq!(bench.field(2, "version"), json!(2));
}

/// The registry takes the new credentials only, and their renewal is recorded while the old ones are being tried.
#[tokio::test]
async fn a_pull_goes_on_with_credentials_that_were_rotated_meanwhile() {
    let meanwhile: Arc<OnceLock<(MemoryLog, NewEvent)>> = Arc::default();
    let (old, new) = (basic_header("ada", PASSWORD), basic_header("ada", "rotated"));
    let record = meanwhile.clone();
    let registry = FakeRegistry::start(Image::new(), move |request| {
        if request.authorization.as_ref() == Some(&old) {
            let (log, event) = record.get().unwrap();
            publish(log, event);
        }
        let challenge = vec![("www-authenticate", "Basic realm=\"here\"".to_owned())];
        (request.authorization.as_ref() != Some(&new)).then(|| (401, challenge, Vec::new()))
    })
    .await;
    let bench = Bench::new(registry.host()).await;
    let first = bench.ada(1).await;
    let attach = bench.attach("c-1", 10, first).await;
    let credential = bench.basic(2, "rotated").await;
    let outcome = Outcome::Renewed { credential, cause: RenewCause::Rotation };
    let renewal = Decision { outcome, ..attach.decision().clone() };
    let envelope = Envelope::new(Uuid::new_v4(), ACTOR);
    let event = NewEvent { subject: renewal.subject(), envelope, event: renewal.to_event() };
    meanwhile.set((bench.log.clone(), event)).unwrap();
    bench.work(&attach).await;
    assert_eq!(bench.outcomes(), ["CredentialProviderAttached", "ImagePullSucceeded"]);
}

fn publish(log: &MemoryLog, new: &NewEvent) {
    let headers = new.envelope.to_headers(new.event.event_type(), &new.subject);
    let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    log.publish_raw(&new.subject.to_string(), &headers, &new.event.to_json().unwrap());
}

#[tokio::test]
async fn without_a_rotation_the_refusal_stands() {
    let registry = FakeRegistry::basic(Image::new(), "ada", "another").await;
    let bench = Bench::new(registry.host()).await;
    let credential = bench.ada(1).await;
    bench.work(&bench.attach("c-1", 10, credential).await).await;
    assert_eq!(bench.outcomes(), ["CredentialProviderAttached", "ImagePullFailed"]);
    assert_eq!(bench.field(1, "reason"), "unauthorized");
}
