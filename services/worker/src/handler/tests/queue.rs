//! A whole worker on its queue: hanging pulls, a lost consumer, and a process with the same worker id.

use tokio::task::JoinHandle;
use waybill_platform::{
    health::HealthState,
    log::{Administration as _, ConsumerSpec},
};

use super::*;
use crate::{
    start::{Parts, WorkerError, serve},
    testing::{FakeRegistry, Image},
};

impl Bench {
    /// Runs a worker with this many pull slots on the bench's log. Its folder is the bench's, unless it has none.
    fn serve(&self, concurrency: usize, with_node: bool) -> (CancellationToken, JoinHandle<Result<(), WorkerError>>) {
        let stop = CancellationToken::new();
        let plain_http = vec![RegistryHost::parse(&self.registry).unwrap()];
        let dir = with_node.then(|| crate::node::NodeDir::open(self.node.path(), None).unwrap());
        let parts = Parts {
            worker_id: "w1".parse().unwrap(),
            log: Arc::new(self.log.clone()),
            vault: Arc::new(self.vault.clone()),
            sealing_key: self.own.try_clone().unwrap(),
            tokens: TokenCache::new(self.ecr.clone()),
            pull: PullConfig { plain_http, ..PullConfig::default() },
            running: dir.map(|dir| Running::open(dir).unwrap()),
            identities: None,
            concurrency,
            period: Duration::from_millis(20),
        };
        let ready = HealthState::default().component("decisions");
        (stop.clone(), tokio::spawn(serve(parts, ready, stop)))
    }

    async fn make_consumer(&self, start: u64) {
        let spec = ConsumerSpec::for_worker(&"w1".parse().unwrap(), start);
        self.log.ensure_consumer(&spec).await.unwrap();
    }

    /// Waits until the worker's consumer has delivered everything, and everything is acknowledged.
    async fn drained(&self) {
        until(async || {
            let state = self.log.consumer_state("worker-w1").await.unwrap();
            state.is_some_and(|state| state.pending == 0 && state.unacknowledged == 0)
        })
        .await;
    }
}

async fn until(mut condition: impl AsyncFnMut() -> bool) {
    while !condition().await {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Two pulls hang in two slots, and more wait behind them. A revocation reaches all of them at once (fault 12), and ends the
/// pulls.
#[tokio::test]
async fn a_withdrawal_does_not_wait_for_pulls_that_hang() {
    let registry = FakeRegistry::start(Image::new(), |_| Some((599, Vec::new(), Vec::new()))).await;
    let bench = Bench::new(registry.host()).await;
    let credential = bench.ada(1).await;
    for number in 10..16 {
        bench.attach(&format!("c-{number}"), number, credential.clone()).await;
    }
    bench.make_consumer(1).await;
    let (stop, worker) = bench.serve(2, true);
    until(async || registry.asked().len() >= 2).await;
    assert_eq!(bench.outcomes(), ["CredentialProviderAttached"; 2]);
    for number in 10..16 {
        bench.withdraw(&format!("c-{number}"), number, WithdrawReason::SecretRevoked).await;
    }
    bench.drained().await;
    assert_eq!(bench.outcomes()[2..], ["ImagePullFailed"; 2], "those that waited for a slot have nothing to say");
    assert_eq!((bench.field(2, "reason"), bench.field(3, "reason")), (json!("no_login"), json!("no_login")));
    assert_eq!(registry.asked().len(), 2);
    let left = std::fs::read_dir(bench.node.path().join("acme")).unwrap().count();
    assert_eq!(left, 1, "the workspace's key alone");
    stop.cancel();
    worker.await.unwrap().unwrap();
}

/// Fault 4.
#[tokio::test]
async fn a_consumer_that_is_made_anew_repeats_nothing() {
    let registry = FakeRegistry::basic(Image::new(), "ada", PASSWORD).await;
    let bench = Bench::new(registry.host()).await;
    let credential = bench.ada(1).await;
    for number in 10..14 {
        bench.attach(&format!("c-{number}"), number, credential.clone()).await;
    }
    bench.skip("c-20", 20, AttachSkipReason::NoSecretForImage).await;
    bench.withdraw("c-10", 10, WithdrawReason::Ended).await;
    bench.make_consumer(1).await;
    let (stop, worker) = bench.serve(4, false);
    bench.drained().await;
    let (asked, reported) = (registry.asked().len(), bench.reported().len());
    bench.log.delete_consumer("worker-w1").await.unwrap();
    bench.make_consumer(1).await;
    bench.drained().await;
    stop.cancel();
    worker.await.unwrap().unwrap();
    // Another process, which knows of nothing.
    bench.log.delete_consumer("worker-w1").await.unwrap();
    bench.make_consumer(1).await;
    let (stop, worker) = bench.serve(4, false);
    bench.drained().await;
    stop.cancel();
    worker.await.unwrap().unwrap();
    assert_eq!((registry.asked().len(), bench.reported().len()), (asked, reported));
}

/// Fault 14.
#[tokio::test]
async fn the_older_of_two_processes_with_one_id_stops_and_says_why() {
    let bench = Bench::new("127.0.0.1:1").await;
    bench.make_consumer(1).await;
    let (_, first) = bench.serve(1, true);
    let registrations =
        || bench.log.messages().iter().filter(|message| message.subject == "waybill.events.worker.w1").count();
    until(async || registrations() == 1).await;
    let (stop, second) = bench.serve(1, false);
    let error = first.await.unwrap().unwrap_err();
    assert!(matches!(&error, WorkerError::Replaced { .. }), "{error}");
    assert!(error.to_string().contains("WAYBILL_WORKER_ID") && error.to_string().contains("w1"), "{error}");
    assert!(!second.is_finished());
    stop.cancel();
    second.await.unwrap().unwrap();
}

/// While there is no consumer the worker registers again, and looks up what passed it by.
#[tokio::test]
async fn a_withdrawal_that_passed_by_a_lost_consumer_is_found() {
    let registry = FakeRegistry::basic(Image::new(), "ada", PASSWORD).await;
    let bench = Bench::new(registry.host()).await;
    let credential = bench.ada(1).await;
    bench.work(&bench.attach("c-1", 10, credential).await).await;
    bench.withdraw("c-1", 10, WithdrawReason::SecretRevoked).await;
    let public = bench.own.public().unwrap().text().clone();
    let log: Arc<dyn Log> = Arc::new(bench.log.clone());
    let registrar = Arc::new(crate::register::Registrar::new(log, "w1".parse().unwrap(), public));
    registrar.register().await.unwrap();
    let watched = crate::watch::Watch::new(registrar, bench.handler.clone());
    assert!(watched.look().await.is_none());
    assert_eq!(bench.handler.view().granted().len(), 1, "nothing is amiss, so nothing is looked up");
    (watched.missing())().await;
    assert!(watched.look().await.is_none());
    assert!(bench.handler.view().granted().is_empty());
    assert!(!bench.node.path().join("acme/c-1").exists());
}

/// What cannot be decoded, or is no decision, is passed over.
#[tokio::test]
async fn poison_does_not_block_the_queue() {
    let registry = FakeRegistry::basic(Image::new(), "ada", PASSWORD).await;
    let bench = Bench::new(registry.host()).await;
    let subject = "waybill.events.decision.w1.container.acme.c-9.9";
    bench.log.publish_raw(subject, &[], b"poison");
    let credential = bench.ada(1).await;
    bench.attach("c-1", 10, credential).await;
    bench.make_consumer(1).await;
    let (stop, worker) = bench.serve(1, false);
    bench.drained().await;
    assert_eq!(bench.outcomes(), ["CredentialProviderAttached", "ImagePullSucceeded"]);
    stop.cancel();
    worker.await.unwrap().unwrap();
}
