//! `waybill projection`: what the scheduler knows, now or at a point of the log. No row holds a secret, sealed or not.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::{Args, ValueEnum};
use waybill_platform::config::Settings;
use waybill_platform::events::Place;
use waybill_scheduler::projection::{ReadProjection, ReadProjectionError, Row, Snapshot};

use crate::{Failure, output, replay, text};

#[derive(Debug, Args)]
pub(crate) struct ProjectionArguments {
    /// Only this table.
    #[arg(value_enum)]
    table: Option<Table>,
    /// Only the row with this key, such as `workspace/image` or a placement's number.
    #[arg(long)]
    key: Option<String>,
    /// As of this sequence or time (RFC 3339), from the log; without it, the live rows of a scheduler on this machine.
    #[arg(long, value_name = "SEQUENCE|TIME")]
    at: Option<Place>,
    /// One JSON object a row.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Table {
    /// What builds said, by workspace and image.
    Images,
    /// Newest versions, by workspace and secret.
    Secrets,
    /// Registrations, by worker.
    Workers,
    /// Placements that are not over, by number.
    Placements,
    /// The newest placement of each container, by workspace and container.
    Newest,
    /// Which placements have a secret, by workspace, secret, worker and placement.
    Uses,
    /// Which secrets a worker's placements have, by worker, workspace and secret.
    WorkerSecrets,
    /// Decisions that the log does not hold yet, by lane, workspace, cause and subject.
    Pending,
    /// Places of messages that cannot be read, by sequence.
    Quarantine,
    /// Of those, what was given up, by sequence.
    Discarded,
    /// How far the log is folded.
    Meta,
}

impl Table {
    fn name(self) -> &'static str {
        match self {
            Self::Images => "images",
            Self::Secrets => "secrets",
            Self::Workers => "workers",
            Self::Placements => "placements",
            Self::Newest => "newest",
            Self::Uses => "uses",
            Self::WorkerSecrets => "worker_secrets",
            Self::Pending => "pending",
            Self::Quarantine => "quarantine",
            Self::Discarded => "discarded",
            Self::Meta => "meta",
        }
    }
}

/// Why there is nothing to show.
#[derive(Debug, thiserror::Error)]
enum ShowError {
    #[error("cannot read the live projection; with --at SEQUENCE|TIME the log answers, wherever the scheduler runs")]
    Live(#[source] ReadProjectionError),
    #[error("there is no row with the key {0:?}; leave out --key to see all")]
    NoRow(String),
}

/// `waybill projection`.
pub(crate) fn run(home: &Path, arguments: &ProjectionArguments) -> Result<(), Failure> {
    let Some(point) = arguments.at else {
        let rows = {
            // Nothing is held open while somebody reads what is printed: the scheduler's file would grow.
            let live = ReadProjection::open(&live_path(home)?).map_err(ShowError::Live)?;
            wanted(&live.snapshot()?, arguments)?
        };
        return print(&rows, arguments);
    };
    replay::with_log(home, |log| async move {
        let replayed = replay::replayed(Arc::new(log), point).await?;
        let rows = wanted(&replayed.projection.snapshot()?, arguments)?;
        print(&rows, arguments)
    })
}

/// The one setting that is needed; the scheduler's keys are none of ours.
pub(crate) fn live_path(home: &Path) -> Result<PathBuf, Failure> {
    let settings = Settings::load(home, "scheduler")?;
    let mut reader = settings.reader();
    let path = reader.required_path("WAYBILL_SCHEDULER_PROJECTION");
    reader.finish()?;
    Ok(path)
}

fn wanted(snapshot: &Snapshot, arguments: &ProjectionArguments) -> Result<Vec<Row>, Failure> {
    let tables = arguments.table.as_ref().map_or_else(Table::value_variants, std::slice::from_ref);
    let mut rows = Vec::new();
    for table in tables {
        snapshot.each(table.name(), |row| -> Result<(), Failure> {
            if arguments.key.as_ref().is_none_or(|key| *key == row.key) {
                rows.push(row);
            }
            Ok(())
        })?;
    }
    match &arguments.key {
        Some(key) if rows.is_empty() => Err(ShowError::NoRow(key.clone()).into()),
        _ => Ok(rows),
    }
}

fn print(rows: &[Row], arguments: &ProjectionArguments) -> Result<(), Failure> {
    let mut out = std::io::BufWriter::new(output::stdout());
    let coloured = output::coloured();
    for row in rows {
        let value: serde_json::Value = serde_json::from_slice(&row.value)?;
        if arguments.json {
            let line = serde_json::json!({ "table": row.table, "key": row.key, "value": value });
            writeln!(out, "{line}")?;
        } else {
            text::title(&mut out, coloured, &format!("{} {}", row.table, row.key))?;
            text::fields(&mut out, 2, &text::flatten(&value))?;
        }
    }
    Ok(out.flush()?)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use waybill_scheduler::projection::TABLES;

    use super::*;

    #[test]
    fn every_table_of_the_projection_is_shown() {
        let shown: BTreeSet<&str> = Table::value_variants().iter().map(|table| table.name()).collect();
        assert_eq!(shown, BTreeSet::from(TABLES));
    }
}
