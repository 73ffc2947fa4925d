//! What a campaign comes to.

use std::{collections::BTreeMap, fmt, time::Duration};

use super::fault::Kind;

/// The outcome of a campaign.
#[derive(Debug)]
pub struct Report {
    seed: u64,
    faults: BTreeMap<Kind, u32>,
    pub(super) waits: BTreeMap<Option<Kind>, Duration>,
    pub(super) acknowledged: usize,
    pub(super) events: usize,
    anomalies: Vec<String>,
}

impl Report {
    pub(super) fn new(seed: u64) -> Self {
        let (faults, waits) = (BTreeMap::new(), BTreeMap::new());
        Self { seed, faults, waits, acknowledged: 0, events: 0, anomalies: Vec::new() }
    }

    pub(super) fn count(&mut self, kind: Kind) {
        *self.faults.entry(kind).or_default() += 1;
    }

    pub(super) fn anomaly(&mut self, what: String) {
        self.anomalies.push(what);
    }

    /// What should not have happened.
    pub fn anomalies(&self) -> &[String] {
        &self.anomalies
    }

    /// Number of faults.
    pub fn faults(&self) -> u32 {
        self.faults.values().sum()
    }

    /// Number of answers that had to hold.
    pub fn acknowledged(&self) -> usize {
        self.acknowledged
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}: {} faults, {} events", self.seed, self.faults(), self.events)?;
        writeln!(f, "{} acknowledged answers were compared with the log", self.acknowledged)?;
        writeln!(f, "longest time until a write was acknowledged:")?;
        for (kind, count) in &self.faults {
            let wait = self.waits.get(&Some(*kind)).copied().unwrap_or_default();
            writeln!(f, "  {:>6.1} s  {kind} ({count} times)", wait.as_secs_f64())?;
        }
        let wait = self.waits.get(&None).copied().unwrap_or_default();
        writeln!(f, "  {:>6.1} s  without a fault", wait.as_secs_f64())?;
        if self.anomalies.is_empty() {
            return writeln!(f, "no anomalies");
        }
        writeln!(f, "{} anomalies:", self.anomalies.len())?;
        self.anomalies.iter().try_for_each(|anomaly| writeln!(f, "  {anomaly}"))
    }
}
