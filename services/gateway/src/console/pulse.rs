//! What the feed counts as it reads the log: events of the last minute by kind, and messages that nobody can read.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use waybill_platform::log::RawMessage;
use waybill_schemas::{DecodeError, Event, RecordedEvent, Subject, Timestamp, WorkspaceId};

/// Seconds that are counted.
const SPAN: i64 = 60;
/// Most unreadable messages that are kept, the newest.
const MOST_UNREADABLE: usize = 1000;

/// What is counted apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Builds,
    Requests,
    Decisions,
    Pulls,
}

impl Kind {
    fn from_event(event: &Event) -> Option<Self> {
        match event {
            Event::ImageSecretNamed(_) | Event::CredentialSecretSkipped(_) => Some(Self::Builds),
            Event::ContainerRequested(_) | Event::ContainerEnded(_) => Some(Self::Requests),
            Event::ContainerCredentialsAttached(_)
            | Event::ContainerCredentialsSkipped(_)
            | Event::ContainerCredentialsWithdrawn(_)
            | Event::WorkerCredentialsRenewed(_) => Some(Self::Decisions),
            Event::ImagePullSucceeded(_) | Event::ImagePullFailed(_) => Some(Self::Pulls),
            _ => None,
        }
    }
}

/// A message that this version cannot read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unreadable {
    pub(crate) sequence: u64,
    pub(crate) at: Timestamp,
    pub(crate) subject: String,
    /// Why, without any of its content.
    pub(crate) error: String,
    pub(crate) bytes: usize,
}

#[derive(Debug, Default)]
struct Counts {
    seconds: BTreeMap<i64, BTreeMap<(Kind, WorkspaceId), u64>>,
    unreadable: BTreeMap<u64, Unreadable>,
}

/// Counts by second, kind and workspace, and the unreadable messages that are not given up.
#[derive(Debug, Default)]
pub(crate) struct Pulse(Mutex<Counts>);

impl Pulse {
    /// Takes the next message of the log, at a time: those of long ago are not counted.
    pub(crate) fn note(&self, message: &RawMessage, decoded: &Result<RecordedEvent, DecodeError>, now: Timestamp) {
        match decoded {
            Ok(recorded) => self.count(message.at, &recorded.event, now),
            Err(error) => {
                let unreadable = Unreadable {
                    sequence: message.sequence,
                    at: message.at,
                    subject: message.subject.chars().take(256).collect(),
                    error: error.to_string(),
                    bytes: message.payload.len(),
                };
                let mut counts = self.lock();
                counts.unreadable.insert(message.sequence, unreadable);
                while counts.unreadable.len() > MOST_UNREADABLE {
                    counts.unreadable.pop_first();
                }
            }
        }
    }

    fn count(&self, at: Timestamp, event: &Event, now: Timestamp) {
        if let Event::QuarantineDiscarded(discarded) = event {
            self.lock().unreadable.remove(&discarded.sequence);
        }
        let (second, oldest) = (at.instant().unix_timestamp(), oldest(now));
        let Some((kind, workspace)) = Kind::from_event(event).zip(event.workspace()).filter(|_| second >= oldest)
        else {
            return;
        };
        let mut counts = self.lock();
        counts.seconds = counts.seconds.split_off(&oldest);
        let count = counts.seconds.entry(second).or_default().entry((kind, workspace.clone())).or_default();
        *count = count.saturating_add(1);
    }

    /// Forgets everything: the log is another one.
    pub(crate) fn clear(&self) {
        *self.lock() = Counts::default();
    }

    /// Events of a kind in the last minute.
    pub(crate) fn per_minute(&self, kind: Kind, own: Option<&WorkspaceId>, now: Timestamp) -> u64 {
        let counts = self.lock();
        let counted = counts.seconds.range(oldest(now)..).flat_map(|(_, counts)| counts);
        let mine =
            counted.filter(|((counted, workspace), _)| *counted == kind && own.is_none_or(|own| own == workspace));
        mine.map(|(_, count)| count).sum()
    }

    /// Messages that nobody can read and nobody gave up, the newest first; of one workspace those on its subjects.
    pub(crate) fn list_unreadable(&self, own: Option<&WorkspaceId>) -> Vec<Unreadable> {
        let mine = |unreadable: &&Unreadable| {
            let subject = unreadable.subject.parse::<Subject>();
            own.is_none() || subject.is_ok_and(|subject| subject.workspace() == own)
        };
        self.lock().unreadable.values().rev().filter(mine).cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn oldest(now: Timestamp) -> i64 {
    now.instant().unix_timestamp().saturating_sub(SPAN)
}

#[cfg(test)]
mod tests {
    use waybill_schemas::v1::{ContainerEnded, ContainerRequested, QuarantineDiscarded};

    use super::*;

    fn at(seconds: u64) -> Timestamp {
        let noon: Timestamp = "2026-01-31T12:00:00Z".parse().unwrap();
        Timestamp::from(noon.instant() + std::time::Duration::from_secs(seconds))
    }

    fn requested(workspace: &str) -> Event {
        let (workspace, container_id) = (workspace.parse().unwrap(), "c".parse().unwrap());
        let worker_id = "w".parse().unwrap();
        ContainerRequested { workspace, container_id, image_id: None, worker_id, build_container: false }.into()
    }

    #[test]
    fn a_minute_is_counted_by_kind_and_workspace() {
        let pulse = Pulse::default();
        let ended =
            ContainerEnded { workspace: "acme".parse().unwrap(), container_id: "c".parse().unwrap(), placement: 1 };
        for (seconds, event) in
            [(0, requested("acme")), (50, requested("acme")), (51, requested("other")), (52, Event::from(ended))]
        {
            pulse.count(at(seconds), &event, at(70));
        }
        let acme: WorkspaceId = "acme".parse().unwrap();
        let cases = [
            (Kind::Requests, None, 70, 3),
            (Kind::Requests, Some(&acme), 70, 2),
            (Kind::Builds, None, 70, 0),
            (Kind::Requests, None, 113, 0),
        ];
        for (kind, own, now, expected) in cases {
            assert_eq!(pulse.per_minute(kind, own, at(now)), expected, "{kind:?} {own:?} {now}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_kept_until_it_is_given_up() {
        let (log, pulse) = (waybill_platform::testing::MemoryLog::new(), Pulse::default());
        log.publish_raw("waybill.events.container.acme.c.r", &[], b"{");
        log.publish_raw("waybill.events.worker.w", &[], b"{");
        for message in log.messages() {
            pulse.note(&message, &message.decode(), at(0));
        }
        let (acme, other): (WorkspaceId, WorkspaceId) = ("acme".parse().unwrap(), "other".parse().unwrap());
        let listed = |own| pulse.list_unreadable(own).iter().map(|one| one.sequence).collect::<Vec<_>>();
        assert_eq!([listed(None), listed(Some(&acme)), listed(Some(&other))], [vec![2, 1], vec![1], vec![]]);
        pulse.count(at(0), &QuarantineDiscarded { sequence: 2, reason: None }.into(), at(0));
        assert_eq!(listed(None), [1]);
    }
}
