//! From a decided event to its place in the log, once per idempotency key.

use std::{sync::Arc, time::Duration};

use uuid::Uuid;
use waybill_platform::{
    log::{AppendError, Expect, LogError, NewEvent},
    trace,
};
use waybill_schemas::{Envelope, Event, RecordedEvent};

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
    pub(crate) trace_id: Option<String>,
    /// Whether an earlier request with the same key recorded it.
    pub(crate) replayed: bool,
}

/// Why there is no receipt.
#[derive(Debug)]
pub(crate) enum RecordError {
    /// The log is away or slow.
    Unavailable(String),
    /// The log refuses.
    Refused(String),
    /// The key was used for something else.
    KeyReused,
}

/// Records events in the log.
#[derive(Clone)]
pub(crate) struct Recorder {
    pub(crate) log: Arc<dyn Appender>,
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
        let Some(key) = key else { return self.append(Uuid::new_v4(), event, Expect::Nothing).await };
        let id = key.event_id(operation, &event.subject());
        let siblings = self.siblings(&event).await?;
        if let Some(earlier) = find(&siblings, id) {
            return replay(earlier, &event);
        }
        let last = siblings.last().map_or(0, |sibling| sibling.sequence);
        let receipt = self.append(id, event.clone(), Expect::LastSibling(last)).await?;
        if !receipt.replayed {
            return Ok(receipt);
        }
        // Somebody else recorded this key meanwhile: what they asked for counts.
        match find(&self.siblings(&event).await?, id) {
            Some(earlier) => replay(earlier, &event),
            None => Ok(receipt),
        }
    }

    async fn siblings(&self, event: &Event) -> Result<Vec<Sibling>, RecordError> {
        let subject = event.subject();
        match tokio::time::timeout(self.limit, self.log.history(&subject)).await {
            Ok(Ok(siblings)) => Ok(siblings),
            Ok(Err(error @ LogError::Refused { .. })) => Err(RecordError::Refused(error.to_string())),
            Ok(Err(error)) => Err(RecordError::Unavailable(error.to_string())),
            Err(_) => Err(RecordError::Unavailable("the event log does not answer".to_owned())),
        }
    }

    async fn append(&self, id: Uuid, event: Event, expect: Expect) -> Result<Receipt, RecordError> {
        let envelope = Envelope {
            id,
            source: SOURCE.to_owned(),
            time: Some(trace::now()),
            causation_id: None,
            correlation_id: Some(id),
            traceparent: None,
            tracestate: None,
        };
        let new = NewEvent { envelope, event };
        let appended = self.log.append(&new, expect, self.limit).await.map_err(|error| match error {
            AppendError::Unavailable { .. } | AppendError::History { .. } => {
                RecordError::Unavailable(error.to_string())
            }
            AppendError::Refused { .. } => RecordError::Refused(error.to_string()),
        })?;
        Ok(Receipt {
            event: new.event,
            event_id: id,
            sequence: appended.sequence,
            trace_id: trace::current().map(|(context, _)| context.trace_id().to_owned()),
            replayed: appended.duplicate,
        })
    }
}

fn find(siblings: &[Sibling], id: Uuid) -> Option<(u64, &RecordedEvent)> {
    siblings.iter().find_map(|sibling| match &sibling.value {
        Ok(recorded) if recorded.envelope.id == id => Some((sibling.sequence, recorded)),
        _ => None,
    })
}

fn replay((sequence, recorded): (u64, &RecordedEvent), asked: &Event) -> Result<Receipt, RecordError> {
    if !same_request(&recorded.event, asked) {
        return Err(RecordError::KeyReused);
    }
    Ok(Receipt {
        event: recorded.event.clone(),
        event_id: recorded.envelope.id,
        sequence,
        trace_id: recorded.envelope.traceparent.as_ref().map(|context| context.trace_id().to_owned()),
        replayed: true,
    })
}
