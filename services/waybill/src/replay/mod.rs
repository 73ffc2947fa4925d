//! `waybill replay`: the log folded again into a file that is thrown away, and what follows from it.

mod diff;
mod divergence;
mod folding;
mod point;
mod progress;
mod scratch;
mod summary;

use std::{future::Future, io::Write as _, path::Path, path::PathBuf, sync::Arc};

use clap::Args;
use waybill_domain::verify::Verifier;
use waybill_platform::{
    events::Place,
    log::{EventLog, Log, STREAM, StreamState},
};
use waybill_schemas::Timestamp;

use crate::{Failure, explain, operator, output};

pub(crate) use diff::changes;
pub(crate) use folding::Replay;
pub(crate) use point::last_until;
pub(crate) use scratch::Scratch;

#[derive(Debug, Args)]
pub(crate) struct ReplayArguments {
    /// Fold up to this sequence [default: all that the log holds now]
    #[arg(long, value_name = "N")]
    until_sequence: Option<u64>,
    /// Fold what was recorded until this time (RFC 3339).
    #[arg(long, value_name = "TIME", conflicts_with = "until_sequence")]
    until_time: Option<Timestamp>,
    /// Make every decision again and compare with what was recorded, and each outcome with its placement; exit 1 if anything
    /// is not what the log leads to.
    #[arg(long)]
    verify: bool,
    /// Show what changed in the projection between two points: sequences or times, 0 for the empty log.
    #[arg(long, num_args = 2, value_names = ["A", "B"],
        conflicts_with_all = ["until_sequence", "until_time", "verify", "out"])]
    diff: Option<Vec<Place>>,
    /// Keep the folded projection in this new file; `waybill projection` shows the one that
    /// WAYBILL_SCHEDULER_PROJECTION names.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Explain every case file of this folder again, and exit 1 if one is answered otherwise than when it was made.
    /// Needs no log.
    #[arg(long, value_name = "DIR",
        conflicts_with_all = ["until_sequence", "until_time", "verify", "diff", "out"])]
    case: Option<PathBuf>,
    /// Read what left the log from this archive, too.
    #[arg(long, env = "WAYBILL_ARCHIVE", value_name = "DIR|URL")]
    archive: Option<String>,
    /// JSON: one object, with --diff one for each changed row.
    #[arg(long)]
    json: bool,
}

/// The log cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReplayError {
    /// There is no stream.
    #[error("the stream {STREAM} does not exist: the scheduler makes it when it runs for the first time")]
    NoStream,
    /// The point is still to come.
    #[error("the log ends at sequence {last}, before {asked}; ask for {last} or less")]
    Beyond {
        /// What was asked for.
        asked: u64,
        /// What there is.
        last: u64,
    },
    /// A stage ended without saying why.
    #[error("the replay was interrupted")]
    Interrupted,
    /// `--verify` found something.
    #[error("{count} event(s) are not what the log leads to; the first one is at sequence {first}")]
    Diverges {
        /// How many.
        count: usize,
        /// Where the first one stands.
        first: u64,
    },
}

/// `waybill replay`.
pub(crate) fn run(home: &Path, arguments: &ReplayArguments) -> Result<(), Failure> {
    if let Some(folder) = &arguments.case {
        return explain::case::replay(folder, arguments.json);
    }
    with_log(home, |log| async move {
        let log = operator::whole_log(log, arguments.archive.as_deref()).await?;
        match arguments.diff.as_deref() {
            Some([before, after]) => diff::run(&log, *before, *after, arguments.json).await,
            _ => replay(&log, arguments).await,
        }
    })
}

async fn replay(log: &Arc<dyn Log>, arguments: &ReplayArguments) -> Result<(), Failure> {
    let state = stream(log.as_ref()).await?;
    let point = arguments.until_sequence.map(Place::Sequence).or(arguments.until_time.map(Place::Time));
    let last = last_until(point, log.as_ref(), state).await?;
    let scratch = Scratch::new(arguments.out.as_deref())?;
    let mut replay = Replay::new(log.clone(), state, scratch.projection()?);
    if arguments.verify {
        replay.verifier = Some(Verifier::default());
    }
    replay.fold_until(last).await?;
    let open = replay.open()?;
    let verified = replay.finish_verifier(&open);
    let absent = summary::Absent::read(log.as_ref(), arguments.archive.is_some(), last).await?;
    let summary = summary::Summary::new(&replay, &open, verified, absent)?;
    scratch.keep(replay.into_projection()?)?;
    let mut out = output::stdout();
    if arguments.json {
        writeln!(out, "{}", serde_json::to_string(&summary)?)?;
    } else {
        divergence::print(&mut out, summary.divergences())?;
        summary.print(&mut out)?;
    }
    out.flush()?;
    match summary.divergences() {
        [] => Ok(()),
        all @ [first, ..] => Err(ReplayError::Diverges { count: all.len(), first: first.sequence }.into()),
    }
}

/// What the stream holds now.
pub(crate) async fn stream(log: &dyn Log) -> Result<StreamState, Failure> {
    Ok(log.stream_state().await?.ok_or(ReplayError::NoStream)?)
}

/// A projection in a file that nobody sees, folded up to a point.
pub(crate) async fn replayed(log: Arc<dyn Log>, point: Place) -> Result<Replay, Failure> {
    let state = stream(log.as_ref()).await?;
    let last = last_until(Some(point), log.as_ref(), state).await?;
    let mut replay = Replay::new(log, state, Scratch::new(None)?.projection()?);
    replay.fold_until(last).await?;
    Ok(replay)
}

/// Runs with the operator's access to the log, until it is done or interrupted.
pub(crate) fn with_log<F>(home: &Path, run: impl FnOnce(EventLog) -> F) -> Result<(), Failure>
where
    F: Future<Output = Result<(), Failure>>,
{
    operator::with_log(&operator::settings(home)?, Err(ReplayError::Interrupted.into()), run)
}
