//! Retrying and discarding: an event each, and a look at what the scheduler made of it.

use std::{io::Write as _, path::Path, time::Duration};

use serde_json::json;
use tokio::time::{Instant, sleep};
use uuid::Uuid;
use waybill_platform::{
    log::{EventLog, Expect, NewEvent},
    trace,
};
use waybill_scheduler::projection::Quarantined;
use waybill_schemas::{
    Envelope, Event,
    v1::{QuarantineDiscarded, QuarantineRetried},
};

use super::{QuarantineError, operator, projection, row};
use crate::{Failure, operator as connection, output, text};

/// `ce-source` of what the operator says.
const SOURCE: &str = "/waybill/operator";
/// How long the log may take to acknowledge, and the scheduler to fold what it acknowledged.
const LIMIT: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(50);

/// Whether the event is back in its place.
pub(super) fn retry(home: &Path, sequence: u64, as_json: bool) -> Result<bool, Failure> {
    let asked = ask(home, sequence, QuarantineRetried { sequence }.into())?;
    let (done, says) = match after(home, sequence, asked)? {
        After::Gone => (true, "the event is back in its place".to_owned()),
        After::There(row) => {
            let why = row.held.map_or_else(|| "the scheduler does not say why".to_owned(), |held| held.why);
            (false, format!("the event stays in quarantine: {why}"))
        }
        After::Unknown => (false, waiting(asked)),
    };
    tell(sequence, asked, done, &says, as_json)?;
    Ok(done)
}

/// Whether the message is given up.
pub(super) fn discard(home: &Path, sequence: u64, reason: Option<String>, as_json: bool) -> Result<bool, Failure> {
    let asked = ask(home, sequence, QuarantineDiscarded { sequence, reason }.into())?;
    let (done, says) = match after(home, sequence, asked)? {
        After::Gone => (true, "the event is no longer in quarantine".to_owned()),
        After::There(row) if row.discarded.is_some() => (true, "the event is given up".to_owned()),
        After::There(_) => (false, "the scheduler did not give the event up".to_owned()),
        After::Unknown => (false, waiting(asked)),
    };
    tell(sequence, asked, done, &says, as_json)?;
    Ok(done)
}

fn waiting(asked: u64) -> String {
    format!("asked at sequence {asked}; the scheduler has not read that yet: it acts when it does (`waybill doctor`)")
}

/// Publishes what is asked, if the message is there, and returns its sequence.
fn ask(home: &Path, sequence: u64, event: Event) -> Result<u64, Failure> {
    if row(home, sequence)?.discarded.is_some() {
        return Err(QuarantineError::GivenUp(sequence).into());
    }
    let envelope = Envelope {
        id: Uuid::new_v4(),
        source: SOURCE.to_owned(),
        source_version: None,
        time: Some(trace::now()),
        causation_id: None,
        correlation_id: None,
        traceparent: None,
        tracestate: None,
    };
    connection::with_log(&operator(home)?, Err("interrupted".into()), |log: EventLog| async move {
        Ok(log.append(&NewEvent { envelope, event }, Expect::Nothing, Some(LIMIT)).await?.sequence)
    })
}

/// What the projection holds once what was asked is folded.
enum After {
    Gone,
    There(Box<Quarantined>),
    /// It is not folded in time.
    Unknown,
}

fn after(home: &Path, sequence: u64, asked: u64) -> Result<After, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    runtime.block_on(async {
        let limit = Instant::now() + LIMIT;
        loop {
            let snapshot = projection(home)?.snapshot()?;
            if snapshot.position()?.is_some_and(|position| position.sequence >= asked) {
                let mut rows = snapshot.quarantine()?.into_iter().chain(snapshot.discarded()?);
                let row = rows.find(|(place, _)| *place == sequence);
                return Ok(row.map_or(After::Gone, |(_, row)| After::There(Box::new(row))));
            }
            if Instant::now() > limit {
                return Ok(After::Unknown);
            }
            sleep(LOOK).await;
        }
    })
}

fn tell(sequence: u64, asked: u64, done: bool, says: &str, as_json: bool) -> Result<(), Failure> {
    let mut out = output::stdout();
    if as_json {
        let document = json!({ "sequence": sequence, "asked_at": asked, "done": done, "says": says });
        writeln!(out, "{document}")?;
        return Ok(());
    }
    text::wrapped(&mut out, &format!("{sequence}: "), "  ", &text::printable(says))
}
