//! The log and the vault of a real server with the configuration of `waybill init`: the conformance suite that every
//! implementation passes, and what only a network and permissions can do to them.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::Notify,
};
use waybill_platform::{
    config::Settings,
    log::{Administration as _, Appended, EventLog, Expect, Log as _, NatsConfig},
    testing::{Sample, check_log, check_vault},
    vault::Vault as _,
};
use waybill_schemas::Filter;
use waybill_tests::{
    error::StartError,
    nats::NatsServer,
    require,
    stack::{Plan, Stack},
};

const LIMIT: Option<Duration> = Some(Duration::from_secs(30));
/// A reader that may not read is told so, or hears nothing for this long.
const SILENCE: Duration = Duration::from_secs(2);

/// For a server that asks nobody for a login.
pub(crate) fn config(url: String) -> NatsConfig {
    NatsConfig {
        require_tls: false,
        url,
        credentials: None,
        inbox_prefix: "_INBOX".to_owned(),
        ca_file: None,
        name: "test".to_owned(),
        renews: None,
    }
}

async fn connect(url: String) -> EventLog {
    EventLog::connect(config(url)).await.unwrap()
}

async fn server() -> Result<(NatsServer, EventLog), StartError> {
    let nats = NatsServer::start().await?;
    let log = connect(nats.url()).await;
    log.ensure_stream(1).await.unwrap();
    Ok((nats, log))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_and_the_vault_conform() {
    let (_nats, log) = require!(server().await);
    check_log(&log).await;
    let vault = log.vault();
    vault.ensure(1).await.unwrap();
    check_vault(&vault).await;
}

/// Passes bytes on, and swallows the server's answers while it is told to.
struct Proxy {
    address: SocketAddr,
    swallow: Arc<AtomicBool>,
    swallowed: Arc<Notify>,
}

impl Proxy {
    async fn start(to: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (swallow, swallowed) = (Arc::new(AtomicBool::new(false)), Arc::new(Notify::new()));
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
                        if dropping.load(Ordering::SeqCst) {
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
    let log = connect(format!("nats://{}", proxy.address)).await;
    let sample = Sample::new();
    log.append(&sample.request("before", "r"), Expect::Last(0), LIMIT).await.unwrap();
    proxy.swallow.store(true, Ordering::SeqCst);
    let new = sample.request("c", "r");
    let appending = log.append(&new, Expect::Last(0), LIMIT);
    let restore = async {
        proxy.swallowed.notified().await;
        proxy.swallow.store(false, Ordering::SeqCst);
    };
    let (appended, ()) = tokio::join!(appending, restore);
    assert!(matches!(appended.unwrap(), Appended::Stored { sequence: 2, .. }));
    assert_eq!(direct.stream_state().await.unwrap().unwrap().last_sequence, 2);
}

/// A role of the stack, as its service connects.
async fn role(stack: &mut Stack, name: &str) -> EventLog {
    let settings = Settings::load(stack.home(), name).unwrap();
    let mut reader = settings.reader();
    let mut config = NatsConfig::read(&mut reader, name);
    reader.finish().unwrap();
    config.url = stack.nats().url();
    EventLog::connect(config).await.unwrap()
}

/// Who may follow the log follows all of it; a worker is given its own decisions by its queue, and follows nothing.
#[tokio::test]
async fn only_readers_of_the_whole_log_follow_it() {
    use futures_util::StreamExt as _;
    let mut stack = require!(Plan::default().start().await);
    stack.container("acme", "c-1", "img", "w1").await;
    stack.wait_for_outcome("c-1").await;
    let all = stack.events().await.len();
    for name in ["scheduler", "operator"] {
        let log = role(&mut stack, name).await;
        let read: Vec<_> = log.follow(&Filter::All, 1, None).take(all).collect().await;
        let sequences: Vec<u64> = read.into_iter().map(|message| message.unwrap().sequence).collect();
        assert_eq!(sequences, (1..=u64::try_from(all).unwrap()).collect::<Vec<_>>(), "{name}");
    }
    let worker: waybill_schemas::WorkerId = "w1".parse().unwrap();
    for (name, filter) in
        [("gateway", Filter::All), ("worker-w1", Filter::All), ("worker-w1", Filter::Decisions(Some(worker.clone())))]
    {
        let log = role(&mut stack, name).await;
        let heard = tokio::time::timeout(SILENCE, log.follow(&filter, 1, None).next()).await;
        assert!(!matches!(heard, Ok(Some(Ok(_)))), "{name} follows {filter}: {heard:?}");
    }
    let log = role(&mut stack, "worker-w1").await;
    let mine = Filter::ContainerDecisions(Some(worker), Some("acme".parse().unwrap()), Some("c-1".parse().unwrap()));
    assert!(log.last_matching(&mine).await.unwrap().is_some(), "what it may look up is there");
}
