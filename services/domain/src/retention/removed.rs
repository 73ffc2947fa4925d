//! What left the log, as its own events say: sets of sequences, in complete runs.

use std::collections::BTreeMap;

use waybill_schemas::{
    Timestamp,
    v1::{PlacementsArchived, SequenceRange},
};

/// A set of sequences, as ranges.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Removed {
    /// First and last of each, ascending, with something between any two.
    ranges: Vec<[u64; 2]>,
}

impl Removed {
    /// From ranges in any order, which may overlap.
    pub fn from_ranges(ranges: impl IntoIterator<Item = [u64; 2]>) -> Self {
        let mut sorted: Vec<[u64; 2]> = ranges.into_iter().filter(|[first, last]| first <= last).collect();
        sorted.sort_unstable();
        let mut ranges: Vec<[u64; 2]> = Vec::with_capacity(sorted.len());
        for [first, last] in sorted {
            match ranges.last_mut() {
                Some([_, end]) if first <= end.saturating_add(1) => *end = last.max(*end),
                _ => ranges.push([first, last]),
            }
        }
        Self { ranges }
    }

    /// Adds a sequence that is larger than all before.
    pub fn push(&mut self, sequence: u64) {
        match self.ranges.last_mut() {
            Some([_, last]) if last.checked_add(1) == Some(sequence) => *last = sequence,
            _ => self.ranges.push([sequence, sequence]),
        }
    }

    /// First and last of each range, ascending.
    pub fn ranges(&self) -> &[[u64; 2]] {
        &self.ranges
    }

    /// The ranges, as an event has them.
    pub fn to_ranges(&self) -> Vec<SequenceRange> {
        self.ranges.iter().map(|&[first, last]| SequenceRange { first, last }).collect()
    }

    /// The sequences, ascending.
    pub fn sequences(&self) -> impl Iterator<Item = u64> {
        self.ranges.iter().flat_map(|[first, last]| *first..=*last)
    }

    /// True if the sequence is one of them.
    pub fn contains(&self, sequence: u64) -> bool {
        self.covers(sequence, sequence)
    }

    /// True if every sequence from `first` to `last` is one of them.
    pub fn covers(&self, first: u64, last: u64) -> bool {
        let at = self.ranges.partition_point(|[_, end]| *end < first);
        self.ranges.get(at).is_some_and(|[start, end]| *start <= first && last <= *end)
    }

    /// True if it has a sequence from `from` on that the other one has not.
    pub fn exceeds(&self, other: &Self, from: u64) -> bool {
        let later = self.ranges.iter().filter(|[_, last]| *last >= from);
        later.into_iter().any(|[first, last]| !other.covers((*first).max(from), *last))
    }

    /// The first sequence from `from` on that is none of them.
    pub fn next_outside(&self, from: u64) -> u64 {
        let at = self.ranges.partition_point(|[_, end]| *end < from);
        match self.ranges.get(at) {
            Some([start, end]) if *start <= from => end.saturating_add(1),
            _ => from,
        }
    }

    /// The largest; 0 for none.
    pub fn last(&self) -> u64 {
        self.ranges.last().map_or(0, |[_, last]| *last)
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.count_between(0, u64::MAX)
    }

    /// How many there are from `first` to `last`.
    pub fn count_between(&self, first: u64, last: u64) -> u64 {
        let within = self.ranges.iter().map(|[start, end]| [(*start).max(first), (*end).min(last)]);
        let lengths =
            within.filter(|[start, end]| start <= end).map(|[start, end]| end.saturating_sub(start).saturating_add(1));
        lengths.fold(0, u64::saturating_add)
    }
}

/// One segment of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// SHA-256 of its file, in hex.
    pub digest: String,
    /// Sequences of its messages.
    pub removed: Removed,
}

/// A complete run: whole placements that left together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Its number, from 1.
    pub number: u64,
    /// Everything about the placements was recorded before this time.
    pub before: Timestamp,
    /// Where the archive is.
    pub archive: String,
    /// How many placements left.
    pub placements: u64,
    /// Its segments; their messages are in the log's order.
    pub parts: Vec<Part>,
}

/// What the log says of everything that left it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Archives {
    /// Complete runs, by number.
    pub runs: Vec<Run>,
    /// All that left.
    pub removed: Removed,
    /// Number of the last run, complete or not; 0 for none.
    pub last_run: u64,
}

impl Archives {
    /// From the events in the log's order. A run of which a part is missing does not count (rule H): nothing was deleted for it.
    pub fn from_events(events: impl IntoIterator<Item = PlacementsArchived>) -> Self {
        let mut by_run: BTreeMap<u64, Vec<PlacementsArchived>> = BTreeMap::new();
        for event in events {
            by_run.entry(event.run).or_default().push(event);
        }
        let last_run = by_run.last_key_value().map_or(0, |(run, _)| *run);
        let runs: Vec<Run> = by_run.into_values().filter_map(complete_run).collect();
        let parts = runs.iter().flat_map(|run| &run.parts);
        let removed = Removed::from_ranges(parts.flat_map(|part| part.removed.ranges().iter().copied()));
        Self { runs, removed, last_run }
    }
}

fn complete_run(events: Vec<PlacementsArchived>) -> Option<Run> {
    let first = events.first()?;
    let (number, before, archive) = (first.run, first.before, first.archive.clone());
    let (placements, parts) = (first.placements, first.parts);
    let complete =
        events.iter().map(|event| event.part).eq(1..=parts) && events.iter().all(|event| event.parts == parts);
    let part = |event: PlacementsArchived| {
        let ranges = event.sequences.iter().map(|range| [range.first, range.last]);
        Part { digest: event.digest, removed: Removed::from_ranges(ranges) }
    };
    complete.then(|| Run { number, before, archive, placements, parts: events.into_iter().map(part).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_a_set() {
        let removed = Removed::from_ranges([[12, 12], [5, 9], [10, 10], [30, 40], [33, 50]]);
        assert_eq!(removed.ranges(), [[5, 10], [12, 12], [30, 50]]);
        let cases = [
            ((5, 5), true),
            ((5, 10), true),
            ((10, 11), false),
            ((11, 11), false),
            ((12, 12), true),
            ((12, 30), false),
            ((31, 50), true),
            ((50, 51), false),
            ((4, 6), false),
        ];
        for ((first, last), covered) in cases {
            assert_eq!(removed.covers(first, last), covered, "{first} {last}");
        }
        assert_eq!((removed.last(), removed.count(), Removed::default().last()), (50, 28, 0));
        let within = [(6, 12), (11, 11), (50, 99)].map(|(first, last)| removed.count_between(first, last));
        assert_eq!(within, [6, 0, 1]);
        assert_eq!([4, 5, 8, 11, 12, 60].map(|from| removed.next_outside(from)), [4, 11, 11, 11, 13, 60]);
        let more = Removed::from_ranges([[5, 10], [12, 13], [30, 50]]);
        assert!(more.exceeds(&removed, 1) && more.exceeds(&removed, 13) && !more.exceeds(&removed, 14));
        assert!(!removed.exceeds(&more, 1) && removed.exceeds(&Removed::default(), 50));
        assert!(!removed.exceeds(&Removed::default(), 51));
        let mut pushed = Removed::default();
        removed.sequences().for_each(|sequence| pushed.push(sequence));
        assert_eq!(pushed, removed);
    }

    fn part(run: u64, part: u64, parts: u64, [first, last]: [u64; 2]) -> PlacementsArchived {
        PlacementsArchived {
            run,
            part,
            parts,
            placements: 1,
            before: "2026-01-01T00:00:00Z".parse().unwrap(),
            archive: "/archive".to_owned(),
            digest: "0".repeat(64),
            sequences: vec![SequenceRange { first, last }],
        }
    }

    #[test]
    fn a_run_counts_once_it_is_complete() {
        let cases = [
            ("nothing left", vec![], vec![], 0),
            ("one part", vec![part(1, 1, 1, [3, 5])], vec![[3, 5]], 1),
            ("not all parts yet", vec![part(1, 1, 2, [3, 5])], vec![], 1),
            ("all parts", vec![part(1, 1, 2, [3, 5]), part(1, 2, 2, [8, 8])], vec![[3, 5], [8, 8]], 1),
            ("given up, then begun anew", vec![part(1, 1, 2, [3, 5]), part(2, 1, 1, [3, 6])], vec![[3, 6]], 2),
            ("a part twice", vec![part(1, 1, 2, [3, 5]), part(1, 1, 2, [8, 8])], vec![], 1),
            ("of two minds", vec![part(1, 1, 2, [3, 5]), part(1, 2, 3, [8, 8])], vec![], 1),
        ];
        for (name, events, ranges, last_run) in cases {
            let archives = Archives::from_events(events);
            assert_eq!((archives.removed.ranges(), archives.last_run), (ranges.as_slice(), last_run), "{name}");
        }
    }
}
