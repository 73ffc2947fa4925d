//! One publish and what its outcome means: the protocol's decisions as pure functions.

use std::time::Duration;

use async_nats::{HeaderMap, Request};
use serde::Deserialize;
use waybill_schemas::{Subject, header};

use super::{EventLog, Expect, LogError, NewEvent, request::ApiError};

/// JetStream's answer to a publish.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct PubAck {
    #[serde(default)]
    pub(super) seq: u64,
    #[serde(default)]
    pub(super) duplicate: bool,
    #[serde(default)]
    pub(super) count: u64,
    #[serde(default)]
    pub(super) error: Option<ApiError>,
}

/// What to do after a publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Next {
    /// The log holds the event at this sequence.
    Stored(u64),
    /// Something else than expected is there: look whether it is this event.
    Conflict,
    /// The id was seen before at this sequence, but maybe on another subject: look.
    Duplicate(u64),
    /// Unknown whether it is stored: the same again.
    Again(String),
    /// The log will not take it.
    Refused(ApiError),
}

const WRONG_LAST_SEQUENCE: u64 = 10071;
const WRONG_LAST_SEQUENCE_CONSTANT: u64 = 10164;
const DUPLICATE_IN_BATCH: u64 = 10201;
const DUPLICATE_IN_PROCESS: u64 = 10158;
/// JetStream is starting, moving its leader, or has no room just now.
const TEMPORARY: [u64; 4] = [10008, 10009, 10023, 10077];

/// What a publish's outcome means.
pub(super) fn interpret(outcome: Result<PubAck, LogError>) -> Next {
    let ack = match outcome {
        Ok(ack) => ack,
        Err(error) => return Next::Again(error.to_string()),
    };
    match ack.error {
        None if ack.duplicate => Next::Duplicate(ack.seq),
        None if ack.seq > 0 => Next::Stored(ack.seq),
        None => Next::Again("an acknowledgement without a sequence".to_owned()),
        Some(error) => match error.err_code {
            WRONG_LAST_SEQUENCE | WRONG_LAST_SEQUENCE_CONSTANT | DUPLICATE_IN_BATCH => Next::Conflict,
            code if code == DUPLICATE_IN_PROCESS || TEMPORARY.contains(&code) => Next::Again(error.description),
            _ => Next::Refused(error),
        },
    }
}

/// How long to wait before the next try, from 20 ms doubling to one second.
pub(super) fn pause(tries: u32) -> Duration {
    Duration::from_millis(20).saturating_mul(1_u32 << tries.min(6)).min(Duration::from_secs(1))
}

/// A message ready to publish, the same for every try but for what it expects.
pub(super) struct Outgoing {
    pub(super) subject: Subject,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Outgoing {
    /// Fails only if the body cannot be written as JSON, which events always can.
    pub(super) fn of(new: &NewEvent) -> Result<Self, serde_json::Error> {
        let subject = new.event.subject();
        let mut headers = HeaderMap::new();
        for (name, value) in new.envelope.to_headers(new.event.event_type(), &subject) {
            headers.insert(name, value.as_str());
        }
        Ok(Self { subject, headers, body: new.event.to_json()? })
    }

    /// Headers for one try. The message id is left out where it was used up on another subject.
    pub(super) fn headers(&self, expect: Expect, with_id: bool) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, values) in self.headers.iter() {
            if with_id || name.to_string() != header::NATS_MSG_ID {
                values.iter().for_each(|value| headers.append(name.clone(), value.clone()));
            }
        }
        if let Expect::LastSibling(sequence) = expect {
            headers.insert("Nats-Expected-Last-Subject-Sequence", sequence.to_string().as_str());
            headers.insert("Nats-Expected-Last-Subject-Sequence-Subject", self.subject.siblings().as_str());
        }
        headers
    }

    pub(super) fn body(&self) -> bytes::Bytes {
        self.body.clone().into()
    }
}

impl EventLog {
    pub(super) async fn publish_once(&self, message: &Outgoing, headers: HeaderMap) -> Result<PubAck, LogError> {
        let subject = message.subject.to_string();
        let request = Request::new().headers(headers).payload(message.body());
        let answer = self.ask(subject.clone(), request).await?;
        serde_json::from_slice(&answer.payload)
            .map_err(|error| LogError::Protocol { what: subject, reason: error.to_string() })
    }
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
    fn pauses_grow_to_a_second() {
        assert_eq!([0, 1, 6, 40].map(|tries| pause(tries).as_millis()), [20, 40, 1000, 1000]);
    }
}
