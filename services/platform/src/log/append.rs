//! Appending exactly once: publish, compare with the last message of the event's own subject, and on doubt look at it.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep, timeout_at};
use tracing::{Instrument as _, Span};
use uuid::Uuid;
use waybill_schemas::{Envelope, Event, Subject, header};

use super::{
    AppendError, LogError, RawMessage,
    gather::{Gathered, Gathering, Turn},
    publish::{Next, Outgoing, Wire, back_off, interpret, message_in},
    room::Room,
};
use crate::{metrics, trace};

/// An event to append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEvent {
    /// Where it goes.
    pub subject: Subject,
    /// What stands around it; the trace context is filled in when it is published.
    pub envelope: Envelope,
    /// The fact.
    pub event: Event,
}

/// What the event's exact subject must hold for an append to count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// Anything.
    Anything,
    /// A last message at this sequence; 0 for none.
    Last(u64),
}

/// What became of an append.
#[derive(Debug, Clone)]
pub enum Appended {
    /// The log holds the event.
    Stored {
        /// Its stream sequence.
        sequence: u64,
        /// True if it was there before this call.
        duplicate: bool,
    },
    /// The subject's last message is another one than expected; the event was not stored by this call.
    Conflict {
        /// The last message on the subject.
        last: Option<RawMessage>,
    },
}

impl Appended {
    /// The event's sequence, if the log holds it.
    pub fn sequence(&self) -> Option<u64> {
        match self {
            Self::Stored { sequence, .. } => Some(*sequence),
            Self::Conflict { .. } => None,
        }
    }
}

/// Tries after which a last message that does not explain a conflict is handed to the caller: some five seconds.
const BEHIND_TRIES: u32 = 10;
/// Tries after which a log that acknowledges nothing is told of.
const UNANSWERED_TRIES: u32 = 2;

/// Appends events of which each follows from the one before, in PRODUCER spans, within one limit: together where appends
/// gather, or else one after the other, up to the first that this call does not store.
pub(crate) async fn append_chain(
    wire: &impl Wire,
    room: &Room,
    gathering: Option<&Gathering>,
    chain: &[(&NewEvent, Expect)],
    limit: Option<Duration>,
) -> Vec<Result<Appended, AppendError>> {
    let began = Instant::now();
    let limit = limit.map(|limit| (began + limit, limit));
    let (mut attempts, mut spans) = (Vec::with_capacity(chain.len()), Vec::with_capacity(chain.len()));
    for (new, expect) in chain {
        let span = trace::publish_span(new);
        match message_in(&span, new) {
            Ok(message) => attempts.push(Attempt::new(wire, room, new, message, *expect)),
            Err(error) => return vec![Err(error)],
        }
        spans.push(span);
    }
    if let Some(gathering) = gathering
        && let Err(error) = join(gathering, &mut attempts, limit).await
    {
        return vec![Err(error)];
    }
    let mut outcomes = Vec::with_capacity(chain.len());
    for (attempt, span) in attempts.iter_mut().zip(spans) {
        let outcome = attempt.run_within(limit).instrument(span.clone()).await;
        record(&span, attempt.new, began, &outcome);
        let is_stored = matches!(outcome, Ok(Appended::Stored { duplicate: false, .. }));
        outcomes.push(outcome);
        if !is_stored {
            break;
        }
    }
    outcomes
}

/// Publishes attempts with what else waits. What that comes to is noted in them.
async fn join<W: Wire>(
    gathering: &Gathering,
    attempts: &mut [Attempt<'_, W>],
    limit: Option<(Instant, Duration)>,
) -> Result<(), AppendError> {
    // Only what expects something can be asked about when an answer is lost.
    if attempts.iter().any(|attempt| attempt.expect == Expect::Anything) {
        return Ok(());
    }
    let joining = gathering.join(attempts.iter().map(|attempt| (attempt.message.clone(), attempt.expect)).collect());
    let gathered = match limit {
        None => joining.await,
        Some((deadline, limit)) => match (timeout_at(deadline, joining).await, attempts.first()) {
            (Ok(gathered), _) => gathered,
            (Err(_), Some(first)) => return Err(first.out_of_time(limit)),
            (Err(_), None) => return Ok(()),
        },
    };
    match gathered {
        Gathered::Stored(last) => {
            for (sequence, attempt) in (0..=last).rev().zip(attempts.iter_mut().rev()) {
                attempt.stored = Some(sequence);
            }
        }
        Gathered::Alone { mut turn, unsure } => {
            for attempt in attempts {
                (attempt.turn, attempt.unsure) = (turn.take(), unsure);
            }
        }
    }
    Ok(())
}

/// What became of a publish, for its span and the metrics.
pub(super) fn record(span: &Span, new: &NewEvent, began: Instant, outcome: &Result<Appended, AppendError>) {
    let failed = outcome.as_ref().err().map(|error| (error.kind().as_str(), error));
    metrics::published(&new.subject, began.elapsed(), failed.map(|(kind, _)| kind));
    match (failed, outcome) {
        (Some((kind, error)), _) => trace::record_error(span, kind, error),
        (None, Ok(Appended::Stored { sequence, .. })) => trace::set_sequence(span, &new.event, *sequence),
        (None, _) => {}
    }
}

/// One event on its way into the log.
pub(super) struct Attempt<'a, W> {
    wire: &'a W,
    room: &'a Room,
    new: &'a NewEvent,
    message: Arc<Outgoing>,
    expect: Expect,
    tries: u32,
    /// Given back with the first answer: looking up and trying again keep nobody waiting.
    turn: Option<Turn>,
    /// Sequence at which it was stored together with others.
    stored: Option<u64>,
    /// The last publish found no room, in the server's words.
    full: Option<String>,
    /// A publish was not answered: the event may be stored by it.
    unsure: bool,
}

impl<'a, W: Wire> Attempt<'a, W> {
    pub(super) fn new(wire: &'a W, room: &'a Room, new: &'a NewEvent, message: Arc<Outgoing>, expect: Expect) -> Self {
        Self { wire, room, new, message, expect, tries: 0, turn: None, stored: None, full: None, unsure: false }
    }

    /// As [`run`](Self::run), until a deadline.
    async fn run_within(&mut self, limit: Option<(Instant, Duration)>) -> Result<Appended, AppendError> {
        if let Some(sequence) = self.stored {
            return Ok(self.note_stored(sequence));
        }
        let Some((deadline, limit)) = limit else { return self.run().await };
        match timeout_at(deadline, self.run()).await {
            Ok(outcome) => outcome,
            Err(_) => Err(self.out_of_time(limit)),
        }
    }

    fn note_stored(&self, sequence: u64) -> Appended {
        self.room.report_room();
        metrics::appended(&self.new.subject);
        Appended::Stored { sequence, duplicate: false }
    }

    /// Publishes until it is certain what the log holds.
    pub(super) async fn run(&mut self) -> Result<Appended, AppendError> {
        let (mut expect, mut with_id) = (self.expect, true);
        loop {
            let outcome = self.wire.publish(&self.message, expect, with_id).await;
            self.turn = None;
            let claimed = match interpret(outcome) {
                Next::Stored(sequence) => return Ok(self.note_stored(sequence)),
                Next::Duplicate(sequence) => Some(sequence),
                Next::Conflict => None,
                Next::Refused(error) => {
                    let subject = self.message.subject.clone();
                    return Err(AppendError::Refused { subject, code: error.err_code, description: error.description });
                }
                Next::Again(reason) => {
                    (self.full, self.unsure) = (None, true);
                    if self.tries >= UNANSWERED_TRIES {
                        self.room.report_unanswered(&reason);
                    }
                    self.wait(&reason).await;
                    continue;
                }
                Next::Full(reason) => {
                    self.room.report_full(&reason);
                    self.wait(&reason).await;
                    self.full = Some(reason);
                    continue;
                }
            };
            let last = self.read_last().await?;
            let found = last.as_ref().map_or(0, |last| last.sequence);
            match judge(found, holds_id(last.as_ref(), self.new.envelope.id), self.expect, expect, claimed) {
                Verdict::Stored(sequence) => return Ok(Appended::Stored { sequence, duplicate: true }),
                Verdict::Conflict => {
                    return Ok(match self.find_hidden(found).await {
                        Some(sequence) => Appended::Stored { sequence, duplicate: true },
                        None => Appended::Conflict { last },
                    });
                }
                Verdict::Publish { expect: next, with_id: keep } => (expect, with_id) = (next, keep),
                Verdict::Behind if self.tries >= BEHIND_TRIES => return Ok(Appended::Conflict { last }),
                Verdict::Behind => self.wait("a replica answered that lacks what the leader has").await,
            }
        }
    }

    /// Reads the subject's last message; a log that cannot answer now is asked again.
    async fn read_last(&mut self) -> Result<Option<RawMessage>, AppendError> {
        loop {
            match self.wire.last_on(&self.message.subject).await {
                Ok(last) => return Ok(last),
                Err(LogError::Refused { code, description, .. }) => {
                    return Err(AppendError::Refused { subject: self.message.subject.clone(), code, description });
                }
                Err(error) => self.wait(&error.to_string()).await,
            }
        }
    }

    /// Looks for the event between the expected message and the last one, where an unanswered publish of this call may have
    /// stored it and somebody appended since. The server compares before it looks at ids.
    async fn find_hidden(&self, last: u64) -> Option<u64> {
        let Expect::Last(expected) = self.expect else { return None };
        if !self.unsure || last.saturating_sub(expected) < 2 {
            return None;
        }
        let messages = self.wire.messages_after(&self.message.subject, expected).await;
        let messages = messages.inspect_err(|error| tracing::debug!(%error, "cannot look behind the last message"));
        let own = messages.ok()?.into_iter().find(|message| holds_id(Some(message), self.new.envelope.id));
        own.map(|own| own.sequence)
    }

    async fn wait(&mut self, reason: &str) {
        tracing::debug!(subject = self.message.subject, tries = self.tries, reason, "trying the same event again");
        sleep(back_off(self.tries)).await;
        self.tries = self.tries.saturating_add(1);
    }

    fn out_of_time(&self, limit: Duration) -> AppendError {
        let subject = self.message.subject.clone();
        match &self.full {
            Some(reason) => AppendError::Full { subject, reason: reason.clone() },
            None => {
                let reason = format!("nothing within {} ms", limit.as_millis());
                self.room.report_unanswered(&reason);
                AppendError::Unavailable { subject, reason }
            }
        }
    }
}

/// What the last message of the subject says about an event that was not simply stored.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// The log holds it.
    Stored(u64),
    /// Something else was said since.
    Conflict,
    /// It is not there: publish it so.
    Publish { expect: Expect, with_id: bool },
    /// The replica that answered lacks the message that the leader compared with.
    Behind,
}

/// Judges by the last message's sequence `found`, and whether it is the event's own. `asked` is the caller's expectation,
/// `sent` the one of the last publish. `claimed` is the sequence at which the log says it saw the id.
///
/// An id can be used up on another subject, by whoever knows the events that it is derived from. A claim therefore counts only
/// where the event can stand hidden between the expected message and the last one.
fn judge(found: u64, is_own: bool, asked: Expect, sent: Expect, claimed: Option<u64>) -> Verdict {
    if is_own {
        return Verdict::Stored(found);
    }
    let expected = match asked {
        Expect::Last(expected) => expected,
        Expect::Anything => 0,
    };
    match (asked, claimed) {
        (_, Some(sequence)) if expected < sequence && sequence < found => Verdict::Stored(sequence),
        (Expect::Last(expected), _) if found > expected => Verdict::Conflict,
        (Expect::Last(_), Some(_)) => Verdict::Publish { expect: asked, with_id: false },
        (Expect::Last(_), None) => Verdict::Behind,
        // Without the id only the comparison keeps the event from being stored twice.
        (Expect::Anything, _) if sent == Expect::Last(found) => Verdict::Behind,
        (Expect::Anything, _) => Verdict::Publish { expect: Expect::Last(found), with_id: false },
    }
}

pub(super) fn holds_id(last: Option<&RawMessage>, id: Uuid) -> bool {
    let id = id.to_string();
    let own = last.and_then(|last| last.headers.get(header::ID));
    own.is_some_and(|value| value.as_str().eq_ignore_ascii_case(&id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_message_decides() {
        use Expect::{Anything, Last};
        let publish = |expect| Verdict::Publish { expect, with_id: false };
        let cases = [
            ("it is there", 5, true, Last(0), Last(0), None, Verdict::Stored(5)),
            ("it is there, and claimed", 5, true, Last(0), Last(0), Some(5), Verdict::Stored(5)),
            ("another one was first", 5, false, Last(0), Last(0), None, Verdict::Conflict),
            ("another one came since", 5, false, Last(3), Last(3), None, Verdict::Conflict),
            ("the replica is behind", 3, false, Last(3), Last(3), None, Verdict::Behind),
            ("the replica has nothing yet", 0, false, Last(3), Last(3), None, Verdict::Behind),
            ("hidden behind a later one", 5, false, Last(3), Last(3), Some(4), Verdict::Stored(4)),
            ("used up elsewhere, nothing here", 0, false, Last(0), Last(0), Some(4), publish(Last(0))),
            ("used up elsewhere, as expected here", 3, false, Last(3), Last(3), Some(2), publish(Last(3))),
            ("used up elsewhere before, and another came", 5, false, Last(3), Last(3), Some(2), Verdict::Conflict),
            ("used up elsewhere after, and another came", 5, false, Last(3), Last(3), Some(9), Verdict::Conflict),
            ("anything, used up elsewhere", 3, false, Anything, Anything, Some(9), publish(Last(3))),
            ("anything, hidden", 5, false, Anything, Anything, Some(4), Verdict::Stored(4)),
            ("anything, another came meanwhile", 5, false, Anything, Last(3), None, publish(Last(5))),
            ("anything, the replica is behind", 3, false, Anything, Last(3), None, Verdict::Behind),
        ];
        for (name, found, is_own, asked, sent, claimed, expected) in cases {
            assert_eq!(judge(found, is_own, asked, sent, claimed), expected, "{name}");
        }
    }
}
