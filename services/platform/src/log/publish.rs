//! One publish and what its outcome means: the protocol's decisions as pure functions.

use std::{sync::Arc, time::Duration};

use async_nats::{HeaderMap, HeaderName, HeaderValue};
use bytes::Bytes;
use serde::Deserialize;
use tracing::Span;
use waybill_schemas::{Envelope, EventType, Subject, header};

use super::{AppendError, ErrorKind, Expect, LogError, NewEvent, RawMessage};
use crate::trace::{self, Delivery};

/// An error as JetStream writes it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct ApiError {
    #[serde(default)]
    pub(crate) err_code: u64,
    #[serde(default)]
    pub(crate) description: String,
}

/// JetStream's answer to a publish.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub(crate) struct PubAck {
    #[serde(default)]
    pub(crate) seq: u64,
    #[serde(default)]
    pub(crate) duplicate: bool,
    #[serde(default)]
    pub(crate) count: u64,
    #[serde(default)]
    pub(crate) error: Option<ApiError>,
}

/// What to do after a publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Next {
    /// The log holds the event at this sequence.
    Stored(u64),
    /// The subject's last message is another one than expected: look whether it is this event.
    Conflict,
    /// The id was seen before at this sequence, but maybe on another subject: look.
    Duplicate(u64),
    /// Unknown whether it is stored: the same again.
    Again(String),
    /// No room: tell, then the same again.
    Full(String),
    /// The log will not take it.
    Refused(ApiError),
}

const WRONG_LAST_SEQUENCE: u64 = 10071;
const WRONG_LAST_SEQUENCE_CONSTANT: u64 = 10164;
const DUPLICATE_IN_BATCH: u64 = 10201;

/// What a publish's outcome means.
pub(crate) fn interpret(outcome: Result<PubAck, LogError>) -> Next {
    let ack = match outcome {
        Ok(ack) => ack,
        Err(error) if error.kind() == ErrorKind::Never => {
            return Next::Refused(ApiError { err_code: 0, description: error.to_string() });
        }
        Err(error) => return Next::Again(error.to_string()),
    };
    match ack.error {
        None if ack.duplicate => Next::Duplicate(ack.seq),
        None if ack.seq > 0 => Next::Stored(ack.seq),
        None => Next::Again("an acknowledgement without a sequence".to_owned()),
        Some(error) => match error.err_code {
            WRONG_LAST_SEQUENCE | WRONG_LAST_SEQUENCE_CONSTANT | DUPLICATE_IN_BATCH => Next::Conflict,
            code => match ErrorKind::classify(code, &error.description) {
                ErrorKind::Again => Next::Again(error.description),
                ErrorKind::Full => Next::Full(error.description),
                ErrorKind::Never => Next::Refused(error),
            },
        },
    }
}

/// Back-off before the next try, from 20 ms doubling to one second.
pub(crate) fn back_off(tries: u32) -> Duration {
    Duration::from_millis(20).saturating_mul(1_u32 << tries.min(6)).min(Duration::from_secs(1))
}

/// A message ready to publish, the same for every try but for what it expects.
#[derive(Debug, Clone)]
pub(crate) struct Outgoing {
    pub(crate) subject: String,
    pub(crate) body: Bytes,
    envelope: Envelope,
    event_type: EventType,
    about: Subject,
}

impl Outgoing {
    /// The event as a message, in this envelope. Fails only if the body cannot be written as JSON, which events always can.
    pub(crate) fn new(new: &NewEvent, envelope: Envelope) -> Result<Self, serde_json::Error> {
        let (event_type, about) = (new.event.event_type(), new.subject.clone());
        Ok(Self { subject: about.to_string(), body: new.event.to_json()?.into(), envelope, event_type, about })
    }

    /// Headers for one try. The message id is left out where it was used up on another subject.
    pub(crate) fn headers(&self, expect: Expect, with_id: bool) -> HeaderMap {
        let mut headers = self.envelope.to_headers(self.event_type, &self.about);
        if !with_id {
            headers.retain(|(name, _)| *name != header::NATS_MSG_ID);
        }
        if let Expect::Last(sequence) = expect {
            headers.push((header::NATS_EXPECTED_LAST, sequence.to_string()));
        }
        // Neither a static name nor a value of one's own is copied.
        headers.into_iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from(value))).collect()
    }
}

/// The envelope as it is published: with this program's version, and the context of the span that is entered here.
fn add_context(envelope: &Envelope) -> Envelope {
    let mut envelope = envelope.clone();
    envelope.source_version = Some(env!("CARGO_PKG_VERSION").to_owned());
    if let Some((traceparent, tracestate)) = trace::current() {
        envelope.traceparent = Some(traceparent);
        envelope.tracestate = tracestate;
    } else if trace::is_unseen() && envelope.traceparent.is_none() {
        envelope.traceparent = trace::follow_on(None, Delivery::Old, envelope.id);
    }
    envelope
}

/// The message of an event, in its publish span.
pub(super) fn message_in(span: &Span, new: &NewEvent) -> Result<Arc<Outgoing>, AppendError> {
    let message = Outgoing::new(new, span.in_scope(|| add_context(&new.envelope)));
    message.map(Arc::new).map_err(|error| AppendError::Refused {
        subject: new.subject.to_string(),
        code: 0,
        description: error.to_string(),
    })
}

/// What appending needs of whatever keeps the log.
pub(crate) trait Wire: Send + Sync {
    /// Publishes once, and returns the acknowledgement.
    fn publish(
        &self,
        message: &Outgoing,
        expect: Expect,
        with_id: bool,
    ) -> impl Future<Output = Result<PubAck, LogError>> + Send;

    /// Publishes all in one atomic batch, and returns the acknowledgement of its commit.
    fn publish_batch(&self, messages: &[(&Outgoing, Expect)]) -> impl Future<Output = Result<PubAck, LogError>> + Send;

    /// The last message on a subject.
    fn last_on(&self, subject: &str) -> impl Future<Output = Result<Option<RawMessage>, LogError>> + Send;

    /// The first thousand messages on a subject after a sequence. For readers of the whole log.
    fn messages_after(
        &self,
        subject: &str,
        sequence: u64,
    ) -> impl Future<Output = Result<Vec<RawMessage>, LogError>> + Send;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ack(json: &str) -> Result<PubAck, LogError> {
        Ok(serde_json::from_str(json).unwrap())
    }

    #[test]
    fn what_an_outcome_means() {
        let error = |code: u64| format!(r#"{{"error":{{"code":400,"err_code":{code},"description":"d"}}}}"#);
        let refused = |code| Next::Refused(ApiError { err_code: code, description: "d".to_owned() });
        let cases = [
            ("stored", ack(r#"{"stream":"WAYBILL","seq":7}"#), Next::Stored(7)),
            ("seen before", ack(r#"{"stream":"WAYBILL","seq":7,"duplicate":true}"#), Next::Duplicate(7)),
            ("no sequence", ack("{}"), Next::Again("an acknowledgement without a sequence".to_owned())),
            ("another last sequence", ack(&error(10071)), Next::Conflict),
            ("twice in a batch", ack(&error(10201)), Next::Conflict),
            ("leader moves", ack(&error(10008)), Next::Again("d".to_owned())),
            ("account full", ack(&error(10002)), Next::Full("d".to_owned())),
            ("not allowed", ack(&error(10057)), refused(10057)),
            (
                "no answer",
                Err(LogError::Protocol { what: "w".to_owned(), reason: "r".to_owned() }),
                Next::Again("the event log's answer cannot be read (w): r".to_owned()),
            ),
        ];
        for (name, outcome, next) in cases {
            assert_eq!(interpret(outcome), next, "{name}");
        }
    }

    #[test]
    fn back_off_grows_to_a_second() {
        assert_eq!([0, 1, 6, 40].map(|tries| back_off(tries).as_millis()), [20, 40, 1000, 1000]);
    }
}
