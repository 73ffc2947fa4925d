//! What can go wrong with the log, and what to do about it.

use waybill_schemas::Timestamp;

/// The log could not be reached or asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// The connection's settings do not work at all.
    #[error("cannot use the NATS settings for {hosts}: {reason}")]
    Settings {
        /// The servers, as `host:port`.
        hosts: String,
        /// What is wrong.
        reason: String,
    },
    /// No answer.
    #[error(
        "the event log does not answer ({what}): {reason}; is nats-server running, with JetStream, and does the stream exist?"
    )]
    Unavailable {
        /// What was asked.
        what: String,
        /// What came instead of an answer.
        reason: String,
    },
    /// JetStream refused.
    #[error("the event log refused ({what}): {description} (code {code})")]
    Refused {
        /// What was asked.
        what: String,
        /// JetStream's error code.
        code: u64,
        /// JetStream's words.
        description: String,
    },
    /// The answer is not what the protocol says.
    #[error("the event log's answer cannot be read ({what}): {reason}")]
    Protocol {
        /// What was asked.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl LogError {
    /// The replica that answered lacks what another one, or the leader, has told of.
    pub(crate) fn behind(what: String) -> Self {
        Self::Unavailable { what, reason: "a replica that is behind the others answered; try again".to_owned() }
    }
}

/// An event could not be appended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The log did not answer in time. Whether it holds the event is unknown: appending the same event again is safe.
    #[error("the event log did not acknowledge {subject} in time ({reason}); trying again with the same id is safe")]
    Unavailable {
        /// Where the event was to go.
        subject: String,
        /// What came instead of an acknowledgement.
        reason: String,
    },
    /// The log does not take the event.
    #[error("the event log refused {subject}: {description} (code {code})")]
    Refused {
        /// Where the event was to go.
        subject: String,
        /// JetStream's error code.
        code: u64,
        /// JetStream's words.
        description: String,
    },
    /// What is there already could not be read.
    #[error("what the log holds for {subject} cannot be read")]
    History {
        /// Where the event was to go.
        subject: String,
        /// Why.
        source: LogError,
    },
}

/// Reading cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The stream was deleted and made anew.
    #[error(
        "the stream was created anew at {found} while it was read (it was made at {expected}); check the log, then start again"
    )]
    Recreated {
        /// When the stream there now was created.
        found: Timestamp,
        /// When the one that was read was.
        expected: Timestamp,
    },
    /// The stream ends before what was read.
    #[error("the stream now ends at sequence {last}, after {read} was read: messages were lost")]
    Shrunk {
        /// The stream's last sequence.
        last: u64,
        /// The last one that was read.
        read: u64,
    },
    /// A sequence is missing.
    #[error("sequence {expected} is missing, {found} came instead: messages were deleted from the log")]
    Gap {
        /// The sequence that should have come.
        expected: u64,
        /// The one that came.
        found: u64,
    },
    /// The log refuses to be read.
    #[error("the log cannot be read")]
    Log(#[from] LogError),
}
