//! Gathers what an explanation is made from: by subject, never by reading the whole log.

use std::{collections::BTreeSet, time::Duration};

use waybill_domain::explain::{
    Entry, Explanation, History, ReaderState, ReaderStatus, Readers, Seen, State, explain_container, explain_image,
};
use waybill_schemas::{ContainerId, Event, EventType, ImageId, Recorded, Subject, Timestamp, WorkerId, WorkspaceId};

use crate::{
    log::{ConsumerState, EventLog, LogError, RawMessage},
    trace,
};

/// Most messages on one subject that are looked at, the newest: an id can be used as often as somebody likes.
const NEWEST: usize = 5_000;
/// Most messages of a subject that are told of although they cannot be read; the newest ones.
const UNREADABLE: usize = 20;
/// A reader that was given something this lately is at work, even if it asks for nothing right now.
const AT_WORK: Duration = Duration::from_secs(15);

/// The moment that is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// The present.
    Now,
    /// When the log ended at this sequence, at this time.
    Past {
        /// Sequence of the last event that counts.
        sequence: u64,
        /// The time then.
        at: Timestamp,
    },
}

/// Whose events an answer may speak of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Those of every workspace: the operator's.
    Everything,
    /// Those of the workspace that is asked about.
    OneWorkspace,
}

/// Answers questions from a log.
#[derive(Debug, Clone)]
pub struct Explainer {
    /// The log.
    pub log: EventLog,
    /// Whose events answers may speak of.
    pub scope: Scope,
    /// The moment that is asked about.
    pub moment: Moment,
}

/// What the log tells on some subjects, and up to which sequence: what is read next is read up to there, too, so that an
/// explanation is of one moment.
struct Told {
    entries: Vec<Entry>,
    end: u64,
}

/// Everything that concerns a container.
struct Gathered {
    history: History,
    /// The worker of its newest request.
    worker: Option<WorkerId>,
    /// The sequence up to which it was read.
    end: u64,
}

impl Explainer {
    /// What happened to an image.
    ///
    /// # Errors
    /// [`LogError`] when the log does not answer.
    pub async fn image(&self, workspace: &WorkspaceId, image_id: &ImageId) -> Result<Explanation, LogError> {
        let Told { entries, end } = self.builds(workspace, image_id, self.end()).await?;
        let elsewhere = self.elsewhere(workspace, image_id, &entries, end).await?;
        Ok(explain_image(&History::new(entries, elsewhere), workspace, image_id, self.now()))
    }

    /// What happened to a container.
    ///
    /// # Errors
    /// [`LogError`] when the log does not answer.
    pub async fn container(&self, workspace: &WorkspaceId, id: &ContainerId) -> Result<Explanation, LogError> {
        let Gathered { history, worker, .. } = self.history(workspace, id).await?;
        let explained = explain_container(&history, workspace, id, &Readers::unknown(), self.now());
        if explained.verdict.state != State::InFlight || self.moment != Moment::Now {
            return Ok(explained);
        }
        // The readers are asked before the log is read again: whatever they were done with is in it then.
        let (readers, now) = self.readers(worker.as_ref()).await?;
        let Gathered { history, end, .. } = self.history(workspace, id).await?;
        if end < reached(&readers) {
            return Err(LogError::behind(format!("explain container {id}")));
        }
        Ok(explain_container(&history, workspace, id, &readers, now))
    }

    fn now(&self) -> Timestamp {
        match self.moment {
            Moment::Now => trace::now(),
            Moment::Past { at, .. } => at,
        }
    }

    /// The last sequence that counts.
    fn end(&self) -> u64 {
        match self.moment {
            Moment::Now => u64::MAX,
            Moment::Past { sequence, .. } => sequence,
        }
    }

    /// Everything that concerns a container.
    async fn history(&self, workspace: &WorkspaceId, id: &ContainerId) -> Result<Gathered, LogError> {
        let container = format!("waybill.events.container.{workspace}.{id}.>");
        let Told { mut entries, end } = self.read(&container, self.end()).await?;
        let (mut images, mut workers) = (BTreeSet::new(), BTreeSet::new());
        let mut newest = None;
        for entry in &entries {
            if let Seen::Event(recorded) = &entry.value
                && let Event::ContainerRequested(request) = &recorded.event
            {
                images.extend(request.image_id.clone());
                workers.insert(request.worker_id.clone());
                newest = Some((request.worker_id.clone(), request.image_id.clone()));
            }
        }
        for worker_id in &workers {
            entries.extend(
                self.read(&format!("waybill.events.worker.{worker_id}.{workspace}.{id}.>"), end).await?.entries,
            );
            let registered = Subject::Registered { worker_id: worker_id.clone() };
            entries.extend(self.read(&registered.to_string(), end).await?.entries);
        }
        for image_id in &images {
            entries.extend(self.builds(workspace, image_id, end).await?.entries);
        }
        let (worker, image_id) = newest.unzip();
        let elsewhere = match image_id.flatten() {
            Some(image_id) => self.elsewhere(workspace, &image_id, &entries, end).await?,
            None => Vec::new(),
        };
        Ok(Gathered { history: History::new(entries, elsewhere), worker, end })
    }

    async fn builds(&self, workspace: &WorkspaceId, image_id: &ImageId, end: u64) -> Result<Told, LogError> {
        self.read(&format!("waybill.events.image.{workspace}.{image_id}.>"), end).await
    }

    /// Other workspaces that built the image, where this one did not.
    async fn elsewhere(
        &self,
        workspace: &WorkspaceId,
        image_id: &ImageId,
        entries: &[Entry],
        end: u64,
    ) -> Result<Vec<WorkspaceId>, LogError> {
        let built = entries.iter().any(|entry| match &entry.value {
            Seen::Event(recorded) => {
                matches!(recorded.event.subject(), Subject::Image { image_id: built, .. } if built == *image_id)
            }
            Seen::Unreadable { .. } => false,
        });
        if built || self.scope == Scope::OneWorkspace {
            return Ok(Vec::new());
        }
        let entries = self.read(&format!("waybill.events.image.*.{image_id}.>"), end).await?.entries;
        let others = entries.iter().filter_map(|entry| match &entry.value {
            Seen::Event(recorded) => match recorded.event.subject() {
                Subject::Image { workspace: other, .. } if other != *workspace => Some(other),
                _ => None,
            },
            Seen::Unreadable { .. } => None,
        });
        Ok(others.collect::<BTreeSet<_>>().into_iter().collect())
    }

    /// Events on a subject, and what cannot be read there unless it was given up.
    async fn read(&self, filter: &str, end: u64) -> Result<Told, LogError> {
        let newest = self.log.newest_on(filter, NEWEST, end).await?;
        let mut entries: Vec<Entry> = newest.messages.iter().map(entry).collect();
        let unreadable = entries.iter().rev().filter(|entry| matches!(entry.value, Seen::Unreadable { .. }));
        let unreadable: Vec<u64> = unreadable.map(|entry| entry.sequence).collect();
        let mut told = BTreeSet::new();
        for sequence in unreadable.iter().copied().take(UNREADABLE) {
            if !self.given_up(sequence, end).await? {
                told.insert(sequence);
            }
        }
        entries.retain(|entry| matches!(entry.value, Seen::Event(_)) || told.contains(&entry.sequence));
        Ok(Told { entries, end: newest.end })
    }

    async fn given_up(&self, sequence: u64, end: u64) -> Result<bool, LogError> {
        let subject = Subject::Quarantine { sequence, event: EventType::QuarantineDiscarded };
        let last = self.log.last(&subject.to_string()).await?;
        Ok(last.is_some_and(|discarded| discarded.sequence <= end))
    }

    /// The readers that are waited for, and the server's time: how long they have been quiet is not for the clock here to say.
    async fn readers(&self, worker: Option<&WorkerId>) -> Result<(Readers, Timestamp), LogError> {
        let scheduler = self.log.scheduler_reader().await?;
        let worker = match worker {
            Some(worker_id) => Some(self.log.worker_consumer(worker_id).await?),
            None => None,
        };
        let told_at = |state: &Option<ConsumerState>| state.as_ref().and_then(|state| state.told_at);
        let now = told_at(&scheduler).max(worker.as_ref().and_then(told_at)).unwrap_or_else(trace::now);
        let worker = worker.map_or(ReaderStatus::Unknown, status);
        Ok((Readers { scheduler: status(scheduler), worker }, now))
    }
}

/// The last sequence that a reader was given.
fn reached(readers: &Readers) -> u64 {
    let position = |status: &ReaderStatus| match status {
        ReaderStatus::Present(state) => state.position,
        ReaderStatus::Absent | ReaderStatus::Unknown => 0,
    };
    position(&readers.scheduler).max(position(&readers.worker))
}

fn entry(message: &RawMessage) -> Entry {
    let value = match message.decode() {
        Ok(event) => Seen::Event(Box::new(event)),
        Err(error) => Seen::Unreadable { subject: message.subject.clone(), error: error.to_string() },
    };
    Recorded { sequence: message.sequence, at: message.at, value }
}

fn status(consumer: Option<ConsumerState>) -> ReaderStatus {
    let Some(state) = consumer else { return ReaderStatus::Absent };
    let now = state.told_at.unwrap_or_else(trace::now);
    let lately = state.last_active.is_some_and(|last| now.instant() - last.instant() < AT_WORK);
    ReaderStatus::Present(ReaderState {
        behind: state.pending,
        position: state.delivered,
        acknowledged: state.acknowledged,
        reading: state.waiting > 0 || lately,
        last_active: state.last_active,
        since: state.created,
    })
}

#[cfg(test)]
mod tests {
    use time::OffsetDateTime;

    use super::*;

    /// What the log told must reach as far as whoever was given most of it.
    #[test]
    fn how_far_the_log_was_given_out() {
        let given = |position| {
            let (last_active, since) = (None, None);
            ReaderStatus::Present(ReaderState {
                behind: 0,
                position,
                acknowledged: 0,
                reading: true,
                last_active,
                since,
            })
        };
        let cases = [
            (ReaderStatus::Absent, ReaderStatus::Unknown, 0),
            (given(7), ReaderStatus::Absent, 7),
            (given(7), given(9), 9),
            (given(9), given(7), 9),
        ];
        for (scheduler, worker, expected) in cases {
            let readers = Readers { scheduler, worker };
            assert_eq!(reached(&readers), expected, "{readers:?}");
        }
    }

    /// By the server's clock, from years ago as seen from here.
    #[test]
    fn who_reads_now_asks_or_was_given_something_lately() {
        let at = |seconds| Timestamp::from(OffsetDateTime::from_unix_timestamp(1_000_000 + seconds).unwrap());
        let cases =
            [(1, None, true), (0, None, false), (0, Some(14_i64), true), (0, Some(16), false), (1, Some(16), true)];
        for (waiting, quiet_for, reading) in cases {
            let state = ConsumerState {
                pending: 0,
                delivered: 9,
                acknowledged: 9,
                unacknowledged: 0,
                waiting,
                last_active: quiet_for.map(|seconds| at(-seconds)),
                created: None,
                told_at: Some(at(0)),
            };
            let ReaderStatus::Present(state) = status(Some(state)) else { panic!("it is there") };
            assert_eq!(state.reading, reading, "{waiting} requests, quiet for {quiet_for:?} s");
        }
    }
}
