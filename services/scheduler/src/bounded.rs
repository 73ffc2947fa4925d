//! Lines about messages that cannot be read: the first few by name, then one line for all the others of an interval.
//!
//! Whoever may publish may publish garbage, as fast as the log takes it. What is in quarantine says everything.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, sleep};

/// Lines about single messages in an interval.
const MOST: u32 = 10;
const INTERVAL: Duration = Duration::from_secs(10);

/// Messages that are not told one by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rest {
    count: u64,
    first: u64,
    last: u64,
}

/// How much was told in the present interval.
#[derive(Debug, Default)]
pub(crate) struct Bounded(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    told: u32,
    rest: Option<Rest>,
}

impl Bounded {
    /// Notes a message. True if it gets a line of its own.
    pub(crate) fn is_told(&self, sequence: u64) -> bool {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.told < MOST {
            state.told = state.told.saturating_add(1);
            return true;
        }
        let rest = state.rest.get_or_insert(Rest { count: 0, first: sequence, last: sequence });
        (rest.count, rest.last) = (rest.count.saturating_add(1), sequence);
        false
    }

    /// Begins an interval, and returns what the one before kept to itself.
    fn begin(&self) -> Option<Rest> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner)).rest
    }

    /// Tells of the others at the end of each interval, until it is dropped.
    pub(crate) async fn tell_rest(&self) {
        loop {
            let next = Instant::now() + INTERVAL;
            if let Some(Rest { count, first, last }) = self.begin() {
                tracing::warn!(
                    count,
                    first_sequence = first,
                    last_sequence = last,
                    "more events cannot be decoded, quarantined; `waybill quarantine list` has each"
                );
            }
            sleep(next.saturating_duration_since(Instant::now())).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_a_few_lines_and_a_sum() {
        let bounded = Bounded::default();
        let told = (1..=100_000).filter(|sequence| bounded.is_told(*sequence)).count();
        assert_eq!(told, 10);
        assert_eq!(bounded.begin(), Some(Rest { count: 99_990, first: 11, last: 100_000 }));
        assert!(bounded.is_told(100_001), "the next interval tells again");
        assert_eq!(bounded.begin(), None);
    }
}
