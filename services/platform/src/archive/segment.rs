//! One file of an archive: a line of JSON for each message, compressed by zstd, known by its SHA-256.
//!
//! `zstd -dc FILE | jq` shows it without Waybill.

use std::io::{BufRead as _, BufReader, Write as _};

use async_nats::HeaderMap;
use serde::{Deserialize, Serialize};
use waybill_domain::retention::Removed;
use waybill_schemas::{Timestamp, v1::MAX_RANGES};
use zstd::stream::{read::Decoder, write::Encoder};

use crate::log::RawMessage;

/// Most messages of a segment: reading one message unpacks all of its segment.
const MOST_MESSAGES: u64 = 10_000;
/// Bytes of a segment before it is compressed, but for its last message.
const MOST_BYTES: usize = 16 * 1024 * 1024;
/// Longest segment that is unpacked: a damaged or forged one costs no more memory.
const MOST_UNPACKED: u64 = 64 * 1024 * 1024;
/// zstd's own default: ten times smaller than JSON, and as fast as the log is read.
const LEVEL: i32 = 3;

/// What stands before the messages.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Header {
    /// Layout of the file.
    waybill_archive: u32,
    run: u64,
    part: u64,
}

/// One message, as the log held it.
#[derive(Serialize, Deserialize)]
struct Line {
    sequence: u64,
    at: Timestamp,
    subject: String,
    headers: Vec<(String, String)>,
    /// The body: JSON, byte for byte.
    data: String,
}

/// Why a segment could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum SegmentError {
    /// The compressor failed.
    #[error("it cannot be packed")]
    Pack(#[source] std::io::Error),
    /// The message's body is no text, so that it is no event.
    #[error("the message at sequence {0} is no text")]
    NotText(u64),
    /// The bytes are not those that were written.
    #[error("its SHA-256 is {found}, and {expected} was recorded: it was changed or cut short")]
    Digest {
        /// What is recorded.
        expected: String,
        /// What it is.
        found: String,
    },
    /// The bytes are as recorded, and no segment.
    #[error("it is not as `waybill archive` writes it: {0}")]
    Form(&'static str),
}

/// A finished segment.
#[derive(Debug)]
pub struct Segment {
    /// The file.
    pub bytes: Vec<u8>,
    /// Its SHA-256, in hex.
    pub digest: String,
    /// Sequences of its messages.
    pub removed: Removed,
}

/// A segment that is being written.
pub struct SegmentWriter {
    encoder: Encoder<'static, Vec<u8>>,
    removed: Removed,
    unpacked: usize,
}

impl std::fmt::Debug for SegmentWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SegmentWriter").field("removed", &self.removed).finish_non_exhaustive()
    }
}

impl SegmentWriter {
    /// Begins a part of a run.
    ///
    /// # Errors
    /// [`SegmentError::Pack`].
    pub fn begin(run: u64, part: u64) -> Result<Self, SegmentError> {
        let mut encoder = Encoder::new(Vec::new(), LEVEL).map_err(SegmentError::Pack)?;
        // zstd's own checksum, for tools that know nothing of the log's.
        encoder.include_checksum(true).map_err(SegmentError::Pack)?;
        let mut writer = Self { encoder, removed: Removed::default(), unpacked: 0 };
        writer.line(&Header { waybill_archive: 1, run, part })?;
        Ok(writer)
    }

    /// Adds the next message in the log's order.
    ///
    /// # Errors
    /// [`SegmentError`].
    pub fn push(&mut self, message: &RawMessage) -> Result<(), SegmentError> {
        let data = str::from_utf8(&message.payload).map_err(|_| SegmentError::NotText(message.sequence))?.to_owned();
        let (sequence, at, subject) = (message.sequence, message.at, message.subject.clone());
        self.line(&Line { sequence, at, subject, headers: message.header_pairs(), data })?;
        self.removed.push(sequence);
        Ok(())
    }

    fn line(&mut self, line: &impl Serialize) -> Result<(), SegmentError> {
        let mut bytes = serde_json::to_vec(line).map_err(|error| SegmentError::Pack(error.into()))?;
        bytes.push(b'\n');
        self.unpacked = self.unpacked.saturating_add(bytes.len());
        self.encoder.write_all(&bytes).map_err(SegmentError::Pack)
    }

    /// True if the next message belongs into the next part.
    pub fn is_full(&self) -> bool {
        self.removed.count() >= MOST_MESSAGES
            || self.unpacked >= MOST_BYTES
            || self.removed.ranges().len() >= MAX_RANGES
    }

    /// Ends the segment.
    ///
    /// # Errors
    /// [`SegmentError::Pack`].
    pub fn finish(self) -> Result<Segment, SegmentError> {
        let bytes = self.encoder.finish().map_err(SegmentError::Pack)?;
        Ok(Segment { digest: digest(&bytes), bytes, removed: self.removed })
    }
}

/// SHA-256 in hex.
fn digest(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let sum = ring::digest::digest(&ring::digest::SHA256, bytes);
    sum.as_ref().iter().fold(String::with_capacity(64), |mut hex, byte| {
        // Writing to a string cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// Reads a segment whose digest and sequences are recorded.
///
/// # Errors
/// [`SegmentError`] if it is not exactly what was recorded.
pub fn read_segment(bytes: &[u8], expected: &str, removed: &Removed) -> Result<Vec<RawMessage>, SegmentError> {
    let found = digest(bytes);
    if found != expected {
        return Err(SegmentError::Digest { expected: expected.to_owned(), found });
    }
    let form = |_| SegmentError::Form("it cannot be unpacked");
    let unpacked = Decoder::new(bytes).map_err(form)?;
    let mut lines = BufReader::new(std::io::Read::take(unpacked, MOST_UNPACKED)).lines();
    let header: Option<Header> =
        lines.next().transpose().map_err(form)?.and_then(|line| serde_json::from_str(&line).ok());
    if header.is_none_or(|header| header.waybill_archive != 1) {
        return Err(SegmentError::Form("its first line is another one"));
    }
    let mut messages = Vec::new();
    for line in lines {
        let line: Line =
            serde_json::from_str(&line.map_err(form)?).map_err(|_| SegmentError::Form("a line is no message"))?;
        messages.push(message(line)?);
    }
    if !removed.sequences().eq(messages.iter().map(|message| message.sequence)) {
        return Err(SegmentError::Form("its messages are others than those that left the log"));
    }
    Ok(messages)
}

fn message(line: Line) -> Result<RawMessage, SegmentError> {
    let Line { sequence, at, subject, headers, data } = line;
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let name: async_nats::HeaderName = name.parse().map_err(|_| SegmentError::Form("a header has no name"))?;
        let value: async_nats::HeaderValue = value.parse().map_err(|_| SegmentError::Form("a header has no value"))?;
        map.append(name, value);
    }
    Ok(RawMessage { sequence, at, subject, headers: map, payload: data.into(), pending: 1 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(sequence: u64, data: &'static str) -> RawMessage {
        let mut headers = HeaderMap::new();
        headers.append("ce-id", "1");
        headers.append("ce-actor", "a");
        headers.append("ce-actor", "b");
        RawMessage {
            sequence,
            at: format!("2026-01-01T00:00:00.00{sequence}Z").parse().unwrap(),
            subject: "waybill.events.worker.w".to_owned(),
            headers,
            payload: data.into(),
            pending: 7,
        }
    }

    fn written() -> Segment {
        let mut writer = SegmentWriter::begin(2, 1).unwrap();
        for (sequence, data) in [(3, r#"{"a":"ü\n"}"#), (4, ""), (7, "{}")] {
            writer.push(&message(sequence, data)).unwrap();
        }
        writer.finish().unwrap()
    }

    #[test]
    fn a_segment_is_read_as_it_was_written() {
        let Segment { bytes, digest, removed } = written();
        assert_eq!(removed.ranges(), [[3, 4], [7, 7]]);
        let read = read_segment(&bytes, &digest, &removed).unwrap();
        let expected = [message(3, r#"{"a":"ü\n"}"#), message(4, ""), message(7, "{}")];
        assert_eq!(read.len(), expected.len());
        for (read, expected) in read.iter().zip(expected) {
            assert_eq!((read.sequence, read.at, &read.subject), (expected.sequence, expected.at, &expected.subject));
            assert_eq!((read.header_pairs(), &read.payload), (expected.header_pairs(), &expected.payload));
        }
        assert_eq!(written().digest, digest, "the same messages make the same file");
    }

    #[test]
    fn anything_else_is_an_error() {
        let Segment { bytes, digest: recorded, removed } = written();
        for at in [0, 9, bytes.len() / 2, bytes.len() - 1] {
            let mut changed = bytes.clone();
            changed[at] ^= 4;
            let error = read_segment(&changed, &recorded, &removed).unwrap_err();
            assert!(matches!(error, SegmentError::Digest { .. }), "{error}");
        }
        let short = &bytes[..bytes.len() - 3];
        let cases: [(&[u8], Removed); 4] = [
            (&bytes, Removed::from_ranges([[3, 5], [7, 7]])),
            (&bytes, Removed::from_ranges([[3, 4]])),
            (short, removed.clone()),
            (b"no segment", removed),
        ];
        for (bytes, removed) in cases {
            let error = read_segment(bytes, &digest(bytes), &removed).unwrap_err();
            assert!(matches!(error, SegmentError::Form(_)), "{error}");
        }
    }
}
