//! `waybill backup`, `waybill restore` and `waybill replicas`: the log and the vault as whole streams, each a file of its own.
//!
//! The log holds no secret, and the vault's entries are sealed to keys that are in neither. Where the two lie apart, and the
//! keys apart from both, no single place has what it takes to open a credential.

mod file;

use std::{
    cell::{Cell, RefCell},
    io::Write as _,
    path::{Path, PathBuf},
};

use clap::{Args, ValueEnum};
use serde_json::Value;
use waybill_platform::log::{STREAM, Storage};

use self::file::{Header, Reader, Writer};
use crate::{Failure, init::role::vault_stream, operator, output};

/// One of the two streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// The event log.
    Log,
    /// The vault.
    Vault,
}

impl Part {
    fn stream(self) -> String {
        match self {
            Self::Log => STREAM.to_owned(),
            Self::Vault => vault_stream(),
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct BackupArguments {
    /// What to back up.
    part: Part,
    /// The file to write; one that is there is not replaced.
    file: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct RestoreArguments {
    /// What to restore.
    part: Part,
    /// A file that `waybill backup` wrote.
    file: PathBuf,
    /// Servers that keep a copy [as it was]
    #[arg(long, value_name = "N")]
    replicas: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct ReplicasArguments {
    /// Servers that keep a copy of log and vault: 1, 3 or 5.
    #[arg(value_parser = replicas)]
    count: u64,
}

fn replicas(text: &str) -> Result<u64, &'static str> {
    text.parse().ok().filter(|count| [1, 3, 5].contains(count)).ok_or("1, 3 or 5")
}

/// Why there is no backup, or nothing was restored from it.
#[derive(Debug, thiserror::Error)]
enum BackupError {
    #[error("{} cannot be used", .0.display())]
    File(PathBuf, #[source] std::io::Error),
    #[error("{} is a backup of the stream {found}, not of {expected}", .file.display())]
    OtherStream { file: PathBuf, found: String, expected: String },
}

/// `waybill backup`.
pub(crate) fn back_up(home: &Path, BackupArguments { part, file }: &BackupArguments) -> Result<(), Failure> {
    let stream = part.stream();
    let unusable = |error| BackupError::File(file.clone(), error);
    // Both what comes first and what comes after it write to the file.
    let writer = RefCell::new(Writer::create(file).map_err(unusable)?);
    let last = Cell::new(0);
    with_storage(home, async |storage| {
        let begin = |answer: &Value| {
            let field = |name: &str| answer.get(name).cloned().unwrap_or_default();
            let header = Header::new(&stream, field("config"), field("state"));
            last.set(header.last_sequence());
            writer.borrow_mut().header(&header)
        };
        Ok(storage.back_up(&stream, begin, |chunk| writer.borrow_mut().chunk(chunk)).await?)
    })?;
    let last = last.get();
    writer.into_inner().finish().map_err(unusable)?;
    writeln!(output::stdout(), "wrote   {}: {stream} up to sequence {last}", file.display())?;
    Ok(())
}

/// `waybill restore`.
pub(crate) fn restore(home: &Path, arguments: &RestoreArguments) -> Result<(), Failure> {
    let RestoreArguments { part, file, replicas } = arguments;
    let mut reader = Reader::open(file).map_err(|error| BackupError::File(file.clone(), error))?;
    let (expected, found) = (part.stream(), reader.header.stream.clone());
    if found != expected {
        return Err(BackupError::OtherStream { file: file.clone(), found, expected }.into());
    }
    let Header { mut config, state, .. } = reader.header.clone();
    if let (Some(replicas), Some(fields)) = (replicas, config.as_object_mut()) {
        fields.insert("num_replicas".to_owned(), (*replicas).into());
    }
    let last = reader.header.last_sequence();
    with_storage(home, async |storage| Ok(storage.restore(&found, &config, &state, || reader.chunk()).await?))?;
    let mut out = output::stdout();
    writeln!(out, "restored {found} up to sequence {last}")?;
    if *part == Part::Log {
        let next = "what was written later is lost: start each scheduler with --rebuild if it refuses the log, and restart \
                    the workers";
        writeln!(out, "next: {next}")?;
    }
    Ok(())
}

/// `waybill replicas`.
pub(crate) fn set_replicas(home: &Path, ReplicasArguments { count }: &ReplicasArguments) -> Result<(), Failure> {
    with_storage(home, async |storage| {
        for part in [Part::Log, Part::Vault] {
            storage.set_replicas(&part.stream(), *count).await?;
            writeln!(output::stdout(), "{} is kept on {count} server(s), all up to date", part.stream())?;
        }
        Ok(())
    })
}

/// Connects as the user that may do this.
fn with_storage<T>(home: &Path, run: impl AsyncFnOnce(&Storage) -> Result<T, Failure>) -> Result<T, Failure> {
    let settings = operator::settings(home)?;
    let config = operator::log_admin(home, &settings)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async { run(&Storage::connect(&config).await?).await })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_an_odd_number() {
        for (text, expected) in [("1", Some(1)), ("3", Some(3)), ("5", Some(5)), ("2", None), ("0", None), ("x", None)]
        {
            assert_eq!(replicas(text).ok(), expected, "{text}");
        }
    }
}
