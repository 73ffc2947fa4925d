//! Reading in order, for ever: a consumer that fails is replaced by one that starts after the last message read.

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, Consumer, DeliverPolicy, pull};
use futures_util::{Stream, StreamExt as _, TryStreamExt as _};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep},
};
use waybill_schemas::{ALL_SUBJECTS, Timestamp};

use super::{EventLog, LogError, RawMessage, ReadError, STREAM, publish::pause};

/// A consumer that nobody pulls from is removed by the server after this long.
const IDLE_LIMIT: Duration = Duration::from_secs(60);
/// The server says at least this often that a waiting pull is alive.
const HEARTBEAT: Duration = Duration::from_secs(2);
const PULL_EXPIRY: Duration = Duration::from_secs(20);
const PULL_BATCH: usize = 1000;
/// Bounds memory where messages are large; more than the largest message that the server takes.
const PULL_BYTES: usize = 8 * 1024 * 1024;
/// Messages that wait for the reader here; the rest wait in the log.
const AHEAD: usize = 256;
/// A stream may be away while a server starts; after this long it counts as gone.
const STREAM_LIMIT: Duration = Duration::from_secs(60);

type Reader = Consumer<pull::Config>;

impl EventLog {
    /// Messages that match the filter, from a sequence on, in order and without end.
    ///
    /// Lost connections, missed heartbeats, deleted consumers and server restarts are logged and survived. The stream ends
    /// with one error when the log is no longer the one that was read: made anew, shorter, or with a gap (seen when
    /// everything is read).
    pub fn read(&self, filter: &str, from: u64) -> impl Stream<Item = Result<RawMessage, ReadError>> + use<> {
        let (sender, receiver) = mpsc::channel(AHEAD);
        let reading = Reading { log: self.clone(), filter: filter.to_owned(), next: from.max(1), created: None };
        tokio::spawn(reading.run(sender));
        futures_util::stream::unfold(receiver, |mut receiver| async { Some((receiver.recv().await?, receiver)) })
    }

    /// How many messages match the filter from a sequence on.
    ///
    /// # Errors
    /// [`LogError`] when the log does not answer.
    pub async fn pending(&self, filter: &str, from: u64) -> Result<u64, LogError> {
        let (consumer, waiting) = self.create_reader(filter, from).await?;
        self.delete_reader(&consumer).await;
        Ok(waiting)
    }

    /// The sequence of the first message recorded at a time or later; one past the end if there is none.
    ///
    /// # Errors
    /// [`LogError`] when the log does not answer.
    pub async fn sequence_at(&self, time: Timestamp) -> Result<u64, LogError> {
        let policy = DeliverPolicy::ByStartTime { start_time: time.instant() };
        let (consumer, waiting) = self.create_consumer(ALL_SUBJECTS, policy).await?;
        let first = match waiting {
            0 => None,
            _ => std::pin::pin!(Self::messages_of(&consumer).await?).try_next().await?,
        };
        self.delete_reader(&consumer).await;
        // A server asked for a time to come starts anywhere.
        match first.filter(|message| message.at >= time) {
            Some(message) => Ok(message.sequence),
            None => Ok(self.stream_state().await?.map_or(1, |state| state.last_sequence.saturating_add(1))),
        }
    }

    /// A consumer without acknowledgements, and how many messages wait for it.
    pub(super) async fn create_reader(&self, filter: &str, from: u64) -> Result<(Reader, u64), LogError> {
        self.create_consumer(filter, DeliverPolicy::ByStartSequence { start_sequence: from.max(1) }).await
    }

    async fn create_consumer(&self, filter: &str, deliver_policy: DeliverPolicy) -> Result<(Reader, u64), LogError> {
        // A name, and the filter in the API subject, are what permissions can speak of.
        let name = format!("{}-{}", self.name, uuid::Uuid::new_v4().simple());
        let config = pull::Config {
            name: Some(name),
            filter_subject: filter.to_owned(),
            deliver_policy,
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
    pub(super) async fn delete_reader(&self, consumer: &Reader) {
        self.delete_consumer(&consumer.cached_info().name).await;
    }

    pub(super) async fn delete_consumer(&self, name: &str) {
        if let Err(error) = self.api(&format!("CONSUMER.DELETE.{STREAM}.{name}"), Vec::new()).await {
            tracing::debug!(%error, "a reader stays until the server removes it");
        }
    }

    /// The consumer's messages, until something is wrong with it.
    pub(super) async fn messages_of(
        consumer: &Reader,
    ) -> Result<impl Stream<Item = Result<RawMessage, LogError>>, LogError> {
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
struct Reading {
    log: EventLog,
    filter: String,
    next: u64,
    created: Option<Timestamp>,
}

/// Why a round of reading ended.
enum Ended {
    /// Nobody listens any more.
    Unheard,
    /// The consumer failed; another one goes on.
    Consumer(LogError),
    /// The log is not what it was.
    Log(ReadError),
}

impl Reading {
    async fn run(mut self, sender: mpsc::Sender<Result<RawMessage, ReadError>>) {
        let mut tries = 0_u32;
        loop {
            let before = self.next;
            match self.round(&sender).await {
                Ended::Unheard => return,
                Ended::Log(error) => {
                    // Whoever listened may have gone away just now.
                    let _ = sender.send(Err(error)).await;
                    return;
                }
                Ended::Consumer(error) => {
                    tries = if self.next > before { 0 } else { tries.saturating_add(1) };
                    tracing::warn!(filter = self.filter, next = self.next, %error, "reading was interrupted, going on with a new consumer");
                    tokio::select! {
                        () = sender.closed() => return,
                        () = sleep(pause(tries)) => {}
                    }
                }
            }
        }
    }

    /// Reads with one consumer until it fails.
    async fn round(&mut self, sender: &mpsc::Sender<Result<RawMessage, ReadError>>) -> Ended {
        match self.same_log(sender).await {
            Ok(()) => {}
            Err(ended) => return ended,
        }
        let (consumer, _) = match self.log.create_reader(&self.filter, self.next).await {
            Ok(created) => created,
            Err(error) => return Ended::Consumer(error),
        };
        let ended = match EventLog::messages_of(&consumer).await {
            Ok(messages) => self.forward(messages, sender).await,
            Err(error) => Ended::Consumer(error),
        };
        if matches!(ended, Ended::Unheard) {
            self.log.delete_reader(&consumer).await;
        }
        ended
    }

    async fn forward(
        &mut self,
        messages: impl Stream<Item = Result<RawMessage, LogError>>,
        sender: &mpsc::Sender<Result<RawMessage, ReadError>>,
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
                None => {
                    let what = "read messages".to_owned();
                    return Ended::Consumer(LogError::Unavailable { what, reason: "the consumer ended".to_owned() });
                }
            };
            if self.filter == ALL_SUBJECTS && message.sequence != self.next {
                return Ended::Log(ReadError::Gap { expected: self.next, found: message.sequence });
            }
            self.next = message.sequence.saturating_add(1);
            if sender.send(Ok(message)).await.is_err() {
                return Ended::Unheard;
            }
        }
    }

    /// Waits until the stream is there, and compares it with the one that was read before.
    async fn same_log(&mut self, sender: &mpsc::Sender<Result<RawMessage, ReadError>>) -> Result<(), Ended> {
        let limit = Instant::now() + STREAM_LIMIT;
        let state = loop {
            match self.log.stream_state().await {
                Ok(Some(state)) => break state,
                Ok(None) if Instant::now() > limit => {
                    let what = format!("stream {STREAM}");
                    let reason = "the stream does not exist".to_owned();
                    return Err(Ended::Log(ReadError::Log(LogError::Unavailable { what, reason })));
                }
                Ok(None) => {}
                Err(error) => return Err(Ended::Consumer(error)),
            }
            tokio::select! {
                () = sender.closed() => return Err(Ended::Unheard),
                () = sleep(Duration::from_millis(200)) => {}
            }
        };
        let expected = *self.created.get_or_insert(state.created);
        if state.created != expected {
            return Err(Ended::Log(ReadError::Recreated { found: state.created, expected }));
        }
        let read = self.next.saturating_sub(1);
        if self.filter == ALL_SUBJECTS && state.last_sequence < read {
            return Err(Ended::Log(ReadError::Shrunk { last: state.last_sequence, read }));
        }
        Ok(())
    }
}
