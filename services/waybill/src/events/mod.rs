//! `waybill events`: the log as people and programs read it.

mod line;
mod select;

use std::{io::Write as _, path::Path, pin::pin};

use futures_util::StreamExt as _;
use waybill_platform::log::{EventLog, RawMessage};
use waybill_schemas::ALL_SUBJECTS;

use crate::{Failure, cli::EventsArguments, operator, output};

use select::Selection;

/// `waybill events`.
pub(crate) fn run(home: &Path, arguments: &EventsArguments) -> Result<(), Failure> {
    let settings = operator::settings(home)?;
    let selection = Selection::of(arguments, || operator::workspace(&settings, arguments.workspace.as_ref()))?;
    operator::with_log(&settings, Ok(()), |log| async move { print(&log, &selection, arguments).await })
}

async fn print(log: &EventLog, selection: &Selection, arguments: &EventsArguments) -> Result<(), Failure> {
    let from = arguments.from.first(log).await?;
    let last = selection.last(log, arguments.until).await?;
    let coloured = output::coloured();
    let mut out = output::stdout();
    let mut write = |message: &RawMessage| -> Result<(), Failure> {
        if message.sequence > last || !selection.keeps(message) {
            return Ok(());
        }
        let line = if arguments.json { line::json(message)? } else { line::text(message, coloured) };
        Ok(writeln!(out, "{line}")?)
    };
    match selection.subjects() {
        [subject] => each(log, subject, from, (arguments.follow, last), &mut write).await,
        subjects => {
            // Several filters on one consumer are slow; what they match is little, and is put in order here.
            let end = log.stream_state().await?.map_or(0, |state| state.last_sequence);
            let mut messages = Vec::new();
            for subject in subjects {
                messages.extend(log.events_on(subject).await?);
            }
            messages.retain(|message| message.sequence >= from && message.sequence <= end);
            messages.sort_by_key(|message| message.sequence);
            messages.iter().try_for_each(&mut write)?;
            let next = from.max(end.saturating_add(1));
            if arguments.follow { each(log, ALL_SUBJECTS, next, (true, last), &mut write).await } else { Ok(()) }
        }
    }
}

/// Every message on a subject: up to the last one now, or up to a sequence, or for ever.
async fn each(
    log: &EventLog,
    subject: &str,
    from: u64,
    (follow, last): (bool, u64),
    write: &mut impl FnMut(&RawMessage) -> Result<(), Failure>,
) -> Result<(), Failure> {
    if !follow && log.pending(subject, from).await? == 0 {
        return Ok(());
    }
    let mut messages = pin!(log.read(subject, from));
    while let Some(message) = messages.next().await {
        let message = message?;
        write(&message)?;
        if !follow && (message.pending == 0 || message.sequence >= last) {
            break;
        }
    }
    Ok(())
}
