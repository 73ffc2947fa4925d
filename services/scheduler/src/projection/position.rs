//! Where in which log the projection stands.

use serde::{Deserialize, Serialize};
use waybill_platform::log::Identity;
use waybill_schemas::Timestamp;

/// A place in one particular log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// When the stream was created that it was folded from. One that was restored from a backup has another time.
    pub stream_created: Timestamp,
    /// Stream sequence of the last folded message.
    pub sequence: u64,
    /// The stream's timestamp of that message: a restored or diverged log has another one there.
    pub at: Timestamp,
}

impl Position {
    /// The log that it is a place in, as readers of the log compare it.
    pub fn identity(&self) -> Identity {
        Identity { created: self.stream_created, sequence: self.sequence, at: self.at }
    }
}
