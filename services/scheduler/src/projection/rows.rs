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
/// The outbox, by the sequence of the request.
pub(super) const PENDING: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("pending");
/// What could not be decoded, by sequence.
pub(super) const QUARANTINE: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("quarantine");
/// The position.
pub(super) const META: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("meta");

pub(super) const POSITION_KEY: &str = "position";

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

pub(super) fn all(transaction: &ReadTransaction) -> Result<Vec<Row>, ProjectionError> {
    let mut rows = Vec::new();
    for (name, table) in [("images", IMAGES), ("meta", META), ("workers", WORKERS)] {
        collect(&mut rows, name, existing(transaction.open_table(table))?, |key| key.to_owned())?;
    }
    for (name, table) in [("pending", PENDING), ("quarantine", QUARANTINE)] {
        collect(&mut rows, name, existing(transaction.open_table(table))?, |key| key.to_string())?;
    }
    let requests = existing(transaction.open_table(REQUESTS))?;
    collect(&mut rows, "requests", requests, |key| uuid::Uuid::from_u128(key).to_string())?;
    Ok(rows)
}

fn collect<K: redb::Key + 'static>(
    rows: &mut Vec<Row>,
    name: &'static str,
    table: Option<impl ReadableTable<K, &'static [u8]>>,
    text: impl Fn(K::SelfType<'_>) -> String,
) -> Result<(), ProjectionError> {
    let Some(table) = table else { return Ok(()) };
    for row in table.iter()? {
        let (key, value) = row?;
        rows.push(Row { table: name, key: text(key.value()), value: value.value().to_vec() });
    }
    Ok(())
}
