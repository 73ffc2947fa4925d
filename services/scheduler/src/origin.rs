//! Invariant 11: the projection refuses a log that is not the one it was folded from.

use std::time::Duration;

use waybill_platform::log::{ELECTION_LIMIT, ReadError, StreamState};
use waybill_schemas::Timestamp;

use crate::projection::Position;

/// What the stream says of itself at start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogState {
    /// When it was created.
    pub created: Timestamp,
    /// Sequence of its first message; 0 or 1 when it has none.
    pub first_sequence: u64,
    /// Sequence of its last message.
    pub last_sequence: u64,
    /// The timestamp of the message at the projection's position, where there is one.
    pub at_position: Option<Timestamp>,
}

/// The log is not the one that the projection was folded from.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ForeignLog {
    /// The stream is gone.
    #[error(
        "the projection stands at sequence {position}, but the stream does not exist; restore the stream, or start with --rebuild after it was made anew"
    )]
    Missing {
        /// Where the projection stands.
        position: u64,
    },
    /// The stream is gone, and the vault is there: there was a log.
    #[error(
        "the vault holds {entries} entries, but the event log does not exist: it was lost; restore the stream, or delete the vault (stream KV_WAYBILL_VAULT) to begin anew"
    )]
    Lost {
        /// Keys in the vault.
        entries: usize,
    },
    /// The stream is gone, and so is what the projection would be rebuilt from.
    #[error("there is no event log to rebuild the projection from; restore the stream")]
    NothingToRebuild,
    /// The stream was created at another time.
    #[error(
        "the stream was created at {found}, the projection was folded from one created at {expected}; if the new stream is the right one, start with --rebuild"
    )]
    Recreated {
        /// The stream's creation time.
        found: Timestamp,
        /// The projection's.
        expected: Timestamp,
    },
    /// The stream ends before the position.
    #[error(
        "the stream ends at sequence {last}, before the projection's position {position}: messages were lost; restore them, or start with --rebuild to go on without"
    )]
    Shrunk {
        /// The stream's last sequence.
        last: u64,
        /// Where the projection stands.
        position: u64,
    },
    /// Messages that the projection needs are gone from the stream's start.
    #[error(
        "the stream starts at sequence {first}, but the projection needs {needed}: restore the stream from a backup"
    )]
    StartsLater {
        /// The stream's first sequence.
        first: u64,
        /// The first one that is needed.
        needed: u64,
    },
    /// The message at the position is another one.
    #[error(
        "the message at sequence {position} is not the one that the projection was folded from; the log was restored or replaced: start with --rebuild"
    )]
    Diverged {
        /// Where the projection stands.
        position: u64,
    },
}

impl ForeignLog {
    /// Whether it is the log that differs, seen for so long: a server that hung takes itself for the leader until it hears of
    /// another, and shows a log that ends early; one that has just become the leader may not know of a stream yet.
    pub fn is_believed(&self, has_other_servers: bool, seen_for: Duration) -> bool {
        let may_pass = matches!(self, Self::Shrunk { .. } | Self::Missing { .. } | Self::Lost { .. });
        !(has_other_servers && may_pass && seen_for < ELECTION_LIMIT)
    }
}

/// The sequence to fold from next.
///
/// # Errors
/// [`ForeignLog`] says how the log differs and what to do.
pub fn resume(position: Option<&Position>, log: Option<&LogState>) -> Result<u64, ForeignLog> {
    let (position, log) = match (position, log) {
        (None, None) => return Ok(1),
        (None, Some(log)) => return first_needed(1, log),
        (Some(position), None) => return Err(ForeignLog::Missing { position: position.sequence }),
        (Some(position), Some(log)) => (position, log),
    };
    let state =
        StreamState { created: log.created, first_sequence: log.first_sequence, last_sequence: log.last_sequence };
    match position.identity().compare(&state, log.at_position) {
        Err(ReadError::Recreated { found, expected }) => return Err(ForeignLog::Recreated { found, expected }),
        Err(ReadError::Shrunk { last, read }) => return Err(ForeignLog::Shrunk { last, position: read }),
        Err(_) => return Err(ForeignLog::Diverged { position: position.sequence }),
        Ok(()) => {}
    }
    first_needed(position.sequence.saturating_add(1), log)
}

fn first_needed(needed: u64, log: &LogState) -> Result<u64, ForeignLog> {
    if log.first_sequence > needed {
        return Err(ForeignLog::StartsLater { first: log.first_sequence, needed });
    }
    Ok(needed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn what_one_of_several_servers_says_is_believed_after_an_election() {
        let shrunk = ForeignLog::Shrunk { last: 9, position: 10 };
        let (at_once, later) = (Duration::ZERO, ELECTION_LIMIT);
        let cases = [
            (&shrunk, false, at_once, true),
            (&shrunk, true, at_once, false),
            (&shrunk, true, later, true),
            (&ForeignLog::Missing { position: 10 }, true, at_once, false),
            (&ForeignLog::Missing { position: 10 }, true, later, true),
            (&ForeignLog::Missing { position: 10 }, false, at_once, true),
            (&ForeignLog::Lost { entries: 1 }, true, at_once, false),
            (&ForeignLog::Diverged { position: 10 }, true, at_once, true),
        ];
        for (foreign, has_other_servers, seen_for, expected) in cases {
            assert_eq!(foreign.is_believed(has_other_servers, seen_for), expected, "{foreign:?} {has_other_servers}");
        }
    }

    #[test]
    fn a_log_is_taken_only_when_it_is_the_same_one() {
        let made = at("2026-01-01T00:00:00Z");
        let then = at("2026-01-02T00:00:00Z");
        let other = at("2026-01-03T00:00:00Z");
        let position = Position { stream_created: made, sequence: 10, at: then };
        let log = |first, last, at_position| {
            Some(LogState { created: made, first_sequence: first, last_sequence: last, at_position })
        };
        let elsewhere =
            |at_position| Some(LogState { created: other, first_sequence: 1, last_sequence: 99, at_position });
        let cases = [
            ("both new", None, None, Ok(1)),
            ("new projection", None, log(1, 50, None), Ok(1)),
            ("new projection, empty log", None, log(0, 0, None), Ok(1)),
            (
                "new projection, start gone",
                None,
                log(5, 50, None),
                Err(ForeignLog::StartsLater { first: 5, needed: 1 }),
            ),
            ("same log, more in it", Some(&position), log(1, 12, Some(then)), Ok(11)),
            ("same log, nothing new", Some(&position), log(1, 10, Some(then)), Ok(11)),
            ("gone", Some(&position), None, Err(ForeignLog::Missing { position: 10 })),
            (
                "made anew",
                Some(&position),
                elsewhere(Some(other)),
                Err(ForeignLog::Recreated { found: other, expected: made }),
            ),
            ("restored from a backup", Some(&position), elsewhere(Some(then)), Ok(11)),
            ("shrunk", Some(&position), log(1, 9, None), Err(ForeignLog::Shrunk { last: 9, position: 10 })),
            ("another message", Some(&position), log(1, 12, Some(other)), Err(ForeignLog::Diverged { position: 10 })),
            ("gap", Some(&position), log(12, 15, None), Err(ForeignLog::StartsLater { first: 12, needed: 11 })),
        ];
        for (name, position, log, expected) in cases {
            assert_eq!(resume(position, log.as_ref()), expected, "{name}");
        }
    }
}
