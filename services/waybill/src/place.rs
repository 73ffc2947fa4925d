//! A place in the log, as people name it: a sequence or a time.

use std::str::FromStr;

use waybill_platform::log::EventLog;
use waybill_schemas::Timestamp;

use crate::Failure;

/// A place in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// At this sequence.
    Sequence(u64),
    /// At the first event recorded at this time or later.
    Time(Timestamp),
}

impl FromStr for Place {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(sequence) = text.parse() {
            return Ok(Self::Sequence(sequence));
        }
        text.parse().map(Self::Time).map_err(|_| "neither a sequence (1, 2, …) nor a time like 2026-01-31T12:00:00Z")
    }
}

impl Place {
    /// The sequence of the place: of the first event then or later, for a time.
    pub(crate) async fn sequence(self, log: &EventLog) -> Result<u64, Failure> {
        match self {
            Self::Sequence(sequence) => Ok(sequence.max(1)),
            Self::Time(time) => Ok(log.sequence_at(time).await?),
        }
    }
}
