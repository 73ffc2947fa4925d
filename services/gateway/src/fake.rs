//! A log in memory for tests: it answers, is away, hangs, refuses, or has an acknowledgement lost.

use std::{
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use futures_util::future::BoxFuture;
use tokio::sync::Notify;
use uuid::Uuid;
use waybill_domain::explain::{Entry, Explanation, History, Readers, Seen, explain_container, explain_image};
use waybill_platform::{
    log::{AppendError, Appended, Expect, LogError, NewEvent},
    trace,
};
use waybill_schemas::{
    ContainerId, Envelope, Event, ImageId, Recorded, Subject, Timestamp, WorkspaceId, decode,
    v1::{CredentialSecretRotated, CredentialSecretSaved},
};

use crate::port::{Appender, Explains, Sibling};

/// How the log behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Mode {
    #[default]
    Answers,
    /// Nothing is stored, and the log says so.
    Away,
    /// Nothing is stored and nothing is said.
    Hangs,
    /// Nothing is stored, ever.
    Refuses,
    /// The event is stored, but found only when it is sent again.
    LosesAcknowledgement,
    /// The event is stored, and acknowledged when [`Fake::acknowledge`] is called.
    Holds,
    /// As a log whose history cannot be read.
    Forgets,
    /// A build of the image under another reference is stored just before a rotation.
    Overtakes,
}

/// A message as the log holds it.
pub(crate) struct Stored {
    pub(crate) subject: Subject,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) at: Timestamp,
}

impl Stored {
    fn sibling(&self, sequence: u64) -> Sibling {
        let value = decode(&self.subject.to_string(), self.headers.as_slice(), &self.body);
        Recorded { sequence, at: self.at, value }
    }

    fn id(&self) -> &str {
        let id = self.headers.iter().find(|(name, _)| name == "ce-id");
        id.map(|(_, id)| id.as_str()).unwrap()
    }
}

#[derive(Default)]
pub(crate) struct Fake {
    mode: Mutex<Mode>,
    stored: Mutex<Vec<Stored>>,
    reached: Notify,
    acknowledged: Notify,
}

impl Fake {
    pub(crate) fn set(&self, mode: Mode) {
        *self.mode.lock().unwrap() = mode;
    }

    pub(crate) fn stored(&self) -> MutexGuard<'_, Vec<Stored>> {
        self.stored.lock().unwrap()
    }

    /// Waits until an event is stored in mode [`Mode::Holds`].
    pub(crate) async fn reached(&self) {
        self.reached.notified().await;
    }

    /// Lets go of what is held.
    pub(crate) fn acknowledge(&self) {
        self.acknowledged.notify_one();
    }

    fn mode(&self) -> Mode {
        *self.mode.lock().unwrap()
    }

    /// As the real log does, whatever last sequence was guessed: the id decides whether the event is there.
    fn store(&self, new: &NewEvent) -> Appended {
        let mut stored = self.stored();
        let subject = new.event.subject();
        let id = new.envelope.id.to_string();
        let same = |other: &Stored| other.subject.siblings() == subject.siblings() && other.id() == id;
        if let Some(at) = stored.iter().position(same) {
            return Appended { sequence: sequence(at), duplicate: true };
        }
        let mut envelope = new.envelope.clone();
        envelope.traceparent = trace::current().map(|(context, _)| context);
        let headers = envelope.to_headers(new.event.event_type(), &subject);
        let headers = headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        stored.push(Stored { subject, headers, body: new.event.to_json().unwrap(), at: trace::now() });
        Appended { sequence: sequence(stored.len() - 1), duplicate: false }
    }
}

fn sequence(at: usize) -> u64 {
    u64::try_from(at).unwrap() + 1
}

impl Appender for Fake {
    fn append<'a>(
        &'a self,
        event: &'a NewEvent,
        _: Expect,
        limit: Duration,
    ) -> BoxFuture<'a, Result<Appended, AppendError>> {
        let subject = event.event.subject().to_string();
        let unavailable = |reason: String| Err(AppendError::Unavailable { subject: subject.clone(), reason });
        let outcome = match self.mode() {
            Mode::Answers | Mode::Forgets => Ok(self.store(event)),
            Mode::Overtakes => {
                if let Event::CredentialSecretRotated(CredentialSecretRotated { secret, .. }) = &event.event {
                    let image_ref = format!("{}-moved", secret.image_ref);
                    let moved = CredentialSecretSaved { image_ref, ..secret.clone() };
                    let envelope = Envelope { id: Uuid::new_v4(), ..event.envelope.clone() };
                    self.store(&NewEvent { envelope, event: moved.into() });
                }
                Ok(self.store(event))
            }
            Mode::LosesAcknowledgement => Ok(Appended { duplicate: true, ..self.store(event) }),
            Mode::Away => unavailable(format!("nothing within {} ms", limit.as_millis())),
            Mode::Refuses => Err(AppendError::Refused { subject, code: 10057, description: "not allowed".to_owned() }),
            Mode::Hangs => return Box::pin(std::future::pending()),
            Mode::Holds => {
                let outcome = Ok(self.store(event));
                return Box::pin(async move {
                    self.reached.notify_one();
                    self.acknowledged.notified().await;
                    outcome
                });
            }
        };
        Box::pin(async move { outcome })
    }

    fn history<'a>(&'a self, subject: &'a Subject) -> BoxFuture<'a, Result<Vec<Sibling>, LogError>> {
        let stored = self.stored();
        let siblings = stored.iter().enumerate().filter(|(_, stored)| stored.subject.siblings() == subject.siblings());
        let mut siblings: Vec<_> = siblings.map(|(at, stored)| stored.sibling(sequence(at))).collect();
        if self.mode() == Mode::Forgets {
            siblings.clear();
        }
        Box::pin(async move { Ok(siblings) })
    }
}

impl Fake {
    /// Everything that is stored; a log that is away says so.
    async fn everything(&self) -> Result<History, LogError> {
        match self.mode() {
            Mode::Away => {
                let what = "read".to_owned();
                return Err(LogError::Unavailable { what, reason: "no answer in time".to_owned() });
            }
            Mode::Hangs => std::future::pending().await,
            _ => {}
        }
        let entry = |(at, stored): (usize, &Stored)| {
            let Sibling { sequence, at, value } = stored.sibling(sequence(at));
            Entry { sequence, at, value: Seen::Event(Box::new(value.unwrap())) }
        };
        Ok(History::new(self.stored().iter().enumerate().map(entry).collect(), Vec::new()))
    }
}

impl Explains for Fake {
    fn image<'a>(
        &'a self,
        workspace: &'a WorkspaceId,
        id: &'a ImageId,
    ) -> BoxFuture<'a, Result<Explanation, LogError>> {
        Box::pin(async move { Ok(explain_image(&self.everything().await?, workspace, id, trace::now())) })
    }

    fn container<'a>(
        &'a self,
        workspace: &'a WorkspaceId,
        id: &'a ContainerId,
    ) -> BoxFuture<'a, Result<Explanation, LogError>> {
        Box::pin(async move {
            let history = self.everything().await?;
            Ok(explain_container(&history, workspace, id, &Readers::unknown(), trace::now()))
        })
    }
}
