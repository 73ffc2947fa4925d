//! A log and its archive are read as the log was before anything left it.

use std::sync::Arc;

use futures_util::StreamExt as _;
use waybill_domain::retention::Archives;
use waybill_schemas::{Filter, Subject, v1::PlacementsArchived};

use super::{ArchivedLog, SegmentWriter, Store, reading::archived, segment_name};
use crate::log::{Log, LogError, MemoryLog, RawMessage, ReadError};

const MESSAGES: u64 = 120;

fn subject(sequence: u64) -> String {
    let container = sequence % 7;
    match sequence % 5 {
        0 => format!("waybill.events.image.ws.i{container}.b{sequence}"),
        1 => format!("waybill.events.container.ws.c{container}.r{sequence}"),
        2 => format!("waybill.events.decision.w.container.ws.c{container}.{}", sequence - 1),
        3 => format!("waybill.events.outcome.w.ws.c{container}.{}", sequence - 2),
        _ => format!("waybill.events.decision.w.secret.ws.s.{container}"),
    }
}

fn filled() -> MemoryLog {
    let log = MemoryLog::new();
    for sequence in 1..=MESSAGES {
        log.set_time(format!("2026-01-01T00:{:02}:{:02}Z", sequence / 60, sequence % 60).parse().unwrap());
        log.publish_raw(&subject(sequence), &[("ce-id", "x")], format!("{{\"n\":{sequence}}}").as_bytes());
    }
    log
}

/// Everything of some containers and of the secret left, in two runs that overlap, of several parts each.
async fn cut(store: &Store, whole: &MemoryLog) -> (MemoryLog, Archives) {
    let rest = filled();
    let mut events = Vec::new();
    for (run, containers) in [(1, [1, 4]), (2, [2, 2])] {
        let leaves = |message: &&RawMessage| {
            let sequence = message.sequence;
            !sequence.is_multiple_of(5) && containers.contains(&(sequence % 7)) && sequence < 110
        };
        let messages: Vec<RawMessage> = whole.messages().iter().filter(leaves).cloned().collect();
        let parts: Vec<&[RawMessage]> = messages.chunks(9).collect();
        for (part, messages) in (1..).zip(&parts) {
            let mut writer = SegmentWriter::begin(run, part).unwrap();
            messages.iter().for_each(|message| writer.push(message).unwrap());
            let segment = writer.finish().unwrap();
            store.put(&segment_name(run, part, &segment.digest), segment.bytes).await.unwrap();
            events.push(PlacementsArchived {
                run,
                part,
                parts: u64::try_from(parts.len()).unwrap(),
                placements: 2,
                before: "2026-01-01T00:00:00Z".parse().unwrap(),
                archive: "memory".to_owned(),
                digest: segment.digest,
                sequences: segment.removed.to_ranges(),
            });
        }
    }
    let archives = Archives::from_events(events);
    // One of them is not deleted yet.
    archives.removed.sequences().skip(1).for_each(|sequence| rest.delete(sequence));
    (rest, archives)
}

fn told(messages: &[RawMessage]) -> Vec<(u64, String, Vec<u8>)> {
    messages.iter().map(|message| (message.sequence, message.subject.clone(), message.payload.to_vec())).collect()
}

async fn open() -> (MemoryLog, ArchivedLog) {
    let (whole, store) = (filled(), Store::open("memory:///archive", []).unwrap());
    let (rest, archives) = cut(&store, &whole).await;
    assert!(archives.removed.count() > 30);
    (whole, archived(Arc::new(rest), store, archives))
}

#[tokio::test]
async fn both_are_read_as_one() {
    let (whole, log) = open().await;
    let some = |text: &str| text.parse().ok();
    let filters = [
        Filter::All,
        Filter::Container(some("ws"), "c1".parse().ok()),
        Filter::Container(None, None),
        Filter::ContainerDecisions(None, some("ws"), "c4".parse().ok()),
        Filter::ContainerOutcomes(None, some("ws"), "c2".parse().ok()),
        Filter::SecretDecisions(None, None, None),
        Filter::Image(some("ws"), None),
        Filter::Decisions("w".parse().ok()),
        Filter::Container(some("ws"), "c9".parse().ok()),
    ];
    for filter in &filters {
        for most in [1, 5, 1000] {
            let (mut from, mut pages) = (1, Vec::new());
            loop {
                let page = log.read_page(filter, from, most).await.unwrap();
                assert!(page.messages.len() <= most);
                let last = page.messages.last().map(|message| message.sequence);
                pages.extend(page.messages);
                match last.filter(|_| page.more) {
                    Some(last) => from = last + 1,
                    None => break,
                }
            }
            assert_eq!(
                told(&pages),
                told(&whole.read_page(filter, 1, 1000).await.unwrap().messages),
                "{filter} {most}"
            );
            for end in [40, u64::MAX] {
                let (one, other) = (log.newest_on(filter, most, end).await, whole.newest_on(filter, most, end).await);
                assert_eq!(told(&one.unwrap().messages), told(&other.unwrap().messages), "{filter} {most} {end}");
            }
            let (one, other) = (log.lasts(filter, most).await.unwrap(), whole.lasts(filter, most).await.unwrap());
            assert_eq!((told(&one.messages), one.more), (told(&other.messages), other.more), "{filter} {most}");
        }
        let last = |message: Option<RawMessage>| message.map(|message| message.sequence);
        assert_eq!(last(log.last_matching(filter).await.unwrap()), last(whole.last_matching(filter).await.unwrap()));
        let mut followed: Vec<RawMessage> = Vec::new();
        let mut following = log.follow(filter, 1, None);
        let expected = whole.read_page(filter, 1, 1000).await.unwrap().messages;
        while followed.len() < expected.len() {
            followed.push(following.next().await.unwrap().unwrap());
        }
        assert_eq!(told(&followed), told(&expected), "{filter}");
        let pending: Vec<bool> = followed.iter().map(|message| message.pending > 0).collect();
        assert!(pending.iter().rev().skip(1).all(|more| *more) && pending.last() != Some(&true), "{filter}");
    }
    for sequence in 1..=MESSAGES + 1 {
        let found = |message: Option<RawMessage>| message.map(|message| message.payload);
        assert_eq!(found(log.message_at(sequence).await.unwrap()), found(whole.message_at(sequence).await.unwrap()));
        let subject: Subject = subject(sequence).parse().unwrap();
        assert_eq!(found(log.last(&subject).await.unwrap()), found(whole.last(&subject).await.unwrap()), "{subject}");
        let time = format!("2026-01-01T00:{:02}:{:02}Z", sequence / 60, sequence % 60).parse().unwrap();
        assert_eq!(log.sequence_at(time).await.unwrap(), sequence);
    }
}

#[tokio::test]
async fn what_is_missing_from_both_is_told() {
    let (whole, store) = (filled(), Store::open("memory:///archive", []).unwrap());
    let (rest, archives) = cut(&store, &whole).await;
    rest.delete(50);
    let log = archived(Arc::new(rest), store, archives.clone());
    let read: Vec<_> = log.follow(&Filter::All, 1, None).take(50).collect().await;
    let gap = read.last().unwrap().as_ref().unwrap_err();
    assert_eq!(*gap, ReadError::Gap { expected: 50, found: 51 });

    let nowhere = archived(Arc::new(whole.clone()), Store::open("memory:///other", []).unwrap(), archives);
    let error = nowhere.read_page(&Filter::All, 1, 9).await.unwrap_err();
    assert!(matches!(&error, LogError::Archive { segment, .. } if segment.starts_with("waybill-000001-000001-")));
}
