//! Explaining looks up, and does not scan: the server sends as much from a large log as from a small one.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use waybill_tests::{
    fill::fill,
    process::Process,
    require,
    stack::{Plan, Service, Stack},
};

const LIMIT: std::time::Duration = std::time::Duration::from_secs(60);

/// What the server sends through it is counted.
struct Counted {
    url: String,
    bytes: Arc<AtomicU64>,
}

impl Counted {
    async fn before(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("nats://{}", listener.local_addr().unwrap());
        let address = server.trim_start_matches("nats://").to_owned();
        let bytes = Arc::new(AtomicU64::new(0));
        let count = bytes.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (address, count) = (address.clone(), count.clone());
                tokio::spawn(relay(client, address, count));
            }
        });
        Self { url, bytes }
    }
}

async fn relay(mut client: TcpStream, address: String, count: Arc<AtomicU64>) {
    let mut server = TcpStream::connect(address).await.unwrap();
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let answers = async {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(read @ 1..) = from_server.read(&mut buffer).await {
            // Before it goes on, so that all that the client has seen is counted when it has ended.
            count.fetch_add(u64::try_from(read).unwrap(), Ordering::SeqCst);
            if to_client.write_all(&buffer[..read]).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = answers => {}
        _ = tokio::io::copy(&mut from_client, &mut to_server) => {}
    }
}

/// Bytes that the server sends to answer one question.
async fn sent(stack: &Stack, counted: &Counted, question: [&str; 2]) -> u64 {
    counted.bytes.store(0, Ordering::SeqCst);
    let mut command = stack.waybill();
    command.args(["explain", question[0], question[1], "--json"]).env("WAYBILL_NATS_URL", &counted.url);
    let finished = Process::run("waybill", command, stack.dir(), LIMIT).await.unwrap();
    assert!(finished.stdout.contains("\"verdict\""), "{}", finished.stderr);
    counted.bytes.load(Ordering::SeqCst)
}

async fn filled(events: u64) -> Result<Stack, waybill_tests::error::StartError> {
    let mut stack = Plan::default().start().await?;
    for service in [Service::Gateway, Service::Worker("w1".to_owned()), Service::Scheduler] {
        stack.stop(&service).await;
    }
    fill(&stack, events).await;
    Ok(stack)
}

#[tokio::test]
async fn a_large_log_costs_no_more_than_a_small_one() {
    let (mut small, mut large) = (require!(filled(2_000).await), require!(filled(20_000).await));
    let through = (Counted::before(&small.nats().url()).await, Counted::before(&large.nats().url()).await);
    // The first image was built at both ends of either log, and the first container runs it. The others' images were built
    // once, and not lately.
    for question in [
        ["container", "c-0", "c-0"],
        ["container", "c-31", "c-4500"],
        ["image", "img-0", "img-0"],
        ["image", "img-89", "img-950"],
        ["image", "nobody-built-31", "nobody-built-31"],
    ] {
        let [kind, in_small, in_large] = question;
        let of_small = sent(&small, &through.0, [kind, in_small]).await;
        let of_large = sent(&large, &through.1, [kind, in_large]).await;
        println!("{question:?}: {of_small} bytes of 2,000 events, {of_large} of 20,000");
        assert!(of_large < of_small + of_small / 10, "{question:?}: {of_small} and {of_large} bytes");
    }
}
