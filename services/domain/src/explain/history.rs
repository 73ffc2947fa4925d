//! What an explanation is made from: the messages that concern an id, readable or not.

use waybill_schemas::{Recorded, RecordedEvent, Subject, WorkspaceId};

use super::Concern;

/// One message of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// An event.
    Event(Box<RecordedEvent>),
    /// A message that this version cannot read: the scheduler has it in quarantine.
    Unreadable {
        /// Its NATS subject.
        subject: String,
        /// Why, without any of its content.
        error: String,
    },
}

impl Seen {
    /// The subject, if it is one of the log's.
    pub fn subject(&self) -> Option<Subject> {
        match self {
            Self::Event(recorded) => Some(recorded.subject.clone()),
            Self::Unreadable { subject, .. } => subject.parse().ok(),
        }
    }
}

/// A message at its place.
pub type Entry = Recorded<Seen>;

/// Everything in the log that concerns one id.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct History {
    entries: Vec<Entry>,
    elsewhere: Vec<WorkspaceId>,
    complete_from: u64,
}

impl History {
    /// From messages in any order, each of which may come twice, and the other workspaces that built the image.
    pub fn new(mut entries: Vec<Entry>, elsewhere: Vec<WorkspaceId>) -> Self {
        entries.sort_by_key(|entry| entry.sequence);
        entries.dedup_by_key(|entry| entry.sequence);
        Self { entries, elsewhere, complete_from: 0 }
    }

    /// With everything from a sequence on, and before it only what the newest placement rests on. The decisions about
    /// placements before it are not compared with the fold's.
    #[must_use]
    pub fn complete_from(mut self, sequence: u64) -> Self {
        self.complete_from = sequence;
        self
    }

    /// As it was when the log ended at a sequence.
    #[must_use]
    pub fn until(mut self, sequence: u64) -> Self {
        self.entries.retain(|entry| entry.sequence <= sequence);
        self
    }

    /// The messages, in the order of the log.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// From here on everything is known.
    pub fn is_complete_from(&self) -> u64 {
        self.complete_from
    }

    /// Only the messages that concern an id.
    pub(super) fn restrict(&self, concern: &Concern) -> Self {
        let concerned =
            |entry: &&Entry| entry.value.subject().is_some_and(|subject| concern.covers(entry.sequence, &subject));
        Self {
            entries: self.entries.iter().filter(concerned).cloned().collect(),
            elsewhere: self.elsewhere.clone(),
            complete_from: self.complete_from,
        }
    }

    /// True if everything that a decision at a sequence rests on is known.
    pub(super) fn is_complete_at(&self, sequence: u64) -> bool {
        sequence >= self.complete_from
    }

    /// Other workspaces that have builds of the image.
    pub fn elsewhere(&self) -> &[WorkspaceId] {
        &self.elsewhere
    }

    /// Events in the order of the log.
    pub(super) fn events(&self) -> impl DoubleEndedIterator<Item = Recorded<&RecordedEvent>> {
        self.entries.iter().filter_map(|entry| match &entry.value {
            Seen::Event(event) => Some(Recorded { sequence: entry.sequence, at: entry.at, value: event.as_ref() }),
            Seen::Unreadable { .. } => None,
        })
    }

    /// The event at a sequence.
    pub(super) fn at(&self, sequence: u64) -> Option<Recorded<&RecordedEvent>> {
        self.events().find(|recorded| recorded.sequence == sequence)
    }

    /// Messages that cannot be read, on subjects that `concerned` takes: their sequences and why.
    pub(super) fn unreadable<'h>(
        &'h self,
        concerned: impl Fn(&Subject) -> bool + 'h,
    ) -> impl DoubleEndedIterator<Item = Recorded<&'h str>> {
        self.entries.iter().filter_map(move |entry| match &entry.value {
            Seen::Unreadable { subject, error } if subject.parse().is_ok_and(|subject| concerned(&subject)) => {
                Some(Recorded { sequence: entry.sequence, at: entry.at, value: error.as_str() })
            }
            _ => None,
        })
    }
}
