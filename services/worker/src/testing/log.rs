//! The event log in memory: an id is stored once, whatever was expected.

use std::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, Ordering},
};

use futures_util::future::BoxFuture;
use waybill_platform::log::{AppendError, Appended, Expect, LogError, NewEvent};
use waybill_schemas::{RecordedEvent, Subject};

use crate::port::OutcomeLog;

/// An event, its sequence, and what was expected when it was appended.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) sequence: u64,
    pub(crate) event: RecordedEvent,
    pub(crate) expected: Expect,
}

pub(crate) struct FakeLog {
    stored: Mutex<Vec<Stored>>,
    first: u64,
    refusing: AtomicBool,
}

impl FakeLog {
    /// A log whose next event has this sequence.
    pub(crate) fn starting_at(first: u64) -> Self {
        Self { stored: Mutex::default(), first, refusing: AtomicBool::new(false) }
    }

    /// Takes nothing any more.
    pub(crate) fn refuse(&self) {
        self.refusing.store(true, Ordering::SeqCst);
    }

    pub(crate) fn stored(&self) -> MutexGuard<'_, Vec<Stored>> {
        self.stored.lock().unwrap()
    }

    pub(crate) fn names(&self) -> Vec<&'static str> {
        self.stored().iter().map(|stored| stored.event.event.event_type().as_str()).collect()
    }

    fn store(&self, new: &NewEvent, expected: Expect) -> Appended {
        let mut stored = self.stored();
        if let Some(own) = stored.iter().find(|stored| stored.event.envelope.id == new.envelope.id) {
            return Appended { sequence: own.sequence, duplicate: true };
        }
        let sequence = self.first + u64::try_from(stored.len()).unwrap();
        let event = RecordedEvent { envelope: new.envelope.clone(), event: new.event.clone() };
        stored.push(Stored { sequence, event, expected });
        Appended { sequence, duplicate: false }
    }
}

impl OutcomeLog for FakeLog {
    fn append<'a>(&'a self, event: &'a NewEvent, expect: Expect) -> BoxFuture<'a, Result<Appended, AppendError>> {
        let subject = event.event.subject().to_string();
        Box::pin(async move {
            match self.refusing.load(Ordering::SeqCst) {
                true => Err(AppendError::Refused { subject, code: 10_077, description: "maximum bytes".to_owned() }),
                false => Ok(self.store(event, expect)),
            }
        })
    }

    fn history<'a>(&'a self, subject: &'a Subject) -> BoxFuture<'a, Result<Vec<(u64, RecordedEvent)>, LogError>> {
        let stored = self.stored();
        let siblings = stored.iter().filter(|stored| stored.event.event.subject().siblings() == subject.siblings());
        let history = siblings.map(|stored| (stored.sequence, stored.event.clone())).collect();
        Box::pin(async move { Ok(history) })
    }
}
