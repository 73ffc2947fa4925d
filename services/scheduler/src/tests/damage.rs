//! A file that was cut short or changed on disk: it is refused, and never decided from.

use std::{
    collections::BTreeMap,
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

use redb::{Database, ReadableTable as _, TableDefinition};

use super::{Bench, rows::busy_log};
use crate::projection::{Held, Projection, ProjectionError, Row, TABLES};

/// Makes another key and value of a row's.
type ChangeRow = dyn FnOnce(String, Vec<u8>) -> (String, Vec<u8>);

/// Changes the first row of a table behind the projection's back, as a store without checksums of its own would not notice.
fn change_row(path: &Path, table: &str, change: impl FnOnce(String, Vec<u8>) -> (String, Vec<u8>)) -> String {
    let database = Database::open(path).unwrap();
    let transaction = database.begin_write().unwrap();
    let definition: TableDefinition<'_, &str, &[u8]> = TableDefinition::new(table);
    let key = {
        let mut rows = transaction.open_table(definition).unwrap();
        let first = rows.first().unwrap().unwrap();
        let (key, value) = (first.0.value().to_owned(), first.1.value().to_vec());
        drop(first);
        let (new_key, new_value) = change(key.clone(), value);
        rows.remove(key.as_str()).unwrap();
        rows.insert(new_key.as_str(), new_value.as_slice()).unwrap();
        new_key
    };
    transaction.commit().unwrap();
    key
}

/// Reads every row, the local notes too.
fn read_all(path: &Path) -> Result<Vec<Row>, ProjectionError> {
    let projection = Projection::open(path)?;
    let snapshot = projection.snapshot()?;
    snapshot.position()?;
    snapshot.quarantine()?;
    snapshot.rows()
}

#[tokio::test]
async fn a_flip_in_any_table_is_refused() {
    let mut bench = Bench::new();
    busy_log(&mut bench).await;
    bench.projection.hold(9, &Held { asked_by: 1, why: "it does".to_owned() }).unwrap();
    let path = bench.path();
    drop(bench.projection);
    drop(bench.grants);
    let good = fs::read(&path).unwrap();
    let rows = read_all(&path).unwrap();
    for table in TABLES.into_iter().chain(["held"]) {
        let flip = |key, mut value: Vec<u8>| {
            value[1] ^= 4;
            (key, value)
        };
        let swap = |key: String, value: Vec<u8>| (key.replace(|c: char| c.is_ascii_digit(), "7") + "7", value);
        let changes: [(&str, Box<ChangeRow>); 2] = [("flipped", Box::new(flip)), ("moved", Box::new(swap))];
        for (name, change) in changes {
            if (table, name) == ("held", "moved") {
                // Nobody looks for a note about a message that is not in quarantine.
                continue;
            }
            fs::write(&path, &good).unwrap();
            change_row(&path, table, change);
            let read = read_all(&path).map(|rows| rows.len());
            let error = read.expect_err(&format!("{table} {name}"));
            let named = match &error {
                ProjectionError::Changed { table, .. } => *table == "held" || error.to_string().contains(*table),
                ProjectionError::Layout { table: named } => named == "meta" && table == "meta",
                _ => false,
            };
            assert!(named && error.to_string().contains("--rebuild"), "{table} {name}: {error}");
        }
    }
    fs::write(&path, &good).unwrap();
    assert_eq!(read_all(&path).unwrap(), rows);
}

#[tokio::test]
async fn nothing_is_decided_from_a_row_that_changed() {
    let mut bench = Bench::new();
    bench.begin().await;
    bench.fold().await;
    let (path, log) = (bench.path(), bench.log.clone());
    let good = {
        drop(bench.projection);
        drop(bench.grants);
        fs::read(&path).unwrap()
    };
    for table in ["images", "secrets", "workers"] {
        fs::write(&path, &good).unwrap();
        let flip = |key, mut value: Vec<u8>| {
            // A digit of a number, so that the JSON stays well-formed.
            let at = value.iter().position(u8::is_ascii_digit).unwrap();
            value[at] ^= 1;
            (key, value)
        };
        change_row(&path, table, flip);
        let other = Bench::with_log(log.clone());
        other.request("ws", "c", "i", "w").await;
        let projection = Projection::open(&path).unwrap();
        let created = other.created().await;
        let last = crate::projection::Entry::of(other.log.messages().last().unwrap());
        let error = projection.fold(created, &[last]).unwrap_err();
        assert!(matches!(error, ProjectionError::Changed { table: named, .. } if named == table), "{table}: {error}");
        let pending = |projection: &Projection| {
            let rows = projection.rows();
            rows.map(|rows| rows.iter().filter(|row| row.table == "pending").count())
        };
        assert!(pending(&projection).is_err(), "it is told again, whoever reads");
    }
}

fn position_of(rows: &[Row]) -> u64 {
    let position = rows.iter().find(|row| row.key == "position");
    let position = position.map(|row| serde_json::from_slice::<serde_json::Value>(&row.value).unwrap());
    position.map_or(0, |position| position["sequence"].as_u64().unwrap())
}

/// Any single byte of the file, and any length: the same rows, or an error that says what to do; never others.
#[tokio::test]
async fn a_damaged_file_is_told_from_one_in_use() {
    let mut bench = Bench::new();
    busy_log(&mut bench).await;
    let path = bench.path();
    let error = Projection::open(&path).unwrap_err();
    assert!(error.is_in_use() && error.to_string().contains("another scheduler"), "{error}");
    drop(bench.projection);
    drop(bench.grants);
    // A damaged newest commit is undone: the rows are then those of an earlier position, and the log is folded from there.
    let mut by_position = BTreeMap::from([(0, Vec::new())]);
    let single = Bench::with_log(bench.log.clone());
    while single.fold_one().await {
        let position = single.projection.position().unwrap().unwrap().sequence;
        by_position.insert(position, single.projection.rows().unwrap());
    }
    let good = fs::read(&path).unwrap();
    let copy = bench.home.path().join("copy.redb");
    let check = |what: &str, bytes: &[u8]| {
        fs::write(&copy, bytes).unwrap();
        // Code of the store may give up on what `Projection::open` did not see; the scheduler tells that as damage.
        match catch_unwind(AssertUnwindSafe(|| read_all(&copy))) {
            Err(_) => {}
            Ok(Ok(read)) => assert_eq!(read, by_position[&position_of(&read)], "{what}"),
            Ok(Err(error)) => {
                assert!(!error.is_in_use(), "{what}: {error}");
                assert!(error.to_string().contains("--rebuild"), "{what}: {error}");
            }
        }
    };
    for length in (0..good.len()).step_by(good.len() / 40) {
        check(&format!("cut to {length}"), &good[..length]);
    }
    for at in (0..good.len()).step_by(good.len() / 150) {
        let mut flipped = good.clone();
        flipped[at] ^= 0x10;
        check(&format!("byte {at} flipped"), &flipped);
    }
    check("another file", b"not a projection at all, and longer than a header would be");
}
