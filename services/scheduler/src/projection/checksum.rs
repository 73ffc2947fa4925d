//! Invariant 11: a row that changed on disk is never decided from.
//!
//! Each value ends with eight bytes of SHA-256 over its table, key and content, so that a row that was flipped, or that stands
//! under another key or in another table, does not count. It finds accidents: whoever can write the file can compute it.

use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest as _, Sha256};

use super::{ProjectionError, tables::TableName};

const BYTES: usize = 8;

fn checksum(table: TableName, key: &str, content: &[u8]) -> [u8; BYTES] {
    // Neither names nor keys hold a zero byte.
    let parts = [table.as_bytes(), &[0], key.as_bytes(), &[0], content];
    let hash = parts.iter().fold(Sha256::new(), |hash, part| hash.chain_update(part)).finalize();
    hash.first_chunk().copied().unwrap_or_default()
}

/// The value to store for a row.
pub(super) fn encode<T: Serialize>(table: TableName, key: &str, row: &T) -> Result<Vec<u8>, ProjectionError> {
    let mut value = serde_json::to_vec(row).map_err(|source| ProjectionError::Row { table, source })?;
    value.extend(checksum(table, key, &value));
    Ok(value)
}

/// The content of a stored value.
pub(super) fn content<'v>(table: TableName, key: &str, value: &'v [u8]) -> Result<&'v [u8], ProjectionError> {
    match value.split_last_chunk() {
        Some((content, sum)) if *sum == checksum(table, key, content) => Ok(content),
        _ => Err(ProjectionError::Changed { table, key: super::tables::shown_key(table, key) }),
    }
}

/// The row in a stored value.
pub(super) fn decode<T: DeserializeOwned>(table: TableName, key: &str, value: &[u8]) -> Result<T, ProjectionError> {
    let content = content(table, key, value)?;
    serde_json::from_slice(content).map_err(|source| ProjectionError::Row { table, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_counts_in_its_place_only() {
        let value = encode("images", "ws/i", &17).unwrap();
        assert_eq!(decode::<u64>("images", "ws/i", &value).unwrap(), 17);
        for at in 0..value.len() {
            for bit in 0..8 {
                let mut flipped = value.clone();
                flipped[at] ^= 1 << bit;
                let error = decode::<u64>("images", "ws/i", &flipped).unwrap_err();
                assert!(matches!(error, ProjectionError::Changed { table: "images", .. }), "byte {at}, bit {bit}");
            }
        }
        for (table, key) in [("images", "ws/j"), ("secrets", "ws/i")] {
            assert!(decode::<u64>(table, key, &value).is_err(), "{table} {key}");
        }
        for length in 0..value.len() {
            assert!(decode::<u64>("images", "ws/i", &value[..length]).is_err(), "cut to {length}");
        }
    }
}
