//! A place in the log, as people name it: a sequence or a time.

use std::str::FromStr;

use time::Duration;
use waybill_platform::log::{EventLog, Log as _};
use waybill_schemas::Timestamp;

use crate::Failure;

/// A place in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// A sequence.
    Sequence(u64),
    /// A time of the stream's clock.
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
    /// The sequence of the last event up to the place; an event recorded at that very time counts.
    pub(crate) async fn last(self, log: &EventLog) -> Result<u64, Failure> {
        match self {
            Self::Sequence(sequence) => Ok(sequence),
            Self::Time(time) => {
                let after = time.instant().checked_add(Duration::nanoseconds(1)).unwrap_or(time.instant());
                Ok(log.sequence_at(after.into()).await?.saturating_sub(1))
            }
        }
    }

    /// The sequence of the first event from the place on.
    pub(crate) async fn first(self, log: &EventLog) -> Result<u64, Failure> {
        match self {
            Self::Sequence(sequence) => Ok(sequence.max(1)),
            Self::Time(time) => Ok(log.sequence_at(time).await?),
        }
    }
}
