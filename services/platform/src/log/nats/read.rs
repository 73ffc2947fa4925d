//! Reading in order, for ever: a consumer that fails is replaced by one that starts after the last message read.

use std::{sync::Arc, time::Duration};

use async_nats::jetstream::consumer::{AckPolicy, Consumer, DeliverPolicy, pull};
use futures_util::{Stream, StreamExt as _};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch},
    time::{Instant, sleep, timeout},
};
use waybill_domain::retention::Removed;
use waybill_schemas::Filter;

use super::EventLog;
use crate::log::{Follow, Identity, LogError, RawMessage, ReadError, STREAM, publish::back_off};

/// A consumer that nobody pulls from is removed by the server after this long.
const IDLE_LIMIT: Duration = Duration::from_secs(60);
/// The server says at least this often that a waiting pull is alive.
const HEARTBEAT: Duration = Duration::from_secs(2);
const PULL_EXPIRY: Duration = Duration::from_secs(20);
const PULL_BATCH: usize = 1000;
/// Bounds memory where messages are large; more than the largest message that the server takes.
const PULL_BYTES: usize = 8 * 1024 * 1024;
/// Messages that wait for the reader here; the rest wait in the log.
const AHEAD: usize = 250;
/// Kibibytes that wait for the reader here.
const AHEAD_KIB: u32 = 8 * 1024;
/// How often a reader makes sure that its server still knows the log's leader.
const LEADER_INTERVAL: Duration = Duration::from_secs(2);
/// A server that does not answer keeps no process from ending.
const LEAVE_LIMIT: Duration = Duration::from_secs(2);

type Reader = Consumer<pull::Config>;

/// A message, or why there are no more, and the room that it takes here.
pub(super) type Item = (Result<RawMessage, ReadError>, Option<OwnedSemaphorePermit>);

impl EventLog {
    pub(super) fn read(&self, filter: &Filter, from: u64, known: Option<Identity>) -> Follow {
        let (sender, receiver) = mpsc::channel(AHEAD);
        let reading = Reading {
            log: self.clone(),
            filter: filter.to_string(),
            gapless: *filter == Filter::All,
            next: from.max(1),
            known,
            removed: None,
            shorter_since: None,
            missing_since: None,
            room: Arc::new(Semaphore::new(usize::try_from(AHEAD_KIB).unwrap_or(usize::MAX))),
        };
        self.readings.spawn(reading.run(sender));
        let next = async |mut receiver: mpsc::Receiver<Item>| {
            let (item, _room) = receiver.recv().await?;
            Some((item, receiver))
        };
        futures_util::stream::unfold(receiver, next).boxed()
    }

    /// Waits until what was followed, and is listened to no more, is off the server. Without it the end of the process may come
    /// first, and the server lists a reader for a minute that is not there.
    pub async fn leave(&self) {
        self.readings.close();
        if timeout(LEAVE_LIMIT, self.readings.wait()).await.is_err() {
            tracing::debug!("readers stay until the server removes them");
        }
    }

    pub(super) async fn count_pending(&self, filter: &str, from: u64) -> Result<u64, LogError> {
        let (consumer, waiting) = self.create_reader(filter, from).await?;
        self.delete_reader(&consumer).await;
        Ok(waiting)
    }

    /// A consumer without acknowledgements, and how many messages wait for it.
    async fn create_reader(&self, filter: &str, from: u64) -> Result<(Reader, u64), LogError> {
        // A name, and the filter in the API subject, are what permissions can speak of.
        let name = format!("{}-{}", self.name, uuid::Uuid::new_v4().simple());
        let config = pull::Config {
            name: Some(name),
            filter_subject: filter.to_owned(),
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: from.max(1) },
            ack_policy: AckPolicy::None,
            memory_storage: true,
            num_replicas: 1,
            inactive_threshold: IDLE_LIMIT,
            ..Default::default()
        };
        let created = self.jetstream.create_consumer_on_stream(config, STREAM).await;
        let consumer = created
            .map_err(|error| LogError::Unavailable { what: format!("read {filter}"), reason: error.to_string() })?;
        let waiting = consumer.cached_info().num_pending;
        Ok((consumer, waiting))
    }

    /// Tidies up; the server would do it after a while.
    async fn delete_reader(&self, consumer: &Reader) {
        if let Err(error) = self.remove_consumer(&consumer.cached_info().name).await {
            tracing::debug!(%error, "a reader stays until the server removes it");
        }
    }

    /// The consumer's messages, until something is wrong with it.
    async fn messages_of(consumer: &Reader) -> Result<impl Stream<Item = Result<RawMessage, LogError>>, LogError> {
        let failed = |reason: String| LogError::Unavailable { what: "read messages".to_owned(), reason };
        let pull = consumer
            .stream()
            .max_messages_per_batch(PULL_BATCH)
            .max_bytes_per_batch(PULL_BYTES)
            .expires(PULL_EXPIRY)
            .heartbeat(HEARTBEAT)
            .messages()
            .await
            .map_err(|error| failed(error.to_string()))?;
        Ok(pull.map(move |message| {
            let message = message.map_err(|error| failed(error.to_string()))?;
            raw(message).ok_or_else(|| failed("a message without its place in the stream".to_owned()))
        }))
    }
}

/// The message with its place, which JetStream writes into the reply subject.
pub(super) fn raw(message: async_nats::jetstream::Message) -> Option<RawMessage> {
    let info = message.info().ok()?;
    let (sequence, at, pending) = (info.stream_sequence, info.published.into(), info.pending);
    let message = message.message;
    let subject = message.subject.to_string();
    Some(RawMessage {
        sequence,
        at,
        pending,
        subject,
        headers: message.headers.unwrap_or_default(),
        payload: message.payload,
    })
}

/// One endless reading.
pub(super) struct Reading {
    pub(super) log: EventLog,
    filter: String,
    /// Every sequence must come.
    pub(super) gapless: bool,
    pub(super) next: u64,
    /// The log that was read, as of the last message.
    pub(super) known: Option<Identity>,
    /// What left the log, where every sequence must come: once it was read.
    pub(super) removed: Option<Removed>,
    /// Since when the log is said to end before what was read.
    pub(super) shorter_since: Option<Instant>,
    /// Since when a sequence is missing.
    pub(super) missing_since: Option<Instant>,
    room: Arc<Semaphore>,
}

/// Why a round of reading ended.
pub(super) enum Ended {
    /// Nobody listens any more.
    Unheard,
    /// The consumer failed; another one goes on.
    Consumer(LogError),
    /// The log is another one.
    Log(ReadError),
}

impl Reading {
    async fn run(mut self, sender: mpsc::Sender<Item>) {
        let mut tries = 0_u32;
        loop {
            let before = self.next;
            match self.read_with_one_consumer(&sender).await {
                Ended::Unheard => return,
                Ended::Log(error) => {
                    // Whoever listened may have gone away just now.
                    let _ = sender.send((Err(error), None)).await;
                    return;
                }
                Ended::Consumer(error) => {
                    tries = if self.next > before { 0 } else { tries.saturating_add(1) };
                    tracing::warn!(filter = self.filter, next = self.next, %error, "reading was interrupted, going on with a new consumer");
                    tokio::select! {
                        () = sender.closed() => return,
                        () = sleep(back_off(tries)) => {}
                    }
                }
            }
        }
    }

    async fn read_with_one_consumer(&mut self, sender: &mpsc::Sender<Item>) -> Ended {
        // Changes of the connection from here on end the round: the log is compared anew after each.
        let mut connected = self.log.connected.clone();
        tokio::select! {
            () = sender.closed() => return Ended::Unheard,
            _ = connected.wait_for(|connected| *connected) => {}
        }
        if let Err(ended) = self.check_log(sender).await {
            return ended;
        }
        if let Err(ended) = self.learn_removed().await {
            return ended;
        }
        let (consumer, _) = match self.log.create_reader(&self.filter, self.next).await {
            Ok(created) => created,
            Err(error) => return Ended::Consumer(error),
        };
        let (log, consumer_name) = (self.log.clone(), &consumer.cached_info().name);
        tracing::debug!(consumer_name, filter = self.filter, next = self.next, "reading");
        let ended = match EventLog::messages_of(&consumer).await {
            Ok(messages) => tokio::select! {
                ended = self.forward(messages, sender) => ended,
                () = reconnection(&mut connected) => interrupted("the connection was made anew"),
                () = ask_leader(log) => interrupted("the log's leader is asked no more"),
            },
            Err(error) => Ended::Consumer(error),
        };
        // A consumer that was left is at work no more; one that failed is the server's to remove.
        if matches!(ended, Ended::Unheard) {
            self.log.delete_reader(&consumer).await;
        }
        ended
    }

    async fn forward(
        &mut self,
        messages: impl Stream<Item = Result<RawMessage, LogError>>,
        sender: &mpsc::Sender<Item>,
    ) -> Ended {
        let mut messages = std::pin::pin!(messages);
        loop {
            let message = tokio::select! {
                () = sender.closed() => return Ended::Unheard,
                message = messages.next() => message,
            };
            let message = match message {
                Some(Ok(message)) => message,
                Some(Err(error)) => return Ended::Consumer(error),
                None => return interrupted("the consumer ended"),
            };
            let (sequence, at) = (message.sequence, message.at);
            match judge(sequence, self.next, self.removed.as_ref()) {
                Place::Next => {}
                Place::Removed => {
                    self.next = sequence.saturating_add(1);
                    continue;
                }
                Place::Earlier => return interrupted("the server began this consumer anew"),
                Place::Gap => return self.judge_gap(sequence).await,
            }
            self.missing_since = None;
            let Ok(room) = self.room.clone().acquire_many_owned(kibibytes(&message)).await else {
                return Ended::Unheard;
            };
            if sender.send((Ok(message), Some(room))).await.is_err() {
                return Ended::Unheard;
            }
            // Only what was handed on counts: this can be cancelled at any await.
            self.next = sequence.saturating_add(1);
            if let Some(known) = &mut self.known {
                (known.sequence, known.at) = (sequence, at);
            }
        }
    }
}

fn interrupted(reason: &str) -> Ended {
    Ended::Consumer(LogError::Unavailable { what: "read messages".to_owned(), reason: reason.to_owned() })
}

/// Asks the log's leader now and then, for as long as somebody reads. A server that is cut off from the others goes on serving
/// a reader from its own copy, with heartbeats and without what is new; that requests fail there is what makes the connection
/// leave it.
async fn ask_leader(log: EventLog) {
    loop {
        sleep(LEADER_INTERVAL).await;
        if let Err(error) = log.read_stream_state().await {
            tracing::debug!(%error, "the log's leader does not answer");
        }
    }
}

/// Waits until the connection was lost and stands again.
async fn reconnection(connected: &mut watch::Receiver<bool>) {
    loop {
        if connected.changed().await.is_err() {
            return std::future::pending().await;
        }
        if *connected.borrow_and_update() {
            return;
        }
    }
}

/// Where a message stands that came for the next one.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    Next,
    /// It left the log, and is not deleted yet.
    Removed,
    /// Read before: the server lost the consumer and began it anew at its old start.
    Earlier,
    /// Something is missing before it.
    Gap,
}

/// `removed` is what left the log, where every other sequence must come.
fn judge(found: u64, next: u64, removed: Option<&Removed>) -> Place {
    match removed {
        _ if found < next => Place::Earlier,
        Some(removed) if found > next && !removed.covers(next, found.saturating_sub(1)) => Place::Gap,
        Some(removed) if removed.contains(found) => Place::Removed,
        _ => Place::Next,
    }
}

fn kibibytes(message: &RawMessage) -> u32 {
    let bytes = message.payload.len().saturating_add(message.subject.len());
    u32::try_from(bytes / 1024).unwrap_or(u32::MAX).saturating_add(1).min(AHEAD_KIB)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_later_sequence_is_a_gap_and_what_left_is_none() {
        let nothing = Removed::default();
        let some = Removed::from_ranges([[5, 7], [9, 9]]);
        let cases = [
            (5, 5, Some(&nothing), Place::Next),
            (4, 5, Some(&nothing), Place::Earlier),
            (6, 5, Some(&nothing), Place::Gap),
            (6, 5, None, Place::Next),
            (1, 5, None, Place::Earlier),
            (8, 5, Some(&some), Place::Next),
            (10, 5, Some(&some), Place::Gap),
            (10, 9, Some(&some), Place::Next),
            (10, 8, Some(&some), Place::Gap),
            (6, 5, Some(&some), Place::Removed),
            (9, 9, Some(&some), Place::Removed),
            (4, 5, Some(&some), Place::Earlier),
        ];
        for (found, next, removed, place) in cases {
            assert_eq!(judge(found, next, removed), place, "{found} for {next}");
        }
    }
}
