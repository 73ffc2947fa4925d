//! What can go wrong with the log, and what to do about it.

use waybill_schemas::Timestamp;

/// What an error of the log asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// Try the same again: it passes by itself.
    Again,
    /// The log has no room: wait, and tell. It passes when room is made.
    Full,
    /// The log refuses this request for good; others may pass.
    Never,
}

/// Codes of JetStream that speak of the server at this moment: it starts, builds an account (10035) or the store of a stream
/// (10048, 10049) or consumer (10012, 10104), knows no other servers yet, moves a leader, lost its quorum, has JetStream off, does
/// not serve a stream for now, or has the same id in hand just now.
const AGAIN: [u64; 19] = [
    10003, 10004, 10005, 10008, 10009, 10012, 10035, 10039, 10041, 10048, 10049, 10059, 10076, 10104, 10118, 10158,
    10163, 10189, 10194,
];
/// Codes for a server, an account or a disk without room, or with too many requests in hand.
const FULL: [u64; 6] = [10002, 10023, 10028, 10047, 10077, 10167];
/// Words of a disk without room, whatever the code beside them.
const FULL_WORDS: [&str; 4] =
    ["no space left", "disk quota exceeded", "insufficient resources", "resource limits exceeded"];

impl ErrorKind {
    /// The kind in one word, as spans and metrics have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Again => "unavailable",
            Self::Full => "full",
            Self::Never => "refused",
        }
    }

    /// The kind of an error that JetStream answered with.
    pub fn classify(code: u64, description: &str) -> Self {
        let description = description.to_ascii_lowercase();
        if FULL.contains(&code) || FULL_WORDS.iter().any(|words| description.contains(words)) {
            Self::Full
        } else if AGAIN.contains(&code) {
            Self::Again
        } else {
            Self::Never
        }
    }
}

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
    /// A file of the archive is missing, or is not the one that the log names.
    #[error("{segment} of the archive cannot be used: {reason}")]
    Archive {
        /// Name of the file.
        segment: String,
        /// What is wrong with it.
        reason: String,
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
    /// A replica answered that lacks what another one, or the leader, has told of.
    pub fn behind(what: String) -> Self {
        Self::Unavailable { what, reason: "a replica that is behind the others answered; try again".to_owned() }
    }

    /// What the error asks for.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Settings { .. } | Self::Archive { .. } => ErrorKind::Never,
            Self::Unavailable { .. } | Self::Protocol { .. } => ErrorKind::Again,
            Self::Refused { code, description, .. } => ErrorKind::classify(*code, description),
        }
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
    /// The log had no room all the time.
    #[error("the event log has no room for {subject} ({reason}); make room on the server, then try again")]
    Full {
        /// Where the event was to go.
        subject: String,
        /// JetStream's words.
        reason: String,
    },
    /// The log does not take the event.
    #[error("the event log refused {subject}: {description} (code {code})")]
    Refused {
        /// Where the event was to go.
        subject: String,
        /// JetStream's error code; 0 where the event could not be sent at all.
        code: u64,
        /// JetStream's words.
        description: String,
    },
}

impl AppendError {
    /// What the error asks for.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Unavailable { .. } => ErrorKind::Again,
            Self::Full { .. } => ErrorKind::Full,
            Self::Refused { .. } => ErrorKind::Never,
        }
    }
}

/// Reading cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The stream was deleted and made anew.
    #[error(
        "the stream was created anew at {found} while it was read (it was made at {expected}): it is another log, or an older copy; restore the newer one, or start the scheduler with --rebuild to go on from this one"
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
    /// Another message stands where one was read: an older copy of the log was restored, and has grown since.
    #[error(
        "the message at sequence {sequence} is not the one that was read there: an older copy of the log was restored and has grown since; restore the newer log, or start the scheduler with --rebuild to go on from this one"
    )]
    Replaced {
        /// Where the message stands.
        sequence: u64,
    },
    /// A sequence is missing.
    #[error("sequence {expected} is missing, {found} came instead: messages were deleted from the log")]
    Gap {
        /// The sequence that should have come.
        expected: u64,
        /// The one that came.
        found: u64,
    },
    /// Messages left the log lawfully that whoever reads has not read yet, or of whose placements it has read a part.
    #[error(
        "messages up to sequence {last} left the log for an archive, and what was read before them is not whole without: start again from the beginning of the log (the scheduler with --rebuild)"
    )]
    Archived {
        /// The last one that left.
        last: u64,
    },
    /// The log refuses to be read.
    #[error("the log cannot be read")]
    Log(#[from] LogError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_asks_for_one_of_three_things() {
        let cases = [
            (10005, "no suitable peers for placement", ErrorKind::Again),
            (10008, "JetStream system temporarily unavailable", ErrorKind::Again),
            (10009, "JetStream cluster can not handle request", ErrorKind::Again),
            (10012, "rename o.dat.tmp o.dat: no such file or directory", ErrorKind::Again),
            (10012, "error creating store for consumer: no space left on device", ErrorKind::Full),
            (10049, "error creating store for stream", ErrorKind::Again),
            (10049, "error creating store for stream: disk quota exceeded", ErrorKind::Full),
            (10163, "expected last sequence per subject temporarily unavailable", ErrorKind::Again),
            (10158, "duplicate message id is in process", ErrorKind::Again),
            (10074, "replicas > 1 not supported in non-clustered mode", ErrorKind::Never),
            (10002, "resource limits exceeded for account", ErrorKind::Full),
            (10023, "insufficient resources", ErrorKind::Full),
            (10047, "insufficient storage resources available", ErrorKind::Full),
            (10077, "write msgs/1.blk: no space left on device", ErrorKind::Full),
            (10167, "too many requests", ErrorKind::Full),
            (1, "write: No space left on device", ErrorKind::Full),
            (10054, "message size exceeds maximum allowed", ErrorKind::Never),
            (10057, "not allowed", ErrorKind::Never),
            (10109, "invalid operation on sealed stream", ErrorKind::Never),
        ];
        for (code, description, expected) in cases {
            assert_eq!(ErrorKind::classify(code, description), expected, "{code} {description}");
        }
    }
}
