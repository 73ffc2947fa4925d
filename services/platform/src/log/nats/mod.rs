//! The log over NATS: a connection, JetStream's API by its subjects, and nothing that would need wider permissions.

mod connect;
mod direct;
mod inspect;
mod newest;
mod patience;
mod publish;
mod read;
mod readers;
mod request;
mod settings;
mod storage;
mod stream;
mod whole;
mod work;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::sync::watch;
use tokio_util::task::TaskTracker;
use tracing::Span;
use waybill_schemas::{Filter, Subject, Timestamp};

use self::patience::Patience;
use super::{
    Administration, AppendError, Appended, ConsumerSpec, ConsumerState, Expect, Follow, Identity, Lasts, Log, LogError,
    Missing, NewEvent, Newest, Page, RawMessage, STREAM, StreamState, WorkQueue, append, batch, gather::Gathering,
    room::Room,
};
use crate::health::ComponentHandle;

pub use connect::{NatsConfig, hosts};
pub(crate) use direct::{BATCH, Halving};
pub use inspect::{InspectError, Inspector, Reply, Server, supported};
pub(crate) use request::{parse_answer, refused};
pub use settings::{StreamProblem, stream_problems};
pub use storage::{Storage, StorageError};

/// A connection to the log. Clones share it.
#[derive(Debug, Clone)]
pub struct EventLog {
    pub(crate) client: async_nats::Client,
    jetstream: async_nats::jetstream::Context,
    /// Whose readers these are, as the server lists them.
    name: Arc<str>,
    connected: watch::Receiver<bool>,
    readings: TaskTracker,
    pub(crate) room: Room,
    patience: Patience,
    has_many_servers: bool,
    gathering: Option<Gathering>,
}

impl EventLog {
    /// The log, for whoever serves many at once: appends that wait for others go together.
    #[must_use]
    pub fn gathering(self) -> Self {
        Self { gathering: Some(Gathering::begin(self.clone())), ..self }
    }
}

#[async_trait]
impl Log for EventLog {
    async fn append_chain(
        &self,
        chain: &[(&NewEvent, Expect)],
        limit: Option<Duration>,
    ) -> Vec<Result<Appended, AppendError>> {
        append::append_chain(self, &self.room, self.gathering.as_ref(), chain, limit).await
    }

    async fn append_all(&self, events: &[(NewEvent, Expect, Span)]) -> Vec<Option<Result<Appended, AppendError>>> {
        batch::append_all(self, &self.room, events).await
    }

    async fn last(&self, subject: &Subject) -> Result<Option<RawMessage>, LogError> {
        self.last_in(STREAM, &subject.to_string()).await
    }

    async fn last_or_never(&self, subject: &Subject) -> Result<Option<RawMessage>, LogError> {
        self.last_or_never_in(STREAM, &subject.to_string()).await
    }

    async fn last_matching(&self, filter: &Filter) -> Result<Option<RawMessage>, LogError> {
        self.last_in(STREAM, &filter.to_string()).await
    }

    async fn lasts(&self, filter: &Filter, most: usize) -> Result<Lasts, LogError> {
        self.last_of_each(&filter.to_string(), most).await
    }

    async fn message_at(&self, sequence: u64) -> Result<Option<RawMessage>, LogError> {
        self.message_in(STREAM, sequence).await
    }

    async fn newest_on(&self, filter: &Filter, most: usize, end: u64) -> Result<Newest, LogError> {
        self.read_newest(&filter.to_string(), most, end).await
    }

    async fn read_page(&self, filter: &Filter, from: u64, most: usize) -> Result<Page, LogError> {
        let batch = self.matching(STREAM, &filter.to_string(), from.max(1), most.min(BATCH)).await?;
        Ok(Page { messages: batch.messages, more: batch.more })
    }

    async fn pending(&self, filter: &Filter, from: u64) -> Result<u64, LogError> {
        self.count_pending(&filter.to_string(), from).await
    }

    async fn sequence_at(&self, time: Timestamp) -> Result<u64, LogError> {
        self.find_sequence_at(time).await
    }

    fn follow(&self, filter: &Filter, from: u64, known: Option<Identity>) -> Follow {
        self.read(filter, from, known)
    }

    async fn stream_state(&self) -> Result<Option<StreamState>, LogError> {
        self.read_stream_state().await
    }

    async fn consumer_state(&self, name: &str) -> Result<Option<ConsumerState>, LogError> {
        self.read_consumer_state(name).await
    }

    async fn scheduler_reader(&self) -> Result<Option<ConsumerState>, LogError> {
        self.find_scheduler_reader().await
    }

    fn work(&self, consumer: &str, ahead: usize, ready: ComponentHandle, missing: Missing) -> WorkQueue {
        self.receive(consumer, ahead, ready, missing)
    }

    fn has_other_servers(&self) -> bool {
        self.has_many_servers || self.client.server_info().connect_urls.len() > 1
    }

    fn connected(&self) -> watch::Receiver<bool> {
        self.connected.clone()
    }

    fn full(&self) -> watch::Receiver<Option<String>> {
        self.room.subscribe()
    }

    fn unanswered(&self) -> watch::Receiver<Option<String>> {
        self.room.subscribe_unanswered()
    }

    fn note_room(&self) {
        self.room.report_room();
    }
}

#[async_trait]
impl Administration for EventLog {
    async fn ensure_stream(&self, replicas: usize) -> Result<StreamState, LogError> {
        self.create_stream(replicas).await
    }

    async fn ensure_consumer(&self, spec: &ConsumerSpec) -> Result<bool, LogError> {
        self.create_or_update_consumer(spec).await
    }

    async fn delete_consumer(&self, name: &str) -> Result<bool, LogError> {
        self.remove_consumer(name).await
    }
}
