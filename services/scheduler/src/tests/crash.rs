//! A scheduler that dies at any point leaves a log and a vault from which the next one comes to the same end.

use waybill_platform::vault::Vault as _;
use waybill_schemas::VaultFilter;

use super::{Bench, bench::credentials};
use crate::publisher::Round;

/// A story with every kind of decision, told up to a step.
async fn tell(bench: &mut Bench, chapter: usize) {
    match chapter {
        0 => {
            bench.begin().await;
            bench.request("ws", "c1", "i", "w").await;
            bench.request("ws", "c2", "i", "w").await;
        }
        1 => {
            bench.register("w2").await;
            bench.request("ws", "c1", "i", "w2").await;
            bench.save("ws", "s.t", 2).await;
        }
        2 => {
            bench.request("ws", "c3", "unknown", "w").await;
            bench.end("ws", "c2", 5).await;
            bench.register("w2").await;
        }
        _ => {
            bench.request("ws", "c4", "i", "w2").await;
            bench.revoke("ws", "s.t", 2).await;
            bench.save("ws", "s.t", 3).await;
            bench.request("ws", "c5", "i", "w2").await;
        }
    }
}

/// Tells the story, a commit or a round at a time. Dies and starts again before the `dies_at`th of them.
async fn run(dies_at: usize) -> (Bench, usize) {
    let (mut bench, mut steps) = (Bench::new(), 0);
    for chapter in 0..4 {
        tell(&mut bench, chapter).await;
        let mut publisher = bench.publisher();
        loop {
            steps += 1;
            if steps == dies_at {
                drop(publisher);
                bench = bench.restart();
                publisher = bench.publisher();
            }
            // Three messages, then a round: so that decisions are due while more is to be folded.
            let mut folded = false;
            for _ in 0..3 {
                folded |= bench.fold_one().await;
            }
            if publisher.publish_round().await.unwrap() == Round::Idle && !folded {
                break;
            }
        }
    }
    (bench, steps)
}

#[tokio::test]
async fn the_end_is_the_same_wherever_it_dies() {
    let (whole, steps) = run(usize::MAX).await;
    let mut expected = whole.decisions();
    expected.sort();
    assert_eq!(expected.len(), 13, "{expected:?}");
    for dies_at in 1..=steps {
        let (bench, _) = run(dies_at).await;
        let mut decisions = bench.decisions();
        decisions.sort();
        assert_eq!(decisions, expected, "dead before step {dies_at}");
        assert_eq!(bench.aside.keys().len(), 0);
        let rows = bench.projection.rows().unwrap();
        assert!(!rows.iter().any(|row| row.table == "pending"), "dead before step {dies_at}");
        assert_eq!(bench.open_grant("w2", "s.t", 3).await, Some(credentials(3)));
        let grants = bench.vault.keys(&VaultFilter::Grants(None)).await.unwrap();
        assert_eq!(grants, whole.vault.keys(&VaultFilter::Grants(None)).await.unwrap());
        bench.projection.snapshot().unwrap();
    }
}
