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
            writeln!(out, "{}", document(*sequence, row))?;
        }
        return Ok(out.flush()?);
    }
    if rows.is_empty() {
        writeln!(out, "nothing is in quarantine")?;
    }
    for (sequence, row) in &rows {
        text::title(&mut out, output::coloured(), &format!("{sequence} {}", text::printable(&row.subject)))?;
        text::fields(&mut out, 2, &fields(row))?;
    }
    Ok(out.flush()?)
}

/// What a person needs to choose between a retry and a discard.
fn fields(row: &Quarantined) -> Vec<(String, String)> {
    let mut fields = vec![
        ("at".to_owned(), row.at.to_string()),
        ("size".to_owned(), format!("{} bytes", row.size)),
        ("error".to_owned(), text::printable(&row.error)),
    ];
    if let Some(asked_by) = row.open_retry() {
        fields.push(("retried".to_owned(), format!("at sequence {asked_by}; the scheduler has not answered yet")));
    } else if let Some(held) = &row.held {
        fields.push(("retried".to_owned(), format!("at sequence {}: {}", held.asked_by, text::printable(&held.why))));
    }
    if let Some(discarded) = &row.discarded {
        let reason = discarded.reason.as_deref().unwrap_or("no reason given");
        fields.push(("given up".to_owned(), format!("at {}: {}", discarded.at, text::printable(reason))));
    }
    fields
}

pub(super) fn one(home: &Path, sequence: u64, as_json: bool) -> Result<(), Failure> {
    let row = row(home, sequence)?;
    let mut out = output::stdout();
    if as_json {
        writeln!(out, "{}", document(sequence, &row))?;
        return Ok(());
    }
    text::title(&mut out, output::coloured(), &format!("{sequence} {}", text::printable(&row.subject)))?;
    text::fields(&mut out, 2, &fields(&row))
}

fn document(sequence: u64, row: &Quarantined) -> Value {
    json!({
        "sequence": sequence,
        "subject": row.subject,
        "time": row.at,
        "size": row.size,
        "error": row.error,
        "retried": row.retried,
        "held": row.held,
        "discarded": row.discarded,
    })
}
