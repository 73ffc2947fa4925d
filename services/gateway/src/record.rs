//! One request's dealings with the log and the vault: look-ups and appends within its time, with its actor.

use std::{future::Future, sync::Arc, time::Duration};

use tokio::time::{Instant, timeout_at};
use tracing::Span;
use uuid::Uuid;
use waybill_domain::secret::SecretRefusal;
use waybill_platform::{
    chain,
    log::{AppendError, Appended, ErrorKind, Expect, Log, LogError, NewEvent, RawMessage},
    sealing::HashKey,
    trace,
    vault::{Created, Kept, Vault, VaultEntry, VaultError},
};
use waybill_schemas::{Envelope, Event, Filter, MAX_BODY_BYTES, Recorded, RecordedEvent, Subject, VaultKey};

use crate::SOURCE;

/// What requests record with. Clones share it.
#[derive(Clone)]
pub(crate) struct Recorder {
    pub(crate) log: Arc<dyn Log>,
    pub(crate) vault: Arc<dyn Vault>,
    /// Key of account hashes and of the vault's MACs.
    pub(crate) hash_key: Arc<HashKey>,
    /// How long recording may take in all.
    pub(crate) limit: Duration,
}

/// Why nothing is recorded, or it is unknown whether it is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum RecordError {
    /// The log did not acknowledge in time.
    Unacknowledged(String),
    /// The log or the vault does not say what it holds; nothing was published.
    Unread(String),
    /// The log or the vault has no room.
    Full(String),
    /// The log or the vault refuses.
    Refused(String),
    /// What stands on a subject cannot be decoded by this version.
    Unreadable(String),
    /// The key was used for something else.
    KeyReused,
    /// No reader would take an event of so many bytes.
    EventTooLarge(usize),
    /// No grant of so many bytes of credentials can be made.
    CredentialsTooLarge(usize),
    /// Others were faster each time.
    Contended,
    /// The scheduler has published no key to seal to.
    NoSchedulerKey,
    /// Nothing can be sealed to the scheduler's key.
    Unsealable(String),
    /// Every default name of a build's secret is taken.
    NoFreeName,
    /// The secret does not allow it.
    Secret(SecretRefusal),
    /// There is no such placement of this container.
    UnknownPlacement(u64),
    /// The credentials cannot be used.
    Credentials(String),
    /// The registry refused credentials that would have replaced ones that it took.
    VerificationFailed(String),
}

/// An event's place in the log.
#[derive(Debug, Clone)]
pub(crate) struct Receipt {
    /// The event as it stands there.
    pub(crate) event: Event,
    pub(crate) event_id: Uuid,
    pub(crate) correlation_id: Option<Uuid>,
    /// The event that caused it, if one did.
    pub(crate) causation_id: Option<Uuid>,
    pub(crate) sequence: u64,
    /// Trace of the request that recorded it.
    pub(crate) trace_id: Option<String>,
    /// True if an earlier request recorded it.
    pub(crate) replayed: bool,
}

/// The event that another one follows from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cause {
    pub(crate) event_id: Uuid,
    pub(crate) correlation_id: Option<Uuid>,
}

impl From<&Receipt> for Cause {
    fn from(receipt: &Receipt) -> Self {
        Self { event_id: receipt.event_id, correlation_id: receipt.correlation_id }
    }
}

/// What became of an append.
pub(crate) enum Written {
    /// The log holds the event.
    Stored(Box<Receipt>),
    /// Another message is the last one on the subject. None where the log did not show it.
    Conflict(Option<Box<Recorded<RecordedEvent>>>),
}

/// One request's time and actor.
pub(crate) struct Session {
    pub(crate) recorder: Recorder,
    actor: String,
    deadline: Instant,
}

impl Recorder {
    /// Begins a request's recording: its time runs from here.
    pub(crate) fn begin(&self, actor: &str) -> Session {
        Session { recorder: self.clone(), actor: actor.to_owned(), deadline: Instant::now() + self.limit }
    }
}

impl Session {
    /// The last event on a subject.
    pub(crate) async fn last(&self, subject: &Subject) -> Result<Option<Recorded<RecordedEvent>>, RecordError> {
        let message = self.in_time(self.recorder.log.last_or_never(subject)).await??;
        message.map(|message| decode(&message)).transpose()
    }

    /// The event at a sequence; none where there is none, or nothing that can be decoded.
    pub(crate) async fn event_at(&self, sequence: u64) -> Result<Option<Recorded<RecordedEvent>>, RecordError> {
        let message = self.in_time(self.recorder.log.message_at(sequence)).await??;
        Ok(message.and_then(|message| decode(&message).ok()))
    }

    /// The last event on each subject that matches a filter, at most `most`. What cannot be decoded is left out.
    pub(crate) async fn lasts(
        &self,
        filter: &Filter,
        most: usize,
    ) -> Result<Vec<Recorded<RecordedEvent>>, RecordError> {
        let lasts = self.in_time(self.recorder.log.lasts(filter, most)).await??;
        Ok(lasts.messages.iter().filter_map(|message| decode(message).ok()).collect())
    }

    /// The vault's entry at a key. What cannot be read there counts as none.
    pub(crate) async fn entry(&self, key: &VaultKey) -> Result<Option<Kept>, RecordError> {
        match self.in_time(self.recorder.vault.get(key)).await? {
            Err(error @ VaultError::Entry { .. }) => {
                tracing::warn!(error = %chain(&error), "a vault entry counts as lost");
                Ok(None)
            }
            found => Ok(found?),
        }
    }

    /// Writes a vault entry where none is. False if another one is there.
    pub(crate) async fn create_entry(&self, key: &VaultKey, entry: &VaultEntry) -> Result<bool, RecordError> {
        match self.in_time(self.recorder.vault.create(key, entry)).await?? {
            Created::Stored(_) => Ok(true),
            Created::Conflict(_) => Ok(false),
        }
    }

    /// The envelope of a new event, which begins a chain or follows from a cause.
    pub(crate) fn envelope(&self, id: Uuid, cause: Option<Cause>) -> Envelope {
        let mut envelope = Envelope::new(id, SOURCE);
        envelope.time = Some(trace::now());
        envelope.actor = Some(self.actor.clone());
        if let Some(cause) = cause {
            envelope.causation_id = Some(cause.event_id);
            envelope.correlation_id = cause.correlation_id.or(Some(cause.event_id));
        }
        envelope
    }

    /// Appends an event and waits for the acknowledgement.
    pub(crate) async fn append(&self, new: NewEvent, expect: Expect) -> Result<Written, RecordError> {
        Self::prepare(&new)?;
        let outcome = self.recorder.log.append(&new, expect, Some(self.time_left())).await;
        self.written(new, outcome).await
    }

    /// As [`append`](Self::append), and with it an event that follows from this one and is the first on its subject. What became
    /// of that is known only if the first one is this request's own.
    pub(crate) async fn append_followed(
        &self,
        new: NewEvent,
        expect: Expect,
        next: NewEvent,
    ) -> Result<(Written, Option<Written>), RecordError> {
        Self::prepare(&new)?;
        Self::prepare(&next)?;
        let chain = [(&new, expect), (&next, Expect::Last(0))];
        let mut outcomes = self.recorder.log.append_chain(&chain, Some(self.time_left())).await.into_iter();
        let first = outcomes.next().ok_or_else(|| unacknowledged("nothing was published"))?;
        let written = self.written(new, first).await?;
        let is_own = matches!(&written, Written::Stored(receipt) if !receipt.replayed);
        let followed = match outcomes.next() {
            Some(outcome) => Some(self.written(next, outcome).await?),
            None if is_own => Some(self.append(next, Expect::Last(0)).await?),
            None => None,
        };
        Ok((written, followed))
    }

    fn prepare(new: &NewEvent) -> Result<(), RecordError> {
        check_size(&new.event)?;
        // The request's own span: what it was about is known from its body only.
        trace::set_ids(&Span::current(), &new.event);
        Ok(())
    }

    fn time_left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    async fn written(&self, new: NewEvent, outcome: Result<Appended, AppendError>) -> Result<Written, RecordError> {
        match outcome? {
            Appended::Stored { sequence, duplicate: false } => Ok(stored(Receipt::from_new(new, sequence))),
            Appended::Stored { sequence, duplicate: true } => self.read_back(&new, sequence).await.map(stored),
            Appended::Conflict { last } => {
                let last = last.map(|message| decode(&message)).transpose()?;
                Ok(Written::Conflict(last.map(Box::new)))
            }
        }
    }

    /// An event with this id is in the log: this very one, whose acknowledgement was lost, or an earlier request's.
    async fn read_back(&self, new: &NewEvent, sequence: u64) -> Result<Receipt, RecordError> {
        let recorded = self.event_at(sequence).await?.filter(|recorded| recorded.value.envelope.id == new.envelope.id);
        let recorded = recorded.ok_or_else(|| unacknowledged("the event is recorded but cannot be read back"))?;
        let own = recorded.value.envelope.time == new.envelope.time && recorded.value.event == new.event;
        Ok(Receipt::from_recorded(&recorded, !own))
    }

    /// Sleeps before another try.
    pub(crate) async fn pause(&self, pause: Duration) {
        tokio::time::sleep(pause).await;
    }

    async fn in_time<T>(&self, asking: impl Future<Output = T>) -> Result<T, RecordError> {
        timeout_at(self.deadline, asking).await.map_err(|_| {
            let full = self.recorder.log.full().borrow().clone();
            let late = || RecordError::Unread(format!("no answer within {} ms", self.recorder.limit.as_millis()));
            full.map_or_else(late, RecordError::Full)
        })
    }
}

fn stored(receipt: Receipt) -> Written {
    Written::Stored(Box::new(receipt))
}

pub(crate) fn unacknowledged(reason: &str) -> RecordError {
    RecordError::Unacknowledged(reason.to_owned())
}

/// Reads a message; one that cannot be decoded is an error that names its subject.
pub(crate) fn decode(message: &RawMessage) -> Result<Recorded<RecordedEvent>, RecordError> {
    match message.decode() {
        Ok(value) => Ok(Recorded { sequence: message.sequence, at: message.at, value }),
        Err(error) => Err(RecordError::Unreadable(format!("sequence {}: {error}", message.sequence))),
    }
}

/// What readers would refuse is not published.
fn check_size(event: &Event) -> Result<(), RecordError> {
    let body = event.to_json().map_err(|error| RecordError::Refused(error.to_string()))?;
    if body.len() > MAX_BODY_BYTES { Err(RecordError::EventTooLarge(body.len())) } else { Ok(()) }
}

impl Receipt {
    fn from_new(new: NewEvent, sequence: u64) -> Self {
        Self {
            event: new.event,
            event_id: new.envelope.id,
            correlation_id: new.envelope.correlation_id,
            causation_id: new.envelope.causation_id,
            sequence,
            trace_id: trace::current().map(|(context, _)| context.trace_id().to_owned()),
            replayed: false,
        }
    }

    /// The receipt of an event that is in the log.
    pub(crate) fn from_recorded(recorded: &Recorded<RecordedEvent>, replayed: bool) -> Self {
        let envelope = &recorded.value.envelope;
        Self {
            event: recorded.value.event.clone(),
            event_id: envelope.id,
            correlation_id: envelope.correlation_id,
            causation_id: envelope.causation_id,
            sequence: recorded.sequence,
            trace_id: envelope.traceparent.as_ref().map(|context| context.trace_id().to_owned()),
            replayed,
        }
    }
}

impl From<AppendError> for RecordError {
    fn from(error: AppendError) -> Self {
        match error.kind() {
            ErrorKind::Again => Self::Unacknowledged(chain(&error)),
            ErrorKind::Full => Self::Full(chain(&error)),
            ErrorKind::Never => Self::Refused(chain(&error)),
        }
    }
}

fn unanswered(kind: ErrorKind, reason: String) -> RecordError {
    match kind {
        ErrorKind::Again => RecordError::Unread(reason),
        ErrorKind::Full => RecordError::Full(reason),
        ErrorKind::Never => RecordError::Refused(reason),
    }
}

impl From<LogError> for RecordError {
    fn from(error: LogError) -> Self {
        unanswered(error.kind(), chain(&error))
    }
}

impl From<VaultError> for RecordError {
    fn from(error: VaultError) -> Self {
        unanswered(error.kind(), chain(&error))
    }
}

impl From<SecretRefusal> for RecordError {
    fn from(refusal: SecretRefusal) -> Self {
        Self::Secret(refusal)
    }
}
