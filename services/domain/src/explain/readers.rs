//! How far the readers of the log are.

use serde::{Deserialize, Serialize};
use waybill_schemas::Timestamp;

/// The readers of the log that a container waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Readers {
    /// The scheduler's fold.
    pub scheduler: ReaderStatus,
    /// The worker of the container's newest placement.
    pub worker: ReaderStatus,
    /// Why the log takes no events at present, in the words of a service that found no room.
    pub log_full: Option<String>,
}

impl Readers {
    /// Readers that were not asked.
    pub fn unknown() -> Self {
        Self { scheduler: ReaderStatus::Unknown, worker: ReaderStatus::Unknown, log_full: None }
    }
}

/// What the log's server says of a reader.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReaderStatus {
    /// It could not be asked, or the question is about the past.
    Unknown,
    /// It has no such consumer.
    Absent,
    /// It has one.
    Present(ReaderState),
}

/// A reader's consumer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReaderState {
    /// Messages that it has not been given yet.
    pub behind: u64,
    /// Stream sequence of the last message that it was given.
    pub position: u64,
    /// Stream sequence up to which it is done with everything; 0 where it does not say.
    pub acknowledged: u64,
    /// Whether somebody is asking for messages right now.
    pub reading: bool,
    /// When it was last given a message or was done with one.
    pub last_active: Option<Timestamp>,
    /// Since when it reads: a scheduler makes its reader when it starts.
    pub since: Option<Timestamp>,
}
