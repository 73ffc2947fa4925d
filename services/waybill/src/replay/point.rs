//! Up to where to fold: a sequence, or everything that was recorded until a time.

use time::Duration;
use waybill_platform::log::{EventLog, StreamState};

use super::ReplayError;
use crate::{Failure, events::Start};

/// The sequence of the last event to fold; 0 for none. Without a point, the last one there is.
pub(crate) async fn last_until(point: Option<Start>, log: &EventLog, state: StreamState) -> Result<u64, Failure> {
    let last = state.last_sequence;
    match point {
        None => Ok(last),
        Some(Start::Sequence(asked)) if asked > last => Err(ReplayError::Beyond { asked, last }.into()),
        Some(Start::Sequence(asked)) => Ok(asked),
        Some(Start::Time(time)) => {
            // An event recorded at that very time counts.
            let after = time.instant().checked_add(Duration::nanoseconds(1)).unwrap_or(time.instant());
            Ok(log.sequence_at(after.into()).await?.saturating_sub(1).min(last))
        }
    }
}
