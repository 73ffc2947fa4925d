//! The log and the vault in memory: the same protocol, and failures on demand.

mod follow;
mod server;
mod vault;
mod work;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use tokio::sync::watch;
use tracing::Span;
use waybill_schemas::{Filter, RecordedEvent, Subject, Timestamp};

use crate::{
    health::ComponentHandle,
    log::{
        Administration, AppendError, Appended, ConsumerSpec, ConsumerState, Expect, Follow, Identity, Lasts, Log,
        LogError, Missing, NewEvent, Newest, Page, RawMessage, StreamState, WorkQueue, append, batch,
        gather::Gathering,
        publish::{Outgoing, PubAck, Wire},
        room::Room,
    },
};
use server::Server;
pub use vault::MemoryVault;

/// What goes wrong with the next request of its kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The next publish goes well.
    None,
    /// The next publish is stored, and its acknowledgement is lost.
    LostAck,
    /// The next publish is not stored, and nobody answers.
    Unavailable,
    /// The next publish finds no room.
    Full,
    /// The next publish is refused with this code.
    Refused(u64),
    /// The next request that reads is not answered.
    ReadUnavailable,
}

/// A log in memory. Clones share it.
#[derive(Debug, Clone)]
pub struct MemoryLog {
    server: Arc<Mutex<Server>>,
    /// Changes with every message and every answer of a worker.
    changed: watch::Sender<u64>,
    connected: watch::Sender<bool>,
    room: Room,
    gathering: Option<Gathering>,
    among_others: bool,
}

impl Default for MemoryLog {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryLog {
    /// An empty log, with its stream.
    pub fn new() -> Self {
        Self {
            server: Arc::new(Mutex::new(Server::new(crate::trace::now()))),
            changed: watch::channel(0).0,
            connected: watch::channel(true).0,
            room: Room::default(),
            gathering: None,
            among_others: false,
        }
    }

    /// The same log, as one of several servers has it.
    #[must_use]
    pub fn among_others(self) -> Self {
        Self { among_others: true, ..self }
    }

    /// The same log, for whoever serves many at once.
    #[must_use]
    pub fn gathering(self) -> Self {
        Self { gathering: Some(Gathering::begin(self.clone())), ..self }
    }

    /// Sets the time of the next messages; the stream's timestamps still grow with each.
    pub fn set_time(&self, now: Timestamp) {
        self.server().now = Some(now);
    }

    /// Lets the next requests fail, in this order.
    pub fn fail(&self, failures: impl IntoIterator<Item = Failure>) {
        self.server().failures.extend(failures);
    }

    /// Forgets the failures that have not happened yet.
    pub fn recover(&self) {
        self.server().failures.clear();
    }

    /// Stores a message as any client could write it.
    pub fn publish_raw(&self, subject: &str, headers: &[(&str, &str)], payload: &[u8]) -> u64 {
        let mut map = async_nats::HeaderMap::new();
        headers.iter().for_each(|(name, value)| map.insert(*name, *value));
        let sequence = self.server().store(subject, map, bytes::Bytes::copy_from_slice(payload));
        self.wake();
        sequence
    }

    /// Every message, in order.
    pub fn messages(&self) -> Vec<RawMessage> {
        self.server().messages.clone()
    }

    /// Every message that is an event, in order, with its sequence.
    pub fn events(&self) -> Vec<(u64, RecordedEvent)> {
        let messages = self.messages();
        messages.iter().filter_map(|message| Some((message.sequence, message.decode().ok()?))).collect()
    }

    /// Deletes a message, as an administrator of the log can.
    pub fn delete(&self, sequence: u64) {
        self.server().messages.retain(|message| message.sequence != sequence);
    }

    /// Puts an older copy of this log in its place: everything after a sequence is forgotten.
    pub fn restore_to(&self, sequence: u64) {
        self.server().messages.retain(|message| message.sequence <= sequence);
        self.set_connected(false);
        self.set_connected(true);
    }

    /// Ends or makes the connection, as [`Log::connected`] tells it. Requests are answered all the same.
    pub fn set_connected(&self, connected: bool) {
        self.connected.send_replace(connected);
        let mut server = self.server();
        server.connection = server.connection.saturating_add(u64::from(connected));
        drop(server);
        self.wake();
    }

    fn server(&self) -> MutexGuard<'_, Server> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        self.changed.send_modify(|changes| *changes = changes.wrapping_add(1));
    }

    /// The state for a request that reads.
    fn reading(&self) -> Result<MutexGuard<'_, Server>, LogError> {
        let mut server = self.server();
        if server.failures.front() == Some(&Failure::ReadUnavailable) {
            server.failures.pop_front();
            return Err(no_answer("read"));
        }
        Ok(server)
    }
}

fn no_answer(what: &str) -> LogError {
    LogError::Unavailable { what: what.to_owned(), reason: "no answer in time".to_owned() }
}

impl Wire for MemoryLog {
    async fn publish(&self, message: &Outgoing, expect: Expect, with_id: bool) -> Result<PubAck, LogError> {
        if self.gathering.is_some() {
            // As on a wire, others come before the answer.
            tokio::task::yield_now().await;
        }
        let ack = self.server().publish(message, expect, with_id);
        self.wake();
        ack
    }

    async fn publish_batch(&self, messages: &[(&Outgoing, Expect)]) -> Result<PubAck, LogError> {
        let ack = self.server().publish_batch(messages);
        self.wake();
        ack
    }

    async fn last_on(&self, subject: &str) -> Result<Option<RawMessage>, LogError> {
        Ok(self.reading()?.matching(subject, 1).last())
    }

    async fn messages_after(&self, subject: &str, sequence: u64) -> Result<Vec<RawMessage>, LogError> {
        Ok(self.reading()?.matching(subject, sequence.saturating_add(1)).collect())
    }
}

#[async_trait]
impl Log for MemoryLog {
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
        self.last_on(&subject.to_string()).await
    }

    async fn last_matching(&self, filter: &Filter) -> Result<Option<RawMessage>, LogError> {
        self.last_on(&filter.to_string()).await
    }

    async fn lasts(&self, filter: &Filter, most: usize) -> Result<Lasts, LogError> {
        Ok(self.reading()?.lasts(&filter.to_string(), most))
    }

    async fn message_at(&self, sequence: u64) -> Result<Option<RawMessage>, LogError> {
        Ok(self.reading()?.message_at(sequence))
    }

    async fn newest_on(&self, filter: &Filter, most: usize, end: u64) -> Result<Newest, LogError> {
        let server = self.reading()?;
        let mut messages: Vec<RawMessage> = server.matching(&filter.to_string(), 1).collect();
        messages.retain(|message| message.sequence <= end);
        let surplus = messages.len().saturating_sub(most);
        Ok(Newest { messages: messages.split_off(surplus), end: end.min(server.last_sequence()) })
    }

    async fn read_page(&self, filter: &Filter, from: u64, most: usize) -> Result<Page, LogError> {
        let server = self.reading()?;
        let filter = filter.to_string();
        let mut matching = server.matching(&filter, from);
        let messages = matching.by_ref().take(most).collect();
        Ok(Page { messages, more: matching.next().is_some() })
    }

    async fn pending(&self, filter: &Filter, from: u64) -> Result<u64, LogError> {
        let count = self.reading()?.matching(&filter.to_string(), from).count();
        Ok(u64::try_from(count).unwrap_or(u64::MAX))
    }

    async fn sequence_at(&self, time: Timestamp) -> Result<u64, LogError> {
        let server = self.reading()?;
        let found = server.messages.iter().find(|message| message.at >= time).map(|message| message.sequence);
        Ok(found.unwrap_or_else(|| server.last_sequence().saturating_add(1)))
    }

    fn follow(&self, filter: &Filter, from: u64, known: Option<Identity>) -> Follow {
        follow::follow(self.clone(), filter.to_string(), from, known)
    }

    async fn stream_state(&self) -> Result<Option<StreamState>, LogError> {
        Ok(Some(self.reading()?.state()))
    }

    async fn consumer_state(&self, name: &str) -> Result<Option<ConsumerState>, LogError> {
        Ok(self.reading()?.consumer_state(name))
    }

    async fn scheduler_reader(&self) -> Result<Option<ConsumerState>, LogError> {
        Ok(None)
    }

    fn work(&self, consumer: &str, ahead: usize, ready: ComponentHandle, missing: Missing) -> WorkQueue {
        work::deliver(self.clone(), consumer.to_owned(), ahead, ready, missing)
    }

    fn has_other_servers(&self) -> bool {
        self.among_others
    }

    fn connected(&self) -> watch::Receiver<bool> {
        self.connected.subscribe()
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
impl Administration for MemoryLog {
    async fn ensure_stream(&self, _: usize) -> Result<StreamState, LogError> {
        Ok(self.reading()?.state())
    }

    async fn ensure_consumer(&self, spec: &ConsumerSpec) -> Result<bool, LogError> {
        let made = self.reading()?.ensure_consumer(spec);
        self.wake();
        Ok(made)
    }

    async fn delete_consumer(&self, name: &str) -> Result<bool, LogError> {
        let removed = self.reading()?.consumers.remove(name).is_some();
        self.wake();
        Ok(removed)
    }
}

#[cfg(test)]
mod tests;
