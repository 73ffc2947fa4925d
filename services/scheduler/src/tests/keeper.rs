//! The keeper of the vault: what is withdrawn is erased, and everything is sealed again when the keys change.

use std::{fs, os::unix::fs::PermissionsExt as _, sync::Arc};

use tokio_util::sync::CancellationToken;
use waybill_platform::{
    log::Log as _,
    sealing::{KeyRing, PrivateKey},
    vault::{SecretEntry, Vault as _, VaultEntry},
};
use waybill_schemas::{Event, Subject};

use super::{
    Bench,
    bench::{credentials, secret_key, secret_of, version_binding},
};
use crate::keeper::VaultTask;

/// Two placements, one on each of two workers, with grants of version 1.
async fn granted() -> Bench {
    let mut bench = Bench::new();
    bench.begin().await;
    bench.register("w2").await;
    bench.request("ws", "c1", "i", "w").await;
    bench.request("ws", "c2", "i", "w2").await;
    bench.settle().await;
    bench
}

const ALL: [&str; 3] = ["secret.ws.s=t.1", "grant.w.ws.s=t.1", "grant.w2.ws.s=t.1"];

/// Lets the keeper do its tasks and nothing more.
async fn keep(bench: &Bench, tasks: impl IntoIterator<Item = VaultTask>) {
    let (keeper, _sender) = bench.keeper();
    for task in tasks {
        assert!(keeper.perform(&task).await.unwrap(), "{task:?}");
    }
}

fn withdraw(version: u64, shred: bool) -> VaultTask {
    VaultTask::Withdraw { secret: secret_of("ws", "s.t"), version, shred }
}

#[tokio::test]
async fn a_revocation_erases_grants_and_a_shredding_versions_too() {
    let bench = granted().await;
    assert_eq!(bench.vault_keys().await, ALL);
    keep(&bench, [withdraw(1, false)]).await;
    assert_eq!(bench.vault_keys().await, ALL[..1]);
    keep(&bench, [withdraw(1, true)]).await;
    assert_eq!(bench.vault_keys().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_version_that_came_after_a_revocation_stays() {
    let bench = granted().await;
    bench.revoke("ws", "s.t", 1).await;
    bench.save("ws", "s.t", 2).await;
    bench.request("ws", "c3", "i", "w").await;
    bench.settle().await;
    keep(&bench, [withdraw(1, true)]).await;
    assert_eq!(bench.vault_keys().await, ["secret.ws.s=t.2", "grant.w.ws.s=t.2"]);
}

#[tokio::test]
async fn a_vault_that_is_away_is_asked_again() {
    let bench = granted().await;
    bench.vault.set_available(false);
    let (keeper, _sender) = bench.keeper();
    assert!(!keeper.perform(&withdraw(1, false)).await.unwrap());
    bench.vault.set_available(true);
    assert!(keeper.perform(&withdraw(1, false)).await.unwrap());
    assert_eq!(bench.vault_keys().await, ALL[..1]);
}

#[tokio::test]
async fn a_sweep_finds_what_a_crash_left_undone() {
    let bench = granted().await;
    keep(&bench, [VaultTask::Sweep]).await;
    assert_eq!(bench.vault_keys().await, ALL, "what is in use stays");
    // A version whose event is still to come.
    let early = SecretEntry { sealed: bench.seal_version("ws", "new", 1), mac: "00".to_owned() };
    bench.vault.create(&secret_key("ws", "new", 1), &early.into()).await.unwrap();
    bench.end("ws", "c2", bench.log.events()[5].0).await;
    bench.settle().await;
    keep(&bench, [VaultTask::Sweep]).await;
    let left = ["secret.ws.new.1", "secret.ws.s=t.1", "grant.w.ws.s=t.1"];
    assert_eq!(bench.vault_keys().await, left, "the grant of a worker that needs it no more is erased");
    bench.save("ws", "s.t", 2).await;
    bench.settle().await;
    keep(&bench, [VaultTask::Sweep]).await;
    let left = ["secret.ws.new.1", "secret.ws.s=t.2", "grant.w.ws.s=t.2"];
    assert_eq!(bench.vault_keys().await, left, "a version that was replaced is erased");
    bench.shred("ws", "s.t", 2).await;
    bench.settle().await;
    keep(&bench, [VaultTask::Sweep]).await;
    assert_eq!(bench.vault_keys().await, ["secret.ws.new.1"]);
}

/// A gateway dies between the vault and the log. What it left is not needed by anybody, and goes when its event cannot come
/// any more; what a gateway is about to say stays.
#[tokio::test]
async fn what_a_dead_gateway_left_is_collected() {
    let bench = granted().await;
    let long_ago = waybill_platform::trace::now().instant() - std::time::Duration::from_secs(7200);
    let leave = async |name: &str, version: u64| {
        let entry = SecretEntry { sealed: bench.seal_version("ws", name, version), mac: "00".to_owned() };
        bench.vault.create(&secret_key("ws", name, version), &entry.into()).await.unwrap();
    };
    bench.vault.set_now(long_ago.into());
    leave("old", 1).await;
    leave("s.t", 2).await;
    bench.vault.set_now(waybill_platform::trace::now());
    leave("new", 1).await;
    leave("s.t", 3).await;
    keep(&bench, [VaultTask::Collect]).await;
    let left = ["secret.ws.new.1", "secret.ws.s=t.1", "secret.ws.s=t.3", ALL[1], ALL[2]];
    assert_eq!(bench.vault_keys().await, left, "what is young, named or in use stays");
    // The numbers that were taken are skipped by the next version.
    bench.end("ws", "c2", bench.log.events()[5].0).await;
    bench.settle().await;
    keep(&bench, [VaultTask::Collect]).await;
    assert_eq!(bench.vault_keys().await, &left[..4], "the grant of a worker that needs it no more goes as well");
}

#[tokio::test]
async fn a_version_that_waits_in_the_outbox_is_not_swept() {
    let mut bench = Bench::new();
    bench.begin().await;
    bench.request("ws", "c", "i", "w").await;
    bench.save("ws", "s.t", 2).await;
    bench.fold().await;
    keep(&bench, [VaultTask::Sweep]).await;
    assert_eq!(bench.vault_keys().await, ["secret.ws.s=t.1", "secret.ws.s=t.2"]);
    bench.settle().await;
    assert_eq!(bench.open_grant("w", "s.t", 1).await, Some(credentials(1)));
}

#[tokio::test]
async fn new_keys_seal_everything_again_and_the_old_one_can_go() {
    let bench = granted().await;
    let old = bench.keys.borrow().clone();
    let [new, old_key] = [PrivateKey::generate(), PrivateKey::generate()];
    // The ring's own old key cannot be taken out of it: seal the vault to one that can.
    let first = Arc::new(KeyRing::new(old_key.try_clone().unwrap(), Vec::new()).unwrap());
    drop(old);
    let mut bench = bench;
    bench.keys.send_replace(first);
    bench.save("ws", "s.t", 2).await;
    bench.settle().await;
    let digest =
        waybill_platform::sealing::digest(bench.entry("secret.ws.s=t.2").await.unwrap().entry.sealed().unwrap());
    bench.keys.send_replace(Arc::new(KeyRing::new(new.try_clone().unwrap(), vec![old_key]).unwrap()));
    for worker in ["w", "w2"] {
        assert_eq!(bench.open_grant(worker, "s.t", 2).await, Some(credentials(2)), "earlier keys still count");
    }
    keep(&bench, [VaultTask::Sweep]).await;
    // From here on the old key is gone.
    bench.keys.send_replace(Arc::new(KeyRing::new(new, Vec::new()).unwrap()));
    let VaultEntry::Secret(kept) = bench.entry("secret.ws.s=t.2").await.unwrap().entry else { panic!() };
    let ring = bench.keys.borrow().clone();
    assert_eq!(ring.open(&version_binding("ws", "s.t", 2), &kept.sealed).unwrap().expose(), credentials(2));
    assert_ne!(waybill_platform::sealing::digest(&kept.sealed), digest, "the event's digest is the gateway's box's");
    assert_eq!(kept.mac, "00");
    for worker in ["w", "w2"] {
        assert_eq!(bench.open_grant(worker, "s.t", 2).await, Some(credentials(2)));
    }
    bench.register("w3").await;
    bench.request("ws", "c3", "i", "w3").await;
    bench.settle().await;
    assert_eq!(bench.open_grant("w3", "s.t", 2).await, Some(credentials(2)), "the box of its own is vouched for");
}

#[tokio::test]
async fn a_forged_version_is_not_sealed_again() {
    let bench = granted().await;
    let new = PrivateKey::generate();
    let old = PrivateKey::generate();
    bench.keys.send_replace(Arc::new(KeyRing::new(old.try_clone().unwrap(), Vec::new()).unwrap()));
    let forged = SecretEntry { sealed: bench.seal_version("ws", "s.t", 1), mac: "00".to_owned() };
    let place = secret_key("ws", "s.t", 1);
    bench.vault.put(&place, &forged.clone().into()).await.unwrap();
    bench.keys.send_replace(Arc::new(KeyRing::new(new, vec![old]).unwrap()));
    keep(&bench, [VaultTask::Sweep]).await;
    assert_eq!(bench.vault.get(&place).await.unwrap().unwrap().entry, forged.into(), "another digest than the event's");
}

#[tokio::test]
async fn a_version_that_was_saved_to_an_earlier_key_is_sealed_again() {
    let bench = granted().await;
    let [new, old] = [0; 2].map(|_| PrivateKey::generate());
    bench.keys.send_replace(Arc::new(KeyRing::new(old.try_clone().unwrap(), Vec::new()).unwrap()));
    bench.save("ws", "s.t", 2).await;
    bench.fold().await;
    bench.keys.send_replace(Arc::new(KeyRing::new(new, vec![old]).unwrap()));
    keep(&bench, [VaultTask::Check { secret: secret_of("ws", "s.t"), version: 2 }]).await;
    let kept = bench.entry("secret.ws.s=t.2").await.unwrap().entry;
    assert!(bench.keys.borrow().is_present(kept.sealed().unwrap()));
}

#[tokio::test]
async fn a_new_file_in_the_folder_is_published_and_then_used() {
    let bench = granted().await;
    let folder = bench.home.path().join("keys");
    fs::create_dir(&folder).unwrap();
    let key = PrivateKey::generate();
    fs::write(folder.join("2.xkey"), key.seed().unwrap().expose()).unwrap();
    fs::set_permissions(folder.join("2.xkey"), fs::Permissions::from_mode(0o600)).unwrap();
    let (keeper, _sender) = bench.keeper();
    let shutdown = CancellationToken::new();
    let mut keys = bench.keys.subscribe();
    keys.mark_unchanged();
    let changed = async {
        keys.changed().await.unwrap();
        shutdown.cancel();
    };
    let (kept, ()) = tokio::join!(keeper.run(&shutdown), changed);
    kept.unwrap();
    assert_eq!(bench.keys.borrow().present().text(), key.public().unwrap().text());
    let said = bench.log.last(&Subject::SchedulerKeys).await.unwrap().unwrap().decode().unwrap();
    let Event::SchedulerKeyPublished(said) = said.event else { panic!() };
    assert_eq!(&said.sealing_key, key.public().unwrap().text());
}
