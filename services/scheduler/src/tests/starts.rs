//! Consumers, and where those of workers start.

use std::collections::BTreeSet;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use waybill_platform::log::{Administration as _, Log as _};
use waybill_schemas::{
    WorkerId,
    v1::{CredType, CredentialProviderAttached, ImagePullSucceeded},
};

use super::Bench;
use crate::{Readers, consumers::Consumers};

fn workers(ids: &[&str]) -> BTreeSet<WorkerId> {
    ids.iter().map(|id| id.parse().unwrap()).collect()
}

fn start_of(bench: &Bench, worker: &str) -> u64 {
    bench.projection.start_positions(&workers(&[worker])).unwrap()[&worker.parse::<WorkerId>().unwrap()]
}

#[tokio::test]
async fn a_consumer_starts_at_the_first_decision_that_is_not_settled() {
    let mut bench = Bench::new();
    assert_eq!(start_of(&bench, "w"), 1);
    bench.begin().await;
    for container in ["c1", "c2"] {
        bench.request("ws", container, "i", "w").await;
    }
    bench.fold().await;
    assert_eq!(start_of(&bench, "w"), 6, "what is not decided yet comes later");
    bench.settle().await;
    assert_eq!(start_of(&bench, "w"), 6);
    assert_eq!(start_of(&bench, "other"), 8);
    let provider = CredentialProviderAttached {
        workspace: "ws".parse().unwrap(),
        container_id: "c1".parse().unwrap(),
        placement: 4,
        image_id: Some("i".parse().unwrap()),
        worker_id: "w".parse().unwrap(),
        provider_name: "custom".to_owned(),
        cred_type: Some(CredType::Basic),
        registry: None,
        secret_name: Some("s.t".parse().unwrap()),
        version: Some(1),
        token_expires_at: None,
        decided_by: 6,
    };
    bench.append("outcome.w.ws.c1.4", provider).await;
    bench.fold().await;
    assert_eq!(start_of(&bench, "w"), 6, "the pull is still to come");
    let pulled = ImagePullSucceeded {
        workspace: "ws".parse().unwrap(),
        container_id: "c1".parse().unwrap(),
        placement: 4,
        image_id: Some("i".parse().unwrap()),
        worker_id: "w".parse().unwrap(),
        image_ref: "registry.example.com/team/i:1".to_owned(),
        digest: "sha256:00".to_owned(),
        decided_by: 6,
    };
    bench.append("outcome.w.ws.c1.4", pulled).await;
    bench.fold().await;
    assert_eq!(start_of(&bench, "w"), 7);
    bench.end("ws", "c2", 5).await;
    bench.settle().await;
    let next = bench.projection.position().unwrap().unwrap().sequence + 1;
    assert_eq!(start_of(&bench, "w"), next);
}

#[tokio::test]
async fn consumers_are_made_once_each() {
    let mut bench = Bench::new();
    bench.begin().await;
    bench.request("ws", "c", "i", "w").await;
    bench.settle().await;
    let (sender, registered) = mpsc::unbounded_channel();
    let consumers = || Consumers {
        log: bench.administration(),
        projection: bench.projection.clone(),
        registered: mpsc::unbounded_channel().1,
    };
    let first = Consumers { registered, ..consumers() };
    sender.send(workers(&["w"])).unwrap();
    sender.send(workers(&["w2"])).unwrap();
    drop(sender);
    let acme = Readers { fixed: vec!["acme".parse().unwrap()], file: None };
    first.run(&acme, &CancellationToken::new()).await.unwrap();
    let pending = async |name: &str| bench.log.consumer_state(name).await.unwrap().map(|state| state.pending);
    assert_eq!(pending("worker-w").await, Some(1), "the attachment that is not settled");
    assert_eq!(pending("worker-w2").await, Some(0));
    for name in ["orchestrator-acme-decisions", "orchestrator-acme-outcomes"] {
        assert_eq!(pending(name).await, Some(0), "{name}");
    }
    let state = bench.log.consumer_state("orchestrator-acme-decisions").await.unwrap().unwrap();
    assert_eq!(state.filter, "waybill.events.decision.*.container.acme.*.*");
    bench.log.delete_consumer("worker-w").await.unwrap();
    let (sender, registered) = mpsc::unbounded_channel();
    sender.send(workers(&["w", "w2"])).unwrap();
    drop(sender);
    Consumers { registered, ..consumers() }.run(&Readers::default(), &CancellationToken::new()).await.unwrap();
    assert_eq!(pending("worker-w").await, Some(1), "made anew, from where it has something to do");
}

#[tokio::test]
async fn a_workspace_that_is_named_later_gets_its_consumers() {
    let bench = Bench::new();
    let file = bench.home.path().join("readers");
    let (_sender, registered) = mpsc::unbounded_channel();
    let consumers = Consumers { log: bench.administration(), projection: bench.projection.clone(), registered };
    let (readers, shutdown) = (Readers { fixed: Vec::new(), file: Some(file.clone()) }, CancellationToken::new());
    let named = async {
        std::fs::write(&file, "acme\n").unwrap();
        while bench.log.consumer_state("orchestrator-acme-outcomes").await.unwrap().is_none() {
            tokio::task::yield_now().await;
        }
        shutdown.cancel();
    };
    tokio::join!(consumers.run(&readers, &shutdown), named).0.unwrap();
}
