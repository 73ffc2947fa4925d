//! Consumers, and where those of workers start.

use std::collections::BTreeSet;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use waybill_platform::log::{Administration as _, ConsumerSpec, Log as _};
use waybill_schemas::{
    WorkerId,
    v1::{CredType, CredentialProviderAttached, ImagePullSucceeded, WorkerRetired, WorkspaceAdded},
};

use super::Bench;
use crate::consumers::{Consumers, Reader};

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
    let run = async |readers: Vec<Reader>| {
        let (sender, named) = mpsc::unbounded_channel();
        readers.into_iter().for_each(|reader| sender.send([reader].into()).unwrap());
        drop(sender);
        let (log, projection) = (bench.administration(), bench.projection.clone());
        Consumers { log, projection, readers: named }.run(&CancellationToken::new()).await.unwrap();
    };
    let worker = |id: &str| Reader::Worker(id.parse().unwrap());
    run(vec![worker("w"), worker("w2"), Reader::Workspace("acme".parse().unwrap())]).await;
    let pending = async |name: &str| bench.log.consumer_state(name).await.unwrap().map(|state| state.pending);
    assert_eq!(pending("worker-w").await, Some(1), "the attachment that is not settled");
    assert_eq!(pending("worker-w2").await, Some(0));
    for name in ["orchestrator-acme-decisions", "orchestrator-acme-outcomes"] {
        assert_eq!(pending(name).await, Some(0), "{name}");
    }
    let state = bench.log.consumer_state("orchestrator-acme-decisions").await.unwrap().unwrap();
    assert_eq!(state.filter, "waybill.events.decision.*.container.acme.*.*");
    bench.log.delete_consumer("worker-w").await.unwrap();
    run(vec![worker("w"), worker("w2")]).await;
    assert_eq!(pending("worker-w").await, Some(1), "made anew, from where it has something to do");

    let retired = |id: &str| Reader::Retired(id.parse().unwrap());
    run(vec![retired("w"), retired("w2"), worker("w2")]).await;
    assert_eq!(pending("worker-w").await, Some(1), "it has registered again, as the projection knows");
    assert_eq!(pending("worker-w2").await, None);
}

/// Whoever was named while no scheduler ran is served when one starts.
#[tokio::test]
async fn what_the_log_says_of_workspaces_and_workers_is_made_up_for() {
    let bench = Bench::new();
    bench.append("identity.workspace.acme", WorkspaceAdded { workspace: "acme".parse().unwrap() }).await;
    bench
        .append(
            "identity.worker.w9",
            WorkerRetired { worker_id: "w9".parse().unwrap(), token_id: None, revoked_keys: Vec::new() },
        )
        .await;
    bench.log.ensure_consumer(&ConsumerSpec::for_worker(&"w9".parse().unwrap(), 0)).await.unwrap();
    let (sender, readers) = mpsc::unbounded_channel();
    drop(sender);
    let (log, projection) = (bench.administration(), bench.projection.clone());
    Consumers { log, projection, readers }.run(&CancellationToken::new()).await.unwrap();
    assert!(bench.log.consumer_state("orchestrator-acme-outcomes").await.unwrap().is_some());
    assert_eq!(bench.log.consumer_state("worker-w9").await.unwrap(), None);
}
