//! What a replay found, in short.

use std::{collections::BTreeMap, io::Write};

use serde::Serialize;
use waybill_domain::verify::{Divergence, Tally};
use waybill_scheduler::projection::Position;

use super::Replay;
use crate::Failure;

/// The summary; its JSON form is what `--json` prints.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    events: u64,
    seconds: f64,
    events_per_second: u64,
    requests: u64,
    /// Requests without a decision.
    open: u64,
    decisions: BTreeMap<&'static str, u64>,
    quarantined: u64,
    passed_over: u64,
    position: Option<Position>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verified: Option<Verified>,
}

/// What `--verify` found.
#[derive(Debug, Serialize)]
struct Verified {
    #[serde(flatten)]
    tally: Tally,
    divergences: Vec<Divergence>,
}

impl Summary {
    pub(super) fn of(replay: &Replay, verified: Option<(Vec<Divergence>, Tally)>) -> Result<Self, Failure> {
        let counts = replay.counts.clone();
        let decided = counts.decisions.values().fold(0_u64, |sum, count| sum.saturating_add(*count));
        let milliseconds = replay.elapsed.as_millis().max(1);
        let rate = u128::from(counts.events).saturating_mul(1000).checked_div(milliseconds).unwrap_or(0);
        Ok(Self {
            events: counts.events,
            seconds: replay.elapsed.as_secs_f64(),
            events_per_second: u64::try_from(rate).unwrap_or(u64::MAX),
            requests: counts.requests,
            open: counts.requests.saturating_sub(decided),
            decisions: counts.decisions,
            quarantined: counts.quarantined,
            passed_over: counts.passed_over,
            position: replay.projection.position()?,
            verified: verified.map(|(divergences, tally)| Verified { tally, divergences }),
        })
    }

    /// Recorded decisions that are not what the log leads to.
    pub(super) fn divergences(&self) -> &[Divergence] {
        self.verified.as_ref().map_or(&[], |verified| &verified.divergences)
    }

    /// For people.
    pub(super) fn print(&self, out: &mut impl Write) -> std::io::Result<()> {
        let rate = grouped(self.events_per_second);
        writeln!(out, "folded       {} events in {:.1} s, {rate} a second", grouped(self.events), self.seconds)?;
        match &self.position {
            Some(Position { sequence, at, .. }) => writeln!(out, "position     sequence {sequence}, recorded {at}")?,
            None => writeln!(out, "position     before the first event")?,
        }
        writeln!(out, "requests     {}, {} without a decision", grouped(self.requests), grouped(self.open))?;
        for (at, (outcome, count)) in self.decisions.iter().enumerate() {
            let name = if at == 0 { "decisions" } else { "" };
            writeln!(out, "{name:<12} {outcome}: {}", grouped(*count))?;
        }
        writeln!(out, "quarantined  {}", grouped(self.quarantined))?;
        if self.passed_over > 0 {
            writeln!(out, "passed over  {}: requests again, answers to nothing", grouped(self.passed_over))?;
        }
        if let Some(Verified { tally, divergences }) = &self.verified {
            let (agreed, differ) = (grouped(tally.agreed), divergences.len());
            writeln!(out, "verified     {agreed} decisions agree, {differ} differ")?;
            if tally.unsealed > 0 {
                writeln!(out, "             {} of them could not be opened or sealed", grouped(tally.unsealed))?;
            }
        }
        Ok(())
    }
}

/// A number with commas.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && digits.len().saturating_sub(at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
    }
}
