//! Up to where to fold: a sequence, or everything that was recorded until a time.

use waybill_platform::{
    events::Place,
    log::{Log, StreamState},
};

use super::ReplayError;
use crate::Failure;

/// The sequence of the last event to fold; 0 for none. Without a point, the last one there is.
pub(crate) async fn last_until(point: Option<Place>, log: &dyn Log, state: StreamState) -> Result<u64, Failure> {
    let last = state.last_sequence;
    match point {
        None => Ok(last),
        Some(Place::Sequence(asked)) if asked > last => Err(ReplayError::Beyond { asked, last }.into()),
        Some(place) => Ok(place.last(log).await?.min(last)),
    }
}
