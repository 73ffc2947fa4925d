//! The scheduler: how far it is behind the log, told by its projection or, from another machine, by the log's server; and
//! what it could not decode.

use std::{path::Path, time::Duration};

use waybill_platform::{
    chain,
    log::{ConsumerState, Inspector, Log as _},
};
use waybill_scheduler::projection::{Position, ProjectionError, ReadProjection};
use waybill_schemas::Timestamp;

use super::{finding::Finding, server::StreamInfo};

/// Between two looks at a projection that is behind.
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);

/// The log, as far as it is known.
#[derive(Debug, Clone, Copy)]
struct Log {
    last_sequence: u64,
    /// Time of the message at the projection's position, as far as it is known.
    at_position: Option<Timestamp>,
}

/// A look at the projection.
#[derive(Debug, Clone, Copy)]
struct Look {
    position: Option<Position>,
    quarantined: u64,
}

/// What the log's server says of the scheduler's reader.
#[derive(Debug, Clone, Copy)]
struct Reader {
    /// Events that it has not been given.
    behind: u64,
    /// Sequence of the last one that it was given.
    given: u64,
    /// Whether it asked for more, or was given more between two looks.
    reading: bool,
}

/// Looks at the projection where it can be read here, else at who reads the log.
pub(super) async fn check(
    projection: Option<&Path>,
    stream: Option<&StreamInfo>,
    inspector: Option<&Inspector>,
) -> Vec<Finding> {
    let mut log = stream.map(|info| Log { last_sequence: info.state.last_seq, at_position: None });
    let here = match projection {
        Some(path) => Some(look_at(path, log).await),
        None => None,
    };
    if let Some((look @ Ok(_), moved)) = &here {
        if let (Some(log), Some(inspector), Ok(Look { position: Some(position), .. })) = (&mut log, inspector, look) {
            let found = inspector.log().message_at(position.sequence).await;
            log.at_position = found.ok().flatten().map(|message| message.at);
        }
        return vec![judge_position(look, log, *moved), judge_quarantine(look)];
    }
    let position = match inspector.filter(|_| log.is_some()) {
        Some(inspector) => Some(judge_reader(&reader(inspector).await)),
        None => here.as_ref().map(|(look, _)| judge_position(look, log, false)),
    };
    position.into_iter().chain(here.map(|(look, _)| judge_quarantine(&look))).collect()
}

/// The reader, looked at again where it seems to do nothing: between two pulls nobody asks.
async fn reader(inspector: &Inspector) -> Result<Option<Reader>, String> {
    let ask = async || inspector.scheduler_reader().await.map_err(|error| chain(&error));
    let Some(first) = ask().await? else { return Ok(None) };
    if first.waiting > 0 && first.pending == 0 {
        return Ok(Some(seen(&first, &first)));
    }
    tokio::time::sleep(BETWEEN_LOOKS).await;
    Ok(ask().await?.map(|second| seen(&first, &second)))
}

fn seen(first: &ConsumerState, second: &ConsumerState) -> Reader {
    let reading = second.waiting > 0 || second.delivered > first.delivered;
    Reader { behind: second.pending, given: second.delivered, reading }
}

/// Looks at the projection, twice where it is behind the log; whether it moved in between.
async fn look_at(path: &Path, log: Option<Log>) -> (Result<Look, String>, bool) {
    let first = look(path);
    let behind = |look: &Look| log.is_some_and(|log| reached(look) < log.last_sequence);
    let second = match &first {
        Ok(look) if behind(look) => {
            tokio::time::sleep(BETWEEN_LOOKS).await;
            self::look(path).ok()
        }
        _ => None,
    };
    let moved = second.as_ref().zip(first.as_ref().ok()).is_some_and(|(now, then)| reached(now) > reached(then));
    (second.map_or(first, Ok), moved)
}

fn reached(look: &Look) -> u64 {
    look.position.map_or(0, |position| position.sequence)
}

fn look(path: &Path) -> Result<Look, String> {
    let reader = ReadProjection::open(path).map_err(|error| chain(&error))?;
    let read = || {
        let snapshot = reader.snapshot()?;
        Ok(Look { position: snapshot.position()?, quarantined: snapshot.quarantined()? })
    };
    read().map_err(|error: ProjectionError| chain(&error))
}

const ELSEWHERE: &str = "run the doctor where the scheduler runs, once it has been started; meanwhile its health check \
                         says whether it has caught up";

fn judge_position(look: &Result<Look, String>, log: Option<Log>, moved: bool) -> Finding {
    let check = "scheduler";
    let look = match look {
        Ok(look) => look,
        Err(why) => return Finding::unknown(check, why.clone(), ELSEWHERE),
    };
    let at = reached(look);
    let Some(log) = log else {
        return Finding::unknown(
            check,
            format!("folded up to sequence {at} of a log unknown"),
            "see to the stream first",
        );
    };
    let is_foreign = look.position.is_some_and(|position| log.at_position.is_some_and(|at| at != position.at));
    if is_foreign || at > log.last_sequence {
        let remedy = "the log was cut short, damaged or replaced. Restore the one that it was made from, from a server that has it or a \
             backup (waybill restore log FILE), or go on from the one that is there: waybill scheduler --rebuild";
        return Finding::attention(
            check,
            "its projection was folded from another log, or from more of this one",
            remedy,
        );
    }
    match log.last_sequence.saturating_sub(at) {
        0 => Finding::ok(check, format!("has folded the whole log, up to sequence {at}")),
        behind if moved => Finding::ok(check, format!("is {behind} events behind the log, and catching up")),
        behind => Finding::attention(
            check,
            format!("is {behind} events behind the log, and stands still at sequence {at}"),
            "start it, or see what its log says: waybill scheduler",
        ),
    }
}

fn judge_reader(reader: &Result<Option<Reader>, String>) -> Finding {
    let check = "scheduler";
    let start = "start it, or see what its log says: waybill scheduler";
    match reader {
        Err(why) => Finding::unknown(check, why.clone(), "see to the stream first"),
        Ok(None) => Finding::attention(check, "none reads the log", start),
        Ok(Some(Reader { behind: 0, given, reading: true })) => {
            Finding::ok(check, format!("reads the log elsewhere, and was given all of it, up to sequence {given}"))
        }
        Ok(Some(Reader { behind, reading: true, .. })) => {
            Finding::ok(check, format!("reads the log elsewhere, is {behind} events behind it, and catching up"))
        }
        Ok(Some(Reader { behind, given, reading: false })) => {
            let says = format!("is not reading: {behind} events behind the log, and stands still at sequence {given}");
            Finding::attention(check, says, start)
        }
    }
}

fn judge_quarantine(look: &Result<Look, String>) -> Finding {
    let check = "quarantine";
    match look {
        Ok(Look { quarantined: 0, .. }) => Finding::ok(check, "is empty"),
        Ok(Look { quarantined, .. }) => Finding::attention(
            check,
            format!("holds {quarantined} messages that are no events, or of a later version"),
            "see what they are and who sent them: waybill quarantine list",
        ),
        Err(why) => Finding::unknown(check, why.clone(), ELSEWHERE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Status::{Attention, Ok as Well, Unknown};

    fn time(day: u8) -> Timestamp {
        format!("2026-01-{day:02}T00:00:00Z").parse().unwrap()
    }

    fn at(sequence: u64) -> Result<Look, String> {
        let position = Position { stream_created: time(1), sequence, at: time(2) };
        Ok(Look { position: (sequence > 0).then_some(position), quarantined: sequence })
    }

    #[test]
    fn positions() {
        let log = |day, last_sequence| Some(Log { at_position: Some(time(day)), last_sequence });
        let cases = [
            (at(5), log(2, 5), false, Well, "up to sequence 5"),
            (at(5), Some(Log { at_position: None, last_sequence: 5 }), false, Well, "up to sequence 5"),
            (at(0), log(9, 0), false, Well, "up to sequence 0"),
            (at(0), log(9, 3), false, Attention, "3 events behind"),
            (at(5), log(2, 9), false, Attention, "4 events behind the log, and stands still at sequence 5"),
            (at(5), log(2, 9), true, Well, "catching up"),
            (at(5), log(2, 4), false, Attention, "another log"),
            (at(5), log(3, 5), false, Attention, "another log"),
            (at(5), None, false, Unknown, "sequence 5"),
            (Err("no file".to_owned()), log(1, 5), false, Unknown, "no file"),
        ];
        for (look, log, moved, status, says) in cases {
            let finding = judge_position(&look, log, moved);
            assert_eq!(finding.status, status, "{look:?} {log:?}: {finding:?}");
            assert!(finding.says.contains(says), "{finding:?}");
        }
    }

    #[test]
    fn readers() {
        let state = |pending, delivered, waiting| ConsumerState {
            filter: "waybill.events.>".to_owned(),
            pending,
            delivered,
            acknowledged: 0,
            unacknowledged: 0,
            waiting,
            last_active: None,
            created: None,
            told_at: None,
        };
        let looks = |first, second| Ok(Some(seen(&first, &second)));
        let cases = [
            (looks(state(0, 9, 1), state(0, 9, 1)), Well, "up to sequence 9"),
            (looks(state(5, 4, 0), state(2, 7, 0)), Well, "2 events behind it, and catching up"),
            (
                looks(state(5, 4, 0), state(5, 4, 0)),
                Attention,
                "5 events behind the log, and stands still at sequence 4",
            ),
            (looks(state(0, 9, 0), state(0, 9, 0)), Attention, "not reading"),
            (Ok(None), Attention, "none reads the log"),
            (Err("why".to_owned()), Unknown, "why"),
        ];
        for (reader, status, says) in cases {
            let finding = judge_reader(&reader);
            assert_eq!(finding.status, status, "{reader:?}: {finding:?}");
            assert!(finding.says.contains(says), "{finding:?}");
        }
    }

    #[test]
    fn quarantine() {
        let cases = [(at(0), Well, "empty"), (at(2), Attention, "2 messages"), (Err("why".to_owned()), Unknown, "why")];
        for (look, status, says) in cases {
            let finding = judge_quarantine(&look);
            assert_eq!(finding.status, status);
            assert!(finding.says.contains(says), "{finding:?}");
        }
    }
}
