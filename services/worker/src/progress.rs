//! How far a placement's outcomes are: the last message of its outcome subject is the whole answer.

use waybill_schemas::Event;

/// What stands last on a placement's outcome subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Nothing.
    Nothing,
    /// A provider serves the placement, and the pull is not reported.
    Provided {
        /// Stream sequence of the provider's event.
        sequence: u64,
    },
    /// There is no provider, or the pull is reported: only the end can follow.
    Settled {
        /// Stream sequence of the last outcome.
        sequence: u64,
    },
    /// The placement has ended.
    Ended {
        /// Stream sequence of the end.
        sequence: u64,
    },
}

impl Progress {
    /// From the last message on the subject: its sequence, and its event where it can be read. What cannot be read was said by
    /// a newer version of this worker, and is not said again.
    pub fn from_last(last: Option<(u64, Option<&Event>)>) -> Self {
        let Some((sequence, event)) = last else { return Self::Nothing };
        match event {
            Some(Event::CredentialProviderAttached(_)) => Self::Provided { sequence },
            Some(Event::ContainerEnded(_)) => Self::Ended { sequence },
            _ => Self::Settled { sequence },
        }
    }

    /// Sequence that the next outcome expects; 0 for none.
    pub fn sequence(self) -> u64 {
        match self {
            Self::Nothing => 0,
            Self::Provided { sequence } | Self::Settled { sequence } | Self::Ended { sequence } => sequence,
        }
    }
}
