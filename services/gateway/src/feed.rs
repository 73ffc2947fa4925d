//! The log as it comes: one reader for the whole gateway. It keeps the fleet folded in memory, and hands each message to whoever
//! listens.
//!
//! It asks by direct gets, since a gateway may make no consumers. Each question begins with the message that was read last, so
//! that its answer also tells whether the log is still the same one.

use std::{
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{sync::broadcast, time::sleep};
use tokio_util::sync::CancellationToken;
use waybill_domain::fleet::Fleet;
use waybill_platform::{
    chain,
    log::{Log, LogError, RawMessage},
    trace,
};
use waybill_schemas::{Filter, Recorded, Subject, Timestamp};

use crate::console::Pulse;

/// Messages of one question; the server sends no more.
const BATCH: usize = 1000;
/// How often the log is asked when it had nothing new.
const INTERVAL: Duration = Duration::from_millis(200);
/// How long to wait after a failure.
const AFTER_FAILURE: Duration = Duration::from_secs(1);
/// Messages that a listener may be behind; one that is further behind reads the log itself.
const AHEAD: usize = 4096;
/// How often in a row the last message may be missing before the log counts as another one: a replica may be behind.
const MISSING: u32 = 50;

/// What the gateway knows of the whole log.
#[derive(Debug)]
pub(crate) struct Feed {
    log: Arc<dyn Log>,
    fleet: RwLock<Fleet>,
    /// Rates, and what nobody can read.
    pub(crate) pulse: Pulse,
    /// True once the end of the log was reached.
    complete: AtomicBool,
    news: broadcast::Sender<Arc<RawMessage>>,
    /// Cancelled when the gateway stops.
    pub(crate) stopping: CancellationToken,
}

/// Where the reader is.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    /// The message that was read last.
    last: Option<(u64, Timestamp)>,
    missing: u32,
}

/// What one question came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Advance {
    More,
    AtEnd,
    /// The log is another one than before; it is read anew.
    Replaced,
}

impl Feed {
    pub(crate) fn new(log: Arc<dyn Log>, stopping: CancellationToken) -> Self {
        let (fleet, complete, pulse) = (RwLock::default(), AtomicBool::new(false), Pulse::default());
        Self { log, fleet, pulse, complete, news: broadcast::channel(AHEAD).0, stopping }
    }

    /// Reads until the gateway stops.
    pub(crate) async fn run(&self) {
        let mut reading = Reading::default();
        loop {
            let pause = match self.advance(&mut reading).await {
                Ok(Advance::More) => None,
                Ok(Advance::AtEnd) => Some(INTERVAL),
                Ok(Advance::Replaced) => {
                    tracing::warn!("the log is another one than before; the view of the fleet is made anew");
                    None
                }
                Err(error) => {
                    tracing::debug!(error = chain(&error), "the view of the fleet is not up to date");
                    Some(AFTER_FAILURE)
                }
            };
            tokio::select! {
                biased;
                () = self.stopping.cancelled() => return,
                () = sleep(pause.unwrap_or_default()) => {}
            }
        }
    }

    /// Asks once for what follows.
    pub(crate) async fn advance(&self, reading: &mut Reading) -> Result<Advance, LogError> {
        let from = reading.last.map_or(1, |(sequence, _)| sequence);
        let mut messages = self.log.read_page(&Filter::All, from, BATCH).await?.messages;
        if let Some(last) = reading.last {
            match messages.first().map(|first| (first.sequence, first.at)) {
                Some(first) if first == last => drop(messages.remove(0)),
                None if reading.missing < MISSING => {
                    reading.missing = reading.missing.saturating_add(1);
                    return Ok(Advance::AtEnd);
                }
                _ => {
                    *reading = Reading::default();
                    *self.fleet.write().unwrap_or_else(PoisonError::into_inner) = Fleet::default();
                    self.pulse.clear();
                    self.complete.store(false, Ordering::Relaxed);
                    return Ok(Advance::Replaced);
                }
            }
        }
        reading.missing = 0;
        let Some(newest) = messages.last() else {
            self.complete.store(true, Ordering::Relaxed);
            return Ok(Advance::AtEnd);
        };
        reading.last = Some((newest.sequence, newest.at));
        self.fold(&messages);
        for message in messages {
            // Nobody may be listening.
            let _ = self.news.send(Arc::new(message));
        }
        Ok(Advance::More)
    }

    fn fold(&self, messages: &[RawMessage]) {
        let now = trace::now();
        let mut fleet = self.fleet.write().unwrap_or_else(PoisonError::into_inner);
        for message in messages {
            let (sequence, at, decoded) = (message.sequence, message.at, message.decode());
            self.pulse.note(message, &decoded, now);
            match decoded {
                Ok(value) => fleet.apply(Recorded { sequence, at, value: &value }),
                Err(_) => fleet.pass_unreadable(sequence, at, message.subject.parse::<Subject>().ok().as_ref()),
            }
        }
    }

    /// True once the end of the log was reached: what comes then is news.
    pub(crate) fn is_complete(&self) -> bool {
        self.complete.load(Ordering::Relaxed)
    }

    /// Looks at the fleet; none until the end of the log was reached.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&Fleet) -> T) -> Option<T> {
        self.is_complete().then(|| look(&self.fleet.read().unwrap_or_else(PoisonError::into_inner)))
    }

    /// Sequence of the last message that was read.
    pub(crate) fn position(&self) -> u64 {
        self.fleet.read().unwrap_or_else(PoisonError::into_inner).position()
    }

    #[cfg(test)]
    pub(crate) fn listeners(&self) -> usize {
        self.news.receiver_count()
    }

    #[cfg(test)]
    pub(crate) fn unheard(&self) -> usize {
        self.news.len()
    }

    /// Messages from here on, as they are read.
    pub(crate) fn listen(&self) -> broadcast::Receiver<Arc<RawMessage>> {
        self.news.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use waybill_domain::fleet::Wanted;
    use waybill_platform::{
        log::{Expect, NewEvent},
        testing::MemoryLog,
    };
    use waybill_schemas::{Envelope, Uuid, v1::ContainerRequested};

    use super::*;

    async fn request(log: &MemoryLog, container: &str) {
        let requested = ContainerRequested {
            workspace: "acme".parse().unwrap(),
            container_id: container.parse().unwrap(),
            image_id: None,
            worker_id: "w".parse().unwrap(),
            build_container: false,
        };
        let subject = Subject::Container {
            workspace: requested.workspace.clone(),
            container_id: requested.container_id.clone(),
            request: "r".parse().unwrap(),
        };
        let envelope = Envelope::new(Uuid::new_v4(), "/test");
        let new = NewEvent { subject, envelope, event: requested.into() };
        log.append(&new, Expect::Anything, None).await.unwrap();
    }

    fn containers(feed: &Feed) -> Option<Vec<String>> {
        let names = |fleet: &Fleet| {
            let (listed, _) = fleet.list(&Wanted::default(), u64::MAX, 9);
            listed.into_iter().map(|listed| listed.container_id).collect()
        };
        feed.look(names)
    }

    #[tokio::test]
    async fn it_reads_on_and_knows_another_log() {
        let log = MemoryLog::new();
        let feed = Feed::new(Arc::new(log.clone()), CancellationToken::new());
        let (mut reading, mut news) = (Reading::default(), feed.listen());
        request(&log, "a").await;
        request(&log, "b").await;
        log.publish_raw("waybill.events.worker.w", &[], b"{");
        assert_eq!(feed.advance(&mut reading).await.unwrap(), Advance::More);
        assert_eq!(containers(&feed), None, "the end is not known yet");
        assert_eq!(feed.advance(&mut reading).await.unwrap(), Advance::AtEnd);
        assert_eq!(containers(&feed).unwrap(), ["b", "a"]);
        assert_eq!((feed.position(), news.recv().await.unwrap().sequence), (3, 1));

        // An older copy that grows past the place has another message there.
        log.restore_to(1);
        assert_eq!(feed.advance(&mut reading).await.unwrap(), Advance::AtEnd, "as of a replica that is behind");
        for name in ["c", "d"] {
            request(&log, name).await;
        }
        assert_eq!(feed.advance(&mut reading).await.unwrap(), Advance::Replaced);
        assert_eq!(containers(&feed), None);
        while feed.advance(&mut reading).await.unwrap() == Advance::More {}
        assert_eq!(containers(&feed).unwrap(), ["d", "c", "a"]);

        // One that stays shorter is found out by its silence.
        log.restore_to(1);
        let mut asked = 0;
        while feed.advance(&mut reading).await.unwrap() == Advance::AtEnd {
            asked += 1;
        }
        assert_eq!(asked, MISSING);
    }
}
