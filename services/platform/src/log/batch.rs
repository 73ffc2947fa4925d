//! Several events at once: an atomic batch (NATS ADR-50), or one by one where a batch is not possible.

use async_nats::{HeaderMap, Request};
use tracing::{Instrument as _, Span};
use uuid::Uuid;

use super::{
    AppendError, Appended, EventLog, Expect, LogError, NewEvent,
    append::stamped,
    publish::{Next, Outgoing, PubAck, interpret},
};
use crate::{metrics, trace};

/// Most messages in one batch; the server takes 1000.
const MAX_BATCH: usize = 500;

impl EventLog {
    /// Appends events in order, each exactly once, in a span below its own. More than one go as an atomic batch; whatever
    /// keeps the batch from being stored, they then go one by one, since a batch is stored whole or not at all.
    ///
    /// # Errors
    /// [`AppendError::Refused`] when the log will never take one of them.
    pub async fn append_all(&self, events: Vec<(NewEvent, Expect, Span)>) -> Result<Vec<Appended>, AppendError> {
        let mut appended = Vec::with_capacity(events.len());
        for chunk in events.chunks(MAX_BATCH) {
            let published: Vec<Publishing> = chunk.iter().map(Publishing::of).collect();
            match self.batch(&published).await {
                Some(sequences) => {
                    published.iter().for_each(|one| metrics::appended(&one.event.event.subject()));
                    appended.extend(sequences);
                }
                None => {
                    for one in &published {
                        let settled = self.settle(&one.event, one.expect).instrument(one.span.clone()).await;
                        trace::record_outcome(&one.span, settled.as_ref().err());
                        appended.push(settled?);
                    }
                }
            }
        }
        Ok(appended)
    }

    /// The sequences, if the batch was stored by this call.
    async fn batch(&self, events: &[Publishing]) -> Option<Vec<Appended>> {
        let (commit, before) = events.split_last().filter(|(_, before)| !before.is_empty())?;
        let id = Uuid::new_v4().simple().to_string();
        for (index, one) in before.iter().enumerate() {
            let message = Outgoing::of(&one.event).ok()?;
            let headers = batch_headers(message.headers(one.expect, true), &id, index, false);
            let subject = message.subject.to_string();
            self.client.publish_with_headers(subject, headers, message.body()).await.ok()?;
        }
        let message = Outgoing::of(&commit.event).ok()?;
        let headers = batch_headers(message.headers(commit.expect, true), &id, before.len(), true);
        let request = Request::new().headers(headers).payload(message.body());
        let answer = self.ask(message.subject.to_string(), request).await;
        let ack = answer.and_then(|answer| {
            serde_json::from_slice::<PubAck>(&answer.payload)
                .map_err(|error| LogError::Protocol { what: "batch".to_owned(), reason: error.to_string() })
        });
        let count = u64::try_from(events.len()).ok()?;
        match (ack.as_ref().map(|ack| ack.count), interpret(ack.clone())) {
            (Ok(stored), Next::Stored(last)) if stored == count => {
                let first = last.checked_sub(count)?.checked_add(1)?;
                Some((first..=last).map(|sequence| Appended { sequence, duplicate: false }).collect())
            }
            (_, next) => {
                tracing::debug!(?next, events = count, "the batch was not stored, publishing one by one");
                None
            }
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
    fn of((event, expect, parent): &(NewEvent, Expect, Span)) -> Self {
        let span = parent.in_scope(|| trace::publish_span(&event.event.subject(), &event.envelope));
        let event = span.in_scope(|| stamped(event));
        Self { event, expect: *expect, span }
    }
}

fn batch_headers(mut headers: HeaderMap, id: &str, index: usize, commit: bool) -> HeaderMap {
    headers.insert("Nats-Batch-Id", id);
    headers.insert("Nats-Batch-Sequence", index.saturating_add(1).to_string().as_str());
    if commit {
        headers.insert("Nats-Batch-Commit", "1");
    }
    headers
}
