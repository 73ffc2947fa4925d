//! The worker's registration: its public key in the log, and again when its consumer is missing.

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

use uuid::Uuid;
use waybill_platform::{
    log::{AppendError, EventLog, Expect, LogError, NewEvent},
    sealing::PublicKey,
    trace,
};
use waybill_schemas::{Envelope, Event, Subject, WorkerId, v1::WorkerRegistered};

use crate::source;

/// First pause between two registrations; it doubles up to an hour while the scheduler does not make the consumer.
const FIRST_PAUSE: Duration = Duration::from_secs(30);
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);
const LIMIT: Duration = Duration::from_secs(10);

/// Registers one worker.
pub(crate) struct Registrar {
    log: EventLog,
    worker_id: WorkerId,
    key: PublicKey,
    next: Mutex<(Instant, Duration)>,
}

impl Registrar {
    pub(crate) fn new(log: EventLog, worker_id: WorkerId, key: PublicKey) -> Self {
        // The first registration is made by `ensure`; repeating it before the scheduler had time to act helps nobody.
        Self { log, worker_id, key, next: Mutex::new((Instant::now() + FIRST_PAUSE, FIRST_PAUSE)) }
    }

    /// Publishes the key unless the log's last registration says the same.
    pub(crate) async fn ensure(&self) -> Result<(), RegisterError> {
        let subject = Subject::Registered { worker_id: self.worker_id.clone() };
        let last = self.log.last(&subject.to_string()).await?;
        let sequence = last.as_ref().map_or(0, |message| message.sequence);
        let event = self.event();
        let same = last.and_then(|message| message.decode().ok()).is_some_and(|recorded| recorded.event == event);
        if same {
            tracing::debug!(worker_id = %self.worker_id, sequence, "registered already");
            return Ok(());
        }
        self.publish(event, Expect::LastSibling(sequence)).await
    }

    /// Registers again, not too often: the scheduler makes the consumer when it folds a registration.
    pub(crate) async fn remind(&self) {
        let due = {
            let mut next = self.next.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let due = next.0 <= Instant::now();
            if due {
                next.1 = next.1.saturating_mul(2).min(LONGEST_PAUSE);
                next.0 = Instant::now() + next.1;
            }
            due
        };
        if due && let Err(error) = self.publish(self.event(), Expect::Nothing).await {
            tracing::warn!(%error, "cannot register again");
        }
    }

    fn event(&self) -> Event {
        WorkerRegistered { worker_id: self.worker_id.clone(), sealing_key: self.key.text().clone() }.into()
    }

    async fn publish(&self, event: Event, expect: Expect) -> Result<(), RegisterError> {
        let id = Uuid::new_v4();
        let envelope = Envelope {
            id,
            source: source(&self.worker_id),
            source_version: None,
            time: Some(trace::now()),
            causation_id: None,
            correlation_id: Some(id),
            traceparent: None,
            tracestate: None,
        };
        let appended = self.log.append(&NewEvent { envelope, event }, expect, Some(LIMIT)).await?;
        tracing::info!(worker_id = %self.worker_id, sequence = appended.sequence, "worker registered");
        Ok(())
    }
}

/// The registration is not in the log.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RegisterError {
    #[error("the log does not say whether this worker is registered")]
    Log(#[from] LogError),
    #[error("the registration is not acknowledged")]
    Append(#[from] AppendError),
}
