//! Grants: whose they are, who sealed them, and what is missing.

use super::*;
use crate::testing::{FakeRegistry, Image};

type Spoil = for<'b> fn(&'b Bench, &'b Credential) -> futures_util::future::BoxFuture<'b, ()>;

/// Ada's login as the text that is sealed.
fn ada_json(bench: &Bench) -> String {
    let values = json!({ "USERNAME": "ada", "PASSWORD": PASSWORD });
    json!({ "registry": bench.registry, "type": "basic", "credentials": values }).to_string()
}

#[tokio::test]
async fn a_grant_counts_at_its_place_and_from_the_scheduler_only() {
    let registry = FakeRegistry::basic(Image::new(), "ada", PASSWORD).await;
    let cases: [(&str, Option<&str>, Spoil); 6] = [
        ("as it is", None, |_, _| Box::pin(async {})),
        ("erased", Some("secret_missing"), |bench, credential| {
            Box::pin(async { drop(bench.vault.erase(&grant_key(credential)).await) })
        }),
        ("failed", Some("unseal_failed"), |bench, credential| {
            let reason = waybill_schemas::v1::ProviderFailure::UnsealFailed;
            Box::pin(bench.put_grant(credential, GrantEntry::Failed(reason)))
        }),
        ("sealed by somebody else", Some("unseal_failed"), |bench, credential| {
            Box::pin(async { bench.seal_grant(credential, &PrivateKey::generate(), &ada_json(bench)).await })
        }),
        ("another secret's", Some("unseal_failed"), |bench, credential| {
            Box::pin(async {
                let other = Credential { secret_name: "other".parse().unwrap(), ..credential.clone() };
                bench.seal_grant(&other, &bench.scheduler, &ada_json(bench)).await;
                move_grant(bench, &other, credential).await;
            })
        }),
        ("another version's", Some("unseal_failed"), |bench, credential| {
            Box::pin(async {
                let other = Credential { version: 9, ..credential.clone() };
                bench.seal_grant(&other, &bench.scheduler, &ada_json(bench)).await;
                move_grant(bench, &other, credential).await;
            })
        }),
    ];
    for (name, reason, spoil) in cases {
        let bench = Bench::new(registry.host()).await;
        let credential = bench.ada(1).await;
        spoil(&bench, &credential).await;
        bench.work(&bench.attach("c-1", 10, credential).await).await;
        match reason {
            None => assert_eq!(bench.outcomes().last(), Some(&"ImagePullSucceeded"), "{name}"),
            Some(reason) => {
                assert_eq!(bench.outcomes(), ["CredentialProviderFailed"], "{name}");
                assert_eq!(bench.field(0, "reason"), reason, "{name}");
            }
        }
    }
}

async fn move_grant(bench: &Bench, from: &Credential, to: &Credential) {
    let kept = bench.vault.get(&grant_key(from)).await.unwrap().unwrap();
    bench.vault.put(&grant_key(to), &kept.entry).await.unwrap();
}

/// The scheduler has a new key; the log says so, and that the one before is still good.
#[tokio::test]
async fn keys_of_the_scheduler_are_read_again_when_an_unknown_one_sealed() {
    let registry = FakeRegistry::basic(Image::new(), "ada", PASSWORD).await;
    let bench = Bench::new(registry.host()).await;
    let old = bench.ada(1).await;
    bench.work(&bench.attach("c-1", 10, old).await).await;
    let next = PrivateKey::generate();
    let earlier = bench.scheduler.public().unwrap().text().clone();
    bench.publish_keys(&next, vec![earlier]).await;
    for (name, by, number) in [("t", &next, 11), ("u", &bench.scheduler, 12)] {
        let credential = credential(registry.host(), name, 1, CredType::Basic);
        bench.seal_grant(&credential, by, &ada_json(&bench)).await;
        bench.work(&bench.attach(name, number, credential).await).await;
    }
    let pulled = bench.outcomes().iter().filter(|name| **name == "ImagePullSucceeded").count();
    assert_eq!(pulled, 3);
}

#[tokio::test]
async fn a_vault_that_does_not_answer_is_no_outcome() {
    let registry = FakeRegistry::basic(Image::new(), "ada", PASSWORD).await;
    let bench = Bench::new(registry.host()).await;
    let credential = bench.ada(1).await;
    let assignment = bench.attach("c-1", 10, credential).await;
    bench.vault.set_available(false);
    let error = bench.handler.work(&assignment).await.unwrap_err();
    assert!(matches!(error, HandleError::Vault(_)) && bench.outcomes().is_empty());
    bench.vault.set_available(true);
    bench.work(&assignment).await;
    assert_eq!(bench.outcomes().last(), Some(&"ImagePullSucceeded"));
}

/// A new sealing key cuts nothing off (fault 13): the grant that follows from it is waited for.
#[tokio::test]
async fn a_key_change_is_waited_for() {
    let registry = FakeRegistry::basic(Image::new(), "ada", PASSWORD).await;
    for erased in [false, true] {
        let mut bench = Bench::new(registry.host()).await;
        let credential = bench.ada(1).await;
        let assignment = bench.attach("c-1", 10, credential.clone()).await;
        bench.own = PrivateKey::generate();
        bench.restart();
        if erased {
            bench.vault.erase(&grant_key(&credential)).await.unwrap();
        }
        let registered = assignment.decided.sequence + 1;
        bench.handler.tell(Input::Registered { sequence: registered, key_changed: true });
        let error = bench.handler.work(&assignment).await.unwrap_err();
        assert!(matches!(error, HandleError::GrantFollows) && bench.outcomes().is_empty(), "erased: {erased}");
        let credential = bench.ada(1).await;
        let renewal = bench.renew(credential, RenewCause::KeyChange).await;
        bench.work(&renewal).await;
        assert_eq!((bench.outcomes(), bench.field(0, "placements")), (vec!["SecretRenewalApplied"], json!(1)));
        bench.work(&assignment).await;
        assert_eq!(bench.outcomes().last(), Some(&"ImagePullSucceeded"));
    }
}
