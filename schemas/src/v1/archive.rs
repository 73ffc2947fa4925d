//! What leaves the log: events of placements that are over, which an archive keeps.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

use crate::Timestamp;

/// Longest address of an archive, in characters.
pub const MAX_ARCHIVE: usize = 1024;
/// Most ranges in one event: with the largest sequences its body stays below what is read of one.
pub const MAX_RANGES: usize = 4_000;

/// Events of placements that are over leave the log: an archive keeps them. It is recorded before anything is deleted, and from
/// then on readers take the named messages for gone, whether they still stand there or not. A run counts once its last part
/// is recorded. Published by the operator's `waybill archive`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PlacementsArchived {
    /// Number of the run, from 1.
    #[schemars(range(min = 1))]
    pub run: u64,
    /// Which of the run's parts this is, from 1; each is one segment of the archive.
    #[schemars(range(min = 1))]
    pub part: u64,
    /// How many parts the run has.
    #[schemars(range(min = 1))]
    pub parts: u64,
    /// How many placements leave with the run.
    pub placements: u64,
    /// Everything about them was recorded before this time.
    pub before: Timestamp,
    /// Where the archive is: a folder or a URL.
    #[serde(deserialize_with = "printable")]
    #[schemars(length(max = 1024))]
    pub archive: String,
    /// SHA-256 of the segment's file, in hex.
    #[serde(deserialize_with = "digits")]
    #[schemars(regex(pattern = "^[0-9a-f]{64}$"))]
    pub digest: String,
    /// Sequences of the messages, in ascending order.
    #[serde(deserialize_with = "ascending")]
    #[schemars(length(min = 1, max = 4000))]
    pub sequences: Vec<SequenceRange>,
}

/// Messages that follow each other in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SequenceRange {
    /// Sequence of the first one.
    #[schemars(range(min = 1))]
    pub first: u64,
    /// Sequence of the last one.
    #[schemars(range(min = 1))]
    pub last: u64,
}

impl PlacementsArchived {
    /// How many messages the part has.
    pub fn count(&self) -> u64 {
        let lengths = self.sequences.iter().map(|range| range.last.saturating_sub(range.first).saturating_add(1));
        lengths.fold(0, u64::saturating_add)
    }
}

/// Shown to people as it is.
fn printable<'de, D: Deserializer<'de>>(input: D) -> Result<String, D::Error> {
    let text = String::deserialize(input)?;
    let fits = (1..=MAX_ARCHIVE).contains(&text.chars().count()) && !text.chars().any(char::is_control);
    if fits { Ok(text) } else { Err(D::Error::custom("not a short line of text")) }
}

fn digits<'de, D: Deserializer<'de>>(input: D) -> Result<String, D::Error> {
    let text = String::deserialize(input)?;
    let fits = text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if fits { Ok(text) } else { Err(D::Error::custom("not 64 hexadecimal digits")) }
}

fn ascending<'de, D: Deserializer<'de>>(input: D) -> Result<Vec<SequenceRange>, D::Error> {
    let ranges = Vec::<SequenceRange>::deserialize(input)?;
    let mut before = 0;
    for SequenceRange { first, last } in &ranges {
        if *first <= before || last < first {
            return Err(D::Error::custom("not ranges in ascending order"));
        }
        before = *last;
    }
    if (1..=MAX_RANGES).contains(&ranges.len()) { Ok(ranges) } else { Err(D::Error::custom("not 1 to 4000 ranges")) }
}
