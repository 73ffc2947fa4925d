//! What stands at one sequence of the log.

use waybill_platform::log::RawMessage;
use waybill_schemas::{Recorded, RecordedEvent, Timestamp};

use super::{Position, Quarantined};

/// What stands at one sequence of the log.
#[derive(Debug)]
pub enum Entry {
    /// An event.
    Event(Box<Recorded<RecordedEvent>>),
    /// Something that is none: its place is noted, and the fold goes on.
    Poison(Box<Recorded<Quarantined>>),
}

impl Entry {
    /// What a message is.
    pub fn of(message: &RawMessage) -> Self {
        match message.decode() {
            Ok(value) => Self::Event(Box::new(Recorded { sequence: message.sequence, at: message.at, value })),
            Err(error) => Self::poison(message, error.to_string()),
        }
    }

    /// A message that is taken for no event, whatever it holds.
    pub(crate) fn poison(message: &RawMessage, error: String) -> Self {
        let value = Quarantined::from_message(message, error);
        Self::Poison(Box::new(Recorded { sequence: message.sequence, at: message.at, value }))
    }

    pub(super) fn position(&self, stream_created: Timestamp) -> Position {
        let (sequence, at) = match self {
            Self::Event(recorded) => (recorded.sequence, recorded.at),
            Self::Poison(recorded) => (recorded.sequence, recorded.at),
        };
        Position { stream_created, sequence, at }
    }
}
