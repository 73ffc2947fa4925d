//! The whole scheduler, running.

use std::{fs, os::unix::fs::PermissionsExt as _, sync::Arc};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use waybill_platform::{
    health::HealthState,
    log::{Log as _, ReadError},
    sealing::KeyRing,
    vault::Vault as _,
};
use waybill_schemas::{Event, v1::QuarantineRetried};

use super::{Bench, bench::credentials};
use crate::{SchedulerError, keys::read_keys, projection::Projection, start::Scheduler};

/// A scheduler over a bench's log and vault, with its keys in a folder. The bench's own projection is closed.
struct Running {
    bench: Bench,
    health: HealthState,
    shutdown: CancellationToken,
    task: tokio::task::JoinHandle<Result<(), SchedulerError>>,
}

async fn start(bench: Bench) -> Running {
    let folder = bench.home.path().join("keys");
    if !folder.exists() {
        fs::create_dir(&folder).unwrap();
        let key = waybill_platform::sealing::PrivateKey::generate();
        fs::write(folder.join("1.xkey"), key.seed().unwrap().expose()).unwrap();
        fs::set_permissions(folder.join("1.xkey"), fs::Permissions::from_mode(0o600)).unwrap();
        bench.keys.send_replace(Arc::new(read_keys(&folder).unwrap()));
    }
    let (health, shutdown) = (HealthState::default(), CancellationToken::new());
    let ring: Arc<KeyRing> = Arc::new(read_keys(&folder).unwrap());
    let scheduler = Scheduler {
        log: bench.administration(),
        vault: Arc::new(bench.vault.clone()),
        projection: bench.home.path().join("running.redb"),
        key_folder: folder,
        keys: watch::channel(ring).0,
        replicas: 1,
        health: health.clone(),
    };
    let stop = shutdown.clone();
    let task = tokio::spawn(async move { scheduler.run(&stop).await });
    Running { bench, health, shutdown, task }
}

impl Running {
    /// Waits until the log holds so many decisions.
    async fn decisions(&self, count: usize) -> Vec<String> {
        loop {
            let decisions = self.bench.decisions();
            if decisions.len() >= count || self.task.is_finished() {
                return decisions;
            }
            tokio::task::yield_now().await;
        }
    }

    async fn wait_for(&self, condition: impl AsyncFn(&Self) -> bool) {
        while !condition(self).await {
            assert!(!self.task.is_finished(), "the scheduler has ended");
            tokio::task::yield_now().await;
        }
    }

    async fn stop(self) -> (Bench, Result<(), SchedulerError>) {
        self.shutdown.cancel();
        (self.bench, self.task.await.unwrap())
    }
}

/// The projection of a scheduler that has ended: what was being read then holds the file for a moment.
async fn open_projection(bench: &Bench) -> Projection {
    loop {
        match Projection::open(&bench.home.path().join("running.redb")) {
            Err(error) if error.is_in_use() => tokio::task::yield_now().await,
            opened => return opened.unwrap(),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_answered_and_revocations_reach_the_vault() {
    let mut running = start(Bench::new()).await;
    running.bench.begin().await;
    running.bench.log.publish_raw("waybill.events.worker.w", &[], b"poison");
    let placement = running.bench.request("ws", "c", "i", "w").await;
    assert_eq!(running.decisions(1).await, [format!("attached c {placement} v1")]);
    assert_eq!(running.bench.open_grant("w", "s.t", 1).await, Some(credentials(1)));
    running.wait_for(async |it| it.bench.log.consumer_state("worker-w").await.unwrap().is_some()).await;
    running.wait_for(async |it| it.health.readiness().ready).await;
    running.bench.shred("ws", "s.t", 1).await;
    running.wait_for(async |it| it.bench.vault_keys().await.is_empty()).await;
    assert_eq!(running.decisions(2).await[1], format!("withdrawn c {placement} secret_shredded"));
    let (bench, ended) = running.stop().await;
    ended.unwrap();
    assert_eq!(open_projection(&bench).await.quarantined().unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_log_that_has_grown_is_noticed_at_the_next_connection() {
    let mut running = start(Bench::new()).await;
    running.bench.begin().await;
    let last = running.bench.request("ws", "c", "i", "w").await;
    running.decisions(1).await;
    running.bench.log.restore_to(last - 1);
    for container in ["c1", "c2", "c3"] {
        running.bench.request("ws", container, "i", "w").await;
    }
    let ended = running.task.await.unwrap().unwrap_err();
    assert!(matches!(ended, SchedulerError::Read(ReadError::Replaced { .. } | ReadError::Shrunk { .. })), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_ends_early_is_not_believed_at_once_where_there_are_other_servers() {
    let mut running = start(Bench::new()).await;
    running.bench.begin().await;
    let last = running.bench.request("ws", "c", "i", "w").await;
    running.decisions(1).await;
    let (mut bench, ended) = running.stop().await;
    ended.unwrap();
    drop(open_projection(&bench).await);
    bench.log.restore_to(last - 1);
    bench.log = bench.log.among_others();
    let running = start(bench).await;
    let is_told = |says: &String| says.contains("messages were lost");
    running.wait_for(async |it| it.health.readiness().components.get("fold").is_some_and(is_told)).await;
    running.stop().await.1.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_goes_on_with_another_projection() {
    let mut bench = Bench::new();
    let path = bench.home.path().join("running.redb");
    bench.save("ws", "s.t", 1).await;
    let named = bench.name("ws", "i", "s.t").await;
    bench.register("w").await;
    // An older version of the program has folded these.
    let older = Projection::open(&path).unwrap();
    older.fold(bench.created().await, &bench.entries_after(0, &[named])).unwrap();
    drop(older);
    let running = start(bench).await;
    running.bench.append(&format!("quarantine.{named}"), QuarantineRetried { sequence: named }).await;
    // The request that is made once the message is back is answered as if it had always been there.
    let back = |it: &Running| {
        let path = it.bench.home.path().join("running.redb");
        let Ok(read) = crate::projection::ReadProjection::open(&path) else { return false };
        read.snapshot().and_then(|snapshot| snapshot.quarantined()).is_ok_and(|messages| messages == 0)
    };
    running.wait_for(async |it| back(it)).await;
    running.wait_for(async |it| it.health.readiness().ready).await;
    running.bench.request("ws", "c", "i", "w").await;
    let decisions = running.decisions(1).await;
    assert!(decisions[0].starts_with("attached c"), "{decisions:?}");
    let (_, ended) = running.stop().await;
    ended.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_published_before_anything_is_decided() {
    let mut running = start(Bench::new()).await;
    running.bench.begin().await;
    running.bench.request("ws", "c", "i", "w").await;
    running.decisions(1).await;
    let events = running.bench.log.events();
    let position = |wanted: fn(&Event) -> bool| events.iter().position(|(_, event)| wanted(&event.event)).unwrap();
    let published = position(|event| matches!(event, Event::SchedulerKeyPublished(_)));
    let attached = position(|event| matches!(event, Event::ContainerCredentialsAttached(_)));
    assert!(published < attached);
    assert!(running.bench.vault.ensure(1).await.is_ok());
    running.stop().await.1.unwrap();
}
