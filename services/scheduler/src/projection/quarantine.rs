//! What could not be decoded, kept whole for a person and for a later version that can.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use redb::{ReadableTable as _, Table};
use serde::{Deserialize, Serialize};
use waybill_domain::fold::{Facts, Folded, reinstate};
use waybill_platform::log::RawMessage;
use waybill_schemas::{Recorded, RecordedEvent, Timestamp, decode, v1::QuarantineDiscarded};

use super::{
    ProjectionError,
    rows::{decode as decode_row, encode},
};

const TABLE: &str = "quarantine";

/// A message that is not an event this version knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantined {
    /// NATS subject it was published on.
    pub subject: String,
    /// Its headers, by name.
    pub headers: Vec<(String, String)>,
    /// Its body, in standard base64.
    pub payload: String,
    /// The stream's time of it.
    pub at: Timestamp,
    /// Why it could not be decoded.
    pub error: String,
    /// What came of the last retry.
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
    /// The message, with why it is here.
    pub fn of(message: &RawMessage, error: String) -> Self {
        Self {
            subject: message.subject.clone(),
            headers: message.header_pairs(),
            payload: STANDARD.encode(&message.payload),
            at: message.at,
            error,
            held: None,
            discarded: None,
        }
    }

    /// The body; nothing where the row does not hold one.
    pub fn body(&self) -> Vec<u8> {
        STANDARD.decode(&self.payload).unwrap_or_default()
    }

    /// Reads the message with this version.
    fn decode(&self) -> Result<RecordedEvent, String> {
        decode(&self.subject, self.headers.as_slice(), &self.body()).map_err(|error| error.to_string())
    }
}

/// What came of a retry or a discard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settled {
    /// The event is folded now, at its own place.
    Back(Box<Recorded<RecordedEvent>>),
    /// The message stays in quarantine.
    Held {
        /// Sequence of the message.
        sequence: u64,
        /// Why.
        why: String,
    },
    /// The message is given up.
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

pub(super) type QuarantineTable<'t> = Table<'t, u64, &'static [u8]>;

/// Reads a message again. Returns what it changes when it can be put back.
pub(super) fn retry<F: Facts<Error = ProjectionError>>(
    table: &mut QuarantineTable<'_>,
    facts: &F,
    sequence: u64,
    asked_by: u64,
) -> Result<(Settled, Folded), ProjectionError> {
    let Some(mut row) = open_row(table, sequence)? else {
        return Ok((Settled::NotThere { sequence }, Folded::default()));
    };
    let why = match row.decode() {
        Err(error) => error,
        Ok(value) => {
            let recorded = Recorded { sequence, at: row.at, value };
            match reinstate(facts, &recorded)? {
                Ok(folded) => {
                    table.remove(sequence)?;
                    return Ok((Settled::Back(Box::new(recorded)), folded));
                }
                Err(obstacle) => obstacle.to_string(),
            }
        }
    };
    row.held = Some(Held { asked_by, why: why.clone() });
    table.insert(sequence, encode(TABLE, &row)?.as_slice())?;
    Ok((Settled::Held { sequence, why }, Folded::default()))
}

/// Gives a message up. The row goes to a table of its own, where it can still be looked at.
pub(super) fn discard(
    table: &mut QuarantineTable<'_>,
    discarded: &mut QuarantineTable<'_>,
    asked: &QuarantineDiscarded,
    by: u64,
    at: Timestamp,
) -> Result<Settled, ProjectionError> {
    let sequence = asked.sequence;
    let Some(mut row) = open_row(table, sequence)? else { return Ok(Settled::NotThere { sequence }) };
    row.discarded = Some(Discarded { by, at, reason: asked.reason.clone() });
    table.remove(sequence)?;
    discarded.insert(sequence, encode(TABLE, &row)?.as_slice())?;
    Ok(Settled::Discarded { sequence })
}

/// A message in quarantine.
fn open_row(table: &QuarantineTable<'_>, sequence: u64) -> Result<Option<Quarantined>, ProjectionError> {
    table.get(sequence)?.map(|row| decode_row(TABLE, row.value())).transpose()
}
