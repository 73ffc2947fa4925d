//! What can go wrong with a child process.

use std::time::Duration;

use super::Signal;

/// A child process could not be started, did not say what was waited for, or did not end.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// It was not started.
    #[error("cannot start {name}")]
    Spawn {
        /// The process.
        name: String,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The line waited for did not come.
    #[error("{name} did not print the expected line within {timeout:?}; it last said:\n{last_lines}")]
    NoSuchLine {
        /// The process.
        name: String,
        /// How long was waited; less when the process closed its output.
        timeout: Duration,
        /// The end of its output.
        last_lines: String,
    },
    /// It runs on.
    #[error("{name} was still running after {timeout:?} and was killed; it last said:\n{last_lines}")]
    StillRunning {
        /// The process.
        name: String,
        /// How long was waited.
        timeout: Duration,
        /// The end of its output.
        last_lines: String,
    },
    /// A signal was not delivered.
    #[error("cannot send {signal:?} to {name}")]
    Signal {
        /// The process.
        name: String,
        /// The signal.
        signal: Signal,
        /// What the operating system said.
        source: std::io::Error,
    },
}
