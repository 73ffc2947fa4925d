//! The port: what services ask of the log, whatever keeps it.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures_util::{future::BoxFuture, stream::BoxStream};
use tokio::sync::watch;
use tracing::Span;
use waybill_schemas::{Filter, Subject, Timestamp, WorkerId};

use super::{AppendError, Appended, Expect, LogError, NewEvent, RawMessage, ReadError, WorkQueue};
use crate::health::ComponentHandle;

/// Messages in the log's order, without end; an error is the last item.
pub type Follow = BoxStream<'static, Result<RawMessage, ReadError>>;

/// Called while a worker's consumer does not exist, so that the worker can register again.
pub type Missing = Arc<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>;

/// What the stream says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamState {
    /// When it was created.
    pub created: Timestamp,
    /// Sequence of its first message.
    pub first_sequence: u64,
    /// Sequence of its last message; 0 when there was none yet.
    pub last_sequence: u64,
}

/// Which log somebody has read: a message that it must hold. An older copy of the stream that has grown since has another
/// message at that sequence. A stream that was restored from a backup has another creation time, and the same messages: it is
/// the same log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// When the stream was created.
    pub created: Timestamp,
    /// Sequence of the last message that was read; 0 for none.
    pub sequence: u64,
    /// The stream's timestamp of that message; the stream's creation time for none.
    pub at: Timestamp,
}

impl Identity {
    /// Compares a stream, and the time of its message at the known sequence where it has one, with the log that was read.
    ///
    /// # Errors
    /// [`ReadError::Recreated`], [`ReadError::Shrunk`] or [`ReadError::Replaced`] where it is another log.
    pub fn compare(&self, state: &StreamState, at_sequence: Option<Timestamp>) -> Result<(), ReadError> {
        let shrunk = state.last_sequence < self.sequence;
        let replaced = at_sequence.is_some_and(|at| at != self.at);
        if state.created != self.created && (shrunk || replaced || self.sequence == 0) {
            return Err(ReadError::Recreated { found: state.created, expected: self.created });
        }
        match (shrunk, replaced) {
            (true, _) => Err(ReadError::Shrunk { last: state.last_sequence, read: self.sequence }),
            (_, true) => Err(ReadError::Replaced { sequence: self.sequence }),
            _ => Ok(()),
        }
    }
}

/// Within this time servers that can reach each other agree on a leader, and each knows it.
pub const ELECTION_LIMIT: Duration = Duration::from_secs(15);

/// The last message of each subject that matches a filter.
#[derive(Debug, Clone, Default)]
pub struct Lasts {
    /// In the log's order.
    pub messages: Vec<RawMessage>,
    /// True if there are more subjects than were asked for.
    pub more: bool,
}

/// The newest messages that match a filter.
#[derive(Debug, Clone)]
pub struct Newest {
    /// In the log's order.
    pub messages: Vec<RawMessage>,
    /// Upper bound of their sequences: reading something else up to it gives a picture of the same moment. Where the server
    /// does not name the end of the log, it is the one that was asked for.
    pub end: u64,
}

/// The first messages that match a filter from a sequence on.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// In the log's order.
    pub messages: Vec<RawMessage>,
    /// True if more follow.
    pub more: bool,
}

/// A durable consumer: its acknowledgement wait is 30 s, and at most 10,000 of its messages are unacknowledged at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerSpec {
    /// Its durable name, such as `worker-node-1`.
    pub name: String,
    /// What it gets.
    pub filter: Filter,
    /// Sequence that it starts at; 0 and 1 mean everything.
    pub start: u64,
}

impl ConsumerSpec {
    /// The consumer of a worker: every decision addressed to it, from a sequence on.
    pub fn for_worker(worker_id: &WorkerId, start: u64) -> Self {
        Self { name: format!("worker-{worker_id}"), filter: Filter::Decisions(Some(worker_id.clone())), start }
    }
}

/// A consumer, as the server describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerState {
    /// Filter, as a subject.
    pub filter: String,
    /// Messages that it has not been given.
    pub pending: u64,
    /// Stream sequence of the last message that it was given.
    pub delivered: u64,
    /// Stream sequence up to which everything is acknowledged; 0 for a consumer without acknowledgements.
    pub acknowledged: u64,
    /// Messages that were given and are not acknowledged.
    pub unacknowledged: u64,
    /// Requests for messages that wait.
    pub waiting: u64,
    /// When it was last given a message or acknowledged one.
    pub last_active: Option<Timestamp>,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// The server's time when it said this: the clock that its other times are of.
    pub told_at: Option<Timestamp>,
}

/// The log as services use it. Clones of an implementation share it.
#[async_trait]
pub trait Log: fmt::Debug + Send + Sync + 'static {
    /// Appends the event once, in a PRODUCER span whose context goes into its headers.
    ///
    /// The same event is tried again until the log has answered; with `limit`, for that long at most. A log without room is
    /// waited for as well. An event that an earlier call stored, and that a later one on its subject hides, may be answered by
    /// a conflict with the later one.
    ///
    /// # Errors
    /// [`AppendError`] of kind *again* or *full* after the limit, when it is unknown whether the event is stored; of kind
    /// *never* when the log refuses this event.
    async fn append(&self, new: &NewEvent, expect: Expect, limit: Option<Duration>) -> Result<Appended, AppendError> {
        let outcomes = self.append_chain(&[(new, expect)], limit).await;
        outcomes.into_iter().next().unwrap_or_else(|| {
            Err(AppendError::Unavailable { subject: new.subject.to_string(), reason: "nothing was tried".to_owned() })
        })
    }

    /// Appends events of which each follows from the one before, within one limit: up to the first that this call does not
    /// store, whose outcome is the last one. Where appends gather, they go in one atomic batch.
    async fn append_chain(
        &self,
        chain: &[(&NewEvent, Expect)],
        limit: Option<Duration>,
    ) -> Vec<Result<Appended, AppendError>>;

    /// Appends events in order, each once, each in a span below its own; the outcomes are in the same order.
    ///
    /// More than one go as atomic batches of up to 500, without a limit of time. Where one of them keeps a batch out, its halves
    /// go, and theirs. But where the first event of a batch stands in the log, somebody else is saying the same events: the
    /// others are left alone, which is told by `None`.
    async fn append_all(&self, events: &[(NewEvent, Expect, Span)]) -> Vec<Option<Result<Appended, AppendError>>>;

    /// The last message on a subject. A permission can name the subject.
    ///
    /// # Errors
    /// [`LogError`] when the log does not answer.
    async fn last(&self, subject: &Subject) -> Result<Option<RawMessage>, LogError>;

    /// As [`last`](Self::last), and none only if nothing was ever said there: whoever asks need not look again. Needs the
    /// permission to ask the log's leader.
    ///
    /// # Errors
    /// [`LogError`] when the log does not answer.
    async fn last_or_never(&self, subject: &Subject) -> Result<Option<RawMessage>, LogError> {
        self.last(subject).await
    }

    /// The last of all messages that match a filter. A permission can name the filter, or a prefix of it.
    ///
    /// # Errors
    /// [`LogError`] when the log does not answer.
    async fn last_matching(&self, filter: &Filter) -> Result<Option<RawMessage>, LogError>;

    /// The last message of each subject that matches a filter: the newest of them, at most `most`. For readers of the whole log.
    ///
    /// # Errors
    /// [`LogError`] when the log does not answer.
    async fn lasts(&self, filter: &Filter, most: usize) -> Result<Lasts, LogError>;

    /// The message at a sequence. For readers of the whole log.
    ///
    /// # Errors
    /// [`LogError`] when the log does not answer.
    async fn message_at(&self, sequence: u64) -> Result<Option<RawMessage>, LogError>;

    /// The newest messages that match a filter, at most `most`, none after the sequence `end`. For readers of the whole log.
    ///
    /// # Errors
    /// [`LogError`] when the log does not answer, or by a replica that does not reach to `end` yet.
    async fn newest_on(&self, filter: &Filter, most: usize, end: u64) -> Result<Newest, LogError>;

    /// The first messages that match a filter from a sequence on: at most `most`, a thousand, and 8 MiB, but one if there is any.
    /// A replica that is behind knows of fewer. For readers of the whole log.
    ///
    /// # Errors
    /// [`LogError`] when the log does not answer.
    async fn read_page(&self, filter: &Filter, from: u64, most: usize) -> Result<Page, LogError>;

    /// How many messages match a filter from a sequence on. For readers of the whole log.
    ///
    /// # Errors
    /// [`LogError`] when the log does not answer.
    async fn pending(&self, filter: &Filter, from: u64) -> Result<u64, LogError>;

    /// Sequence of the first message recorded at a time or later; one past the end if there is none.
    ///
    /// # Errors
    /// [`LogError`] when the log does not answer.
    async fn sequence_at(&self, time: Timestamp) -> Result<u64, LogError>;

    /// Messages that match a filter, from a sequence on, in order and without end. For readers of the whole log.
    ///
    /// Lost connections, missed heartbeats, deleted consumers and server restarts are logged and survived. After each of them
    /// the log is compared with `known` and with what was read since. The stream ends with one error when it is another log:
    /// made anew, shorter, with another message at that place, or (where everything is read) with a gap.
    fn follow(&self, filter: &Filter, from: u64, known: Option<Identity>) -> Follow;

    /// The stream's state; none if there is no such stream.
    ///
    /// # Errors
    /// [`LogError`] when the log does not answer.
    async fn stream_state(&self) -> Result<Option<StreamState>, LogError>;

    /// The state of a consumer; none if there is no such consumer.
    ///
    /// # Errors
    /// [`LogError`] when the log does not answer.
    async fn consumer_state(&self, name: &str) -> Result<Option<ConsumerState>, LogError>;

    /// The scheduler's reader: the one that is asking for messages and is furthest; none if no scheduler reads.
    ///
    /// # Errors
    /// [`LogError`] when the log does not answer.
    async fn scheduler_reader(&self) -> Result<Option<ConsumerState>, LogError>;

    /// Messages of a durable consumer, for ever, at most `ahead` before the caller.
    ///
    /// The scheduler makes the consumer when it folds the worker's registration. While there is none, `missing` is called,
    /// and the queue waits.
    fn work(&self, consumer: &str, ahead: usize, ready: ComponentHandle, missing: Missing) -> WorkQueue;

    /// True where other servers may know of more than the one that answers: one that hung takes itself for the leader until it
    /// hears of another.
    fn has_other_servers(&self) -> bool;

    /// True while the connection stands; follows its changes.
    fn connected(&self) -> watch::Receiver<bool>;

    /// Why the log takes no events: the server's words while it is full. None while it has room.
    fn full(&self) -> watch::Receiver<Option<String>>;

    /// Why the log acknowledges no events, as far as that is known. None while it does.
    fn unanswered(&self) -> watch::Receiver<Option<String>>;

    /// Notes that the log takes events again, seen by other means than an append.
    fn note_room(&self);
}

/// What only the scheduler does to the log.
#[async_trait]
pub trait Administration: Log {
    /// Creates the stream if it is not there, and returns its state.
    ///
    /// # Errors
    /// [`LogError::Refused`], with code 10058 when a stream of that name with other settings exists.
    async fn ensure_stream(&self, replicas: usize) -> Result<StreamState, LogError>;

    /// Makes a durable consumer if it is not there, and puts the settings of one that is there right; its position stays.
    /// True if it was made now.
    ///
    /// # Errors
    /// [`LogError`] when the log does not answer or refuses.
    async fn ensure_consumer(&self, spec: &ConsumerSpec) -> Result<bool, LogError>;

    /// Removes a consumer. False if there was none.
    ///
    /// # Errors
    /// [`LogError`] when the log does not answer or refuses.
    async fn delete_consumer(&self, name: &str) -> Result<bool, LogError>;
}

#[cfg(test)]
mod tests {
    use time::{Duration, OffsetDateTime};

    use super::*;

    #[test]
    fn a_log_is_known_by_a_message_that_it_holds() {
        let at = |seconds| Timestamp::from(OffsetDateTime::UNIX_EPOCH + Duration::seconds(seconds));
        let known = Identity { created: at(1), sequence: 7, at: at(9) };
        let unread = Identity { created: at(1), sequence: 0, at: at(1) };
        let recreated = Err(ReadError::Recreated { found: at(2), expected: at(1) });
        let cases = [
            ("the same", known, at(1), 7, Some(at(9)), Ok(())),
            ("the same, grown", known, at(1), 8, Some(at(9)), Ok(())),
            ("restored", known, at(2), 8, Some(at(9)), Ok(())),
            ("made anew, and shorter", known, at(2), 6, None, recreated.clone()),
            ("made anew, and grown", known, at(2), 8, Some(at(8)), recreated.clone()),
            ("made anew before anything was read", unread, at(2), 8, None, recreated),
            ("cut short", known, at(1), 6, None, Err(ReadError::Shrunk { last: 6, read: 7 })),
            ("an older copy that has grown", known, at(1), 8, Some(at(8)), Err(ReadError::Replaced { sequence: 7 })),
            ("a replica that is behind", known, at(1), 8, None, Ok(())),
        ];
        for (name, known, created, last_sequence, at_sequence, expected) in cases {
            let state = StreamState { created, first_sequence: 1, last_sequence };
            assert_eq!(known.compare(&state, at_sequence), expected, "{name}");
        }
    }
}
