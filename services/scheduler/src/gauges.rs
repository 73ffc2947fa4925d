//! How far the projection is behind the log, how much waits in the outbox, and what is in quarantine: looked at every now and
//! then, so that a loop which stands still is seen as well.

use std::{sync::Arc, time::Duration};

use tokio::{sync::watch, time::sleep};
use waybill_domain::fold::Lane;
use waybill_platform::{
    chain,
    health::ComponentHandle,
    log::{Administration, LogError},
    metrics, trace,
};
use waybill_schemas::Timestamp;

use crate::{
    aside::Aside,
    projection::{OutboxState, Projection, ProjectionError},
};

const EVERY: Duration = Duration::from_secs(2);
/// A decision that waits for longer makes the scheduler not ready.
const OUTBOX_LIMIT: f64 = 60.0;

/// Looks at the scheduler's loops from outside.
pub(crate) struct Gauges {
    pub(crate) log: Arc<dyn Administration>,
    pub(crate) projection: Arc<Projection>,
    pub(crate) aside: Arc<Aside>,
    pub(crate) folded: watch::Receiver<u64>,
    /// Readiness of the outbox.
    pub(crate) outbox: ComponentHandle,
}

impl Gauges {
    /// Looks until it is dropped. What cannot be looked at now is looked at again.
    pub(crate) async fn run(self) {
        let (mut before, mut compacted) = (0, 0);
        loop {
            let position = *self.folded.borrow();
            // A quiet moment: nothing was folded between two looks.
            if position == before && position != compacted {
                let projection = self.projection.clone();
                let compacting = move || -> Result<(), ProjectionError> {
                    projection.compact();
                    Ok(())
                };
                if crate::run_blocking(compacting).await.is_ok() {
                    compacted = position;
                }
            }
            before = position;
            match lag(&self.log, position).await {
                Ok(lag) => metrics::lag(Some(lag)),
                Err(error) => {
                    metrics::lag(None);
                    tracing::debug!(%error, "the log does not say how far it goes");
                }
            }
            let (projection, aside) = (self.projection.clone(), self.aside.keys());
            let counting = move || {
                let snapshot = projection.snapshot()?;
                let outbox = snapshot.outbox(&|key| aside.contains(key))?;
                Ok::<_, ProjectionError>((outbox, snapshot.quarantined()?))
            };
            match crate::run_blocking(counting).await {
                Ok((outbox, quarantined)) => {
                    metrics::quarantined(quarantined);
                    self.show_outbox(&outbox, trace::now());
                }
                Err(error) => tracing::debug!(error = %chain(&error), "the projection cannot be counted"),
            }
            sleep(EVERY).await;
        }
    }

    fn show_outbox(&self, outbox: &[(Lane, OutboxState)], now: Timestamp) {
        let mut oldest = 0.0_f64;
        for (lane, state) in outbox {
            let age = state.oldest.map_or(0.0, |oldest| seconds_since(oldest, now));
            metrics::outbox(lane_word(*lane), state.depth, age);
            oldest = oldest.max(age);
        }
        if oldest > OUTBOX_LIMIT {
            self.outbox.not_ready(format!("a decision has waited for {oldest:.0} s to be published"));
        } else {
            self.outbox.ready();
        }
    }
}

fn lane_word(lane: Lane) -> &'static str {
    match lane {
        Lane::Withdrawals => "withdrawals",
        Lane::Requests => "requests",
        Lane::Renewals => "renewals",
    }
}

fn seconds_since(then: Timestamp, now: Timestamp) -> f64 {
    (now.instant() - then.instant()).as_seconds_f64().max(0.0)
}

async fn lag(log: &Arc<dyn Administration>, folded: u64) -> Result<(u64, f64), LogError> {
    let last = log.stream_state().await?.map_or(folded, |state| state.last_sequence);
    let oldest = if last > folded { log.message_at(folded.saturating_add(1)).await? } else { None };
    Ok(behind(folded, last, oldest.map(|message| message.at), trace::now()))
}

/// Events that are not folded, and the age of the oldest of them in seconds.
fn behind(folded: u64, last: u64, oldest: Option<Timestamp>, now: Timestamp) -> (u64, f64) {
    (last.saturating_sub(folded), oldest.map_or(0.0, |oldest| seconds_since(oldest, now)))
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

    #[test]
    fn an_outbox_that_stands_still_is_not_ready() {
        let health = waybill_platform::health::HealthState::default();
        let gauges = Gauges {
            log: Arc::new(waybill_platform::log::MemoryLog::new()),
            projection: Arc::new(Projection::scratch(tempfile::tempfile().unwrap(), "scratch".as_ref()).unwrap()),
            aside: Arc::default(),
            folded: watch::channel(0).1,
            outbox: health.component("outbox"),
        };
        let at = |text: &str| Some(text.parse::<Timestamp>().unwrap());
        let now = at("2026-01-01T00:10:00Z").unwrap();
        for (oldest, ready) in [(None, true), (at("2026-01-01T00:09:30Z"), true), (at("2026-01-01T00:08:59Z"), false)] {
            let state = OutboxState { depth: 1, oldest };
            gauges.show_outbox(&[(Lane::Withdrawals, OutboxState::default()), (Lane::Requests, state)], now);
            assert_eq!(health.readiness().ready, ready, "{oldest:?}");
        }
    }
}
