//! `waybill events`: the log as people and programs read it.

mod line;

use std::{io::Write as _, path::Path};

use futures_util::StreamExt as _;
use waybill_platform::{
    events::{Ids, Selection, to_cloud_event},
    log::{Log, RawMessage},
};
use waybill_schemas::{Filter, Subject, WorkspaceId};

use crate::{Failure, cli::EventsArguments, operator, output};

/// Most messages that are looked up by their subjects and put in order here. More are found by reading the whole log.
const MOST_LOOKED_UP: u64 = 10_000;

/// `waybill events`.
pub(crate) fn run(home: &Path, arguments: &EventsArguments) -> Result<(), Failure> {
    let settings = operator::settings(home)?;
    let of_a_workspace = arguments.image.is_some() || arguments.container.is_some() || arguments.secret.is_some();
    let workspace = match of_a_workspace {
        true => Some(operator::workspace(&settings, arguments.workspace.as_ref())?),
        false => arguments.workspace.clone(),
    };
    let selection = selection(arguments, workspace);
    operator::with_log(&settings, Ok(()), |log| async move {
        let log = operator::whole_log(log, arguments.archive.as_deref()).await?;
        print(log.as_ref(), &selection, arguments).await
    })
}

fn selection(arguments: &EventsArguments, workspace: Option<WorkspaceId>) -> Selection {
    let EventsArguments { image, container, secret, worker, subject, .. } = arguments.clone();
    let mut filters = Ids { workspace, image, container, secret, worker }.filters();
    filters.extend(subject.as_deref().and_then(|text| text.parse::<Subject>().ok()).map(Filter::Subject));
    Selection { filters, pattern: subject, trace: arguments.trace.clone(), types: arguments.types.clone() }
}

async fn print(log: &dyn Log, selection: &Selection, arguments: &EventsArguments) -> Result<(), Failure> {
    let from = arguments.from.first(log).await?;
    let now = log.stream_state().await?.map_or(0, |state| state.last_sequence);
    let last = match arguments.until {
        Some(place) => place.last(log).await?,
        None => u64::MAX,
    };
    // What comes while the log is read does not count, or a log that grows fast would have no end.
    let end = last.min(now);
    let coloured = output::coloured();
    let mut out = output::stdout();
    let mut write = |message: &RawMessage| -> Result<(), Failure> {
        if message.sequence < from || message.sequence > last || !selection.keeps(message) {
            return Ok(());
        }
        let line = match arguments.json {
            true => serde_json::to_string(&to_cloud_event(message))?,
            false => line::text(message, coloured),
        };
        Ok(writeln!(out, "{line}")?)
    };
    let whole = match selection.filters.as_slice() {
        [filter] => filter.clone(),
        _ => Filter::All,
    };
    let Some(messages) = look_up(log, &selection.filters, from, end).await? else {
        return read_each(log, &whole, from, (!arguments.follow).then_some(end), &mut write).await;
    };
    messages.iter().try_for_each(&mut write)?;
    let next = from.max(end.saturating_add(1));
    if arguments.follow { read_each(log, &whole, next, None, &mut write).await } else { Ok(()) }
}

/// The messages on several filters, in the log's order. None where there is only one filter, or too much on them.
async fn look_up(log: &dyn Log, filters: &[Filter], from: u64, end: u64) -> Result<Option<Vec<RawMessage>>, Failure> {
    if filters.len() < 2 {
        return Ok(None);
    }
    let mut count = 0_u64;
    for filter in filters {
        count = count.saturating_add(log.pending(filter, from).await?);
    }
    if count > MOST_LOOKED_UP {
        return Ok(None);
    }
    let most = usize::try_from(MOST_LOOKED_UP).unwrap_or(usize::MAX);
    let mut messages = Vec::new();
    for filter in filters {
        messages.extend(log.newest_on(filter, most, end).await?.messages);
    }
    messages.sort_by_key(|message| message.sequence);
    Ok(Some(messages))
}

/// Hands over every message that matches, up to a sequence or for ever.
async fn read_each(
    log: &dyn Log,
    filter: &Filter,
    from: u64,
    end: Option<u64>,
    write: &mut impl FnMut(&RawMessage) -> Result<(), Failure>,
) -> Result<(), Failure> {
    if end.is_some_and(|end| from > end) || (end.is_some() && log.pending(filter, from).await? == 0) {
        return Ok(());
    }
    let mut messages = log.follow(filter, from, None);
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

/// True if a message is up to the end, and true if it is the last one to be looked at.
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
