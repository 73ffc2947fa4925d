//! What a replay found, in short.

use std::{collections::BTreeMap, io::Write};

use serde::Serialize;
use waybill_domain::{
    fold::{Lane, Pending},
    verify::{Divergence, Tally},
};
use waybill_platform::log::{Log, read_archives};
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
    /// Decisions that the log leads to and does not hold yet, by the name of their lane.
    open: BTreeMap<&'static str, u64>,
    decisions: BTreeMap<String, u64>,
    quarantined: u64,
    /// Events that the log does not lead to.
    anomalies: u64,
    position: Option<Position>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verified: Option<Verified>,
    #[serde(skip_serializing_if = "Option::is_none")]
    absent: Option<Absent>,
}

/// What left the log before, and was not read: nothing is said of it.
#[derive(Debug, Serialize)]
pub(super) struct Absent {
    events: u64,
    placements: u64,
    /// Where it is, by run.
    archives: Vec<String>,
}

impl Absent {
    /// What left the log up to a sequence; none where nothing did, or where the archive was read as well.
    pub(super) async fn read(log: &dyn Log, with_archive: bool, last: u64) -> Result<Option<Self>, Failure> {
        let archives = read_archives(log).await?;
        let events = archives.removed.count_between(1, last);
        let placements = archives.runs.iter().map(|run| run.placements).fold(0, u64::saturating_add);
        let mut places: Vec<String> = archives.runs.into_iter().map(|run| run.archive).collect();
        places.dedup();
        Ok((!with_archive && events > 0).then_some(Self { events, placements, archives: places }))
    }
}

/// What `--verify` found.
#[derive(Debug, Serialize)]
struct Verified {
    #[serde(flatten)]
    tally: Tally,
    divergences: Vec<Divergence>,
}

impl Summary {
    pub(super) fn new(
        replay: &Replay,
        open: &[Pending],
        verified: Option<(Vec<Divergence>, Tally)>,
        absent: Option<Absent>,
    ) -> Result<Self, Failure> {
        let counts = replay.counts.clone();
        let milliseconds = replay.elapsed.as_millis().max(1);
        let rate = u128::from(counts.events).saturating_mul(1000).checked_div(milliseconds).unwrap_or(0);
        Ok(Self {
            events: counts.events,
            seconds: replay.elapsed.as_secs_f64(),
            events_per_second: u64::try_from(rate).unwrap_or(u64::MAX),
            requests: counts.requests,
            open: count_by_lane(open),
            decisions: counts.decisions,
            quarantined: counts.quarantined,
            anomalies: counts.anomalies,
            position: replay.projection.position()?,
            verified: verified.map(|(divergences, tally)| Verified { tally, divergences }),
            absent,
        })
    }

    /// Events that the log does not lead to.
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
        writeln!(out, "requests     {}", grouped(self.requests))?;
        print_counts(out, "decisions", self.decisions.iter().map(|(name, count)| (name.as_str(), *count)))?;
        print_counts(out, "open", self.open.iter().map(|(name, count)| (*name, *count)))?;
        writeln!(out, "quarantined  {}", grouped(self.quarantined))?;
        if self.anomalies > 0 {
            writeln!(out, "anomalies    {} events that the log does not lead to", grouped(self.anomalies))?;
        }
        if let Some(Verified { tally, divergences }) = &self.verified {
            let (agreed, outcomes) = (grouped(tally.agreed), grouped(tally.outcomes));
            writeln!(
                out,
                "verified     {agreed} decisions and {outcomes} outcomes agree, {} do not",
                divergences.len()
            )?;
        }
        if let Some(Absent { events, placements, archives }) = &self.absent {
            let (events, placements) = (grouped(*events), grouped(*placements));
            writeln!(out, "not there    {events} events of {placements} placements left the log and were not read:")?;
            archives.iter().try_for_each(|archive| writeln!(out, "             --archive {archive}"))?;
        }
        Ok(())
    }
}

fn count_by_lane(open: &[Pending]) -> BTreeMap<&'static str, u64> {
    let mut counts = BTreeMap::new();
    for pending in open {
        let name = match pending.key().lane {
            Lane::Withdrawals => "withdrawals",
            Lane::Requests => "requests",
            Lane::Renewals => "renewals",
        };
        let count: &mut u64 = counts.entry(name).or_default();
        *count = count.saturating_add(1);
    }
    counts
}

/// One line for each count, the first after a name.
fn print_counts<'c>(
    out: &mut impl Write,
    name: &str,
    counts: impl Iterator<Item = (&'c str, u64)>,
) -> std::io::Result<()> {
    for (at, (what, count)) in counts.enumerate() {
        let name = if at == 0 { name } else { "" };
        writeln!(out, "{name:<12} {what}: {}", grouped(count))?;
    }
    Ok(())
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
