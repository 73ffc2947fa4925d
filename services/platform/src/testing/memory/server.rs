//! What the server does: it compares, stores, and keeps consumers.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use async_nats::HeaderMap;
use bytes::Bytes;
use waybill_schemas::{Timestamp, header};

use super::{Failure, no_answer};
use crate::log::{
    ConsumerSpec, ConsumerState, Expect, Identity, Lasts, LogError, RawMessage, ReadError, StreamState,
    publish::{ApiError, Outgoing, PubAck},
};

const WRONG_LAST_SEQUENCE: u64 = 10071;
const DUPLICATE_IN_BATCH: u64 = 10201;
const NO_ROOM: u64 = 10047;

/// The stream and its consumers.
#[derive(Debug)]
pub(super) struct Server {
    created: Timestamp,
    pub(super) messages: Vec<RawMessage>,
    ids: HashMap<String, u64>,
    pub(super) consumers: BTreeMap<String, Consumer>,
    pub(super) failures: VecDeque<Failure>,
    pub(super) now: Option<Timestamp>,
    pub(super) connection: u64,
}

/// A durable consumer.
#[derive(Debug)]
pub(super) struct Consumer {
    pub(super) filter: String,
    /// Sequence of the next message that it is given for the first time.
    pub(super) next: u64,
    /// Messages that were given and are not acknowledged.
    pub(super) unacknowledged: BTreeSet<u64>,
    /// Messages to be given again.
    pub(super) again: BTreeSet<u64>,
    delivered: u64,
}

impl Server {
    pub(super) fn new(created: Timestamp) -> Self {
        Self {
            created,
            messages: Vec::new(),
            ids: HashMap::new(),
            consumers: BTreeMap::new(),
            failures: VecDeque::new(),
            now: None,
            connection: 0,
        }
    }

    pub(super) fn publish(&mut self, message: &Outgoing, expect: Expect, with_id: bool) -> Result<PubAck, LogError> {
        match self.next_failure() {
            Some(Failure::LostAck) => {
                self.publish_now(message, expect, with_id);
                Err(no_answer(&message.subject))
            }
            Some(failure) => failed(&failure),
            None => Ok(self.publish_now(message, expect, with_id)),
        }
    }

    pub(super) fn publish_batch(&mut self, messages: &[(&Outgoing, Expect)]) -> Result<PubAck, LogError> {
        match self.next_failure() {
            Some(Failure::LostAck) => {
                self.publish_batch_now(messages);
                Err(no_answer("batch"))
            }
            Some(failure) => failed(&failure),
            None => Ok(self.publish_batch_now(messages)),
        }
    }

    fn next_failure(&mut self) -> Option<Failure> {
        let next = self.failures.pop_front_if(|failure| *failure != Failure::ReadUnavailable);
        next.filter(|failure| *failure != Failure::None)
    }

    fn publish_now(&mut self, message: &Outgoing, expect: Expect, with_id: bool) -> PubAck {
        let headers = message.headers(expect, with_id);
        // As nats-server 2.15 does it: it compares first.
        if self.conflicts(&message.subject, expect) {
            return refused(WRONG_LAST_SEQUENCE);
        }
        let id = headers.get(header::NATS_MSG_ID).map(|id| id.as_str().to_owned());
        if let Some(seq) = id.as_ref().and_then(|id| self.ids.get(id)) {
            return PubAck { seq: *seq, duplicate: true, ..PubAck::default() };
        }
        PubAck { seq: self.store(&message.subject, headers, message.body.clone()), ..PubAck::default() }
    }

    /// All of them, or none.
    fn publish_batch_now(&mut self, messages: &[(&Outgoing, Expect)]) -> PubAck {
        let headers: Vec<HeaderMap> = messages.iter().map(|(message, expect)| message.headers(*expect, true)).collect();
        let ids: Vec<&str> =
            headers.iter().filter_map(|headers| Some(headers.get(header::NATS_MSG_ID)?.as_str())).collect();
        let distinct: BTreeSet<&str> = ids.iter().copied().collect();
        if distinct.len() < ids.len() || ids.iter().any(|id| self.ids.contains_key(*id)) {
            return refused(DUPLICATE_IN_BATCH);
        }
        if messages.iter().any(|(message, expect)| self.conflicts(&message.subject, *expect)) {
            return refused(WRONG_LAST_SEQUENCE);
        }
        let mut ack = PubAck { count: u64::try_from(messages.len()).unwrap_or(u64::MAX), ..PubAck::default() };
        for ((message, _), headers) in messages.iter().zip(headers) {
            ack.seq = self.store(&message.subject, headers, message.body.clone());
        }
        ack
    }

    fn conflicts(&self, subject: &str, expect: Expect) -> bool {
        let last = || self.matching(subject, 1).last().map_or(0, |message| message.sequence);
        matches!(expect, Expect::Last(expected) if expected != last())
    }

    pub(super) fn store(&mut self, subject: &str, headers: HeaderMap, payload: Bytes) -> u64 {
        let sequence = self.last_sequence().saturating_add(1);
        if let Some(id) = headers.get(header::NATS_MSG_ID) {
            self.ids.insert(id.as_str().to_owned(), sequence);
        }
        let last = self.messages.last().map(|last| last.at.instant() + time::Duration::NANOSECOND);
        let now = self.now.unwrap_or_else(crate::trace::now);
        let at = last.map_or(now, |last| now.max(last.into()));
        self.messages.push(RawMessage { sequence, at, subject: subject.to_owned(), headers, payload, pending: 0 });
        sequence
    }

    /// Messages that match a filter, from a sequence on.
    pub(super) fn matching<'s>(&'s self, filter: &'s str, from: u64) -> impl Iterator<Item = RawMessage> + 's {
        let matches = move |message: &&RawMessage| message.sequence >= from && matches(filter, &message.subject);
        self.messages.iter().filter(matches).cloned()
    }

    pub(super) fn message_at(&self, sequence: u64) -> Option<RawMessage> {
        self.messages.iter().find(|message| message.sequence == sequence).cloned()
    }

    pub(super) fn lasts(&self, filter: &str, most: usize) -> Lasts {
        let lasts: BTreeMap<String, RawMessage> =
            self.matching(filter, 1).map(|message| (message.subject.clone(), message)).collect();
        let mut messages: Vec<RawMessage> = lasts.into_values().collect();
        messages.sort_by_key(|message| message.sequence);
        let surplus = messages.len().saturating_sub(most);
        Lasts { messages: messages.split_off(surplus), more: surplus > 0 }
    }

    pub(super) fn last_sequence(&self) -> u64 {
        self.messages.last().map_or(0, |message| message.sequence)
    }

    pub(super) fn state(&self) -> StreamState {
        StreamState { created: self.created, first_sequence: 1, last_sequence: self.last_sequence() }
    }

    /// Whether this is the log that somebody read.
    pub(super) fn compare(&self, known: &Identity) -> Result<(), ReadError> {
        known.compare(&self.state(), self.message_at(known.sequence).map(|message| message.at))
    }

    pub(super) fn ensure_consumer(&mut self, spec: &ConsumerSpec) -> bool {
        if let Some(consumer) = self.consumers.get_mut(&spec.name) {
            consumer.filter = spec.filter.to_string();
            return false;
        }
        let consumer = Consumer {
            filter: spec.filter.to_string(),
            next: spec.start.max(1),
            unacknowledged: BTreeSet::new(),
            again: BTreeSet::new(),
            delivered: 0,
        };
        self.consumers.insert(spec.name.clone(), consumer);
        true
    }

    /// The next message for a consumer, and whether it was given before; none if there is no such consumer.
    pub(super) fn deliver(&mut self, name: &str) -> Option<Option<(RawMessage, bool)>> {
        let consumer = self.consumers.get_mut(name)?;
        let again = consumer.again.pop_first();
        let (filter, next) = (consumer.filter.clone(), consumer.next);
        let message = match again {
            Some(sequence) => self.message_at(sequence),
            None => self.matching(&filter, next).next(),
        };
        let Some(message) = message else { return Some(None) };
        let consumer = self.consumers.get_mut(name)?;
        if again.is_none() {
            consumer.next = message.sequence.saturating_add(1);
        }
        consumer.delivered = message.sequence;
        consumer.unacknowledged.insert(message.sequence);
        Some(Some((message, again.is_some())))
    }

    pub(super) fn consumer_state(&self, name: &str) -> Option<ConsumerState> {
        let consumer = self.consumers.get(name)?;
        let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let first_open = consumer.unacknowledged.first().copied().unwrap_or(consumer.next);
        Some(ConsumerState {
            filter: consumer.filter.clone(),
            pending: count(self.matching(&consumer.filter, consumer.next).count()),
            delivered: consumer.delivered,
            acknowledged: first_open.saturating_sub(1),
            unacknowledged: count(consumer.unacknowledged.len()),
            waiting: 0,
            last_active: None,
            created: Some(self.created),
            told_at: None,
        })
    }
}

fn failed(failure: &Failure) -> Result<PubAck, LogError> {
    match failure {
        Failure::Full => Ok(refused(NO_ROOM)),
        Failure::Refused(code) => Ok(refused(*code)),
        Failure::None | Failure::LostAck | Failure::Unavailable | Failure::ReadUnavailable => Err(no_answer("publish")),
    }
}

fn refused(code: u64) -> PubAck {
    let error = ApiError { err_code: code, description: format!("refused by the memory log with {code}") };
    PubAck { error: Some(error), ..PubAck::default() }
}

/// Whether a subject matches a filter, as NATS matches them.
pub(super) fn matches(filter: &str, subject: &str) -> bool {
    let mut tokens = subject.split('.');
    for expected in filter.split('.') {
        match (expected, tokens.next()) {
            (">", Some(_)) => return true,
            ("*", Some(_)) => {}
            (expected, Some(token)) if expected == token => {}
            _ => return false,
        }
    }
    tokens.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_match_as_in_nats() {
        let cases = [
            ("a.b", "a.b", true),
            ("a.*", "a.b", true),
            ("a.*", "a.b.c", false),
            ("a.>", "a.b.c", true),
            ("a.>", "a", false),
            ("a.b.c", "a.b", false),
            ("*.b", "a.b", true),
            ("b", "a", false),
        ];
        for (filter, subject, expected) in cases {
            assert_eq!(matches(filter, subject), expected, "{filter} {subject}");
        }
    }
}
