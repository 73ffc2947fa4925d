//! From a decided event to its place in the log, once per idempotency key.

use std::{sync::Arc, time::Duration};

use uuid::Uuid;
use waybill_platform::{
    log::{AppendError, Expect, LogError, NewEvent},
    trace,
};
use waybill_schemas::{Derivation, Envelope, Event, MAX_BODY_BYTES, Recorded, RecordedEvent, Subject, derived_id};

use crate::{
    SOURCE,
    idempotency::{IdempotencyKey, same_request},
    port::{Appender, Sibling},
};

/// An event's place, as the client is told.
#[derive(Debug, Clone)]
pub(crate) struct Receipt {
    /// The event as it stands in the log.
    pub(crate) event: Event,
    pub(crate) event_id: Uuid,
    pub(crate) sequence: u64,
    /// Trace of the request that recorded the event.
    pub(crate) trace_id: Option<String>,
    /// Whether an earlier request with the same key recorded it.
    pub(crate) replayed: bool,
}

/// Why there is no receipt.
#[derive(Debug)]
pub(crate) enum RecordError {
    /// The log is away or slow.
    Unavailable(String),
    /// The log does not say what it holds; nothing was published.
    Unread(String),
    /// The log refuses.
    Refused(String),
    /// The key was used for something else.
    KeyReused,
    /// No reader would take an event of so many bytes.
    TooLarge(usize),
}

/// Records events in the log.
#[derive(Clone)]
pub(crate) struct Recorder {
    pub(crate) log: Arc<dyn Appender>,
    /// How long recording may take in all.
    pub(crate) limit: Duration,
}

impl Recorder {
    /// Appends the event and waits for the acknowledgement; with a key, at most once.
    pub(crate) async fn record(
        &self,
        operation: &str,
        event: Event,
        key: Option<&IdempotencyKey>,
    ) -> Result<Receipt, RecordError> {
        check_size(&event)?;
        let recording = self.settle(operation, event, key);
        tokio::time::timeout(self.limit, recording).await.unwrap_or_else(|_| {
            Err(RecordError::Unavailable(format!("no acknowledgement within {} ms", self.limit.as_millis())))
        })
    }

    /// Appends what follows from an event, once.
    pub(crate) async fn follow(&self, cause: &Receipt, kind: Derivation, event: Event) -> Result<(), RecordError> {
        let envelope = Envelope {
            causation_id: Some(cause.event_id),
            correlation_id: Some(cause.event_id),
            ..new_envelope(derived_id(cause.event_id, kind))
        };
        self.log.append(&NewEvent { envelope, event }, Expect::LastSibling(cause.sequence), self.limit).await?;
        Ok(())
    }

    /// What followed from an event, if it did.
    pub(crate) async fn followed(&self, cause: &Receipt, kind: Derivation) -> Result<Option<Event>, RecordError> {
        let siblings = self.siblings(&cause.event.subject()).await?;
        Ok(find(&siblings, derived_id(cause.event_id, kind)).map(|(_, recorded)| recorded.event.clone()))
    }

    /// What the log holds of an image, before the event of a key if that is there.
    pub(crate) async fn before(
        &self,
        operation: &str,
        subject: &Subject,
        key: Option<&IdempotencyKey>,
    ) -> Result<Before, RecordError> {
        let siblings = self.siblings(subject).await?;
        let own = key.and_then(|key| find(&siblings, key.event_id(operation, subject)));
        let (until, own) = own.map_or((u64::MAX, None), |(sequence, own)| (sequence, Some(own.event.clone())));
        Ok(Before { events: readable(siblings, |sequence| sequence < until), own })
    }

    /// What the log holds of the same image as an event, up to it.
    pub(crate) async fn up_to(&self, receipt: &Receipt) -> Result<Vec<Recorded<Event>>, RecordError> {
        let siblings = self.siblings(&receipt.event.subject()).await?;
        Ok(readable(siblings, |sequence| sequence <= receipt.sequence))
    }

    async fn siblings(&self, subject: &Subject) -> Result<Vec<Sibling>, RecordError> {
        let siblings = self.in_time(subject).await;
        let mut siblings = siblings.map_err(|error| RecordError::Unread(error.to_string()))?;
        siblings.sort_by_key(|sibling| sibling.sequence);
        Ok(siblings)
    }

    /// What the log holds beside a subject, or that it does not say so in time.
    async fn in_time(&self, subject: &Subject) -> Result<Vec<Sibling>, LogError> {
        let reading = tokio::time::timeout(self.limit, self.log.history(subject));
        reading.await.unwrap_or_else(|_| {
            let reason = format!("nothing within {} ms", self.limit.as_millis());
            Err(LogError::Unavailable { what: format!("read {}", subject.siblings()), reason })
        })
    }

    async fn settle(
        &self,
        operation: &str,
        event: Event,
        key: Option<&IdempotencyKey>,
    ) -> Result<Receipt, RecordError> {
        let Some(key) = key else {
            let new = new_event(Uuid::new_v4(), event);
            let appended = self.log.append(&new, Expect::Nothing, self.limit).await?;
            return Ok(fresh(new, appended.sequence));
        };
        let id = key.event_id(operation, &event.subject());
        let new = new_event(id, event);
        // A guess that is mostly right: nothing is there yet. Where it is wrong, appending looks for the id.
        let appended = self.log.append(&new, Expect::LastSibling(0), self.limit).await?;
        if !appended.duplicate {
            return Ok(fresh(new, appended.sequence));
        }
        // Some request with this key was recorded. What that one asked for counts.
        let siblings = self.log.history(&new.event.subject()).await?;
        let (sequence, earlier) = find(&siblings, id)
            .ok_or_else(|| RecordError::Unavailable("the event is recorded but cannot be read back".to_owned()))?;
        replay(sequence, earlier, new)
    }
}

/// What the log holds of an image when something about it is asked for.
pub(crate) struct Before {
    /// Its events, in their order.
    pub(crate) events: Vec<Recorded<Event>>,
    /// The event that an earlier request with the same key recorded. It and what follows are not among the others.
    pub(crate) own: Option<Event>,
}

fn readable(siblings: Vec<Sibling>, wanted: impl Fn(u64) -> bool) -> Vec<Recorded<Event>> {
    let event = |Sibling { sequence, at, value }| Some(Recorded { sequence, at, value: value.ok()?.event });
    siblings.into_iter().filter(|sibling| wanted(sibling.sequence)).filter_map(event).collect()
}

/// Room for what the scheduler adds when it seals the same credentials to a worker: its event must be readable as well.
const LARGEST_BODY: usize = MAX_BODY_BYTES - 8 * 1024;

/// Credentials grow when they are sealed and encoded; what readers would refuse is not published.
fn check_size(event: &Event) -> Result<(), RecordError> {
    let body = event.to_json().map_err(|error| RecordError::Refused(error.to_string()))?;
    if body.len() > LARGEST_BODY { Err(RecordError::TooLarge(body.len())) } else { Ok(()) }
}

fn new_event(id: Uuid, event: Event) -> NewEvent {
    NewEvent { envelope: new_envelope(id), event }
}

fn new_envelope(id: Uuid) -> Envelope {
    Envelope {
        id,
        source: SOURCE.to_owned(),
        source_version: None,
        time: Some(trace::now()),
        causation_id: None,
        correlation_id: Some(id),
        traceparent: None,
        tracestate: None,
    }
}

fn fresh(new: NewEvent, sequence: u64) -> Receipt {
    Receipt {
        event: new.event,
        event_id: new.envelope.id,
        sequence,
        trace_id: trace::current().map(|(context, _)| context.trace_id().to_owned()),
        replayed: false,
    }
}

fn find(siblings: &[Sibling], id: Uuid) -> Option<(u64, &RecordedEvent)> {
    siblings.iter().find_map(|sibling| match &sibling.value {
        Ok(recorded) if recorded.envelope.id == id => Some((sibling.sequence, recorded)),
        _ => None,
    })
}

fn replay(sequence: u64, earlier: &RecordedEvent, asked: NewEvent) -> Result<Receipt, RecordError> {
    // The very event of this request: its acknowledgement was lost, and it was found when it was sent again.
    if earlier.envelope.time == asked.envelope.time && earlier.event == asked.event {
        return Ok(fresh(asked, sequence));
    }
    if !same_request(&earlier.event, &asked.event) {
        return Err(RecordError::KeyReused);
    }
    Ok(Receipt {
        event: earlier.event.clone(),
        event_id: earlier.envelope.id,
        sequence,
        trace_id: earlier.envelope.traceparent.as_ref().map(|context| context.trace_id().to_owned()),
        replayed: true,
    })
}

impl From<AppendError> for RecordError {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Unavailable { .. } => Self::Unavailable(error.to_string()),
            AppendError::Refused { .. } => Self::Refused(error.to_string()),
            AppendError::History { source, .. } => source.into(),
        }
    }
}

impl From<LogError> for RecordError {
    fn from(error: LogError) -> Self {
        match error {
            LogError::Refused { .. } => Self::Refused(error.to_string()),
            _ => Self::Unavailable(error.to_string()),
        }
    }
}
