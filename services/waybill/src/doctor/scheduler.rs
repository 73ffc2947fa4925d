//! The scheduler: how far its projection is behind the log, and what it could not decode.

use std::{path::Path, time::Duration};

use waybill_platform::chain;
use waybill_scheduler::projection::{Position, ProjectionError, ReadProjection};
use waybill_schemas::Timestamp;

use super::{finding::Finding, server::StreamInfo};

/// Between two looks at a projection that is behind.
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);

/// The log, as far as it is known.
#[derive(Debug, Clone, Copy)]
struct Log {
    created: Timestamp,
    last_sequence: u64,
}

/// A look at the projection.
#[derive(Debug, Clone, Copy)]
struct Look {
    position: Option<Position>,
    quarantined: u64,
}

/// Looks at the projection, twice where it is behind the log.
pub(super) async fn check(projection: Option<&Path>, stream: Option<&StreamInfo>) -> Vec<Finding> {
    let Some(path) = projection else { return Vec::new() };
    let log = stream.map(|info| Log { created: info.created, last_sequence: info.state.last_seq });
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
    let look = second.map_or(first, Ok);
    vec![judge_position(&look, log, moved), judge_quarantine(&look)]
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
    if look.position.is_some_and(|position| position.stream_created != log.created) || at > log.last_sequence {
        let remedy =
            "restore the log that it was made from, or fold the one that is there: waybill scheduler --rebuild";
        return Finding::attention(check, "its projection was folded from another log", remedy);
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
        let log = |day, last_sequence| Some(Log { created: time(day), last_sequence });
        let cases = [
            (at(5), log(1, 5), false, Well, "up to sequence 5"),
            (at(0), log(9, 0), false, Well, "up to sequence 0"),
            (at(0), log(9, 3), false, Attention, "3 events behind"),
            (at(5), log(1, 9), false, Attention, "4 events behind the log, and stands still at sequence 5"),
            (at(5), log(1, 9), true, Well, "catching up"),
            (at(5), log(1, 4), false, Attention, "another log"),
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
    fn quarantine() {
        let cases = [(at(0), Well, "empty"), (at(2), Attention, "2 messages"), (Err("why".to_owned()), Unknown, "why")];
        for (look, status, says) in cases {
            let finding = judge_quarantine(&look);
            assert_eq!(finding.status, status);
            assert!(finding.says.contains(says), "{finding:?}");
        }
    }
}
