//! What is in quarantine, for people and programs.

use std::{io::Write as _, path::Path};

use serde_json::{Value, json};
use waybill_scheduler::projection::Quarantined;

use super::{projection, row};
use crate::{Failure, output, text};

pub(super) fn list(home: &Path, all: bool, as_json: bool) -> Result<(), Failure> {
    let snapshot = projection(home)?.snapshot()?;
    let mut rows = snapshot.quarantine()?;
    if all {
        rows.extend(snapshot.discarded()?);
        rows.sort_by_key(|(sequence, _)| *sequence);
    }
    drop(snapshot);
    let mut out = std::io::BufWriter::new(output::stdout());
    if as_json {
        for (sequence, row) in &rows {
            writeln!(out, "{}", document(*sequence, row, false))?;
        }
        return Ok(out.flush()?);
    }
    if rows.is_empty() {
        writeln!(out, "nothing is in quarantine")?;
    }
    for (sequence, row) in &rows {
        text::title(&mut out, output::coloured(), &format!("{sequence} {}", text::printable(&row.subject)))?;
        text::fields(&mut out, 2, &told(row))?;
    }
    Ok(out.flush()?)
}

/// What a person needs to choose between a retry and a discard.
fn told(row: &Quarantined) -> Vec<(String, String)> {
    let mut told = vec![("at".to_owned(), row.at.to_string()), ("error".to_owned(), text::printable(&row.error))];
    if let Some(held) = &row.held {
        told.push(("retried".to_owned(), format!("at sequence {}: {}", held.asked_by, text::printable(&held.why))));
    }
    if let Some(discarded) = &row.discarded {
        let reason = discarded.reason.as_deref().unwrap_or("no reason given");
        told.push(("given up".to_owned(), format!("at {}: {}", discarded.at, text::printable(reason))));
    }
    told
}

pub(super) fn one(home: &Path, sequence: u64, payload: bool, as_json: bool) -> Result<(), Failure> {
    let row = row(home, sequence)?;
    let mut out = output::stdout();
    if as_json {
        writeln!(out, "{}", document(sequence, &row, payload))?;
        return Ok(());
    }
    text::title(&mut out, output::coloured(), &format!("{sequence} {}", text::printable(&row.subject)))?;
    let mut fields = told(&row);
    fields.push(("body".to_owned(), format!("{} bytes", row.body().len())));
    fields.extend(headers(&row, payload).map(|(name, value)| (text::printable(name), text::printable(value))));
    text::fields(&mut out, 2, &fields)?;
    if payload {
        writeln!(out, "{}", row.payload)?;
    }
    Ok(())
}

/// Headers with their values where those are an event's; others may hold what does not belong there, as the body may.
fn headers(row: &Quarantined, payload: bool) -> impl Iterator<Item = (&str, &str)> {
    row.headers.iter().map(move |(name, value)| {
        let lower = name.to_ascii_lowercase();
        let own = ["ce-", "nats-"].iter().any(|prefix| lower.starts_with(prefix));
        let shown = payload || own || matches!(lower.as_str(), "traceparent" | "tracestate");
        (name.as_str(), if shown { value.as_str() } else { "(withheld)" })
    })
}

/// The body only where it was asked for: it may hold sealed credentials, or somebody's mistake.
fn document(sequence: u64, row: &Quarantined, payload: bool) -> Value {
    json!({
        "sequence": sequence,
        "subject": row.subject,
        "time": row.at,
        "error": row.error,
        "headers": headers(row, payload).collect::<Vec<_>>(),
        "bytes": row.body().len(),
        "payload": payload.then_some(&row.payload),
        "held": row.held,
        "discarded": row.discarded,
    })
}
