//! Guards of size: counts of bytes and rows of a fixed story, which are the same on every machine.

use waybill_schemas::Event;

use super::Bench;
/// Bytes of a decision in the log, with its headers.
const MOST_FOR_A_DECISION: usize = 1_200;
/// Bytes of the rows, keys included, of a placement that runs.
const MOST_FOR_A_PLACEMENT: u64 = 300;
/// Bytes of an image's row.
const MOST_FOR_AN_IMAGE: u64 = 400;

/// Bytes of all rows but the position's.
fn bytes(bench: &Bench) -> u64 {
    bench.projection.snapshot().unwrap().stored_bytes().unwrap()
}

#[tokio::test]
async fn a_decision_and_its_rows_stay_small() {
    let mut bench = Bench::new();
    bench.save("ws", "oci-registry-registry-example-com", 1).await;
    bench.register("worker-01").await;
    bench.fold().await;
    let empty = bytes(&bench);
    bench.name("ws", "image-000001", "oci-registry-registry-example-com").await;
    bench.fold().await;
    let named = bytes(&bench);
    assert!(named - empty <= MOST_FOR_AN_IMAGE, "{} bytes for an image", named - empty);

    // The first placement of the secret on the worker: its row of both serves all that follow.
    bench.request("ws", "container-000000", "image-000001", "worker-01").await;
    bench.settle().await;
    let before = bytes(&bench);
    let placement = bench.request("ws", "container-000001", "image-000001", "worker-01").await;
    bench.settle().await;
    let decided: Vec<_> =
        bench.log.messages().into_iter().filter(|message| message.subject.contains(".decision.")).collect();
    let [_, decision] = decided.as_slice() else { panic!("two decisions: {decided:?}") };
    let headers: usize = decision.header_pairs().iter().map(|(name, value)| name.len() + value.len() + 4).sum();
    let size = headers + decision.payload.len() + decision.subject.len();
    assert!(size <= MOST_FOR_A_DECISION, "{size} bytes for a decision");
    let placed = bytes(&bench);
    assert!(placed - before <= MOST_FOR_A_PLACEMENT, "{} bytes for a placement", placed - before);

    bench.end("ws", "container-000001", placement).await;
    bench.settle().await;
    assert_eq!(bytes(&bench), before, "nothing stays of a placement that ended");
    let said = bench
        .log
        .events()
        .into_iter()
        .filter(|(_, event)| matches!(event.event, Event::ContainerCredentialsWithdrawn(_)));
    assert_eq!(said.count(), 1);
}
