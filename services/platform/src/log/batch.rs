//! Several events at once: an atomic batch (NATS ADR-50), or one by one where a batch is not possible.

use tokio::time::Instant;
use tracing::{Instrument as _, Span};

use super::{
    AppendError, Appended, Expect, NewEvent,
    append::{Attempt, add_context, record},
    publish::{Next, Outgoing, Wire, interpret},
    room::Room,
};
use crate::{metrics, trace};

/// Most messages in one batch; the server takes 1000.
pub(super) const MAX_BATCH: usize = 500;

/// Appends events in order. A batch is stored whole or not at all: whatever keeps it out, its events then go one by one.
pub(crate) async fn append_all(
    wire: &impl Wire,
    room: &Room,
    events: Vec<(NewEvent, Expect, Span)>,
) -> Vec<Result<Appended, AppendError>> {
    let mut outcomes = Vec::with_capacity(events.len());
    for chunk in events.chunks(MAX_BATCH) {
        let published: Vec<Publishing> = chunk.iter().map(Publishing::begin).collect();
        let began = Instant::now();
        match append_batch(wire, &published).await {
            Some(sequences) => {
                room.report_room();
                for (one, sequence) in published.iter().zip(sequences) {
                    metrics::appended(&one.event.subject);
                    let stored = Ok(Appended::Stored { sequence, duplicate: false });
                    record(&one.span, &one.event, began, &stored);
                    outcomes.push(stored);
                }
            }
            None => {
                for one in &published {
                    outcomes.push(append_one(wire, room, one).await);
                }
            }
        }
    }
    outcomes
}

async fn append_one(wire: &impl Wire, room: &Room, one: &Publishing) -> Result<Appended, AppendError> {
    let appending = async { Attempt::new(wire, room, &one.event, one.expect)?.run().await };
    let began = Instant::now();
    let outcome = appending.instrument(one.span.clone()).await;
    record(&one.span, &one.event, began, &outcome);
    outcome
}

/// The sequences, if the batch was stored by this call.
async fn append_batch(wire: &impl Wire, events: &[Publishing]) -> Option<impl Iterator<Item = u64>> {
    if events.len() < 2 {
        return None;
    }
    let outgoing = |one: &Publishing| Some((Outgoing::from_event(&one.event).ok()?, one.expect));
    let messages: Vec<(Outgoing, Expect)> = events.iter().map(outgoing).collect::<Option<_>>()?;
    let ack = wire.publish_batch(&messages).await;
    let count = u64::try_from(events.len()).ok()?;
    match (ack.as_ref().map(|ack| ack.count), interpret(ack.clone())) {
        (Ok(stored), Next::Stored(last)) if stored == count => Some(last.checked_sub(count)?.checked_add(1)?..=last),
        (_, next) => {
            tracing::debug!(?next, events = count, "the batch was not stored, publishing one by one");
            None
        }
    }
}

/// An event in its publish span, whose context is in its headers.
struct Publishing {
    event: NewEvent,
    expect: Expect,
    span: Span,
}

impl Publishing {
    fn begin((event, expect, parent): &(NewEvent, Expect, Span)) -> Self {
        let span = parent.in_scope(|| trace::publish_span(event));
        let event = span.in_scope(|| add_context(event));
        Self { event, expect: *expect, span }
    }
}
