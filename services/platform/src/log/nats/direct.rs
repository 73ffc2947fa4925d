//! Direct get (NATS ADR-31): stored messages by sequence or by subject, one or many for a request, without a consumer.
//!
//! No name is taken on the server, so that any number of processes may read at the same time, and nothing is left behind by
//! whoever gives up. Any replica may answer: it can be behind the leader, never ahead of it.

use std::time::Duration;

use async_nats::{HeaderMap, Message, Request, StatusCode};
use futures_util::StreamExt as _;
use serde::Deserialize;
use serde_json::json;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tokio::time::{sleep, timeout};
use waybill_schemas::{Filter, Timestamp};

use super::{
    EventLog,
    request::{parse_answer, refused},
};
use crate::log::{API_PREFIX, Log as _, LogError, RawMessage, STREAM, publish::ApiError};

/// Most messages for one request.
pub(crate) const BATCH: usize = 1000;
/// Bounds memory where messages are large. The server sends one message in any case.
const BATCH_BYTES: usize = 8 * 1024 * 1024;
/// What the server says where no subject matches.
const NO_SUBJECT: &str = "No Results";
/// How long the next message of a batch may take.
const WAIT: Duration = Duration::from_secs(5);
/// What the server adds to a message's own headers, after them: a publisher may have written the same names.
const ADDED: [&str; 6] =
    ["Nats-Stream", "Nats-Subject", "Nats-Sequence", "Nats-Time-Stamp", "Nats-Num-Pending", "Nats-Last-Sequence"];

/// Until a replica is asked again for what the leader has.
const CATCH_UP: Duration = Duration::from_millis(50);

/// Whether there is a message, and no more of the answer.
#[derive(Deserialize)]
struct GetAnswer {
    error: Option<ApiError>,
}

impl EventLog {
    /// The last message of a stream on a subject, which may hold wildcards. A permission can name the subject.
    pub(crate) async fn last_in(&self, stream: &str, subject: &str) -> Result<Option<RawMessage>, LogError> {
        stored_or_none(self.api(&format!("DIRECT.GET.{stream}.{subject}"), Vec::new()).await?)
    }

    /// As [`last_in`](Self::last_in); where a replica has none, the leader is asked whether there is one, and it is waited for.
    pub(super) async fn last_or_never_in(&self, stream: &str, subject: &str) -> Result<Option<RawMessage>, LogError> {
        loop {
            let found = self.last_in(stream, subject).await?;
            if found.is_some() || !self.has_other_servers() || !self.leader_has(stream, subject).await? {
                return Ok(found);
            }
            sleep(CATCH_UP).await;
        }
    }

    async fn leader_has(&self, stream: &str, subject: &str) -> Result<bool, LogError> {
        const NO_MESSAGE: u64 = 10037;
        let what = format!("STREAM.MSG.GET.{stream}");
        let answer = self.api(&what, json!({ "last_by_subj": subject }).to_string().into_bytes()).await?;
        match parse_answer::<GetAnswer>(&what, &answer.payload)?.error {
            None => Ok(true),
            Some(error) if error.err_code == NO_MESSAGE => Ok(false),
            Some(error) => Err(refused(what, error)),
        }
    }

    /// The message at a sequence of a stream.
    pub(crate) async fn message_in(&self, stream: &str, sequence: u64) -> Result<Option<RawMessage>, LogError> {
        // Sequences begin with 1; the server takes 0 for a request that names none, and refuses it.
        if sequence == 0 {
            return Ok(None);
        }
        // The server keeps the way back of a request that may have many answers until nobody listens there.
        let request = Request::new().payload(json!({ "seq": sequence }).to_string().into());
        let request = request.inbox(self.client.new_inbox());
        stored_or_none(self.ask(self.direct_get(stream), request).await?)
    }

    /// The first messages that match a filter from a sequence on, at most `most`. For a filter with wildcards the server may
    /// look into every block of messages that the log has, and counts with each answer what is left, subject by subject; for `>` it
    /// knows that by the sequences.
    pub(crate) async fn matching(&self, stream: &str, filter: &str, from: u64, most: usize) -> Result<Batch, LogError> {
        let subjects = if filter == Filter::All.to_string() { ">" } else { filter };
        let body = json!({ "seq": from, "next_by_subj": subjects, "batch": most, "max_bytes": BATCH_BYTES });
        self.answers(stream, filter, &body).await
    }

    /// Halves the log by look-ups: a consumer that starts at a time would need the permission to make one.
    pub(super) async fn find_sequence_at(&self, time: Timestamp) -> Result<u64, LogError> {
        let all = Filter::All.to_string();
        let last = self.last_in(STREAM, &all).await?.map_or(0, |last| last.sequence);
        let mut halving = Halving::new(time, last);
        while let Some(asked) = halving.next() {
            let found = self.matching(STREAM, &all, asked, 1).await?.messages.pop();
            // There is a last one: a replica without any has not got there yet.
            let found = found.ok_or_else(|| LogError::behind(format!("find {time}")))?;
            halving.take(asked, (found.sequence, found.at));
        }
        Ok(halving.found())
    }

    /// The last message on each subject that matches a filter. If they are more than `most`, or too large together, the batch
    /// holds some or none of them, and [`Batch::more`] is true.
    pub(crate) async fn last_of_matching(&self, stream: &str, filter: &str, most: usize) -> Result<Batch, LogError> {
        let body = json!({ "multi_last": [filter], "batch": most, "max_bytes": BATCH_BYTES });
        let unavailable = |reason| LogError::Unavailable { what: format!("read {filter}"), reason };
        self.answers(stream, filter, &body).await?.or_no_subject().map_err(unavailable)
    }

    async fn answers(&self, stream: &str, filter: &str, body: &serde_json::Value) -> Result<Batch, LogError> {
        let unavailable = |reason: String| LogError::Unavailable { what: format!("read {filter}"), reason };
        let inbox = self.client.new_inbox();
        let subscribed = self.client.subscribe(inbox.clone()).await;
        let mut answers = subscribed.map_err(|error| unavailable(error.to_string()))?;
        let asked = self.client.publish_with_reply(self.direct_get(stream), inbox, body.to_string().into()).await;
        asked.map_err(|error| unavailable(error.to_string()))?;
        let mut batch = Batch::default();
        loop {
            let answer = timeout(WAIT, answers.next()).await;
            let answer = answer.map_err(|_| unavailable("no answer in time, or not all of it".to_owned()))?;
            let answer = answer.ok_or_else(|| unavailable("the connection was closed".to_owned()))?;
            if batch.take(answer).map_err(unavailable)? {
                return Ok(batch);
            }
        }
    }

    fn direct_get(&self, stream: &str) -> String {
        format!("{API_PREFIX}.DIRECT.GET.{stream}")
    }
}

/// The search for the first message recorded at a time or later, by halves.
#[derive(Debug)]
pub(crate) struct Halving {
    time: Timestamp,
    before: u64,
    after: u64,
}

impl Halving {
    /// Among messages of which `last` is the last.
    pub(crate) fn new(time: Timestamp, last: u64) -> Self {
        Self { time, before: 0, after: last.saturating_add(1) }
    }

    /// The sequence from which on the first message is to be looked up next; none once the answer is known.
    pub(crate) fn next(&self) -> Option<u64> {
        (self.after.saturating_sub(self.before) > 1).then(|| self.before.midpoint(self.after))
    }

    /// Takes the first message from a sequence on that was asked for: its own sequence and time.
    pub(crate) fn take(&mut self, asked: u64, (sequence, at): (u64, Timestamp)) {
        if at >= self.time {
            self.after = asked;
        } else {
            // Those between left the log.
            self.before = sequence;
        }
    }

    /// The sequence from which on every message is as late; one past the last of all if none is.
    pub(crate) fn found(&self) -> u64 {
        self.after
    }
}

/// The answers to one request.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// In the log's order.
    pub(crate) messages: Vec<RawMessage>,
    /// Whether more matched when the last one was sent.
    pub(crate) more: bool,
    /// Of the last on each subject: the sequence at which the log ended then.
    pub(crate) log_end: Option<u64>,
    /// In the server's words, that there is nothing.
    pub(crate) nothing: Option<String>,
}

impl Batch {
    /// An error where a subject matched and its message could not be read, which is no less a 404.
    fn or_no_subject(self) -> Result<Self, String> {
        match self.nothing.as_deref() {
            None | Some(NO_SUBJECT) => Ok(self),
            Some(other) => Err(format!("status 404 {other}")),
        }
    }

    /// Whether this was the last answer; an error, in words, where one was lost on the way or is no answer.
    fn take(&mut self, answer: Message) -> Result<bool, String> {
        let headers = answer.headers.as_ref();
        let number = |name| headers.and_then(|headers| number(headers, name));
        let read = self.messages.last().map_or(0, |message| message.sequence);
        let before = number("Nats-Last-Sequence");
        if is_message(headers) {
            let message = stored(answer).map_err(str::to_owned)?;
            if before != Some(read) || message.sequence <= read {
                return Err("messages were lost on the way".to_owned());
            }
            self.messages.push(message);
            return Ok(false);
        }
        match answer.status.map(|status| status.as_u16()) {
            Some(204) if read > 0 && before == Some(read) => {
                self.more = number("Nats-Num-Pending") != Some(0);
                self.log_end = number("Nats-UpTo-Sequence");
                Ok(true)
            }
            Some(204) => Err("messages were lost on the way".to_owned()),
            Some(404) if read == 0 => {
                self.nothing = answer.description;
                Ok(true)
            }
            Some(413) if read == 0 => {
                self.more = true;
                Ok(true)
            }
            Some(503) => {
                Err("nobody answers there: JetStream is away, the stream is missing, or this user may not".to_owned())
            }
            status => Err(format!("status {status:?} {}", answer.description.unwrap_or_default())),
        }
    }
}

fn stored_or_none(answer: Message) -> Result<Option<RawMessage>, LogError> {
    let protocol = |reason: String| LogError::Protocol { what: "direct get".to_owned(), reason };
    match answer.status {
        _ if is_message(answer.headers.as_ref()) => {}
        Some(StatusCode::NOT_FOUND) => return Ok(None),
        Some(status) if status != StatusCode::OK => {
            return Err(protocol(format!("status {status} {}", answer.description.unwrap_or_default())));
        }
        _ => {}
    }
    stored(answer).map(Some).map_err(|reason| protocol(reason.to_owned()))
}

/// True if an answer holds a stored message, whatever its status: a publisher may have written one, and only the server writes a
/// sequence after it. "No responders" (503) names its subject too, but no sequence.
fn is_message(headers: Option<&HeaderMap>) -> bool {
    headers.is_some_and(|headers| headers.get("Nats-Sequence").is_some())
}

/// The message in an answer.
fn stored(answer: Message) -> Result<RawMessage, &'static str> {
    let headers = answer.headers.unwrap_or_default();
    let at = headers.get_last("Nats-Time-Stamp").and_then(|at| OffsetDateTime::parse(at.as_str(), &Rfc3339).ok());
    Ok(RawMessage {
        sequence: number(&headers, "Nats-Sequence").ok_or("no Nats-Sequence")?,
        at: at.ok_or("no Nats-Time-Stamp")?.into(),
        subject: headers.get_last("Nats-Subject").ok_or("no Nats-Subject")?.as_str().to_owned(),
        pending: number(&headers, "Nats-Num-Pending").unwrap_or(0),
        headers: published(&headers),
        payload: answer.payload,
    })
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get_last(name)?.as_str().parse().ok()
}

/// The headers without what the server added.
fn published(headers: &HeaderMap) -> HeaderMap {
    let mut own = HeaderMap::new();
    for (name, values) in headers.iter() {
        let added = usize::from(ADDED.contains(&name.as_ref()));
        let values = values.iter().take(values.len().saturating_sub(added));
        values.for_each(|value| own.append(name.clone(), value.clone()));
    }
    own
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: Option<u16>, headers: &[(&str, &str)]) -> Message {
        let mut map = HeaderMap::new();
        headers.iter().for_each(|(name, value)| map.append(*name, *value));
        Message {
            subject: "_INBOX.1".into(),
            reply: None,
            payload: bytes::Bytes::new(),
            headers: Some(map),
            status: status.map(|code| StatusCode::from_u16(code).unwrap()),
            description: None,
            length: 0,
        }
    }

    fn message(sequence: &str, before: &str) -> Message {
        let headers = [
            ("Nats-Sequence", "1"),
            ("Nats-Subject", "a.lie"),
            ("ce-id", "x"),
            ("Nats-Stream", STREAM),
            ("Nats-Subject", "a.b"),
            ("Nats-Sequence", sequence),
            ("Nats-Time-Stamp", "2026-01-01T00:00:00Z"),
            ("Nats-Num-Pending", "7"),
            ("Nats-Last-Sequence", before),
        ];
        answer(None, &headers)
    }

    fn end(pending: &str, before: &str) -> Message {
        let headers = [("Nats-Num-Pending", pending), ("Nats-Last-Sequence", before), ("Nats-UpTo-Sequence", "12")];
        answer(Some(204), &headers)
    }

    #[test]
    fn a_batch_is_whole_or_an_error() {
        type Expected = Result<(&'static [u64], bool), &'static str>;
        let cases: [(&str, Vec<Message>, Expected); 10] = [
            ("nothing", vec![answer(Some(404), &[])], Ok((&[], false))),
            ("all", vec![message("3", "0"), message("8", "3"), end("0", "8")], Ok((&[3, 8], false))),
            ("more", vec![message("3", "0"), end("4", "3")], Ok((&[3], true))),
            ("too many subjects", vec![answer(Some(413), &[])], Ok((&[], true))),
            ("a hole", vec![message("3", "0"), message("9", "8")], Err("lost")),
            ("without its first", vec![message("8", "3")], Err("lost")),
            ("without its last", vec![message("3", "0"), end("0", "8")], Err("lost")),
            ("an end of nothing", vec![end("4", "0")], Err("lost")),
            ("nobody there", vec![answer(Some(503), &[])], Err("nobody answers")),
            ("nobody where", vec![answer(Some(503), &[("Nats-Subject", "$JS.API.x")])], Err("nobody answers")),
        ];
        for (name, answers, expected) in cases {
            let mut batch = Batch::default();
            let taken: Result<Vec<bool>, String> = answers.into_iter().map(|answer| batch.take(answer)).collect();
            match (taken, expected) {
                (Ok(ended), Ok((sequences, more))) => {
                    assert!(ended.last() == Some(&true) && ended.iter().filter(|ended| **ended).count() == 1, "{name}");
                    let read: Vec<u64> = batch.messages.iter().map(|message| message.sequence).collect();
                    assert_eq!((read.as_slice(), batch.more), (sequences, more), "{name}");
                    assert_eq!(batch.log_end, (!sequences.is_empty()).then_some(12), "{name}");
                }
                (Err(error), Err(expected)) => assert!(error.contains(expected), "{name}: {error}"),
                (taken, _) => panic!("{name}: {taken:?}"),
            }
        }
    }

    #[test]
    fn a_time_is_found_between_messages_that_left() {
        let at = |second: u64| format!("2026-01-01T00:00:{second:02}Z").parse::<Timestamp>().unwrap();
        // The second of each is its sequence.
        let kept = [1, 2, 5, 9, 20];
        for wanted in 0..=22 {
            let mut halving = Halving::new(at(wanted), 20);
            while let Some(asked) = halving.next() {
                let found = *kept.iter().find(|sequence| **sequence >= asked).unwrap();
                halving.take(asked, (found, at(found)));
            }
            let first = kept.iter().find(|sequence| **sequence >= halving.found());
            assert_eq!(first, kept.iter().find(|sequence| **sequence >= wanted), "{wanted}");
        }
    }

    #[test]
    fn a_message_that_cannot_be_read_is_not_nothing() {
        for (description, read) in [("No Results", true), ("Message Not Found", false)] {
            let mut batch = Batch::default();
            let none = Message { description: Some(description.to_owned()), ..answer(Some(404), &[]) };
            assert_eq!(batch.take(none), Ok(true));
            assert_eq!(batch.or_no_subject().is_ok(), read, "{description}");
        }
    }

    /// A publisher may write the names of the server's headers.
    #[test]
    fn the_server_s_word_counts() {
        let message = stored(message("3", "0")).unwrap();
        assert_eq!((message.sequence, message.subject.as_str(), message.pending), (3, "a.b", 7));
        let posing = Message { status: Some(StatusCode::NOT_FOUND), ..self::message("3", "0") };
        assert_eq!(stored_or_none(posing).unwrap().map(|message| message.sequence), Some(3));
        let own = [("Nats-Sequence", "1"), ("Nats-Subject", "a.lie"), ("ce-id", "x")];
        assert_eq!(message.header_pairs(), own.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
}
