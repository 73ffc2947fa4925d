//! The event log against a real server: appends count once, readers never stop silently.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use futures_util::StreamExt as _;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::Notify,
};
use tracing::Span;
use uuid::Uuid;
use waybill_platform::log::{EventLog, Expect, HistoryAccess, NatsConfig, NewEvent, ReadError};
use waybill_schemas::{ALL_SUBJECTS, Envelope, v1::ContainerRequested};
use waybill_tests::{error::StartError, nats::NatsServer, require};

const LIMIT: Option<Duration> = Some(Duration::from_secs(30));

async fn connect(url: String, history: HistoryAccess) -> EventLog {
    let config = NatsConfig {
        url,
        seed: None,
        inbox_prefix: "_INBOX".to_owned(),
        ca_file: None,
        api_prefix: "$JS.API".to_owned(),
        name: "test".to_owned(),
        history,
    };
    EventLog::connect(config).await.unwrap()
}

async fn server() -> Result<(NatsServer, EventLog), StartError> {
    let nats = NatsServer::start().await?;
    let log = connect(nats.url(), HistoryAccess::Everything).await;
    log.ensure_stream(1).await.unwrap();
    Ok((nats, log))
}

fn event(id: u128, container: &str) -> NewEvent {
    let envelope = Envelope {
        id: Uuid::from_u128(id),
        source: "/test".to_owned(),
        source_version: None,
        time: None,
        causation_id: None,
        correlation_id: None,
        traceparent: None,
        tracestate: None,
    };
    let request = ContainerRequested {
        workspace: "ws".parse().unwrap(),
        container_id: container.parse().unwrap(),
        image_id: None,
        worker_id: "w1".parse().unwrap(),
        build_container: false,
    };
    NewEvent { envelope, event: request.into() }
}

async fn length(log: &EventLog) -> u64 {
    log.stream_state().await.unwrap().unwrap().last_sequence
}

#[tokio::test]
async fn an_event_counts_once_however_often_it_is_appended() {
    let (nats, _log) = require!(server().await);
    for history in [HistoryAccess::Everything, HistoryAccess::LastPerSubject] {
        let log = connect(nats.url(), history).await;
        let base = length(&log).await;
        let id = u128::from(base) * 1000 + 1;
        let (first, second) = (event(id, &format!("c{base}")), event(id + 1, &format!("c{base}")));
        for expect in [Expect::LastSibling(0), Expect::LastSibling(0), Expect::LastSibling(99), Expect::Nothing] {
            let appended = log.append(&first, expect, LIMIT).await.unwrap();
            assert_eq!(appended.sequence, base + 1, "{history:?} {expect:?}");
        }
        // Another event where nothing was expected: the guess was wrong, the event is appended all the same.
        let appended = log.append(&second, Expect::LastSibling(0), LIMIT).await.unwrap();
        assert_eq!((appended.sequence, appended.duplicate), (base + 2, false), "{history:?}");
        assert_eq!(length(&log).await, base + 2, "{history:?}");
    }
}

/// An id that was used up on another subject answers `duplicate`, but is not there.
#[tokio::test]
async fn an_id_used_up_elsewhere_does_not_swallow_the_event() {
    let (nats, _log) = require!(server().await);
    for (number, history) in [HistoryAccess::Everything, HistoryAccess::LastPerSubject].into_iter().enumerate() {
        let log = connect(nats.url(), history).await;
        let id = 7 + u128::try_from(number).unwrap();
        log.append(&event(id, &format!("elsewhere-{number}")), Expect::Nothing, LIMIT).await.unwrap();
        let appended = log.append(&event(id, &format!("here-{number}")), Expect::LastSibling(0), LIMIT).await.unwrap();
        assert!(!appended.duplicate);
        let here = event(id, &format!("here-{number}")).event.subject();
        assert_eq!(log.history(&here).await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn a_batch_is_stored_whole_or_one_by_one() {
    let (_nats, log) = require!(server().await);
    let all: Vec<_> = (1..=50).map(|id| (event(id, &format!("c{id}")), Expect::LastSibling(0), Span::none())).collect();
    let sequences = |appended: Vec<waybill_platform::log::Appended>| {
        appended.into_iter().map(|appended| appended.sequence).collect::<Vec<_>>()
    };
    assert_eq!(sequences(log.append_all(all[..20].to_vec()).await.unwrap()), (1..=20).collect::<Vec<_>>());
    // Half of it is there already, as after a crash in the middle: the server refuses the batch.
    assert_eq!(sequences(log.append_all(all[10..].to_vec()).await.unwrap()), (11..=50).collect::<Vec<_>>());
    assert_eq!(length(&log).await, 50);
}

/// More than one request brings, with others' events between.
#[tokio::test]
async fn a_long_history_is_read_whole_or_up_to_a_moment() {
    let (_nats, log) = require!(server().await);
    let container = |id: u128| if id.is_multiple_of(2) { "even" } else { "odd" };
    let all = (1..=4_600).map(|id| (event(id, container(id)), Expect::Nothing, Span::none())).collect();
    log.append_all(all).await.unwrap();
    let read = async |container: &str, most: usize, end: u64| {
        let filter = format!("waybill.events.container.ws.{container}.>");
        let newest = log.newest_on(&filter, most, end).await.unwrap();
        newest.messages.iter().map(|message| message.sequence).collect::<Vec<_>>()
    };
    let even: Vec<u64> = (1..=2_300).map(|half| half * 2).collect();
    assert_eq!(read("even", usize::MAX, u64::MAX).await, even);
    assert_eq!(read("even", 2, u64::MAX).await, [4_598, 4_600]);
    assert_eq!(read("even", usize::MAX, 2_501).await, even[..1_250]);
    assert_eq!(read("even", 2, 2_501).await, [2_498, 2_500]);
    assert!(read("nobody", usize::MAX, u64::MAX).await.is_empty());
}

/// A few subjects are read one by one, more of them together; the server does not name more than 1024 at all.
#[tokio::test]
async fn what_matches_is_in_the_log_s_order_whatever_its_subject() {
    let (_nats, log) = require!(server().await);
    for (subjects, last) in [(3, 1_200), (100, 1_400), (1_100, 3_400)] {
        let from = u128::from(length(&log).await) + 1;
        let container = |id: u128| format!("{}-of-{subjects}", id % subjects);
        let all = (from..=last).map(|id| (event(id, &container(id)), Expect::Nothing, Span::none())).collect();
        log.append_all(all).await.unwrap();
        let read = async |most: usize, end: u64| {
            let newest = log.newest_on("waybill.events.container.ws.*.ContainerRequested", most, end).await.unwrap();
            newest.messages.iter().map(|message| message.sequence).collect::<Vec<_>>()
        };
        let last = u64::try_from(last).unwrap();
        assert_eq!(read(usize::MAX, u64::MAX).await, (1..=last).collect::<Vec<_>>(), "{subjects} subjects");
        assert_eq!(read(5, u64::MAX).await, (last - 4..=last).collect::<Vec<_>>(), "{subjects} subjects");
        assert_eq!(read(5, 1_000).await, (996..=1_000).collect::<Vec<_>>(), "{subjects} subjects");
    }
}

/// What is read on several subjects one after the other can be of one moment.
#[tokio::test]
async fn what_is_read_says_up_to_where() {
    let (_nats, log) = require!(server().await);
    let append = async |id: u128, container: &str| {
        log.append(&event(id, container), Expect::Nothing, LIMIT).await.unwrap();
    };
    append(1, "here").await;
    append(2, "there").await;
    let here = log.newest_on("waybill.events.container.ws.here.>", 9, u64::MAX).await.unwrap();
    assert_eq!((here.messages.len(), here.end), (1, 2));
    append(3, "there").await;
    let there = log.newest_on("waybill.events.container.ws.there.>", 9, here.end).await.unwrap();
    assert_eq!((there.messages.len(), there.end), (1, 2));
    // As a replica that is behind would answer.
    let ahead = log.newest_on("waybill.events.container.ws.there.>", 9, 4).await.unwrap_err().to_string();
    assert!(ahead.contains("waybill.events.container.ws.there.>"), "{ahead}");
}

/// The server's own time comes with what it says of a reader.
#[tokio::test]
async fn a_consumer_s_state_says_when_it_was_so() {
    let (_nats, log) = require!(server().await);
    let worker = "w1".parse().unwrap();
    assert_eq!(log.worker_consumer(&worker).await.unwrap(), None);
    log.ensure_worker_consumer(&worker).await.unwrap();
    let first = log.worker_consumer(&worker).await.unwrap().unwrap();
    let second = log.worker_consumer(&worker).await.unwrap().unwrap();
    assert!(first.created.is_some() && first.told_at > first.created, "{first:?}");
    assert!(second.told_at > first.told_at, "{first:?} {second:?}");
}

/// Passes bytes on, and swallows the server's answers while it is told to.
struct Proxy {
    address: SocketAddr,
    swallow: Arc<std::sync::atomic::AtomicBool>,
    swallowed: Arc<Notify>,
}

impl Proxy {
    async fn start(to: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let swallow = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let swallowed = Arc::new(Notify::new());
        let (dropping, told) = (swallow.clone(), swallowed.clone());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(&to).await.unwrap();
                let (mut from_client, mut to_client) = client.into_split();
                let (mut from_server, mut to_server) = server.into_split();
                tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
                let (dropping, told) = (dropping.clone(), told.clone());
                tokio::spawn(async move {
                    let mut buffer = vec![0; 65_536];
                    while let Ok(read @ 1..) = from_server.read(&mut buffer).await {
                        if dropping.load(std::sync::atomic::Ordering::SeqCst) {
                            told.notify_one();
                        } else if to_client.write_all(&buffer[..read]).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Self { address, swallow, swallowed }
    }
}

#[tokio::test]
async fn a_lost_acknowledgement_is_no_second_event() {
    let (nats, direct) = require!(server().await);
    let proxy = Proxy::start(nats.url().replace("nats://", "")).await;
    let log = connect(format!("nats://{}", proxy.address), HistoryAccess::Everything).await;
    log.append(&event(1, "before"), Expect::LastSibling(0), LIMIT).await.unwrap();
    proxy.swallow.store(true, std::sync::atomic::Ordering::SeqCst);
    let new = event(2, "c");
    let appending = log.append(&new, Expect::LastSibling(0), LIMIT);
    let restore = async {
        proxy.swallowed.notified().await;
        proxy.swallow.store(false, std::sync::atomic::Ordering::SeqCst);
    };
    let (appended, ()) = tokio::join!(appending, restore);
    assert_eq!(appended.unwrap().sequence, 2);
    assert_eq!(length(&direct).await, 2);
}

#[tokio::test]
async fn reading_goes_on_whatever_happens_to_its_consumer() {
    let (mut nats, log) = require!(server().await);
    let mut messages = Box::pin(log.read(ALL_SUBJECTS, 1));
    let client = async_nats::connect(nats.url()).await.unwrap();
    for (number, disturbance) in ["nothing", "deleted", "killed", "stopped"].into_iter().enumerate() {
        let id = 100 + u128::try_from(number).unwrap();
        match disturbance {
            "deleted" => {
                let jetstream = async_nats::jetstream::new(client.clone());
                let stream = jetstream.get_stream("WAYBILL").await.unwrap();
                let names: Vec<_> = stream.consumer_names().collect().await;
                assert!(!names.is_empty());
                for name in names {
                    stream.delete_consumer(&name.unwrap()).await.unwrap();
                }
            }
            "killed" => nats.restart().await.unwrap(),
            "stopped" => {
                nats.stop().await.unwrap();
                nats.restart().await.unwrap();
            }
            _ => {}
        }
        log.append(&event(id, "c"), Expect::Nothing, LIMIT).await.unwrap();
        let message = tokio::time::timeout(Duration::from_secs(60), messages.next()).await;
        let message = message.unwrap_or_else(|_| panic!("{disturbance}: silence")).unwrap().unwrap();
        assert_eq!(message.decode().unwrap().envelope.id, Uuid::from_u128(id), "{disturbance}");
    }
}

#[tokio::test]
async fn a_stream_made_anew_is_told() {
    let (mut nats, log) = require!(server().await);
    log.append(&event(1, "c"), Expect::Nothing, LIMIT).await.unwrap();
    let mut messages = Box::pin(log.read(ALL_SUBJECTS, 1));
    messages.next().await.unwrap().unwrap();
    nats.stop().await.unwrap();
    std::fs::remove_dir_all(nats.store_dir()).unwrap();
    nats.restart().await.unwrap();
    let again = async {
        while log.ensure_stream(1).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), again).await.unwrap();
    let told = tokio::time::timeout(Duration::from_secs(60), messages.next()).await.unwrap();
    assert!(matches!(told, Some(Err(ReadError::Recreated { .. }))), "{told:?}");
    assert!(messages.next().await.is_none());
}

/// Decisions come until they are acknowledged, also after the consumer was deleted and made again.
#[tokio::test]
async fn a_queue_survives_its_consumer() {
    let (nats, log) = require!(server().await);
    let worker = "w1".parse().unwrap();
    let health = waybill_platform::health::HealthState::default();
    let missed = Arc::new(Notify::new());
    let tell = missed.clone();
    let mut queue = log.work(&worker, 4, health.component("decisions"), move || {
        let tell = tell.clone();
        async move { tell.notify_one() }
    });
    tokio::time::timeout(Duration::from_secs(30), missed.notified()).await.expect("a missing consumer is told");
    assert!(!health.readiness().ready);
    log.ensure_worker_consumer(&worker).await.unwrap();
    let client = async_nats::connect(nats.url()).await.unwrap();
    let jetstream = async_nats::jetstream::new(client);
    let subject = "waybill.events.worker.w1.ws.c.ContainerCredentialsSkipped";
    let publish = async |number: u64| {
        let acknowledged = jetstream.publish(subject, json!(number).to_string().into()).await.unwrap();
        acknowledged.await.unwrap().sequence
    };
    let next = async |queue: &mut waybill_platform::log::WorkQueue| {
        tokio::time::timeout(Duration::from_secs(60), queue.recv()).await.expect("a delivery").unwrap()
    };
    let sequence = publish(1).await;
    let first = next(&mut queue).await;
    assert_eq!((first.message.sequence, first.redelivered), (sequence, false));
    assert!(health.readiness().ready);
    first.retry_after(Duration::from_millis(10)).await;
    let again = next(&mut queue).await;
    assert_eq!((again.message.sequence, again.redelivered), (sequence, true));
    again.ack().await;

    jetstream.get_stream("WAYBILL").await.unwrap().delete_consumer("worker-w1").await.unwrap();
    tokio::time::timeout(Duration::from_secs(60), missed.notified()).await.expect("a deleted consumer is told");
    log.ensure_worker_consumer(&worker).await.unwrap();
    assert_eq!(next(&mut queue).await.message.sequence, sequence, "a new consumer begins at the start");
}
