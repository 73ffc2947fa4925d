//! What could not be decoded: where it stands and why, and nothing of its content.

use redb::WriteTransaction;
use serde::{Deserialize, Serialize};
use waybill_platform::log::RawMessage;
use waybill_schemas::{
    Event, Recorded, RecordedEvent, Timestamp,
    v1::{QuarantineDiscarded, QuarantineRetried},
};

use super::{
    ProjectionError,
    facts::CheckedTable,
    tables::{DISCARDED, QUARANTINE, number_key},
};

/// Most characters of a subject that are kept.
const MAX_SUBJECT: usize = 256;

/// The place of a message that is not an event this version knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantined {
    /// NATS subject it was published on, cut to 256 characters.
    pub subject: String,
    /// Length of its body in bytes.
    pub size: u64,
    /// The stream's time of it.
    pub at: Timestamp,
    /// Why it could not be decoded.
    pub error: String,
    /// Sequence of the operator's newest request to read it again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retried: Option<u64>,
    /// What this scheduler found when it read the message again. It stands in a row of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<Held>,
    /// Given up, by whom and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub discarded: Option<Discarded>,
}

/// A retry that did not put the message back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Sequence of the retry.
    pub asked_by: u64,
    /// Why the message stays here.
    pub why: String,
}

/// The end of a message that is given up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Discarded {
    /// Sequence of the discard.
    pub by: u64,
    /// The stream's time of it.
    pub at: Timestamp,
    /// Why, in the operator's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Quarantined {
    /// The place of a message, with why it is here.
    pub fn from_message(message: &RawMessage, error: String) -> Self {
        Self {
            subject: message.subject.chars().take(MAX_SUBJECT).collect(),
            size: u64::try_from(message.payload.len()).unwrap_or(u64::MAX),
            at: message.at,
            error,
            retried: None,
            held: None,
            discarded: None,
        }
    }

    /// The operator's request to read the message again, if it is not answered yet.
    pub fn open_retry(&self) -> Option<u64> {
        self.retried.filter(|asked_by| self.held.as_ref().is_none_or(|held| held.asked_by < *asked_by))
    }
}

/// What the operator says of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ruling {
    /// It is to be read again: whoever holds the projection folds the log anew.
    Retry {
        /// Sequence of the message.
        sequence: u64,
        /// Sequence of the request.
        asked_by: u64,
    },
    /// It is given up.
    Discarded {
        /// Sequence of the message.
        sequence: u64,
    },
    /// There is no such message in quarantine.
    NotThere {
        /// The sequence that was asked about.
        sequence: u64,
    },
}

/// The tables of what could not be decoded, inside one write transaction.
pub(super) struct QuarantineTables<'t> {
    quarantine: CheckedTable<'t>,
    discarded: CheckedTable<'t>,
}

impl<'t> QuarantineTables<'t> {
    pub(super) fn open(transaction: &'t WriteTransaction) -> Result<Self, ProjectionError> {
        let quarantine = CheckedTable::open(transaction, QUARANTINE)?;
        Ok(Self { quarantine, discarded: CheckedTable::open(transaction, DISCARDED)? })
    }

    pub(super) fn keep(&mut self, poison: &Recorded<Quarantined>) -> Result<(), ProjectionError> {
        self.quarantine.put(&number_key(poison.sequence), &poison.value)
    }

    /// Does what the operator says, in the transaction of the event that says it.
    pub(super) fn rule(&mut self, recorded: &Recorded<RecordedEvent>) -> Result<Option<Ruling>, ProjectionError> {
        match &recorded.value.event {
            Event::QuarantineRetried(QuarantineRetried { sequence }) => {
                self.retry(*sequence, recorded.sequence).map(Some)
            }
            Event::QuarantineDiscarded(asked) => self.discard(asked, recorded).map(Some),
            _ => Ok(None),
        }
    }

    fn retry(&mut self, sequence: u64, asked_by: u64) -> Result<Ruling, ProjectionError> {
        let key = number_key(sequence);
        let Some(row) = self.quarantine.get::<Quarantined>(&key)? else { return Ok(Ruling::NotThere { sequence }) };
        self.quarantine.put(&key, &Quarantined { retried: Some(asked_by), ..row })?;
        Ok(Ruling::Retry { sequence, asked_by })
    }

    /// The row goes to a table of its own, where it can still be looked at.
    fn discard(
        &mut self,
        asked: &QuarantineDiscarded,
        recorded: &Recorded<RecordedEvent>,
    ) -> Result<Ruling, ProjectionError> {
        let sequence = asked.sequence;
        let key = number_key(sequence);
        let Some(row) = self.quarantine.get::<Quarantined>(&key)? else { return Ok(Ruling::NotThere { sequence }) };
        let discarded = Discarded { by: recorded.sequence, at: recorded.at, reason: asked.reason.clone() };
        self.quarantine.remove(&key)?;
        self.discarded.put(&key, &Quarantined { discarded: Some(discarded), ..row })?;
        Ok(Ruling::Discarded { sequence })
    }
}
