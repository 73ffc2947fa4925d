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
    let now = log.stream_state().await?.map_or(0, |state| state.last_sequence);
    let last = selection.last(log, arguments.until).await?;
    // What comes while the log is read does not count, or a log that grows fast would have no end.
    let end = (!arguments.follow).then_some(last.min(now));
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
        [subject] => each(log, subject, from, end, &mut write).await,
        subjects => {
            // Several filters on one consumer are slow; what they match is little, and is put in order here.
            let mut messages = Vec::new();
            for subject in subjects {
                messages.extend(log.events_on(subject).await?);
            }
            messages.retain(|message| message.sequence >= from && message.sequence <= now);
            messages.sort_by_key(|message| message.sequence);
            messages.iter().try_for_each(&mut write)?;
            let next = from.max(now.saturating_add(1));
            if arguments.follow { each(log, ALL_SUBJECTS, next, None, &mut write).await } else { Ok(()) }
        }
    }
}

/// Every message on a subject up to a sequence, or for ever.
async fn each(
    log: &EventLog,
    subject: &str,
    from: u64,
    end: Option<u64>,
    write: &mut impl FnMut(&RawMessage) -> Result<(), Failure>,
) -> Result<(), Failure> {
    if end.is_some_and(|end| from > end) || (end.is_some() && log.pending(subject, from).await? == 0) {
        return Ok(());
    }
    let mut messages = pin!(log.read(subject, from));
    while let Some(message) = messages.next().await {
        let message = message?;
        let (counts, is_last) = place(message.sequence, message.pending, end);
        if counts {
            write(&message)?;
        }
        if is_last {
            break;
        }
    }
    Ok(())
}

/// Whether a message is up to the end, and whether it is the last one to be looked at.
fn place(sequence: u64, pending: u64, end: Option<u64>) -> (bool, bool) {
    end.map_or((true, false), |end| (sequence <= end, sequence >= end || pending == 0))
}

#[cfg(test)]
mod tests {
    use super::place;

    #[test]
    fn reading_ends_however_fast_the_log_grows() {
        for (sequence, pending, end, expected) in [
            (3, 5, None, (true, false)),
            (3, 0, None, (true, false)),
            (3, 5, Some(7), (true, false)),
            (7, 5, Some(7), (true, true)),
            (9, 5, Some(7), (false, true)),
            (3, 0, Some(7), (true, true)),
        ] {
            assert_eq!(place(sequence, pending, end), expected, "{sequence} {pending} {end:?}");
        }
    }
}
