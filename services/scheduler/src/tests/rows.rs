//! Rows: the same facts as in memory, the same bytes however the log is folded, and none of what ended.

use std::collections::BTreeSet;

use tokio_util::sync::CancellationToken;
use waybill_domain::fold::{MemoryFacts, fold};
use waybill_schemas::{
    Recorded,
    v1::{QuarantineDiscarded, QuarantineRetried},
};

use super::{Bench, bench::CANARY};
use crate::{
    projection::{Projection, Row, TABLES},
    refold::{Refold, path_beside},
};
use waybill_platform::log::Log as _;

/// A log that leaves rows in every table.
pub(super) async fn busy_log(bench: &mut Bench) {
    bench.begin().await;
    bench.register("w-2").await;
    bench.save("ws", "other", 1).await;
    for container in ["c1", "c2", "c3"] {
        bench.request("ws", container, "i", "w").await;
    }
    bench.log.publish_raw("waybill.events.worker.w", &[("ce-id", CANARY)], CANARY.as_bytes());
    let poison = bench.log.publish_raw(&format!("waybill.events.{}", "x".repeat(500)), &[], b"");
    bench.settle().await;
    bench.request("ws", "c2", "i", "w-2").await;
    bench.append(&format!("quarantine.{poison}"), QuarantineDiscarded { sequence: poison, reason: None }).await;
    bench.append("quarantine.9", QuarantineRetried { sequence: 9 }).await;
    bench.save("ws", "s.t", 2).await;
    bench.fold().await;
}

fn json(rows: &[Row], table: &str) -> Vec<(String, serde_json::Value)> {
    let rows = rows.iter().filter(|row| row.table == table);
    rows.map(|row| (row.key.clone(), serde_json::from_slice(&row.value).unwrap())).collect()
}

#[tokio::test]
async fn rows_hold_the_facts_of_a_fold_in_memory() {
    let mut bench = Bench::new();
    busy_log(&mut bench).await;
    let mut facts = MemoryFacts::default();
    for message in bench.log.messages() {
        let Ok(value) = message.decode() else { continue };
        let recorded = Recorded { sequence: message.sequence, at: message.at, value };
        fold(&facts, &recorded).unwrap().changes.into_iter().for_each(|change| facts.apply(change));
    }
    let rows = bench.projection.rows().unwrap();
    let tables: BTreeSet<&str> = rows.iter().map(|row| row.table).collect();
    assert_eq!(tables, TABLES.into_iter().collect(), "a row in each table");
    let value = |fact: &dyn erased::Json| fact.to_value();
    let images = facts.images.iter().map(|(key, fact)| (format!("{}/{}", key.workspace, key.image_id), value(fact)));
    assert_eq!(json(&rows, "images"), images.collect::<Vec<_>>());
    let secrets =
        facts.secrets.iter().map(|(key, fact)| (format!("{}/{}", key.workspace, key.secret_name), value(fact)));
    assert_eq!(json(&rows, "secrets"), secrets.collect::<Vec<_>>());
    let placements = facts.placements.iter().map(|(number, fact)| (number.to_string(), value(fact)));
    assert_eq!(json(&rows, "placements"), placements.collect::<Vec<_>>());
    let newest =
        facts.newest.iter().map(|(key, number)| (format!("{}/{}", key.workspace, key.container_id), value(number)));
    assert_eq!(json(&rows, "newest"), newest.collect::<Vec<_>>());
    let uses: BTreeSet<String> = json(&rows, "uses").into_iter().map(|(key, _)| key).collect();
    let expected = facts
        .uses
        .iter()
        .map(|it| format!("{}/{}/{}/{}", it.secret.workspace, it.secret.secret_name, it.worker_id, it.placement));
    assert_eq!(uses, expected.collect());
    let mut pending: Vec<serde_json::Value> = json(&rows, "pending").into_iter().map(|(_, value)| value).collect();
    let mut expected: Vec<serde_json::Value> = facts.pending.values().map(|pending| value(pending)).collect();
    pending.sort_by_key(ToString::to_string);
    expected.sort_by_key(ToString::to_string);
    assert_eq!(pending, expected);
    for row in &rows {
        let found = bench.projection.snapshot().unwrap().value(row.table, &row.key).unwrap();
        assert_eq!(found.as_ref(), Some(&row.value), "{} {}", row.table, row.key);
    }
}

mod erased {
    /// Anything that can be JSON.
    pub(super) trait Json {
        fn to_value(&self) -> serde_json::Value;
    }

    impl<T: serde::Serialize> Json for T {
        fn to_value(&self) -> serde_json::Value {
            serde_json::to_value(self).unwrap()
        }
    }
}

#[tokio::test]
async fn nothing_of_a_poisoned_message_is_kept_but_its_place() {
    let mut bench = Bench::new();
    busy_log(&mut bench).await;
    let quarantine = bench.projection.snapshot().unwrap().quarantine().unwrap();
    let [(sequence, poison)] = quarantine.as_slice() else { panic!("{quarantine:?}") };
    assert_eq!((*sequence, usize::try_from(poison.size).unwrap()), (9, CANARY.len()));
    assert_eq!(poison.open_retry(), Some(bench.log.events().last().unwrap().0 - 1));
    let discarded = bench.projection.snapshot().unwrap().discarded().unwrap();
    assert_eq!(discarded[0].1.subject.chars().count(), 256);
    let rows = bench.projection.rows().unwrap();
    let canary = |row: &Row| String::from_utf8_lossy(&row.value).contains(CANARY);
    assert!(!rows.iter().any(canary));
    let file = std::fs::read(bench.path()).unwrap();
    assert!(!file.windows(CANARY.len()).any(|bytes| bytes == CANARY.as_bytes()));
}

#[tokio::test]
async fn the_same_log_makes_the_same_bytes() {
    let mut bench = Bench::new();
    busy_log(&mut bench).await;
    let rows = bench.projection.rows().unwrap();
    let single = Bench::with_log(bench.log.clone());
    while single.fold_one().await {}
    assert_eq!(single.projection.rows().unwrap(), rows, "one by one");
    let stream = bench.log.stream_state().await.unwrap().unwrap();
    let path = bench.home.path().join("other.redb");
    let mut refold =
        Refold::begin(bench.administration(), stream, path_beside(&path, ".new"), BTreeSet::new()).unwrap();
    refold.fold_until(7, &CancellationToken::new()).await.unwrap();
    refold.fold_until(stream.last_sequence, &CancellationToken::new()).await.unwrap();
    assert_eq!(refold.divergences(), []);
    refold.put_in_place(&path).await.unwrap();
    assert_eq!(Projection::open(&path).unwrap().rows().unwrap(), rows, "folded anew");
}

#[tokio::test]
async fn what_ended_leaves_no_row() {
    let mut bench = Bench::new();
    bench.begin().await;
    for container in ["c1", "c2", "c3"] {
        bench.request("ws", container, "i", "w").await;
    }
    bench.settle().await;
    let moved = bench.request("ws", "c1", "i", "w").await;
    bench.settle().await;
    for (container, placement) in [("c1", moved), ("c2", 5), ("c3", 6)] {
        bench.end("ws", container, placement).await;
    }
    bench.settle().await;
    let rows = bench.projection.rows().unwrap();
    let left: BTreeSet<&str> = rows.iter().map(|row| row.table).collect();
    assert_eq!(left, BTreeSet::from(["images", "meta", "secrets", "workers"]));
}

#[tokio::test]
async fn a_file_that_a_large_outbox_has_left_is_compacted_at_the_next_start() {
    let mut bench = Bench::new();
    bench.begin().await;
    for container in 0..400 {
        bench.request("ws", &format!("c{container}"), "i", "w").await;
    }
    bench.settle().await;
    let rows = bench.projection.rows().unwrap();
    let path = bench.path();
    drop((bench.projection, bench.grants));
    let length = |path: &std::path::Path| std::fs::metadata(path).unwrap().len();
    {
        let database = redb::Database::open(&path).unwrap();
        let ballast: redb::TableDefinition<'_, u64, &[u8]> = redb::TableDefinition::new("ballast");
        let filling = database.begin_write().unwrap();
        for row in 0..10_000 {
            filling.open_table(ballast).unwrap().insert(row, [7; 4000].as_slice()).unwrap();
        }
        filling.commit().unwrap();
        // What is left stands at the end of the file, so that the store cannot cut it.
        let emptying = database.begin_write().unwrap();
        emptying.open_table(ballast).unwrap().retain(|row, _| row >= 9_990).unwrap();
        emptying.commit().unwrap();
    }
    assert!(length(&path) > 32 << 20, "{} bytes", length(&path));
    let projection = Projection::open(&path).unwrap();
    assert_eq!(projection.rows().unwrap(), rows);
    drop(projection);
    assert!(length(&path) < 8 << 20, "{} bytes", length(&path));
}
