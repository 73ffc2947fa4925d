//! The rows at one moment: what is committed later does not change them.

use redb::{ReadTransaction, ReadableTable as _, ReadableTableMetadata as _, TableDefinition};

use super::{
    Position, ProjectionError, Quarantined, Row,
    rows::{self, DISCARDED, META, POSITION_KEY, QUARANTINE, RULES, RULES_KEY},
};

/// All tables as one transaction left them. While it is held, the file keeps what it shows.
pub struct Snapshot(pub(super) ReadTransaction);

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot").finish_non_exhaustive()
    }
}

impl Snapshot {
    /// The place in the log up to which the rows are folded; none in a new file.
    ///
    /// # Errors
    /// Those of the store, and [`ProjectionError::Layout`] where another version's rules folded them.
    pub fn position(&self) -> Result<Option<Position>, ProjectionError> {
        let Some(table) = rows::existing(self.0.open_table(META))? else { return Ok(None) };
        let Some(position) = table.get(POSITION_KEY)? else { return Ok(None) };
        let rules: Option<u32> = table.get(RULES_KEY)?.map(|row| rows::decode("meta", row.value())).transpose()?;
        match rules {
            Some(RULES) => rows::decode("meta", position.value()).map(Some),
            _ => Err(ProjectionError::Layout { table: "meta".to_owned() }),
        }
    }

    /// Every row of every table, in order: two projections of the same log are equal, byte for byte.
    ///
    /// # Errors
    /// Those of the store.
    pub fn rows(&self) -> Result<Vec<Row>, ProjectionError> {
        rows::all(&self.0)
    }

    /// Hands over each row of one of [`TABLES`](super::TABLES), in the order of its keys.
    ///
    /// # Errors
    /// Those of the store, and of `each`.
    pub fn each<E: From<ProjectionError>>(
        &self,
        table: &str,
        mut each: impl FnMut(Row) -> Result<(), E>,
    ) -> Result<(), E> {
        rows::visit(&self.0, table, &mut each)
    }

    /// What is in quarantine, by sequence.
    ///
    /// # Errors
    /// Those of the store.
    pub fn quarantine(&self) -> Result<Vec<(u64, Quarantined)>, ProjectionError> {
        self.kept(QUARANTINE)
    }

    /// What was given up, by sequence.
    ///
    /// # Errors
    /// Those of the store.
    pub fn discarded(&self) -> Result<Vec<(u64, Quarantined)>, ProjectionError> {
        self.kept(DISCARDED)
    }

    /// How many messages are in quarantine.
    ///
    /// # Errors
    /// Those of the store.
    pub fn quarantined(&self) -> Result<u64, ProjectionError> {
        let table = rows::existing(self.0.open_table(QUARANTINE))?;
        Ok(table.map(|table| table.len()).transpose()?.unwrap_or(0))
    }

    fn kept(
        &self,
        table: TableDefinition<'static, u64, &'static [u8]>,
    ) -> Result<Vec<(u64, Quarantined)>, ProjectionError> {
        let Some(table) = rows::existing(self.0.open_table(table))? else { return Ok(Vec::new()) };
        let rows = table.iter()?.map(|row| {
            let (sequence, row) = row?;
            Ok((sequence.value(), rows::decode("quarantine", row.value())?))
        });
        rows.collect()
    }

    /// The value of the row under a key.
    ///
    /// # Errors
    /// Those of the store.
    pub fn value(&self, table: &str, key: &str) -> Result<Option<Vec<u8>>, ProjectionError> {
        rows::one(&self.0, table, key)
    }
}
