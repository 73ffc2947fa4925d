//! Clocks held against the log's: each event carries the time of its writer and gets that of the log.

use std::collections::BTreeMap;

use time::Duration;
use waybill_schemas::{Recorded, RecordedEvent, Subject, Timestamp};

use super::open::spell;

/// A writer whose event is older than so much when the log has it may have waited for room or for a connection.
const BEHIND: Duration = Duration::seconds(60);
/// No event is stored before it is written.
const AHEAD: Duration = Duration::seconds(5);
/// Events that tell a clock that is behind from one event that waited.
const ENOUGH: usize = 2;

/// What one writer's events tell: the least time that one took to the log, and how many there are.
#[derive(Debug, Clone, Copy)]
struct Taken {
    least: Duration,
    events: usize,
}

/// A sentence for each writer whose clock differs from the log's.
pub(super) fn compare_clocks<'h>(events: impl Iterator<Item = Recorded<&'h RecordedEvent>>) -> Vec<String> {
    let mut writers: BTreeMap<String, Taken> = BTreeMap::new();
    for Recorded { at, value, .. } in events {
        let Some(written) = value.envelope.time else { continue };
        note(&mut writers, writer(value), written, at);
    }
    writers.into_iter().filter_map(|(writer, taken)| say(&writer, taken)).collect()
}

fn writer(event: &RecordedEvent) -> String {
    match &event.subject {
        Subject::ContainerOutcome { worker_id, .. }
        | Subject::SecretOutcome { worker_id, .. }
        | Subject::Worker { worker_id } => format!("worker {worker_id}"),
        _ => event.envelope.source.clone(),
    }
}

fn note(writers: &mut BTreeMap<String, Taken>, writer: String, written: Timestamp, at: Timestamp) {
    let took = at.instant() - written.instant();
    let taken = writers.entry(writer).or_insert(Taken { least: took, events: 0 });
    taken.least = taken.least.min(took);
    taken.events = taken.events.saturating_add(1);
}

fn say(writer: &str, taken: Taken) -> Option<String> {
    let by = |skew: Duration| spell(skew.unsigned_abs());
    if taken.least < -AHEAD {
        return Some(format!(
            "the clock of {writer} is {} ahead of the log's: set it right, since it judges by it when credentials expire",
            by(taken.least)
        ));
    }
    (taken.least > BEHIND && taken.events >= ENOUGH).then(|| {
        format!("the clock of {writer} is {} behind the log's, or each of its events waited so long", by(taken.least))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_told_from_an_event_that_waited() {
        let at: Timestamp = "2026-01-01T12:00:00Z".parse().unwrap();
        let cases: [(&str, &[i64], Option<&str>); 7] = [
            ("right", &[0, 1, 3], None),
            ("a little ahead", &[-4], None),
            ("ahead", &[-600, 1], Some("w is 10 min 0 s ahead")),
            ("one event waited", &[600], None),
            ("one of two waited", &[600, 1], None),
            ("behind", &[600, 601], Some("w is 10 min 0 s behind")),
            ("none", &[], None),
        ];
        for (name, took, expected) in cases {
            let mut writers = BTreeMap::new();
            for seconds in took {
                let written = at.instant() - Duration::seconds(*seconds);
                note(&mut writers, "w".to_owned(), written.into(), at);
            }
            let said = writers.get("w").and_then(|taken| say("w", *taken));
            assert_eq!(said.is_some(), expected.is_some(), "{name}: {said:?}");
            assert!(said.unwrap_or_default().contains(expected.unwrap_or_default()), "{name}");
        }
    }
}
