//! A page of events: some look-ups for each filter, put in order, and where to go on.

use waybill_schemas::Filter;

use super::Selection;
use crate::log::{Log, LogError, Page, RawMessage};

/// Messages of one look-up.
const LOOK_UP: usize = 1000;
/// Most messages that are looked at for one page. A page that ends here is shorter than was asked for, and names where to go on.
const MOST_SEEN: usize = 20_000;
/// How much further back each round looks where the one before found too little.
const FURTHER: u64 = 8;

/// Which end of the span a page begins at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// With the oldest.
    Oldest,
    /// With the newest.
    Newest,
}

/// Sequences that events are asked for of, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The first.
    pub from: u64,
    /// The last.
    pub until: u64,
}

/// Events that were asked for.
#[derive(Debug, Default)]
pub struct EventPage {
    /// In the order that was asked for.
    pub messages: Vec<RawMessage>,
    /// The sequence that the next page begins with; none where there is nothing more.
    pub next: Option<u64>,
}

/// Reads at most `most` of the events in a span.
///
/// # Errors
/// [`LogError`] when the log does not answer.
pub async fn read_events(
    log: &dyn Log,
    selection: &Selection,
    span: Span,
    order: Order,
    most: usize,
) -> Result<EventPage, LogError> {
    match order {
        Order::Oldest => Reading { log, selection, seen: 0 }.read_forward(span, most).await,
        Order::Newest => read_backward(log, selection, span, most).await,
    }
}

/// One page's look-ups.
struct Reading<'r> {
    log: &'r dyn Log,
    selection: &'r Selection,
    /// Messages that were looked at.
    seen: usize,
}

impl Reading<'_> {
    async fn read_forward(&mut self, span: Span, most: usize) -> Result<EventPage, LogError> {
        let all = [Filter::All];
        let filters = if self.selection.filters.is_empty() { &all[..] } else { &self.selection.filters };
        let each = if self.selection.keeps_all() { most.clamp(1, LOOK_UP) } else { LOOK_UP };
        let mut found = EventPage { messages: Vec::new(), next: Some(span.from) };
        while let Some(from) = found.next.filter(|from| *from <= span.until && self.seen < MOST_SEEN) {
            let mut pages = Vec::new();
            for filter in filters {
                pages.push(self.log.read_page(filter, from, each).await?);
            }
            let (messages, next) = merge_pages(pages);
            self.seen = self.seen.saturating_add(messages.len());
            found.next = next;
            for message in messages {
                if message.sequence > span.until {
                    found.next = None;
                    break;
                }
                if self.selection.keeps(&message) {
                    if found.messages.len() == most {
                        found.next = Some(message.sequence);
                        return Ok(found);
                    }
                    found.messages.push(message);
                }
            }
        }
        found.next = found.next.filter(|next| *next <= span.until);
        Ok(found)
    }
}

/// The messages of several filters up to where all of them are known, in the log's order, and where to go on.
pub(crate) fn merge_pages(pages: Vec<Page>) -> (Vec<RawMessage>, Option<u64>) {
    let ends = pages.iter().filter(|page| page.more).filter_map(|page| page.messages.last());
    let known = ends.map(|last| last.sequence).min();
    let mut messages: Vec<_> = pages.into_iter().flat_map(|page| page.messages).collect();
    messages.retain(|message| known.is_none_or(|known| message.sequence <= known));
    messages.sort_by_key(|message| message.sequence);
    messages.dedup_by_key(|message| message.sequence);
    (messages, known.map(|known| known.saturating_add(1)))
}

/// The server reads forward only: spans before the end, each longer than the one before, until there is enough.
async fn read_backward(log: &dyn Log, selection: &Selection, span: Span, most: usize) -> Result<EventPage, LogError> {
    let end = log.last_matching(&Filter::All).await?.map_or(0, |last| last.sequence);
    let first = span.from.max(1);
    let shortest = u64::try_from(most).unwrap_or(u64::MAX).saturating_mul(4);
    let (mut until, mut length) = (span.until.min(end), shortest);
    let (mut found, mut seen) = (Vec::new(), 0_usize);
    while until >= first && found.len() < most && seen < MOST_SEEN {
        let from = until.saturating_sub(length.saturating_sub(1)).max(first);
        let mut part = Vec::new();
        let mut next = Some(from);
        while let Some(from) = next {
            let mut reading = Reading { log, selection, seen: 0 };
            let page = reading.read_forward(Span { from, until }, LOOK_UP).await?;
            (next, seen) = (page.next, seen.saturating_add(reading.seen));
            part.extend(page.messages);
            if next.is_some() && length > shortest {
                break;
            }
        }
        if next.is_some() {
            // More than expected: the newest are wanted, and they are at the end of this part.
            length = (length / FURTHER).max(shortest);
            continue;
        }
        found.extend(part.into_iter().rev());
        until = from.saturating_sub(1);
        length = length.saturating_mul(FURTHER);
    }
    let next = match found.get(most) {
        Some(surplus) => Some(surplus.sequence),
        None => Some(until).filter(|until| *until >= first),
    };
    found.truncate(most);
    Ok(EventPage { messages: found, next })
}

#[cfg(test)]
mod tests {
    use waybill_schemas::{
        Envelope, RequestId, Subject, Uuid, WorkspaceId,
        v1::{ContainerRequested, WorkerRegistered},
    };

    use super::*;
    use crate::{
        events::Ids,
        log::{Expect, NewEvent},
        testing::MemoryLog,
    };

    fn workspace(name: &str) -> WorkspaceId {
        name.parse().unwrap()
    }

    async fn append(log: &MemoryLog, subject: Subject, event: waybill_schemas::Event) {
        let new = NewEvent { subject, envelope: Envelope::new(Uuid::new_v4(), "/test"), event };
        log.append(&new, Expect::Anything, None).await.unwrap();
    }

    /// Requests of two workspaces in turn, and every tenth message a registration.
    async fn filled(messages: u64) -> MemoryLog {
        let log = MemoryLog::new();
        for number in 1..=messages {
            if number % 10 == 0 {
                let (worker_id, instance) = ("w".parse().unwrap(), Uuid::new_v4());
                let sealing_key = "XAB3NANV3M6N7AHSQP2U5FRWKKUT7EG2ZXXABV4XVXYQRJGM4S2CZGHT".parse().unwrap();
                let subject = Subject::Worker { worker_id: "w".parse().unwrap() };
                append(&log, subject, WorkerRegistered { worker_id, instance, sealing_key }.into()).await;
                continue;
            }
            let owner = workspace(if number % 2 == 0 { "even" } else { "odd" });
            let container_id: waybill_schemas::ContainerId = format!("c{number}").parse().unwrap();
            let request: RequestId = "r".parse().unwrap();
            let subject = Subject::Container { workspace: owner.clone(), container_id: container_id.clone(), request };
            let requested = ContainerRequested {
                workspace: owner,
                container_id,
                image_id: None,
                worker_id: "w".parse().unwrap(),
                build_container: false,
            };
            append(&log, subject, requested.into()).await;
        }
        log
    }

    async fn read_all(log: &MemoryLog, selection: &Selection, order: Order, most: usize) -> (Vec<u64>, usize) {
        let (mut span, mut read, mut pages) = (Span { from: 1, until: u64::MAX }, Vec::new(), 0);
        loop {
            let page = read_events(log, selection, span, order, most).await.unwrap();
            assert!(page.messages.len() <= most);
            read.extend(page.messages.iter().map(|message| message.sequence));
            pages += 1;
            match (page.next, order) {
                (None, _) => return (read, pages),
                (Some(next), Order::Oldest) => span.from = next,
                (Some(next), Order::Newest) => span.until = next,
            }
        }
    }

    #[tokio::test]
    async fn pages_hold_each_event_once_from_either_end() {
        let log = filled(200).await;
        let ids = |owner: &str| Ids { workspace: Some(workspace(owner)), ..Ids::default() }.filters();
        let odd = Selection { filters: ids("odd"), ..Selection::default() };
        let none = Selection { filters: ids("nobody"), ..Selection::default() };
        let registered = vec![waybill_schemas::EventType::WorkerRegistered];
        let typed = Selection { types: registered, ..Selection::default() };
        let cases = [
            ("everything", Selection::default(), (1..=200).collect::<Vec<u64>>()),
            ("a workspace", odd, (1..=200).filter(|number| number % 2 == 1).collect()),
            ("a type", typed, (1..=200).filter(|number| number % 10 == 0).collect()),
            ("nothing", none, Vec::new()),
        ];
        for (name, selection, expected) in cases {
            for most in [1, 7, 500] {
                let (read, _) = read_all(&log, &selection, Order::Oldest, most).await;
                assert_eq!(read, expected, "{name} by {most}");
                let (read, _) = read_all(&log, &selection, Order::Newest, most).await;
                assert_eq!(read, expected.iter().rev().copied().collect::<Vec<_>>(), "{name} back by {most}");
            }
        }
    }

    #[tokio::test]
    async fn a_span_ends_at_both_ends() {
        let log = filled(50).await;
        for order in [Order::Oldest, Order::Newest] {
            let page = read_events(&log, &Selection::default(), Span { from: 11, until: 13 }, order, 9).await.unwrap();
            let mut read: Vec<u64> = page.messages.iter().map(|message| message.sequence).collect();
            read.sort_unstable();
            assert_eq!((read.as_slice(), page.next), (&[11, 12, 13][..], None), "{order:?}");
        }
    }
}
