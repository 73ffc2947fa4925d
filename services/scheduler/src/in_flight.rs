//! Decisions that were sent and are not folded yet: their rows are still in the outbox, and are not to be sent again.

use std::collections::{BTreeMap, HashSet};

/// Keys of outbox rows, by the sequence at which the log holds their decisions.
#[derive(Debug, Default)]
pub(crate) struct InFlight {
    keys: HashSet<String>,
    by_sequence: BTreeMap<u64, Vec<String>>,
}

impl InFlight {
    /// The decision of a row is sent.
    pub(crate) fn begin(&mut self, key: String) {
        self.keys.insert(key);
    }

    /// The log does not hold the decision of a row: it is due again.
    pub(crate) fn give_up(&mut self, key: &str) {
        self.keys.remove(key);
    }

    /// The log holds the decision of a row, at a sequence.
    pub(crate) fn add(&mut self, key: String, sequence: u64) {
        self.keys.insert(key.clone());
        self.by_sequence.entry(sequence).or_default().push(key);
    }

    /// The log is folded up to a sequence.
    pub(crate) fn release(&mut self, folded: u64) {
        while let Some(first) = self.by_sequence.first_entry().filter(|first| *first.key() <= folded) {
            for key in first.remove() {
                self.keys.remove(&key);
            }
        }
    }

    pub(crate) fn contains(&self, key: &str) -> bool {
        self.keys.contains(key)
    }

    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_in_flight_until_its_decision_is_folded() {
        let mut in_flight = InFlight::default();
        for key in ["a", "b", "c"] {
            in_flight.begin(key.to_owned());
        }
        in_flight.add("a".to_owned(), 7);
        in_flight.add("b".to_owned(), 9);
        in_flight.give_up("c");
        in_flight.release(7);
        assert_eq!((in_flight.contains("a"), in_flight.contains("b"), in_flight.len()), (false, true, 1));
        in_flight.release(100);
        assert_eq!(in_flight.len(), 0);
    }
}
