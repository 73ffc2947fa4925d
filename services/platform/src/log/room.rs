//! Whether the log takes events: told once a minute while it has no room or acknowledges nothing, and shown by metrics and
//! readiness.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{sync::watch, time::Instant};

use crate::metrics;

/// How often a log without room is told of.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// What the last publishes said of the log's room. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Room {
    full: watch::Sender<Option<String>>,
    unanswered: watch::Sender<Option<String>>,
    told: Arc<Mutex<Option<Instant>>>,
}

impl Default for Room {
    fn default() -> Self {
        Self { full: watch::channel(None).0, unanswered: watch::channel(None).0, told: Arc::default() }
    }
}

impl Room {
    /// Follows the state: the server's words while the log is full.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Option<String>> {
        self.full.subscribe()
    }

    /// Follows the state: why no acknowledgement came, while none comes.
    pub(crate) fn subscribe_unanswered(&self) -> watch::Receiver<Option<String>> {
        self.unanswered.subscribe()
    }

    /// An event was published, again, and not acknowledged. nats-server is silent where its disk is full.
    pub(crate) fn report_unanswered(&self, reason: &str) {
        self.unanswered.send_if_modified(|unanswered| unanswered.replace(reason.to_owned()).as_deref() != Some(reason));
        if self.is_due() {
            tracing::warn!(
                reason,
                "the event log acknowledges no events, which wait; see to the server's disk: after a failed write nats-server \
                 takes nothing until it has room and is restarted"
            );
        }
    }

    /// The log refused an event for want of room.
    pub(crate) fn report_full(&self, reason: &str) {
        let changed = self.full.send_if_modified(|full| match full {
            Some(known) if known == reason => false,
            full => full.replace(reason.to_owned()).is_none(),
        });
        if changed {
            metrics::log_full(true);
        }
        if self.is_due() {
            tracing::warn!(reason, "the event log has no room; make room on the server, events wait until then");
        }
    }

    /// The log took an event.
    pub(crate) fn report_room(&self) {
        let answered = self.unanswered.send_if_modified(|unanswered| unanswered.take().is_some());
        let changed = self.full.send_if_modified(|full| full.take().is_some());
        if answered && !changed {
            *self.told.lock().unwrap_or_else(PoisonError::into_inner) = None;
            tracing::info!("the event log acknowledges events again");
        }
        if changed {
            *self.told.lock().unwrap_or_else(PoisonError::into_inner) = None;
            metrics::log_full(false);
            tracing::info!("the event log has room again");
        }
    }

    fn is_due(&self) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let due = told.is_none_or(|told| told.elapsed() >= TELL_EVERY);
        if due {
            *told = Some(Instant::now());
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn full_until_an_event_is_taken() {
        let room = Room::default();
        let mut full = room.subscribe();
        room.report_room();
        assert!(!full.has_changed().unwrap());
        room.report_full("no space left");
        assert_eq!(full.borrow_and_update().as_deref(), Some("no space left"));
        assert!(!room.is_due(), "told within the last minute");
        room.report_unanswered("no answer in time");
        assert!(room.subscribe_unanswered().borrow().is_some());
        room.report_room();
        assert_eq!((&*full.borrow_and_update(), &*room.subscribe_unanswered().borrow()), (&None, &None));
        assert!(room.is_due(), "the next time is told at once");
    }
}
