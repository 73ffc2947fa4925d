//! The log together with what left it for an archive, as if nothing had.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures_util::StreamExt as _;
use tokio::sync::watch;
use tracing::Span;
use waybill_domain::retention::Archives;
use waybill_schemas::{Filter, Subject, Timestamp};

use super::{Store, segments::Segments};
use crate::{
    events::merge_pages,
    health::ComponentHandle,
    log::{
        AppendError, Appended, ConsumerState, Expect, Follow, Halving, Identity, Lasts, Log, LogError, Missing,
        NewEvent, Newest, Page, RawMessage, ReadError, StreamState, WorkQueue, read_archives,
    },
};

/// Messages of one look-up.
const PAGE: usize = 1000;
/// Most archived messages that are counted.
const MOST_COUNTED: usize = 20_000;

/// A log and its archive. It is read as one; what is written goes to the log. Clones share both.
#[derive(Debug, Clone)]
pub struct ArchivedLog {
    log: Arc<dyn Log>,
    segments: Arc<Segments>,
}

impl ArchivedLog {
    /// Reads from the log what is in the archive. Segments are read when they are needed.
    ///
    /// # Errors
    /// [`LogError`] when the log does not answer.
    pub async fn open(log: Arc<dyn Log>, store: Store) -> Result<Self, LogError> {
        let archives = read_archives(log.as_ref()).await?;
        Ok(archived(log, store, archives))
    }
}

/// A log of which it is known what left it.
pub(super) fn archived(log: Arc<dyn Log>, store: Store, archives: Archives) -> ArchivedLog {
    ArchivedLog { log, segments: Arc::new(Segments::new(store, archives)) }
}

#[async_trait]
impl Log for ArchivedLog {
    async fn append_chain(
        &self,
        chain: &[(&NewEvent, Expect)],
        limit: Option<Duration>,
    ) -> Vec<Result<Appended, AppendError>> {
        self.log.append_chain(chain, limit).await
    }

    async fn append_all(&self, events: &[(NewEvent, Expect, Span)]) -> Vec<Option<Result<Appended, AppendError>>> {
        self.log.append_all(events).await
    }

    async fn last(&self, subject: &Subject) -> Result<Option<RawMessage>, LogError> {
        self.last_matching(&subject.clone().into()).await
    }

    async fn last_matching(&self, filter: &Filter) -> Result<Option<RawMessage>, LogError> {
        let archived = self.segments.newest(filter, 1, u64::MAX).await?.pop();
        Ok(self.log.last_matching(filter).await?.into_iter().chain(archived).max_by_key(|message| message.sequence))
    }

    async fn lasts(&self, filter: &Filter, most: usize) -> Result<Lasts, LogError> {
        let mut lasts = self.log.lasts(filter, most).await?;
        let mut next = Some(1);
        while let Some(from) = next {
            let page = self.segments.page(filter, from, PAGE).await?;
            let last = page.messages.last().map(|message| message.sequence);
            next = last.filter(|_| page.more).map(|last| last.saturating_add(1));
            lasts.messages.extend(page.messages);
            // The last of each subject.
            lasts.messages.sort_by(|one, other| (&one.subject, other.sequence).cmp(&(&other.subject, one.sequence)));
            lasts.messages.dedup_by(|later, earlier| later.subject == earlier.subject);
        }
        lasts.messages.sort_by_key(|message| message.sequence);
        let surplus = lasts.messages.len().saturating_sub(most);
        Ok(Lasts { messages: lasts.messages.split_off(surplus), more: lasts.more || surplus > 0 })
    }

    async fn message_at(&self, sequence: u64) -> Result<Option<RawMessage>, LogError> {
        match self.log.message_at(sequence).await? {
            None => self.segments.message_at(sequence).await,
            found => Ok(found),
        }
    }

    async fn newest_on(&self, filter: &Filter, most: usize, end: u64) -> Result<Newest, LogError> {
        let Newest { mut messages, end } = self.log.newest_on(filter, most, end).await?;
        messages.extend(self.segments.newest(filter, most, end).await?);
        messages.sort_by_key(|message| message.sequence);
        messages.dedup_by_key(|message| message.sequence);
        let surplus = messages.len().saturating_sub(most);
        Ok(Newest { messages: messages.split_off(surplus), end })
    }

    async fn read_page(&self, filter: &Filter, from: u64, most: usize) -> Result<Page, LogError> {
        let most = most.min(PAGE);
        let archived = self.segments.page(filter, from, most).await?;
        let (mut messages, next) = merge_pages(vec![self.log.read_page(filter, from, most).await?, archived]);
        let more = next.is_some() || messages.len() > most;
        messages.truncate(most);
        Ok(Page { messages, more })
    }

    async fn pending(&self, filter: &Filter, from: u64) -> Result<u64, LogError> {
        let archived = self.segments.page(filter, from, MOST_COUNTED).await?.messages.len();
        let pending = self.log.pending(filter, from).await?;
        Ok(pending.saturating_add(u64::try_from(archived).unwrap_or(u64::MAX)))
    }

    async fn sequence_at(&self, time: Timestamp) -> Result<u64, LogError> {
        let last = self.last_matching(&Filter::All).await?.map_or(0, |last| last.sequence);
        let mut halving = Halving::new(time, last);
        while let Some(asked) = halving.next() {
            let found = self.read_page(&Filter::All, asked, 1).await?.messages.pop();
            let found = found.ok_or_else(|| LogError::behind(format!("find {time}")))?;
            halving.take(asked, (found.sequence, found.at));
        }
        Ok(halving.found())
    }

    fn follow(&self, filter: &Filter, from: u64, _: Option<Identity>) -> Follow {
        let following = Following {
            log: self.clone(),
            filter: filter.clone(),
            next: from.max(1),
            read: VecDeque::new(),
            rest: None,
        };
        let next = async |following: Option<Following>| {
            let mut following = following?;
            let item = following.next().await;
            // An error is the last item.
            let rest = item.is_ok().then_some(following);
            Some((item, rest))
        };
        futures_util::stream::unfold(Some(following), next).boxed()
    }

    async fn stream_state(&self) -> Result<Option<StreamState>, LogError> {
        self.log.stream_state().await
    }

    async fn consumer_state(&self, name: &str) -> Result<Option<ConsumerState>, LogError> {
        self.log.consumer_state(name).await
    }

    async fn scheduler_reader(&self) -> Result<Option<ConsumerState>, LogError> {
        self.log.scheduler_reader().await
    }

    fn work(&self, consumer: &str, ahead: usize, ready: ComponentHandle, missing: Missing) -> WorkQueue {
        self.log.work(consumer, ahead, ready, missing)
    }

    fn has_other_servers(&self) -> bool {
        self.log.has_other_servers()
    }

    fn connected(&self) -> watch::Receiver<bool> {
        self.log.connected()
    }

    fn full(&self) -> watch::Receiver<Option<String>> {
        self.log.full()
    }

    fn unanswered(&self) -> watch::Receiver<Option<String>> {
        self.log.unanswered()
    }

    fn note_room(&self) {
        self.log.note_room();
    }
}

/// A reading of both by pages, up to the end of the log, and of the log from there on.
struct Following {
    log: ArchivedLog,
    filter: Filter,
    next: u64,
    read: VecDeque<RawMessage>,
    rest: Option<Follow>,
}

impl Following {
    async fn next(&mut self) -> Result<RawMessage, ReadError> {
        loop {
            if let Some(message) = self.read.pop_front() {
                // With the archive, nothing is missing lawfully.
                if self.filter == Filter::All && message.sequence != self.next {
                    return Err(ReadError::Gap { expected: self.next, found: message.sequence });
                }
                self.next = message.sequence.saturating_add(1);
                return Ok(message);
            }
            if let Some(rest) = &mut self.rest {
                let ended =
                    || LogError::Unavailable { what: "read messages".to_owned(), reason: "they ended".to_owned() };
                return rest.next().await.unwrap_or_else(|| Err(ended().into()));
            }
            let page = self.log.read_page(&self.filter, self.next, PAGE).await?;
            if page.messages.is_empty() {
                self.rest = Some(self.log.log.follow(&self.filter, self.next, None));
                continue;
            }
            self.read = page.messages.into();
            let last = self.read.len().saturating_sub(1);
            for (at, message) in self.read.iter_mut().enumerate() {
                // What each page knows of is one of both only.
                message.pending = u64::from(at < last || page.more);
            }
        }
    }
}
