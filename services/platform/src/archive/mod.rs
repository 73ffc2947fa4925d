//! Archives: what left the log, in files that are compressed, checksummed and named by the log.
//!
//! The log's own events say which messages left, in which file each is, and what that file's SHA-256 is: an archive has no list of
//! its own that could differ.

mod reading;
mod segment;
mod segments;
mod store;
#[cfg(test)]
mod tests;

pub use reading::ArchivedLog;
pub use segment::{Segment, SegmentError, SegmentWriter, read_segment};
pub use store::{Store, StoreError};

/// Name of a segment's file.
pub fn segment_name(run: u64, part: u64, digest: &str) -> String {
    format!("waybill-{run:06}-{part:06}-{digest}.jsonl.zst")
}
