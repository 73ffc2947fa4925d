//! The worker's registration: this instance and its public key in the log, at each start and when its consumer is missing.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use waybill_platform::{
    log::{AppendError, Appended, Expect, Log, LogError, NewEvent, RawMessage},
    trace,
};
use waybill_schemas::{Envelope, Event, PublicSealingKey, Subject, Timestamp, Uuid, WorkerId, v1::WorkerRegistered};

use crate::source;

/// First pause between two registrations; it doubles up to an hour while the scheduler does not make the consumer.
const FIRST_PAUSE: Duration = Duration::from_secs(30);
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);
const LIMIT: Duration = Duration::from_secs(10);

/// Registers one instance of a worker.
#[derive(Debug)]
pub(crate) struct Registrar {
    log: Arc<dyn Log>,
    registered: WorkerRegistered,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Sequence of this instance's first registration; 0 before it.
    sequence: u64,
    /// When the next repetition may be published, and the pause before it.
    next: (Instant, Duration),
}

/// This instance is in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Registration {
    pub(crate) sequence: u64,
    /// True if the registration before named another key.
    pub(crate) key_changed: bool,
}

/// What the log has of this worker's registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    /// This instance.
    Own,
    /// Another one, that came later.
    Other(Replaced),
    /// Nothing as new as this instance: a replica is behind, or an older copy of the log was restored.
    Older,
}

/// Another process has registered under this worker's id since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Replaced {
    pub(crate) sequence: u64,
    pub(crate) at: Timestamp,
}

impl Registrar {
    pub(crate) fn new(log: Arc<dyn Log>, worker_id: WorkerId, sealing_key: PublicSealingKey) -> Self {
        let registered = WorkerRegistered { worker_id, instance: Uuid::new_v4(), sealing_key };
        let next = (Instant::now() + FIRST_PAUSE, FIRST_PAUSE);
        Self { log, registered, state: Mutex::new(State { sequence: 0, next }) }
    }

    /// Publishes the instance and its key: from then on it owns the worker id.
    pub(crate) async fn register(&self) -> Result<Registration, RegisterError> {
        let mut last = self.log.last(&self.subject()).await?;
        loop {
            let key_changed = last
                .as_ref()
                .and_then(registered_in)
                .is_some_and(|before| before.sealing_key != self.registered.sealing_key);
            let expect = Expect::Last(last.as_ref().map_or(0, |last| last.sequence));
            match self.publish(expect).await? {
                Appended::Stored { sequence, .. } => {
                    self.note(sequence);
                    return Ok(Registration { sequence, key_changed });
                }
                Appended::Conflict { last: now } => last = now,
            }
        }
    }

    /// Whose registration the log has.
    pub(crate) async fn find_owner(&self) -> Result<Owner, LogError> {
        let last = self.log.last(&self.subject()).await?;
        let own = self.state.lock().unwrap_or_else(PoisonError::into_inner).sequence;
        Ok(match last {
            Some(last) if last.sequence < own => Owner::Older,
            None if own > 0 => Owner::Older,
            Some(last) => self.replaced_by(&last).map_or(Owner::Own, Owner::Other),
            None => Owner::Own,
        })
    }

    fn replaced_by(&self, last: &RawMessage) -> Option<Replaced> {
        let own = self.state.lock().unwrap_or_else(PoisonError::into_inner).sequence;
        // A replica that is behind answers with what was there before.
        let newer = registered_in(last).filter(|_| last.sequence > own)?;
        let replaced = Replaced { sequence: last.sequence, at: last.at };
        (newer.instance != self.registered.instance).then_some(replaced)
    }

    /// Registers again, not too often, and only while nobody else has: the scheduler makes the consumer when it folds a
    /// registration.
    pub(crate) async fn repeat(&self) {
        if !self.is_due() {
            return;
        }
        if let Err(error) = self.try_repeat().await {
            tracing::warn!(error = waybill_platform::chain(&error), "cannot register again");
        }
    }

    async fn try_repeat(&self) -> Result<(), RegisterError> {
        let last = self.log.last(&self.subject()).await?;
        if last.as_ref().is_some_and(|last| self.replaced_by(last).is_some()) {
            // Whoever looks after the instance finds out as well.
            return Ok(());
        }
        let expect = Expect::Last(last.as_ref().map_or(0, |last| last.sequence));
        self.publish(expect).await?;
        Ok(())
    }

    fn is_due(&self) -> bool {
        let State { next, .. } = &mut *self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if next.0 > now {
            return false;
        }
        next.1 = next.1.saturating_mul(2).min(LONGEST_PAUSE);
        next.0 = now + next.1;
        true
    }

    fn note(&self, sequence: u64) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).sequence = sequence;
        let WorkerRegistered { worker_id, instance, .. } = &self.registered;
        tracing::info!(%worker_id, %instance, sequence, "worker registered");
    }

    fn subject(&self) -> Subject {
        Subject::Worker { worker_id: self.registered.worker_id.clone() }
    }

    async fn publish(&self, expect: Expect) -> Result<Appended, AppendError> {
        let envelope =
            Envelope { time: Some(trace::now()), ..Envelope::new(Uuid::new_v4(), source(&self.registered.worker_id)) };
        let new = NewEvent { subject: self.subject(), envelope, event: self.registered.clone().into() };
        self.log.append(&new, expect, Some(LIMIT)).await
    }
}

fn registered_in(message: &RawMessage) -> Option<WorkerRegistered> {
    match message.decode().ok()?.event {
        Event::WorkerRegistered(registered) => Some(registered),
        _ => None,
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

#[cfg(test)]
mod tests {
    use waybill_platform::{sealing::PrivateKey, testing::MemoryLog};

    use super::*;

    fn registrar(log: &MemoryLog, key: &PrivateKey) -> Registrar {
        let key = key.public().unwrap().text().clone();
        Registrar::new(Arc::new(log.clone()), "w1".parse().unwrap(), key)
    }

    /// Two processes with one worker id (fault 14).
    #[tokio::test]
    async fn the_newest_instance_owns_the_worker_id() {
        let (log, key) = (MemoryLog::new(), PrivateKey::generate());
        let (first, second) = (registrar(&log, &key), registrar(&log, &key));
        assert_eq!(first.register().await.unwrap(), Registration { sequence: 1, key_changed: false });
        assert_eq!(first.find_owner().await.unwrap(), Owner::Own);
        assert_eq!(second.register().await.unwrap(), Registration { sequence: 2, key_changed: false });
        let other = async |registrar: &Registrar| match registrar.find_owner().await.unwrap() {
            Owner::Other(other) => Some(other.sequence),
            _ => None,
        };
        assert_eq!(other(&first).await, Some(2));
        assert_eq!(second.find_owner().await.unwrap(), Owner::Own);
        first.try_repeat().await.unwrap();
        assert_eq!(log.events().len(), 2, "whoever is replaced says no more");
        second.try_repeat().await.unwrap();
        assert_eq!((log.events().len(), second.find_owner().await.unwrap()), (3, Owner::Own));
        assert_eq!(other(&first).await, Some(3));
        log.restore_to(1);
        assert_eq!(second.find_owner().await.unwrap(), Owner::Older);
    }

    #[tokio::test]
    async fn a_start_says_whether_the_key_is_another_one() {
        let (log, keys) = (MemoryLog::new(), [0; 2].map(|_| PrivateKey::generate()));
        for (key, changed) in [(&keys[0], false), (&keys[0], false), (&keys[1], true), (&keys[1], false)] {
            assert_eq!(registrar(&log, key).register().await.unwrap().key_changed, changed);
        }
        let instances = log.events().into_iter().map(|(_, recorded)| match recorded.event {
            Event::WorkerRegistered(registered) => registered.instance,
            other => panic!("{other:?}"),
        });
        assert_eq!(instances.collect::<std::collections::BTreeSet<_>>().len(), 4, "each start is an instance");
    }
}
