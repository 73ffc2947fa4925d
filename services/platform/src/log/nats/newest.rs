//! The newest messages of some subjects, without a consumer.

use std::collections::{BTreeMap, VecDeque};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::{
    EventLog,
    direct::{BATCH, Batch},
};
use crate::log::{Lasts, LogError, Newest, RawMessage, STREAM};

/// Most subjects that are read one by one.
const SUBJECTS: usize = 64;
/// Subjects that are read at the same time.
const AT_ONCE: usize = 4;
/// Most subjects for which the server tells the last message of each.
const MULTI_LAST: usize = 1024;

impl EventLog {
    pub(super) async fn last_of_each(&self, filter: &str, most: usize) -> Result<Lasts, LogError> {
        let batch = self.last_of_matching(STREAM, filter, MULTI_LAST).await?;
        if !batch.more {
            return Ok(newest_of(batch.messages, most));
        }
        // Too many subjects for one answer: read what was said on all of them, and keep the last of each.
        let mut lasts: BTreeMap<String, RawMessage> = BTreeMap::new();
        let mut next = Some(1);
        while let Some(from) = next {
            let batch = self.matching(STREAM, filter, from, BATCH).await?;
            let last = batch.messages.last().map(|message| message.sequence);
            next = last.filter(|_| batch.more).map(|last| last.saturating_add(1));
            lasts.extend(batch.messages.into_iter().map(|message| (message.subject.clone(), message)));
        }
        Ok(newest_of(lasts.into_values().collect(), most))
    }

    /// Each of four subjects is in memory up to `most` at any time, beside what is kept.
    pub(super) async fn read_newest(&self, filter: &str, most: usize, end: u64) -> Result<Newest, LogError> {
        let in_one = async || Ok(Newest { messages: self.newest_matching(filter, most, end).await?, end });
        if !filter.contains(['*', '>']) {
            return in_one().await;
        }
        let subjects = self.last_of_matching(STREAM, filter, SUBJECTS).await?;
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
            messages = newest_of(messages, most).messages;
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
            let batch = self.matching(STREAM, filter, from, BATCH).await?;
            if from > 1 && batch.messages.is_empty() {
                // There was more; what leaves the log meanwhile is asked for again, too.
                return Err(LogError::behind(format!("read {filter}")));
            }
            next = reading.take(batch);
        }
        Ok(reading.kept.into())
    }
}

/// The newest in the log's order, and whether there are more.
fn newest_of(mut messages: Vec<RawMessage>, most: usize) -> Lasts {
    messages.sort_by_key(|message| message.sequence);
    let surplus = messages.len().saturating_sub(most);
    Lasts { messages: messages.split_off(surplus), more: surplus > 0 }
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
