//! Tables, keys and rows. Every key is a text whose order is the order of what it names.

use redb::{ReadTransaction, ReadableTable, TableDefinition, TableError};
use waybill_domain::fold::{ContainerKey, ImageKey, Lane, PendingKey, SecretKey, SecretUse};
use waybill_schemas::{WorkerId, WorkspaceId};

use super::{ProjectionError, checksum, image, placement};

/// Name of a table.
pub(super) type TableName = &'static str;
/// Definition of a table.
pub(super) type Definition = TableDefinition<'static, &'static str, &'static [u8]>;

/// What builds said, by `<workspace>/<image_id>`.
pub(super) const IMAGES: TableName = "images";
/// Heads of secrets, by `<workspace>/<secret>`.
pub(super) const SECRETS: TableName = "secrets";
/// Registrations, by worker id.
pub(super) const WORKERS: TableName = "workers";
/// Placements that are not over, by number.
pub(super) const PLACEMENTS: TableName = "placements";
/// Number of the newest placement, by `<workspace>/<container_id>`.
pub(super) const NEWEST: TableName = "newest";
/// Which placements have a secret, by `<workspace>/<secret>/<worker_id>/<placement>`.
pub(super) const USES: TableName = "uses";
/// Which secrets a worker's placements have, by `<worker_id>/<workspace>/<secret>`.
pub(super) const WORKER_SECRETS: TableName = "worker_secrets";
/// The outbox, by `<lane>/<workspace>/<caused_by>/<subject>`.
pub(super) const PENDING: TableName = "pending";
/// Places of what could not be decoded, by sequence.
pub(super) const QUARANTINE: TableName = "quarantine";
/// Of those, what was given up, by sequence.
pub(super) const DISCARDED: TableName = "discarded";
/// Position and rules.
pub(super) const META: TableName = "meta";
/// What this scheduler found when it retried quarantined messages, by sequence. It follows from the program, not from the
/// log, and is no row that a rebuild comes to.
pub(super) const HELD: TableName = "held";

/// Names of the tables that follow from the log, in the order in which rows are given.
pub const TABLES: [&str; 11] =
    [IMAGES, META, WORKERS, SECRETS, PLACEMENTS, NEWEST, USES, WORKER_SECRETS, PENDING, QUARANTINE, DISCARDED];

/// The definition of a table.
pub(super) const fn definition(table: TableName) -> Definition {
    TableDefinition::new(table)
}

/// A number as a key: how many digits follow, as a letter, then the digits. Texts of numbers are then ordered as numbers.
pub(super) fn number_key(number: u64) -> String {
    let digits = number.to_string();
    let length = u8::try_from(digits.len()).unwrap_or(u8::MAX);
    format!("{}{digits}", char::from(b'a'.saturating_add(length)))
}

fn number_of(key: &str) -> Option<u64> {
    key.get(1..)?.parse().ok()
}

/// The number that a key begins and ends with.
pub(super) fn read_number(table: TableName, key: &str) -> Result<u64, ProjectionError> {
    number_of(key).ok_or_else(|| ProjectionError::Changed { table, key: key.to_owned() })
}

// No id holds a slash.

pub(super) fn image_key(key: &ImageKey) -> String {
    format!("{}/{}", key.workspace, key.image_id)
}

pub(super) fn secret_key(key: &SecretKey) -> String {
    format!("{}/{}", key.workspace, key.secret_name)
}

pub(super) fn container_key(key: &ContainerKey) -> String {
    format!("{}/{}", key.workspace, key.container_id)
}

pub(super) fn worker_uses_prefix(secret: &SecretKey, worker_id: &WorkerId) -> String {
    format!("{}/{worker_id}/", secret_key(secret))
}

pub(super) fn use_key(secret_use: &SecretUse) -> String {
    let prefix = worker_uses_prefix(&secret_use.secret, &secret_use.worker_id);
    format!("{prefix}{}", number_key(secret_use.placement))
}

pub(super) fn worker_secret_key(worker_id: &WorkerId, secret: &SecretKey) -> String {
    format!("{worker_id}/{}", secret_key(secret))
}

pub(super) fn pending_key(key: &PendingKey) -> String {
    format!("{}{}/{}", pending_prefix(key.lane, &key.workspace), number_key(key.caused_by), key.subject)
}

/// What the keys of a workspace's decisions in a lane begin with.
pub(super) fn pending_prefix(lane: Lane, workspace: &WorkspaceId) -> String {
    format!("{}{workspace}/", lane_prefix(lane))
}

pub(super) fn lane_prefix(lane: Lane) -> &'static str {
    match lane {
        Lane::Withdrawals => "0/",
        Lane::Requests => "1/",
        Lane::Renewals => "2/",
    }
}

/// Places of numbers among the parts of a key.
fn number_parts(table: &str) -> &'static [usize] {
    match table {
        PLACEMENTS | QUARANTINE | DISCARDED | HELD => &[0],
        USES => &[3],
        PENDING => &[2],
        _ => &[],
    }
}

fn map_numbers(table: &str, key: &str, map: impl Fn(&str) -> Option<String>) -> Option<String> {
    let numbers = number_parts(table);
    let parts = key.split('/').enumerate();
    let parts = parts.map(|(at, part)| if numbers.contains(&at) { map(part) } else { Some(part.to_owned()) });
    Some(parts.collect::<Option<Vec<String>>>()?.join("/"))
}

/// A key as people read it: numbers are plain numbers.
pub(super) fn shown_key(table: &str, key: &str) -> String {
    map_numbers(table, key, |part| Some(number_of(part)?.to_string())).unwrap_or_else(|| key.to_owned())
}

/// The key that [`shown_key`] shows; none if there cannot be one.
fn stored_key(table: &str, shown: &str) -> Option<String> {
    map_numbers(table, shown, |part| Some(number_key(part.parse().ok()?)))
}

/// One row as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Name of the table.
    pub table: &'static str,
    /// The key: ids, numbers and a subject, separated by slashes.
    pub key: String,
    /// The value: JSON.
    pub value: Vec<u8>,
}

/// The table; none if nothing was written to it yet.
pub(super) fn open_existing<T>(opened: Result<T, TableError>) -> Result<Option<T>, ProjectionError> {
    match opened {
        Ok(table) => Ok(Some(table)),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Hands over each row of a table, in the order of its keys; a table that does not exist has none.
pub(super) fn visit<E: From<ProjectionError>>(
    transaction: &ReadTransaction,
    table: &str,
    each: &mut impl FnMut(Row) -> Result<(), E>,
) -> Result<(), E> {
    let Some(name) = TABLES.into_iter().find(|name| *name == table) else { return Ok(()) };
    let Some(rows) = open_existing(transaction.open_table(definition(name)))? else { return Ok(()) };
    for row in rows.iter().map_err(ProjectionError::from)? {
        let (key, value) = row.map_err(ProjectionError::from)?;
        let value = shown_value(name, key.value(), value.value())?;
        each(Row { table: name, key: shown_key(name, key.value()), value })?;
    }
    Ok(())
}

/// The value of a row, as [`Row`] has it.
pub(super) fn value(transaction: &ReadTransaction, table: &str, key: &str) -> Result<Option<Vec<u8>>, ProjectionError> {
    let name = TABLES.into_iter().find(|name| *name == table);
    let (Some(name), Some(key)) = (name, stored_key(table, key)) else { return Ok(None) };
    let Some(rows) = open_existing(transaction.open_table(definition(name)))? else { return Ok(None) };
    rows.get(key.as_str())?.map(|row| shown_value(name, &key, row.value())).transpose()
}

fn shown_value(table: TableName, key: &str, value: &[u8]) -> Result<Vec<u8>, ProjectionError> {
    match table {
        IMAGES => image::to_json(key, value),
        PLACEMENTS => placement::to_json(key, value),
        _ => checksum::content(table, key, value).map(<[u8]>::to_vec),
    }
}

/// Rows whose keys begin with a prefix, from a key on.
pub(super) fn range<'t>(
    table: &'t impl ReadableTable<&'static str, &'static [u8]>,
    from: &str,
) -> Result<redb::Range<'t, &'static str, &'static [u8]>, ProjectionError> {
    Ok(table.range(from..)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_ordered_as_their_numbers() {
        let numbers = [0, 1, 9, 10, 99, 100, 12_345, u64::MAX - 1, u64::MAX];
        let keys = numbers.map(number_key);
        assert!(keys.is_sorted(), "{keys:?}");
        assert_eq!(keys.map(|key| number_of(&key).unwrap()), numbers);
    }

    #[test]
    fn shown_keys_hold_plain_numbers() {
        let cases = [
            ("images", "ws/i", "ws/i"),
            ("placements", "c17", "17"),
            ("uses", "ws/s.t/w/b7", "ws/s.t/w/7"),
            ("pending", "1/ws/c17/waybill.events.worker.w", "1/ws/17/waybill.events.worker.w"),
        ];
        for (table, stored, shown) in cases {
            assert_eq!(shown_key(table, stored), shown);
            assert_eq!(stored_key(table, shown).as_deref(), Some(stored));
        }
        assert_eq!(stored_key("placements", "x"), None);
    }
}
