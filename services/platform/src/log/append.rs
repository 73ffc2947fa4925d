//! Appending exactly once: publish, and on doubt look at what is there.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};
use tracing::Instrument as _;
use uuid::Uuid;
use waybill_schemas::header;

use super::{
    AppendError, EventLog, Expect, LogError, NewEvent, RawMessage,
    publish::{Next, Outgoing, interpret, pause},
};
use crate::{metrics, trace};

/// An event's place in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Its stream sequence.
    pub sequence: u64,
    /// Whether it was there before this call.
    pub duplicate: bool,
}

impl EventLog {
    /// Appends the event if the log does not hold it, in a PRODUCER span whose context goes into its headers.
    ///
    /// The same event is tried again until the log has answered; with `limit`, for that long at most.
    ///
    /// # Errors
    /// [`AppendError::Unavailable`] after the limit, when it is unknown whether the event is stored;
    /// [`AppendError::Refused`] when the log will never take it.
    pub async fn append(
        &self,
        new: &NewEvent,
        expect: Expect,
        limit: Option<Duration>,
    ) -> Result<Appended, AppendError> {
        let subject = new.event.subject();
        let span = trace::publish_span(&subject, &new.envelope);
        let traced = span.in_scope(|| stamped(new));
        let appending = async {
            let Some(limit) = limit else { return self.settle(&traced, expect).await };
            match timeout_at(Instant::now() + limit, self.settle(&traced, expect)).await {
                Ok(outcome) => outcome,
                Err(_) => Err(AppendError::Unavailable {
                    subject: subject.to_string(),
                    reason: format!("nothing within {} ms", limit.as_millis()),
                }),
            }
        };
        let outcome = appending.instrument(span.clone()).await;
        trace::record_outcome(&span, outcome.as_ref().err());
        outcome
    }

    /// Publishes until it is certain what the log holds.
    pub(super) async fn settle(&self, new: &NewEvent, expect: Expect) -> Result<Appended, AppendError> {
        let subject = new.event.subject().to_string();
        let message = Outgoing::of(new).map_err(|error| AppendError::Refused {
            subject: subject.clone(),
            code: 0,
            description: error.to_string(),
        })?;
        let (mut expect, mut with_id, mut tries) = (expect, true, 0_u32);
        loop {
            let outcome = self.publish_once(&message, message.headers(expect, with_id)).await;
            let claimed = match interpret(outcome) {
                Next::Stored(sequence) => {
                    metrics::appended(&message.subject);
                    return Ok(Appended { sequence, duplicate: false });
                }
                Next::Duplicate(sequence) => Some(sequence),
                Next::Conflict => None,
                Next::Refused(error) => {
                    return Err(AppendError::Refused { subject, code: error.err_code, description: error.description });
                }
                Next::Again(reason) => {
                    tracing::debug!(subject, tries, reason, "no acknowledgement, trying the same again");
                    sleep(pause(tries)).await;
                    tries = tries.saturating_add(1);
                    continue;
                }
            };
            let siblings = match self.history(&message.subject).await {
                Ok(siblings) => siblings,
                Err(LogError::Unavailable { reason, .. }) => {
                    tracing::debug!(subject, tries, reason, "cannot see what is there, trying again");
                    sleep(pause(tries)).await;
                    tries = tries.saturating_add(1);
                    continue;
                }
                Err(source) => return Err(AppendError::History { subject, source }),
            };
            match look(&siblings, self.sees_all_siblings(), new.envelope.id, claimed) {
                Look::Stored(sequence) => return Ok(Appended { sequence, duplicate: true }),
                Look::Publish { last, with_id: keep_id } => {
                    if is_behind(expect, last, claimed) {
                        tracing::debug!(
                            subject,
                            tries,
                            last,
                            "what was read is not what the leader holds, trying again"
                        );
                        sleep(pause(tries)).await;
                        tries = tries.saturating_add(1);
                    }
                    // A wrong guess is no error; the next one is what the log just said.
                    expect = Expect::LastSibling(last);
                    with_id = keep_id;
                }
            }
        }
    }
}

/// The event as it is published: with this program's version, and the context of the span that is entered here.
pub(super) fn stamped(new: &NewEvent) -> NewEvent {
    let mut stamped = new.clone();
    stamped.envelope.source_version = Some(env!("CARGO_PKG_VERSION").to_owned());
    if let Some((traceparent, tracestate)) = trace::current() {
        stamped.envelope.traceparent = Some(traceparent);
        stamped.envelope.tracestate = tracestate;
    }
    stamped
}

/// What the siblings in the log say about an event.
#[derive(Debug, PartialEq, Eq)]
enum Look {
    /// It is there.
    Stored(u64),
    /// It is not: publish, expecting this last sequence.
    Publish { last: u64, with_id: bool },
}

/// `claimed` is the sequence at which the log says it saw the id. Ids can be used up on other subjects, so where all
/// siblings are seen the claim alone counts for nothing; where only the last of each subject is seen, it counts if an
/// earlier message can hide behind them.
fn look(siblings: &[RawMessage], all: bool, id: Uuid, claimed: Option<u64>) -> Look {
    let id = id.to_string();
    let own = siblings
        .iter()
        .find(|message| message.headers.get(header::ID).is_some_and(|value| value.as_str().eq_ignore_ascii_case(&id)));
    if let Some(own) = own {
        return Look::Stored(own.sequence);
    }
    let last = siblings.iter().map(|message| message.sequence).max().unwrap_or(0);
    match claimed {
        Some(sequence) if !all && sequence < last => Look::Stored(sequence),
        Some(_) => Look::Publish { last, with_id: false },
        None => Look::Publish { last, with_id: true },
    }
}

/// Whether a replica answered that does not have yet what the leader found in conflict. Nothing can go wrong by that: the
/// leader checks the next try as well. It is only too early for it.
fn is_behind(expected: Expect, read: u64, claimed: Option<u64>) -> bool {
    claimed.is_none() && matches!(expected, Expect::LastSibling(expected) if read <= expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conflict_with_nothing_new_is_asked_again_later() {
        let cases = [
            (Expect::LastSibling(0), 0, None, true),
            (Expect::LastSibling(5), 5, None, true),
            (Expect::LastSibling(5), 3, None, true),
            (Expect::LastSibling(0), 5, None, false),
            (Expect::LastSibling(0), 0, Some(4), false),
            (Expect::Nothing, 0, None, false),
        ];
        for (expected, read, claimed, behind) in cases {
            assert_eq!(is_behind(expected, read, claimed), behind, "{expected:?} {read} {claimed:?}");
        }
    }

    fn stored(sequence: u64, id: u128) -> RawMessage {
        let mut headers = async_nats::HeaderMap::new();
        headers.insert(header::ID, Uuid::from_u128(id).to_string().as_str());
        let at = time::OffsetDateTime::UNIX_EPOCH.into();
        RawMessage { sequence, at, subject: String::new(), headers, payload: bytes::Bytes::new(), pending: 0 }
    }

    #[test]
    fn what_is_there_decides() {
        let publish = |last, with_id| Look::Publish { last, with_id };
        let others = [stored(3, 30), stored(5, 50)];
        let own = [stored(3, 30), stored(5, 1)];
        let cases = [
            ("a conflict with nothing", &[][..], true, None, publish(0, true)),
            ("a conflict with others", &others[..], true, None, publish(5, true)),
            ("it is there", &own[..], true, None, Look::Stored(5)),
            ("it is there, and claimed", &own[..], true, Some(5), Look::Stored(5)),
            ("claimed, but used up elsewhere", &others[..], true, Some(4), publish(5, false)),
            ("claimed elsewhere, nothing here", &[][..], false, Some(4), publish(0, false)),
            ("claimed, may hide behind a later one", &others[..], false, Some(4), Look::Stored(4)),
            ("claimed after all of these", &others[..], false, Some(9), publish(5, false)),
        ];
        for (name, siblings, all, claimed, expected) in cases {
            assert_eq!(look(siblings, all, Uuid::from_u128(1), claimed), expected, "{name}");
        }
    }
}
