//! `waybill archive`: what is over leaves the log for an archive.
//!
//! ARCHITECTURE.md has the rules by their letters. In short: the plan proves that the log folds to the same rows without what
//! leaves, the segments are written and read back, the log says what leaves, and only then is it deleted.

mod plan;
mod removal;
mod segments;

use std::{io::Write as _, path::Path, sync::Arc};

use clap::Args;
use serde_json::json;
use time::Duration;
use waybill_platform::{
    archive::Store,
    config,
    events::read_span,
    log::{EventLog, Log, StreamState, read_archives},
    trace,
};
use waybill_schemas::Timestamp;

use self::plan::Plan;
use crate::{Failure, operator, output, replay, text};

#[derive(Debug, Args)]
pub(crate) struct ArchiveArguments {
    /// How long events of placements that are over stay in the log: 90d, 12h, 30m.
    #[arg(long, value_name = "SPAN", value_parser = span)]
    older_than: Duration,
    /// Where they go: a folder, or file://, s3://, gs:// or az:// with credentials in the environment.
    #[arg(long, env = "WAYBILL_ARCHIVE", value_name = "DIR|URL")]
    to: String,
    /// Say what would leave, and leave it.
    #[arg(long)]
    dry_run: bool,
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

fn span(text: &str) -> Result<Duration, &'static str> {
    read_span(text).ok_or("a number of days, hours, minutes or seconds, such as 90d, 12h, 30m or 0s")
}

/// Nothing leaves the log.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ArchiveError {
    /// The proof failed.
    #[error("nothing leaves: without it, {0}; please report this, with the log")]
    Differs(String),
    /// The scheduler would miss what leaves.
    #[error(
        "nothing leaves: the scheduler has read up to sequence {read}, and {last} is to leave; try again once it has caught up"
    )]
    SchedulerBehind {
        /// How far it is.
        read: u64,
        /// The last message that would leave.
        last: u64,
    },
    /// Another process said what leaves.
    #[error("another `waybill archive` is at work; run it again later")]
    AtWork,
    /// The archive does not give back what was put there.
    #[error("nothing leaves: the archive gave back another file than was put there ({0})")]
    Unlike(String),
    #[error("the archive was interrupted; what it had begun is completed, or left as it was, by the next run")]
    Interrupted,
}

/// What was done.
struct Report {
    plan: Plan,
    before: Timestamp,
    /// Number of the run, where something left.
    run: Option<u64>,
    segments: Vec<String>,
    /// Messages of an earlier run that were still there.
    completed: u64,
}

/// `waybill archive`.
pub(crate) fn run(home: &Path, arguments: &ArchiveArguments) -> Result<(), Failure> {
    let settings = operator::settings(home)?;
    let store = Store::open(&arguments.to, config::environment())?;
    // Only a user of the account that holds the streams may delete; its key is made now, and is in no file.
    let nats = operator::log_admin(home, &settings)?;
    let interrupted = Err(ArchiveError::Interrupted.into());
    let report = operator::with_log_as(&settings, nats, interrupted, |log| async move {
        archive(&Arc::new(log), &store, arguments).await
    })?;
    print(&report, arguments)
}

async fn archive(log: &Arc<EventLog>, store: &Store, arguments: &ArchiveArguments) -> Result<Report, Failure> {
    let state = replay::stream(log.as_ref()).await?;
    let archives = read_archives(log.as_ref()).await?;
    let completed = match arguments.dry_run {
        true => 0,
        false => removal::complete_last(log, &archives).await?,
    };
    // Whole seconds are shown to people, and what is recorded is what was asked.
    let now = trace::now().instant();
    let now = now.replace_nanosecond(0).unwrap_or(now);
    let before = Timestamp::from(now.checked_sub(arguments.older_than).unwrap_or(now));
    let cut = last_to_leave(log.as_ref(), before, state).await?;
    let plan = plan::make(log, state, cut, archives.removed).await?;
    let mut report = Report { plan, before, run: None, segments: Vec::new(), completed };
    if arguments.dry_run || report.plan.leaves.count() == 0 {
        return Ok(report);
    }
    let run = archives.last_run.saturating_add(1);
    let parts = segments::write(log.as_ref(), store, run, &report.plan).await?;
    report.segments.extend(parts.iter().map(|part| part.name.clone()));
    removal::record(log.as_ref(), run, &report.plan, before, &store.address(), parts).await?;
    removal::delete(log, &report.plan.leaves).await?;
    report.run = Some(run);
    Ok(report)
}

/// Sequence of the last message that is old enough. The log's last message stays: it is what the log is known by.
async fn last_to_leave(log: &dyn Log, before: Timestamp, state: StreamState) -> Result<u64, Failure> {
    let old = log.sequence_at(before).await?.saturating_sub(1);
    Ok(old.min(state.last_sequence.saturating_sub(1)))
}

fn print(report: &Report, arguments: &ArchiveArguments) -> Result<(), Failure> {
    let Report { plan, before, run, segments, completed } = report;
    let (events, placements) = (plan.leaves.count(), plan.selection.placements());
    let mut out = output::stdout();
    if arguments.json {
        let document = json!({
            "run": run, "events": events, "placements": placements, "before": before, "archive": arguments.to,
            "segments": segments, "first": plan.leaves.ranges().first().map(|[first, _]| first),
            "last": plan.leaves.ranges().last().map(|[_, last]| last), "completed": completed,
        });
        return Ok(writeln!(out, "{document}")?);
    }
    if *completed > 0 {
        let says = format!("deleted {completed} events that an earlier run had archived and not deleted");
        text::wrapped(&mut out, "", "  ", &says)?;
    }
    let what = format!("{events} events of {placements} placements that were over before {before}");
    let says = match (run, events) {
        (_, 0) => format!("nothing to archive: no placement was over before {before}"),
        (Some(run), _) => {
            format!("archived {what}, in run {run} with {} segments, and deleted them from the log", segments.len())
        }
        (None, _) => format!("would archive {what}"),
    };
    text::wrapped(&mut out, "", "  ", &says)?;
    segments.iter().try_for_each(|name| Ok(writeln!(out, "  {name}")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans() {
        let cases = [
            ("90d", Some(90 * 86_400)),
            ("12h", Some(43_200)),
            ("30m", Some(1_800)),
            ("0s", Some(0)),
            ("-1d", None),
            ("d", None),
            ("90", None),
            ("1w", None),
            ("999999999999999999d", None),
        ];
        for (text, seconds) in cases {
            assert_eq!(span(text).ok().map(Duration::whole_seconds), seconds, "{text}");
        }
    }
}
