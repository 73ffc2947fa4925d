//! What an explanation is made from: the messages that concern an id, readable or not.

use waybill_schemas::{Event, ImageId, Recorded, RecordedEvent, WorkspaceId};

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

/// A message at its place.
pub type Entry = Recorded<Seen>;

/// Everything in the log that concerns one id.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct History {
    entries: Vec<Entry>,
    elsewhere: Vec<WorkspaceId>,
}

impl History {
    /// From messages in any order, each of which may come twice, and the other workspaces that built the image.
    pub fn new(mut entries: Vec<Entry>, elsewhere: Vec<WorkspaceId>) -> Self {
        entries.sort_by_key(|entry| entry.sequence);
        entries.dedup_by_key(|entry| entry.sequence);
        Self { entries, elsewhere }
    }

    /// As it was when the log ended at a sequence.
    #[must_use]
    pub fn until(mut self, sequence: u64) -> Self {
        self.entries.retain(|entry| entry.sequence <= sequence);
        self
    }

    /// Other workspaces that have builds of the image.
    pub(super) fn elsewhere(&self) -> &[WorkspaceId] {
        &self.elsewhere
    }

    /// Events in the order of the log.
    pub(super) fn events(&self) -> impl DoubleEndedIterator<Item = Recorded<&RecordedEvent>> {
        self.entries.iter().filter_map(|entry| match &entry.value {
            Seen::Event(event) => Some(Recorded { sequence: entry.sequence, at: entry.at, value: event.as_ref() }),
            Seen::Unreadable { .. } => None,
        })
    }

    /// What became of an image's credentials, build by build, in the order of the log.
    pub(super) fn builds<'h>(
        &'h self,
        workspace: &'h WorkspaceId,
        image_id: &'h ImageId,
    ) -> impl DoubleEndedIterator<Item = Recorded<&'h RecordedEvent>> {
        self.events().filter(move |recorded| match &recorded.value.event {
            Event::CredentialSecretSkipped(e) => e.workspace == *workspace && e.image_id == *image_id,
            Event::CredentialSecretVerified(e) => e.workspace == *workspace && e.image_id == *image_id,
            Event::CredentialSecretRevoked(e) => e.workspace == *workspace && e.image_id == *image_id,
            event => event.saved().is_some_and(|e| e.workspace == *workspace && e.image_id == *image_id),
        })
    }

    /// The newest message below a subject prefix that stands after a sequence and cannot be read.
    pub(super) fn unreadable_after<'h>(&'h self, sequence: u64, prefix: &str) -> Option<Recorded<&'h str>> {
        let found = self.entries.iter().rev().take_while(|entry| entry.sequence > sequence).find_map(|entry| {
            let Seen::Unreadable { subject, error } = &entry.value else { return None };
            subject.starts_with(prefix).then_some((entry, error))
        });
        found.map(|(entry, error)| Recorded { sequence: entry.sequence, at: entry.at, value: error.as_str() })
    }

    /// Messages below a subject prefix that cannot be read: their sequences and why.
    pub(super) fn unreadable<'h>(&'h self, prefix: &'h str) -> impl Iterator<Item = Recorded<&'h str>> {
        self.entries.iter().filter_map(move |entry| match &entry.value {
            Seen::Unreadable { subject, error } if subject.starts_with(prefix) => {
                Some(Recorded { sequence: entry.sequence, at: entry.at, value: error.as_str() })
            }
            _ => None,
        })
    }
}
