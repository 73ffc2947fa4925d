//! Several events at once: an atomic batch (NATS ADR-50), and halves of it where one of its events keeps it out.

use std::sync::Arc;

use tokio::time::{Instant, sleep};
use tracing::{Instrument as _, Span};
use waybill_schemas::Uuid;

use super::{
    AppendError, Appended, Expect, LogError, NewEvent,
    append::{Attempt, holds_id, record},
    publish::{Next, Outgoing, Wire, back_off, interpret, message_in},
    room::Room,
};
use crate::{metrics, trace};

/// Most messages in one batch; the server takes 1000.
pub(super) const MAX_BATCH: usize = 500;
/// Tries after which a log that acknowledges nothing is told of.
const UNANSWERED_TRIES: u32 = 2;

/// Appends events in order; see [`Log::append_all`](super::Log::append_all).
pub(crate) async fn append_all(
    wire: &impl Wire,
    room: &Room,
    events: &[(NewEvent, Expect, Span)],
) -> Vec<Option<Result<Appended, AppendError>>> {
    let published: Vec<Publishing<'_>> = events.iter().map(Publishing::begin).collect();
    let mut outcomes = Vec::with_capacity(published.len());
    let mut left: Vec<&[Publishing<'_>]> = published.chunks(MAX_BATCH).rev().collect();
    while let Some(part) = left.pop() {
        let [first, others @ ..] = part else { continue };
        if others.is_empty() {
            outcomes.push(Some(append_one(wire, room, first).await));
            continue;
        }
        let began = Instant::now();
        match append_batch(wire, room, part).await {
            Some(sequences) => {
                for (one, sequence) in part.iter().zip(sequences) {
                    metrics::appended(&one.new.subject);
                    let stored = Ok(Appended::Stored { sequence, duplicate: false });
                    record(&one.span, one.new, began, &stored);
                    outcomes.push(Some(stored));
                }
            }
            None => match find_said(wire, first).await {
                // Whoever said the first of them says the others as well: the batch is cut here, not taken apart.
                Some(sequence) => {
                    outcomes.push(Some(Ok(Appended::Stored { sequence, duplicate: true })));
                    outcomes.extend(others.iter().map(|_| None));
                }
                None => {
                    let (before, after) = part.split_at(part.len() / 2);
                    left.extend([after, before]);
                }
            },
        }
    }
    outcomes
}

async fn append_one(wire: &impl Wire, room: &Room, one: &Publishing<'_>) -> Result<Appended, AppendError> {
    let appending = async {
        let message = one.message.clone().map_or_else(|| message_in(&one.span, one.new), Ok)?;
        Attempt::new(wire, room, one.new, message, one.expect).run().await
    };
    let began = Instant::now();
    let outcome = appending.instrument(one.span.clone()).await;
    record(&one.span, one.new, began, &outcome);
    outcome
}

/// The sequences, if the batch was stored by this call; none if one of its events keeps it out. A log that does not answer is
/// asked again.
async fn append_batch(wire: &impl Wire, room: &Room, events: &[Publishing<'_>]) -> Option<impl Iterator<Item = u64>> {
    let messages: Vec<(&Outgoing, Expect)> =
        events.iter().map(|one| Some((one.message.as_deref()?, one.expect))).collect::<Option<_>>()?;
    let count = u64::try_from(events.len()).ok()?;
    let mut tries = 0_u32;
    loop {
        let ack = wire.publish_batch(&messages).await;
        let stored = ack.as_ref().map_or(0, |ack| ack.count);
        match interpret(ack) {
            Next::Stored(last) if stored == count => {
                room.report_room();
                return Some(last.checked_sub(count)?.checked_add(1)?..=last);
            }
            Next::Again(reason) => {
                if tries >= UNANSWERED_TRIES {
                    room.report_unanswered(&reason);
                }
                sleep(back_off(tries)).await;
                tries = tries.saturating_add(1);
            }
            next => {
                tracing::debug!(?next, events = count, "the batch was not stored");
                return None;
            }
        }
    }
}

/// Sequence of the event, if it is the last one on its subject.
async fn find_said(wire: &impl Wire, one: &Publishing<'_>) -> Option<u64> {
    let last: Result<_, LogError> = wire.last_on(&one.message.as_ref()?.subject).await;
    let last = last.ok().flatten().filter(|last| holds_id(Some(last), one.id()))?;
    Some(last.sequence)
}

/// An event in its publish span, whose context is in its headers.
struct Publishing<'a> {
    new: &'a NewEvent,
    /// None only for a body that cannot be written as JSON.
    message: Option<Arc<Outgoing>>,
    expect: Expect,
    span: Span,
}

impl<'a> Publishing<'a> {
    fn begin((new, expect, parent): &'a (NewEvent, Expect, Span)) -> Self {
        let span = parent.in_scope(|| trace::publish_span(new));
        Self { message: message_in(&span, new).ok(), new, expect: *expect, span }
    }

    fn id(&self) -> Uuid {
        self.new.envelope.id
    }
}
