//! What left the log for an archive, as the log itself says.

use waybill_domain::retention::Archives;
use waybill_schemas::{Event, Filter, Subject, v1::PlacementsArchived};

use super::{Log, LogError};

/// Events of one look-up.
const PAGE: usize = 1000;

/// Reads what left the log so far.
///
/// # Errors
/// [`LogError`] when the log does not answer.
pub async fn read_archives(log: &dyn Log) -> Result<Archives, LogError> {
    // Most logs have no archive, and one exact subject tells: a search for all could look into every block of the log.
    if log.last(&Subject::Archive { run: 1 }).await?.is_none() {
        return Ok(Archives::default());
    }
    let (mut events, mut next) = (Vec::<PlacementsArchived>::new(), Some(1));
    while let Some(from) = next {
        let page = log.read_page(&Filter::Archives, from, PAGE).await?;
        let last = page.messages.last().map(|message| message.sequence);
        next = last.filter(|_| page.more).map(|last| last.saturating_add(1));
        let decoded = page.messages.iter().filter_map(|message| message.decode().ok());
        events.extend(decoded.filter_map(|recorded| match recorded.event {
            Event::PlacementsArchived(archived) => Some(archived),
            _ => None,
        }));
    }
    Ok(Archives::from_events(events))
}
