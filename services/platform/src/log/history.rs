//! What the log holds for one image, container or decision.

use std::collections::VecDeque;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use waybill_schemas::{EventType, Subject};

use super::{
    EventLog, HistoryAccess, LogError, RawMessage,
    direct::{BATCH, Batch},
};

/// Most subjects that are read one by one.
const SUBJECTS: usize = 64;
/// Subjects that are read at the same time.
const AT_ONCE: usize = 4;

/// The newest messages of some subjects.
#[derive(Debug, Clone)]
pub struct Newest {
    /// In the log's order.
    pub messages: Vec<RawMessage>,
    /// Nothing after this sequence is among them: what is read up to it next is of the same moment. It is the one that was
    /// asked for where the server does not name the log's own: it does where a filter with wildcards matches a few subjects.
    pub end: u64,
}

impl EventLog {
    /// The siblings of a subject, in order: all of them, or the last on each subject for a role that reads nothing else.
    ///
    /// # Errors
    /// [`LogError`] when the log does not answer.
    pub async fn history(&self, subject: &Subject) -> Result<Vec<RawMessage>, LogError> {
        match self.history {
            HistoryAccess::Everything => self.events_on(&subject.siblings()).await,
            HistoryAccess::LastPerSubject => self.last_of_each(subject).await,
        }
    }

    /// Every message that matches the filter now, in order. Only for roles that may read the whole log.
    ///
    /// # Errors
    /// [`LogError`] when the log does not answer.
    pub async fn events_on(&self, filter: &str) -> Result<Vec<RawMessage>, LogError> {
        Ok(self.newest_on(filter, usize::MAX, u64::MAX).await?.messages)
    }

    /// As [`events_on`](Self::events_on), but none after the sequence `end`, and of those only as many as `most`, from the
    /// end. Each of four subjects is in memory to that extent at any time, beside what is kept.
    ///
    /// # Errors
    /// [`LogError`] when the log does not answer, or by a replica that does not reach to `end` yet.
    pub async fn newest_on(&self, filter: &str, most: usize, end: u64) -> Result<Newest, LogError> {
        let in_one = async || Ok(Newest { messages: self.newest_matching(filter, most, end).await?, end });
        if !filter.contains(['*', '>']) {
            return in_one().await;
        }
        let subjects = self.last_of_matching(filter, SUBJECTS).await?;
        if subjects.more {
            return in_one().await;
        }
        let end = match subjects.log_end {
            Some(log_end) if end == u64::MAX || log_end >= end => end.min(log_end),
            None if subjects.messages.is_empty() => end,
            _ => return Err(LogError::behind(format!("read {filter}"))),
        };
        let each: Vec<_> = subjects.messages.iter().map(|last| self.whole_subject(last, most, end)).collect();
        let mut each = stream::iter(each).buffered(AT_ONCE);
        let mut messages = Vec::new();
        while let Some(found) = each.try_next().await? {
            messages.extend(found);
            messages = newest_of(messages, most);
        }
        Ok(Newest { messages, end })
    }

    /// What a subject holds, given its last message.
    async fn whole_subject(&self, last: &RawMessage, most: usize, end: u64) -> Result<Vec<RawMessage>, LogError> {
        let messages = self.newest_matching(&last.subject, most, end).await?;
        let found = messages.last().map(|message| message.sequence);
        if last.sequence <= end && most > 0 && found != Some(last.sequence) {
            return Err(LogError::behind(format!("read {}", last.subject)));
        }
        Ok(messages)
    }

    async fn newest_matching(&self, filter: &str, most: usize, end: u64) -> Result<Vec<RawMessage>, LogError> {
        let mut reading = Reading { most, end, kept: VecDeque::new() };
        let mut next = Some(1);
        while let Some(from) = next {
            let batch = self.matching(filter, from, BATCH).await?;
            if from > 1 && batch.messages.is_empty() {
                // There was more, and nothing is ever deleted.
                return Err(LogError::behind(format!("read {filter}")));
            }
            next = reading.take(batch);
        }
        Ok(reading.kept.into())
    }

    /// Whether [`history`](Self::history) gives every sibling.
    pub(super) fn sees_all_siblings(&self) -> bool {
        self.history == HistoryAccess::Everything
    }

    async fn last_of_each(&self, subject: &Subject) -> Result<Vec<RawMessage>, LogError> {
        let mut messages = Vec::new();
        for sibling in siblings(subject) {
            messages.extend(self.last(&sibling.to_string()).await?);
        }
        messages.sort_by_key(|message| message.sequence);
        Ok(messages)
    }
}

/// The newest, in the log's order.
fn newest_of(mut messages: Vec<RawMessage>, most: usize) -> Vec<RawMessage> {
    messages.sort_by_key(|message| message.sequence);
    messages.split_off(messages.len().saturating_sub(most))
}

/// What is kept of a history that comes in batches.
struct Reading {
    most: usize,
    end: u64,
    kept: VecDeque<RawMessage>,
}

impl Reading {
    /// Keeps what counts, and says from which sequence on to ask for more.
    fn take(&mut self, batch: Batch) -> Option<u64> {
        let last = batch.messages.last().map(|message| message.sequence);
        for message in batch.messages.into_iter().take_while(|message| message.sequence <= self.end) {
            self.kept.push_back(message);
            if self.kept.len() > self.most {
                self.kept.pop_front();
            }
        }
        last.filter(|last| batch.more && *last < self.end).map(|last| last.saturating_add(1))
    }
}

fn siblings(subject: &Subject) -> Vec<Subject> {
    match subject {
        Subject::Image { workspace, image_id, .. } => EventType::OF_IMAGE
            .iter()
            .map(|event| Subject::Image { workspace: workspace.clone(), image_id: image_id.clone(), event: *event })
            .collect(),
        Subject::Container { workspace, container_id, .. } => EventType::OF_CONTAINER
            .iter()
            .map(|event| Subject::Container {
                workspace: workspace.clone(),
                container_id: container_id.clone(),
                event: *event,
            })
            .collect(),
        Subject::Decision { worker_id, workspace, container_id, .. } => EventType::DECISIONS
            .iter()
            .map(|event| Subject::Decision {
                worker_id: worker_id.clone(),
                workspace: workspace.clone(),
                container_id: container_id.clone(),
                event: *event,
            })
            .collect(),
        Subject::Registered { .. } => vec![subject.clone()],
        Subject::Quarantine { sequence, .. } => EventType::OF_QUARANTINE
            .iter()
            .map(|event| Subject::Quarantine { sequence: *sequence, event: *event })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(sequences: &[u64], more: bool) -> Batch {
        let message = |sequence: &u64| RawMessage {
            sequence: *sequence,
            at: time::OffsetDateTime::UNIX_EPOCH.into(),
            subject: String::new(),
            headers: async_nats::HeaderMap::new(),
            payload: bytes::Bytes::new(),
            pending: 0,
        };
        Batch { messages: sequences.iter().map(message).collect(), more, ..Batch::default() }
    }

    #[test]
    fn what_is_kept_and_when_it_is_enough() {
        type Case<'c> = (&'c str, &'c [(&'c [u64], bool)], (usize, u64), Option<u64>, &'c [u64]);
        let cases: &[Case<'_>] = &[
            ("nothing there", &[(&[], false)], (9, 99), None, &[]),
            ("all at once", &[(&[3, 7], false)], (9, 99), None, &[3, 7]),
            ("more to come", &[(&[3, 7], true)], (9, 99), Some(8), &[3, 7]),
            ("in two", &[(&[3, 7], true), (&[8], false)], (9, 99), None, &[3, 7, 8]),
            ("the newest", &[(&[3, 7], true), (&[8], false)], (2, 99), None, &[7, 8]),
            ("up to a moment", &[(&[3, 7, 9], true)], (9, 8), None, &[3, 7]),
            ("a moment between batches", &[(&[3, 7], true)], (9, 8), Some(8), &[3, 7]),
            ("at the moment itself", &[(&[3, 8], true)], (9, 8), None, &[3, 8]),
            ("the newest of a moment", &[(&[3, 7, 9], true)], (1, 8), None, &[7]),
        ];
        for (name, batches, (most, end), next, kept) in cases {
            let mut reading = Reading { most: *most, end: *end, kept: VecDeque::new() };
            let asked = batches.iter().map(|(sequences, more)| reading.take(batch(sequences, *more))).last().flatten();
            let read: Vec<u64> = reading.kept.iter().map(|message| message.sequence).collect();
            assert_eq!((asked, read.as_slice()), (*next, *kept), "{name}");
        }
    }
}
