//! Tables, keys and the JSON form of rows.

use redb::{ReadTransaction, ReadableTable, TableDefinition, TableError};
use serde::{Serialize, de::DeserializeOwned};

use super::ProjectionError;

/// What builds said, by `<workspace>/<image_id>`.
pub(super) const IMAGES: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("images");
/// Registrations, by worker id.
pub(super) const WORKERS: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("workers");
/// Requests, by the id of their event as a big-endian number.
pub(super) const REQUESTS: TableDefinition<'static, u128, &[u8]> = TableDefinition::new("requests");
/// The outbox, by the sequences of what a decision is made for and of the request.
pub(super) const PENDING: TableDefinition<'static, (u64, u64), &[u8]> = TableDefinition::new("pending");
/// Containers that have credentials, by `<workspace>/<image_id>/<container_id>`.
pub(super) const SERVED: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("served");
/// The image whose credentials a container has, by `<workspace>/<container_id>`.
pub(super) const CONTAINERS: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("containers");
/// What could not be decoded, by sequence.
pub(super) const QUARANTINE: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("quarantine");
/// Of those, what was given up, by sequence.
pub(super) const DISCARDED: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("discarded");
/// Sequence of the newest end of a container, by `<workspace>/<container_id>`.
pub(super) const ENDED: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("ended");
/// The position.
pub(super) const META: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("meta");

pub(super) const POSITION_KEY: &str = "position";
/// By which rules the rows were folded.
pub(super) const RULES_KEY: &str = "rules";
/// To be raised whenever the fold comes to other rows or decisions from the same log.
pub(super) const RULES: u32 = 2;

/// One row as text: table, key and JSON value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Name of the table.
    pub table: &'static str,
    /// The key, as text.
    pub key: String,
    /// The value's bytes.
    pub value: Vec<u8>,
}

pub(super) fn encode<T: Serialize>(table: &'static str, value: &T) -> Result<Vec<u8>, ProjectionError> {
    serde_json::to_vec(value).map_err(|source| ProjectionError::Row { table, source })
}

pub(super) fn decode<T: DeserializeOwned>(table: &'static str, bytes: &[u8]) -> Result<T, ProjectionError> {
    serde_json::from_slice(bytes).map_err(|source| ProjectionError::Row { table, source })
}

/// A table that nothing was written to yet does not exist.
pub(super) fn existing<T>(opened: Result<T, TableError>) -> Result<Option<T>, ProjectionError> {
    match opened {
        Ok(table) => Ok(Some(table)),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

type Named<K> = (&'static str, TableDefinition<'static, K, &'static [u8]>);

/// Tables whose keys are text.
const TEXTS: [Named<&str>; 6] = [
    ("images", IMAGES),
    ("meta", META),
    ("workers", WORKERS),
    ("served", SERVED),
    ("containers", CONTAINERS),
    ("ended", ENDED),
];
/// Tables whose keys are sequences.
const NUMBERS: [Named<u64>; 2] = [("quarantine", QUARANTINE), ("discarded", DISCARDED)];

/// Names of the tables, in the order in which rows are given.
pub const TABLES: [&str; 10] =
    ["images", "meta", "workers", "served", "containers", "ended", "pending", "quarantine", "discarded", "requests"];

pub(super) fn all(transaction: &ReadTransaction) -> Result<Vec<Row>, ProjectionError> {
    let mut rows = Vec::new();
    for table in TABLES {
        visit(transaction, table, &mut |row| -> Result<(), ProjectionError> {
            rows.push(row);
            Ok(())
        })?;
    }
    Ok(rows)
}

/// Hands over each row of a table, in the order of its keys; a table that does not exist has none.
pub(super) fn visit<E: From<ProjectionError>>(
    transaction: &ReadTransaction,
    table: &str,
    each: &mut impl FnMut(Row) -> Result<(), E>,
) -> Result<(), E> {
    if let Some((name, definition)) = TEXTS.into_iter().find(|(name, _)| *name == table) {
        return walk(name, existing(transaction.open_table(definition))?, |key| key.to_owned(), each);
    }
    if let Some((name, definition)) = NUMBERS.into_iter().find(|(name, _)| *name == table) {
        return walk(name, existing(transaction.open_table(definition))?, |key| key.to_string(), each);
    }
    if table == "pending" {
        let opened = existing(transaction.open_table(PENDING))?;
        return walk("pending", opened, |(caused_by, requested_by)| format!("{caused_by}/{requested_by}"), each);
    }
    if table == "requests" {
        let opened = existing(transaction.open_table(REQUESTS))?;
        return walk("requests", opened, |key| uuid::Uuid::from_u128(key).to_string(), each);
    }
    Ok(())
}

fn walk<K: redb::Key + 'static, E: From<ProjectionError>>(
    name: &'static str,
    table: Option<impl ReadableTable<K, &'static [u8]>>,
    text: impl Fn(K::SelfType<'_>) -> String,
    each: &mut impl FnMut(Row) -> Result<(), E>,
) -> Result<(), E> {
    let Some(table) = table else { return Ok(()) };
    for row in table.iter().map_err(ProjectionError::from)? {
        let (key, value) = row.map_err(ProjectionError::from)?;
        each(Row { table: name, key: text(key.value()), value: value.value().to_vec() })?;
    }
    Ok(())
}

/// The row under a key, as [`Row`] has it.
pub(super) fn one(transaction: &ReadTransaction, table: &str, key: &str) -> Result<Option<Vec<u8>>, ProjectionError> {
    if let Some((_, definition)) = TEXTS.into_iter().find(|(name, _)| *name == table) {
        return get(existing(transaction.open_table(definition))?, Some(key));
    }
    if let Some((_, definition)) = NUMBERS.into_iter().find(|(name, _)| *name == table) {
        return get(existing(transaction.open_table(definition))?, key.parse::<u64>().ok());
    }
    if table == "pending" {
        let parts = key.split_once('/').and_then(|(cause, request)| Some((cause.parse().ok()?, request.parse().ok()?)));
        return get(existing(transaction.open_table(PENDING))?, parts);
    }
    if table == "requests" {
        let id = key.parse().ok().map(|id: uuid::Uuid| id.as_u128());
        return get(existing(transaction.open_table(REQUESTS))?, id);
    }
    Ok(None)
}

fn get<'k, K: redb::Key + 'static>(
    table: Option<impl ReadableTable<K, &'static [u8]>>,
    key: Option<impl std::borrow::Borrow<K::SelfType<'k>>>,
) -> Result<Option<Vec<u8>>, ProjectionError> {
    let (Some(table), Some(key)) = (table, key) else { return Ok(None) };
    Ok(table.get(key)?.map(|row| row.value().to_vec()))
}
