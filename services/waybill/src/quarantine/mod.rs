//! `waybill quarantine`: messages that cannot be read.
//!
//! Looking reads the scheduler's projection on this machine. Retrying and discarding are events, which the scheduler folds
//! wherever it runs: the log says who asked, and a rebuild comes to the same rows.

mod ask;
mod show;

use std::{path::Path, process::ExitCode};

use clap::{Args, Subcommand};
use waybill_platform::config::Settings;
use waybill_scheduler::projection::{ProjectionError, Quarantined, ReadProjection, ReadProjectionError, Snapshot};

use crate::{Failure, done_or_refused, projection::live_path, secrets::parse_reason};

#[derive(Debug, Args)]
pub(crate) struct QuarantineArguments {
    #[command(subcommand)]
    command: QuarantineCommand,
    /// JSON instead of text.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum QuarantineCommand {
    /// One line a message.
    #[command(after_help = "Examples:\n  waybill quarantine list --all --json")]
    List {
        /// Those that are given up as well.
        #[arg(long)]
        all: bool,
    },
    /// One message: where it stands, how large it is, and why it cannot be read. Its content stays in the log.
    #[command(after_help = "Examples:\n  waybill quarantine show 17")]
    Show {
        /// Stream sequence of the message.
        sequence: u64,
    },
    /// Read a message again: the scheduler folds the log anew with it, and takes that if every decision still agrees.
    #[command(after_help = "Examples:\n  waybill quarantine retry 17")]
    Retry {
        /// Stream sequence of the message.
        sequence: u64,
    },
    /// Give a message up for good, or all of a range.
    #[command(after_help = "Examples:\n  waybill quarantine discard 17 --reason 'published by hand'\n  \
        waybill quarantine discard 17 --through 99017 --subject 'waybill.events.container.acme.>'")]
    Discard {
        /// Stream sequence of the message, or of the first of a range.
        sequence: u64,
        /// Stream sequence of the last of a range.
        #[arg(long, value_name = "SEQUENCE")]
        through: Option<u64>,
        /// Of a range, only messages on this subject; `*` and `>` as in NATS.
        #[arg(long, value_name = "SUBJECT", requires = "through")]
        subject: Option<String>,
        /// Why, for whoever reads the log later.
        #[arg(long, value_name = "TEXT", value_parser = parse_reason)]
        reason: Option<String>,
    },
}

/// Why there is nothing to show.
#[derive(Debug, thiserror::Error)]
enum QuarantineError {
    #[error("cannot read the scheduler's projection; run this on the scheduler's machine")]
    Projection(#[source] ReadProjectionError),
    #[error("no message at sequence {0} is in quarantine; `waybill quarantine list --all` has those that are")]
    NotThere(u64),
    #[error("no message of this range is in quarantine; `waybill quarantine list` has those that are")]
    NoneThere,
    #[error("the message at sequence {0} was given up; `waybill quarantine show {0}` says when and why")]
    GivenUp(u64),
}

/// `waybill quarantine`: 0 done, 1 the message stays where it is, 2 not done.
pub(crate) fn run(home: &Path, arguments: &QuarantineArguments) -> ExitCode {
    done_or_refused(match &arguments.command {
        QuarantineCommand::List { all } => show::list(home, *all, arguments.json).map(|()| true),
        QuarantineCommand::Show { sequence } => show::one(home, *sequence, arguments.json).map(|()| true),
        QuarantineCommand::Retry { sequence } => ask::retry(home, *sequence, arguments.json),
        QuarantineCommand::Discard { sequence, through: None, reason, .. } => {
            ask::discard(home, *sequence, reason.clone(), arguments.json)
        }
        QuarantineCommand::Discard { sequence, through: Some(last), subject, reason } => {
            let range = ask::Range { first: *sequence, last: *last, subject: subject.clone() };
            ask::discard_range(home, &range, reason.as_deref(), arguments.json)
        }
    })
}

/// The scheduler's projection on this machine.
fn projection(home: &Path) -> Result<ReadProjection, Failure> {
    Ok(ReadProjection::open(&live_path(home)?).map_err(QuarantineError::Projection)?)
}

/// A message in quarantine, whether it is given up or not.
fn row(home: &Path, sequence: u64) -> Result<Quarantined, Failure> {
    Ok(find(&projection(home)?.snapshot()?, sequence)?.ok_or(QuarantineError::NotThere(sequence))?)
}

fn find(snapshot: &Snapshot, sequence: u64) -> Result<Option<Quarantined>, ProjectionError> {
    let mut rows = snapshot.quarantine()?.into_iter().chain(snapshot.discarded()?);
    Ok(rows.find(|(place, _)| *place == sequence).map(|(_, row)| row))
}

/// The operator's settings, for what is asked of the log.
fn operator(home: &Path) -> Result<Settings, Failure> {
    crate::operator::settings(home)
}
