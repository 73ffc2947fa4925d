//! The publisher: lanes, turns, grants, and a log or a vault that does not take everything.

use waybill_platform::{
    log::{Failure, Log as _},
    vault::{GrantEntry, Vault as _, VaultEntry},
};
use waybill_schemas::{VaultKey, v1::ProviderFailure};

use super::{
    Bench,
    bench::{credentials, secret_key},
};
use crate::publisher::{MAX_BATCH, Round};

#[tokio::test]
async fn withdrawals_go_first_and_alone() {
    let mut bench = Bench::new();
    bench.begin().await;
    bench.request("ws", "c1", "i", "w").await;
    bench.settle().await;
    bench.save("ws", "s.t", 2).await;
    bench.request("ws", "c2", "i", "w").await;
    bench.end("ws", "c1", 4).await;
    bench.fold().await;
    let mut publisher = bench.publisher();
    let before = bench.decisions();
    assert_eq!(publisher.publish_round().await.unwrap(), Round::Published);
    assert_eq!(bench.decisions()[before.len()..], ["withdrawn c1 4 ended"]);
    assert_eq!(publisher.publish_round().await.unwrap(), Round::Published);
    let rest = ["attached c2 7 v2", "renewed w s.t v2 rotation"];
    assert_eq!(bench.decisions()[before.len() + 1..], rest, "requests go before renewals");
    assert_eq!(publisher.publish_round().await.unwrap(), Round::Idle, "what is sent is not sent again");
}

#[tokio::test]
async fn workspaces_take_turns() {
    let bench = Bench::new();
    for container in 0..MAX_BATCH + 100 {
        bench.request("big", &format!("c{container}"), "i", "w").await;
    }
    for workspace in ["a", "small", "z"] {
        for container in 0..3 {
            bench.request(workspace, &format!("{workspace}{container}"), "i", "w").await;
        }
    }
    bench.fold().await;
    let mut publisher = bench.publisher();
    publisher.publish_round().await.unwrap();
    let first = bench.decisions();
    assert_eq!(first.len(), MAX_BATCH);
    let small = first.iter().filter(|decision| !decision.contains(" c")).count();
    assert_eq!(small, 9, "all of the small ones are in the first batch");
    publisher.publish_round().await.unwrap();
    assert_eq!(bench.decisions().len(), MAX_BATCH + 109);
}

#[tokio::test]
async fn a_grant_is_sealed_once_and_opens() {
    let mut bench = Bench::new();
    bench.begin().await;
    for container in 0..20 {
        bench.request("ws", &format!("c{container}"), "i", "w").await;
    }
    bench.settle().await;
    assert_eq!(bench.vault_keys().await, ["secret.ws.s=t.1", "grant.w.ws.s=t.1"]);
    assert_eq!(bench.open_grant("w", "s.t", 1).await, Some(credentials(1)));
    let sealed = bench.entry("grant.w.ws.s=t.1").await.unwrap().sequence;
    bench.request("ws", "later", "i", "w").await;
    bench.settle().await;
    let bench = bench.restart();
    bench.request("ws", "after-a-restart", "i", "w").await;
    bench.settle().await;
    assert_eq!(bench.entry("grant.w.ws.s=t.1").await.unwrap().sequence, sealed);
    assert_eq!(bench.decisions().len(), 22);
}

#[tokio::test]
async fn a_rotation_makes_one_grant_and_one_event_for_each_worker() {
    let mut bench = Bench::new();
    bench.begin().await;
    bench.register("w2").await;
    for container in 0..10 {
        bench.request("ws", &format!("c{container}"), "i", if container % 2 == 0 { "w" } else { "w2" }).await;
    }
    bench.settle().await;
    bench.save("ws", "s.t", 2).await;
    bench.settle().await;
    let mut renewed = bench.decisions().split_off(10);
    renewed.sort();
    assert_eq!(renewed, ["renewed w s.t v2 rotation", "renewed w2 s.t v2 rotation"]);
    for worker in ["w", "w2"] {
        assert_eq!(bench.open_grant(worker, "s.t", 2).await, Some(credentials(2)));
    }
}

#[tokio::test]
async fn a_worker_with_a_new_key_gets_new_grants() {
    let mut bench = Bench::new();
    bench.begin().await;
    bench.request("ws", "c", "i", "w").await;
    bench.settle().await;
    bench.register("w").await;
    assert_eq!(bench.open_grant("w", "s.t", 1).await, None, "it is sealed to the key from before");
    bench.settle().await;
    assert_eq!(bench.open_grant("w", "s.t", 1).await, Some(credentials(1)));
    bench.register("w").await;
    bench.settle().await;
    assert_eq!(bench.open_grant("w", "s.t", 1).await, Some(credentials(1)));
    let renewed = "renewed w s.t v1 key_change";
    assert_eq!(bench.decisions(), ["attached c 4 v1", renewed, renewed], "the second goes after the first");
}

#[tokio::test]
async fn what_cannot_be_opened_is_a_failed_grant() {
    let mut bench = Bench::new();
    bench.begin().await;
    // Another box than the one that the event speaks of.
    let key = secret_key("ws", "s.t", 1);
    let forged = bench.seal_version("ws", "s.t", 1);
    let entry = waybill_platform::vault::SecretEntry { sealed: forged, mac: "00".to_owned() };
    let genuine = bench.vault.get(&key).await.unwrap().unwrap().entry;
    bench.vault.put(&key, &entry.into()).await.unwrap();
    bench.request("ws", "c", "i", "w").await;
    bench.settle().await;
    let failed = VaultEntry::Grant(GrantEntry::Failed(ProviderFailure::UnsealFailed));
    let there = bench.entry("grant.w.ws.s=t.1").await.unwrap();
    assert_eq!(there.entry, failed);
    bench.request("ws", "c2", "i", "w").await;
    bench.settle().await;
    assert_eq!(bench.entry("grant.w.ws.s=t.1").await.unwrap().sequence, there.sequence, "not written again and again");
    bench.vault.put(&key, &genuine).await.unwrap();
    bench.request("ws", "c3", "i", "w").await;
    bench.settle().await;
    assert_eq!(bench.open_grant("w", "s.t", 1).await, Some(credentials(1)), "as soon as it opens, it is a grant");
    assert_eq!(bench.decisions(), ["attached c 4 v1", "attached c2 6 v1", "attached c3 8 v1"]);
}

#[tokio::test]
async fn what_is_missing_in_the_vault_has_no_grant() {
    let mut bench = Bench::new();
    bench.begin().await;
    bench.vault.erase(&secret_key("ws", "s.t", 1)).await.unwrap();
    bench.request("ws", "c", "i", "w").await;
    bench.settle().await;
    assert_eq!(bench.vault_keys().await, Vec::<String>::new());
    assert_eq!(bench.decisions(), ["attached c 4 v1"], "it is decided all the same, and the worker's outcome says so");
}

#[tokio::test]
async fn a_secret_that_was_revoked_before_its_decision_was_sent_is_not_granted() {
    let mut bench = Bench::new();
    bench.begin().await;
    bench.request("ws", "c", "i", "w").await;
    bench.revoke("ws", "s.t", 1).await;
    bench.settle().await;
    assert_eq!(bench.vault_keys().await, ["secret.ws.s=t.1"]);
    assert_eq!(bench.decisions(), ["attached c 4 v1", "withdrawn c 4 secret_revoked"]);
    bench.save("ws", "s.t", 2).await;
    bench.request("ws", "c2", "i", "w").await;
    bench.settle().await;
    assert_eq!(bench.open_grant("w", "s.t", 2).await, Some(credentials(2)), "a new version is in force again");
}

#[tokio::test]
async fn a_vault_that_is_away_holds_back_nothing_but_what_needs_it() {
    let mut bench = Bench::new();
    bench.begin().await;
    bench.request("ws", "c1", "i", "w").await;
    bench.settle().await;
    bench.vault.set_available(false);
    bench.register("w2").await;
    bench.request("ws", "c2", "i", "w2").await;
    bench.request("ws", "c3", "unknown", "w").await;
    bench.request("ws", "c4", "i", "w").await;
    bench.end("ws", "c1", 4).await;
    bench.fold().await;
    let mut publisher = bench.publisher();
    while publisher.publish_round().await.unwrap() != Round::Postponed {
        bench.fold().await;
    }
    let told = ["withdrawn c1 4 ended", "skipped c3 8 no_secret_for_image", "attached c4 9 v1"];
    assert_eq!(bench.decisions()[1..], told, "known grants need no vault");
    bench.vault.set_available(true);
    bench.settle().await;
    assert_eq!(bench.decisions()[4..], ["attached c2 7 v1"]);
}

#[tokio::test]
async fn a_full_log_is_waited_for_and_told() {
    let mut bench = Bench::new();
    bench.begin().await;
    bench.request("ws", "c1", "i", "w").await;
    bench.request("ws", "c2", "i", "w").await;
    bench.fold().await;
    let full = bench.log.full();
    bench.log.fail([Failure::Full, Failure::Full, Failure::Unavailable, Failure::LostAck]);
    bench.publisher().publish_round().await.unwrap();
    assert!(full.has_changed().unwrap(), "somebody was told");
    assert!(full.borrow().is_none(), "it has room again");
    assert_eq!(bench.decisions(), ["attached c1 4 v1", "attached c2 5 v1"]);
}

#[tokio::test]
async fn a_decision_that_is_refused_is_set_aside_alone() {
    let mut bench = Bench::new();
    bench.begin().await;
    for container in ["c1", "c2", "c3"] {
        bench.request("ws", container, "i", "w").await;
    }
    bench.fold().await;
    // The batch, and then the first of its events.
    bench.log.fail([Failure::Refused(10_054), Failure::Refused(10_054)]);
    let mut publisher = bench.publisher();
    publisher.publish_round().await.unwrap();
    assert_eq!(bench.decisions(), ["attached c2 5 v1", "attached c3 6 v1"]);
    assert_eq!(publisher.publish_round().await.unwrap(), Round::Idle, "it is not tried all the time");
    assert_eq!(bench.aside.keys().len(), 1);
    bench.fold().await;
    let aside = bench.aside.keys();
    let outbox = bench.projection.snapshot().unwrap().outbox(&|key| aside.contains(key)).unwrap();
    assert!(outbox.iter().all(|(_, state)| state.depth == 0), "what is aside does not count as waiting: {outbox:?}");
    drop(publisher);
    let bench = bench.restart();
    bench.settle().await;
    assert_eq!(bench.decisions()[2..], ["attached c1 4 v1"]);
}

#[tokio::test]
async fn grants_of_a_key_that_is_retired_are_sealed_again() {
    let mut bench = Bench::new();
    bench.begin().await;
    bench.request("ws", "c", "i", "w").await;
    bench.settle().await;
    let place = VaultKey::parse("grant.w.ws.s=t.1").unwrap();
    // A grant that an earlier scheduler sealed, with a key that is none any more.
    let own = bench.vault.get(&place).await.unwrap().unwrap();
    let mut foreign = own.entry.sealed().unwrap().clone();
    foreign.sender = waybill_platform::sealing::PrivateKey::generate().public().unwrap().text().clone();
    bench.vault.put(&place, &GrantEntry::Sealed(foreign).into()).await.unwrap();
    let bench = bench.restart();
    assert_eq!(bench.open_grant("w", "s.t", 1).await, None);
    bench.request("ws", "c2", "i", "w").await;
    bench.settle().await;
    assert_eq!(bench.open_grant("w", "s.t", 1).await, Some(credentials(1)));
}
