//! Why a real part could not be had: it is not on this machine, or it did not come up.

use std::time::Duration;

use crate::process::{Process, ProcessError};

/// A program or package that this machine lacks. [`crate::require!`] turns it into a loud skip.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{part} is missing: {remedy}")]
pub struct Missing {
    /// What is missing, with the lowest version that will do.
    pub part: String,
    /// How to get it.
    pub remedy: String,
}

impl Missing {
    /// `part` is what is missing, `remedy` how to get it.
    pub fn new(part: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { part: part.into(), remedy: remedy.into() }
    }
}

/// Why a server or client of the harness could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The machine lacks it.
    #[error(transparent)]
    Missing(#[from] Missing),
    /// A child process failed.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// A file, a directory or a socket of the harness failed.
    #[error("cannot set up {what}")]
    Setup {
        /// The file or socket, in words.
        what: String,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The server ended at once.
    #[error("{part} ended instead of getting ready; it last said:\n{last_lines}")]
    Ended {
        /// The server.
        part: String,
        /// The end of its output.
        last_lines: String,
    },
    /// The server runs but does not answer as it should.
    #[error("{part} was not ready within {timeout:?}; it last said:\n{last_lines}")]
    NotReady {
        /// The server.
        part: String,
        /// How long was waited.
        timeout: Duration,
        /// The end of its output.
        last_lines: String,
    },
}

impl StartError {
    /// Adds what other processes said last.
    pub async fn add_last_lines(&mut self, processes: impl Iterator<Item = &mut Process>) {
        let (Self::NotReady { last_lines, .. } | Self::Ended { last_lines, .. }) = self else { return };
        for process in processes {
            let state = if process.exit_status().is_some() { "ended" } else { "runs" };
            *last_lines += &format!("\n--- {} {state}:\n{}", process.name().to_owned(), process.last_lines().await);
        }
    }

    /// For `map_err` on an operating system call about `what`.
    pub fn setup(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Setup { what, source }
    }
}
