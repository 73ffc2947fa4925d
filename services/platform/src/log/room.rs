//! Whether the log takes events: told once a minute while it has no room or acknowledges nothing, and shown by metrics and
//! readiness.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use crate::metrics;

/// How often a log without room is told of.
const TELL_EVERY: Duration = Duration::from_secs(60);
/// What waits is sent again within seconds, and reported again. After this long without a report nobody tries any more, so that
/// nobody knows: who is not ready gets no requests, and would stay so for ever.
const FORGET_AFTER: Duration = Duration::from_secs(20);

/// What the last publishes said of the log's room. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Room {
    full: watch::Sender<Option<String>>,
    unanswered: watch::Sender<Option<String>>,
    told: Arc<Mutex<Option<Instant>>>,
    reports: Arc<Mutex<Reports>>,
    forget_after: Duration,
}

#[derive(Debug, Default)]
struct Reports {
    /// When a publish was refused or not acknowledged last, since one was taken.
    last: Option<Instant>,
    /// True while somebody waits to forget it.
    watched: bool,
}

impl Default for Room {
    fn default() -> Self {
        Self {
            full: watch::channel(None).0,
            unanswered: watch::channel(None).0,
            told: Arc::default(),
            reports: Arc::default(),
            forget_after: FORGET_AFTER,
        }
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
        self.forget_later();
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
        self.forget_later();
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

    /// Forgets what was reported once nobody has reported it for some time. That is no news of the log: nothing is said of it.
    fn forget_later(&self) {
        let mut reports = self.lock_reports();
        reports.last = Some(Instant::now());
        if !std::mem::replace(&mut reports.watched, true) {
            let room = self.clone();
            tokio::spawn(async move {
                while let Some(at) = room.next_look() {
                    sleep_until(at).await;
                }
            });
        }
    }

    /// When to look again, after what is old was forgotten; none where nothing is reported.
    fn next_look(&self) -> Option<Instant> {
        let mut reports = self.lock_reports();
        let forget_at = reports.last.map(|last| last + self.forget_after);
        if let Some(at) = forget_at
            && at > Instant::now()
        {
            return Some(at);
        }
        *reports = Reports::default();
        if self.clear().1 {
            metrics::log_full(false);
        }
        None
    }

    /// Takes back what was reported; true for each kind that was: not acknowledged, full.
    fn clear(&self) -> (bool, bool) {
        let clear = |state: &watch::Sender<Option<String>>| state.send_if_modified(|state| state.take().is_some());
        (clear(&self.unanswered), clear(&self.full))
    }

    fn lock_reports(&self) -> MutexGuard<'_, Reports> {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The log took an event.
    pub(crate) fn report_room(&self) {
        self.lock_reports().last = None;
        let (answered, changed) = self.clear();
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

    #[tokio::test]
    async fn what_nobody_tries_any_more_is_forgotten() {
        let room = Room { forget_after: Duration::from_millis(50), ..Room::default() };
        let mut unanswered = room.subscribe_unanswered();
        for _ in 0..2 {
            room.report_unanswered("no answer in time");
            let reported = Instant::now();
            unanswered.wait_for(Option::is_some).await.unwrap();
            unanswered.wait_for(Option::is_none).await.unwrap();
            assert!(reported.elapsed() >= room.forget_after, "not before");
        }
    }
}
