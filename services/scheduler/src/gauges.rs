//! How far the projection is behind the log, and what is in quarantine: looked at every now and then, so that a fold which
//! stands still is seen as well.

use std::{sync::Arc, time::Duration};

use tokio::{sync::watch, time::sleep};
use waybill_platform::{
    log::{EventLog, LogError},
    metrics, trace,
};
use waybill_schemas::Timestamp;

use crate::projection::{Projection, ProjectionError};

const EVERY: Duration = Duration::from_secs(2);

/// Looks until it is dropped. What cannot be looked at now is looked at again.
pub(crate) async fn run(log: &EventLog, projection: Arc<Projection>, folded: watch::Receiver<u64>) {
    loop {
        let position = *folded.borrow();
        match lag(log, position).await {
            Ok(lag) => metrics::lag(Some(lag)),
            Err(error) => {
                metrics::lag(None);
                tracing::debug!(%error, "the log does not say how far it goes");
            }
        }
        let counted = projection.clone();
        match tokio::task::spawn_blocking(move || counted.quarantined()).await {
            Ok(Ok(events)) => metrics::quarantined(events),
            Ok(Err::<_, ProjectionError>(error)) => tracing::debug!(%error, "the quarantine cannot be counted"),
            Err(_) => return,
        }
        sleep(EVERY).await;
    }
}

async fn lag(log: &EventLog, folded: u64) -> Result<(u64, f64), LogError> {
    let last = log.stream_state().await?.map_or(folded, |state| state.last_sequence);
    let oldest = if last > folded { log.message_at(folded.saturating_add(1)).await? } else { None };
    Ok(behind(folded, last, oldest.map(|message| message.at), trace::now()))
}

/// Events that are not folded, and the age of the oldest of them in seconds.
fn behind(folded: u64, last: u64, oldest: Option<Timestamp>, now: Timestamp) -> (u64, f64) {
    let age = oldest.map_or(0.0, |oldest| (now.instant() - oldest.instant()).as_seconds_f64());
    (last.saturating_sub(folded), age.max(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn behind_by_events_and_by_the_age_of_the_oldest() {
        let at = |second: &str| Some(format!("2026-01-01T00:00:{second}Z").parse().unwrap());
        let now = at("30").unwrap();
        for (folded, last, oldest, expected) in [
            (0, 0, None, (0, 0.0)),
            (7, 7, None, (0, 0.0)),
            (7, 319, at("10"), (312, 20.0)),
            (7, 8, at("29.5"), (1, 0.5)),
            (7, 8, at("31"), (1, 0.0)),
            (9, 7, None, (0, 0.0)),
        ] {
            assert_eq!(behind(folded, last, oldest, now), expected);
        }
    }
}
