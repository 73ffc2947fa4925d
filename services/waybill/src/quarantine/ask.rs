//! Retrying and discarding: an event each, and a look at what the scheduler made of it.

use std::{io::Write as _, path::Path, time::Duration};

use serde_json::json;
use tokio::time::{Instant, sleep};
use uuid::Uuid;
use waybill_platform::{
    log::{EventLog, Expect, Log as _, NewEvent},
    trace,
};
use waybill_scheduler::projection::Quarantined;
use waybill_schemas::{
    Envelope, Event, Subject,
    v1::{QuarantineDiscarded, QuarantineRetried},
};

use super::{QuarantineError, find, operator, projection, row};
use crate::{Failure, init::role::covers, operator as connection, output, text};

/// How long the log may take to acknowledge, and the scheduler to fold what it acknowledged. A retry folds the whole log again.
const LIMIT: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(50);

/// True if the event is back in its place.
pub(super) fn retry(home: &Path, sequence: u64, as_json: bool) -> Result<bool, Failure> {
    let asked = ask(home, sequence, QuarantineRetried { sequence }.into())?;
    let (done, says) = match after(home, sequence, asked, |row| row.open_retry().is_none())? {
        After::Gone => (true, "the event is back in its place".to_owned()),
        After::There(row) => {
            let why = row.held.map_or_else(|| "the scheduler does not say why".to_owned(), |held| held.why);
            (false, format!("the event stays in quarantine: {why}"))
        }
        After::Unknown => (false, waiting(asked)),
    };
    print(sequence, asked, done, &says, as_json)?;
    Ok(done)
}

/// True if the message is given up.
pub(super) fn discard(home: &Path, sequence: u64, reason: Option<String>, as_json: bool) -> Result<bool, Failure> {
    let asked = ask(home, sequence, QuarantineDiscarded { sequence, reason }.into())?;
    let (done, says) = match after(home, sequence, asked, |_| true)? {
        After::Gone => (true, "the event is no longer in quarantine".to_owned()),
        After::There(row) if row.discarded.is_some() => (true, "the event is given up".to_owned()),
        After::There(_) => (false, "the scheduler did not give the event up".to_owned()),
        After::Unknown => (false, waiting(asked)),
    };
    print(sequence, asked, done, &says, as_json)?;
    Ok(done)
}

/// Messages of quarantine by their place and subject.
pub(super) struct Range {
    pub(super) first: u64,
    pub(super) last: u64,
    /// A NATS filter.
    pub(super) subject: Option<String>,
}

impl Range {
    fn includes(&self, sequence: u64, row: &Quarantined) -> bool {
        let is_on = self.subject.as_ref().is_none_or(|filter| covers(filter, &row.subject));
        (self.first..=self.last).contains(&sequence) && is_on
    }
}

/// True if all messages of the range are given up. Each gets an event of its own, so that the last message of a quarantined
/// message's subject stays the whole answer to what became of it; they go in atomic batches.
pub(super) fn discard_range(home: &Path, range: &Range, reason: Option<&str>, as_json: bool) -> Result<bool, Failure> {
    let rows = projection(home)?.snapshot()?.quarantine()?;
    let sequences = rows.iter().filter(|(sequence, row)| range.includes(*sequence, row)).map(|(sequence, _)| *sequence);
    let events: Vec<_> = sequences
        .map(|sequence| {
            let event = QuarantineDiscarded { sequence, reason: reason.map(str::to_owned) };
            (new_event(sequence, event.into()), Expect::Anything, tracing::Span::none())
        })
        .collect();
    let count = events.len();
    if count == 0 {
        return Err(QuarantineError::NoneThere.into());
    }
    let asked = connection::with_log(&operator(home)?, Err("interrupted".into()), |log: EventLog| async move {
        let mut last = 0;
        for ((event, expect, _), outcome) in events.iter().zip(log.append_all(&events).await) {
            let appended = match outcome {
                Some(outcome) => outcome?,
                None => log.append(event, *expect, None).await?,
            };
            last = last.max(appended.sequence().unwrap_or_default());
        }
        Ok::<_, Failure>(last)
    })?;
    let is_folded = wait_until_folded(home, asked)?;
    let says = if is_folded { format!("{count} messages are given up") } else { waiting(asked) };
    let mut out = output::stdout();
    match as_json {
        true => writeln!(out, "{}", json!({ "discarded": count, "asked_at": asked, "done": is_folded, "says": says }))?,
        false => writeln!(out, "{says}")?,
    }
    Ok(is_folded)
}

/// True once the projection reaches a sequence; false if it does not in time.
fn wait_until_folded(home: &Path, asked: u64) -> Result<bool, Failure> {
    let limit = std::time::Instant::now() + LIMIT;
    while projection(home)?.snapshot()?.position()?.is_none_or(|position| position.sequence < asked) {
        if std::time::Instant::now() > limit {
            return Ok(false);
        }
        std::thread::sleep(LOOK);
    }
    Ok(true)
}

fn waiting(asked: u64) -> String {
    format!(
        "asked at sequence {asked}; the scheduler has not answered yet: a retry folds the whole log anew. `waybill quarantine show` says what came of it"
    )
}

/// Publishes what is asked, if the message is there, and returns its sequence.
fn ask(home: &Path, sequence: u64, event: Event) -> Result<u64, Failure> {
    if row(home, sequence)?.discarded.is_some() {
        return Err(QuarantineError::GivenUp(sequence).into());
    }
    let new = new_event(sequence, event);
    connection::with_log(&operator(home)?, Err("interrupted".into()), |log: EventLog| async move {
        let appended = log.append(&new, Expect::Anything, Some(LIMIT)).await?;
        Ok(appended.sequence().ok_or("somebody else said something of the same message just now; ask again")?)
    })
}

fn new_event(sequence: u64, event: Event) -> NewEvent {
    let envelope = Envelope {
        time: Some(trace::now()),
        correlation_id: None,
        actor: Some("operator".to_owned()),
        ..Envelope::new(Uuid::new_v4(), connection::SOURCE)
    };
    NewEvent { subject: Subject::Quarantine { sequence }, envelope, event }
}

/// What the projection holds once what was asked is folded.
enum After {
    Gone,
    There(Box<Quarantined>),
    /// It is not folded in time.
    Unknown,
}

/// Waits until what was asked is folded, and `is_answered` where the message is still there.
fn after(home: &Path, sequence: u64, asked: u64, is_answered: impl Fn(&Quarantined) -> bool) -> Result<After, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    runtime.block_on(async {
        let limit = Instant::now() + LIMIT;
        loop {
            let snapshot = projection(home)?.snapshot()?;
            if snapshot.position()?.is_some_and(|position| position.sequence >= asked) {
                match find(&snapshot, sequence)? {
                    None => return Ok(After::Gone),
                    Some(row) if is_answered(&row) => return Ok(After::There(Box::new(row))),
                    Some(_) => {}
                }
            }
            if Instant::now() > limit {
                return Ok(After::Unknown);
            }
            sleep(LOOK).await;
        }
    })
}

fn print(sequence: u64, asked: u64, done: bool, says: &str, as_json: bool) -> Result<(), Failure> {
    let mut out = output::stdout();
    if as_json {
        let document = json!({ "sequence": sequence, "asked_at": asked, "done": done, "says": says });
        writeln!(out, "{document}")?;
        return Ok(());
    }
    text::wrapped(&mut out, &format!("{sequence}: "), "  ", &text::printable(says))
}
