//! Explaining looks up, and does not scan: the server sends as much from a large log as from a small one, and is asked for
//! nothing that makes it search the log.

use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
};
use waybill_tests::{
    fill::filled,
    process::Process,
    require,
    stack::{Plan, Stack},
};

const LIMIT: std::time::Duration = std::time::Duration::from_secs(60);

/// What goes through between a client and the server.
#[derive(Default)]
struct Seen {
    asked: Vec<u8>,
    answered: usize,
}

/// What goes through it is seen.
struct Watched {
    url: String,
    seen: Arc<Mutex<Seen>>,
}

impl Watched {
    async fn before(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("nats://{}", listener.local_addr().unwrap());
        let address = server.trim_start_matches("nats://").to_owned();
        let seen = Arc::<Mutex<Seen>>::default();
        let all = seen.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(relay(client, address.clone(), all.clone()));
            }
        });
        Self { url, seen }
    }
}

async fn relay(mut client: TcpStream, address: String, seen: Arc<Mutex<Seen>>) {
    let mut server = TcpStream::connect(address).await.unwrap();
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    // Each is seen before it goes on, so that all that the client has sent and read is there when it has ended.
    let questions = pass(&mut from_client, &mut to_server, |bytes| seen.lock().unwrap().asked.extend(bytes));
    let answers = pass(&mut from_server, &mut to_client, |bytes| seen.lock().unwrap().answered += bytes.len());
    tokio::select! {
        () = questions => {}
        () = answers => {}
    }
}

async fn pass(from: &mut ReadHalf<'_>, to: &mut WriteHalf<'_>, see: impl Fn(&[u8])) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        see(&buffer[..read]);
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

/// Bytes that the server sends to answer one question, and what it was asked for.
async fn asked(stack: &Stack, watched: &Watched, question: [&str; 2]) -> (usize, Vec<Value>) {
    *watched.seen.lock().unwrap() = Seen::default();
    let mut command = stack.waybill();
    command.args(["explain", question[0], question[1], "--json"]).env("WAYBILL_NATS_URL", &watched.url);
    let finished = Process::run("waybill", command, stack.dir(), LIMIT).await.unwrap();
    assert!(["\"verdict\"", "\"causes\""].iter().any(|told| finished.stdout.contains(told)), "{}", finished.stderr);
    let seen = watched.seen.lock().unwrap();
    let sent = String::from_utf8(seen.asked.clone()).unwrap();
    // What the protocol (PUB and its arguments) puts before a body is a line of its own.
    let bodies = sent.lines().filter(|line| line.starts_with('{')).filter_map(|line| serde_json::from_str(line).ok());
    (seen.answered, bodies.collect())
}

/// Whether the last of each subject is asked for, or one subject by its name. For the next that matches a wildcard the server
/// goes through the log's blocks.
fn is_looked_up(request: &Value) -> bool {
    match (request["multi_last"].as_array(), request["next_by_subj"].as_str()) {
        (Some(_), None) => request.get("seq").is_none(),
        (None, Some(subject)) => !subject.contains(['*', '>']),
        _ => false,
    }
}

#[tokio::test]
async fn a_large_log_costs_no_more_than_a_small_one() {
    let (mut small, _) = require!(filled(Plan::default(), 2_000).await);
    let (mut large, _) = require!(filled(Plan::default(), 20_000).await);
    let through = (Watched::before(&small.nats().url()).await, Watched::before(&large.nats().url()).await);
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
        let (of_small, _) = asked(&small, &through.0, [kind, in_small]).await;
        let (of_large, requests) = asked(&large, &through.1, [kind, in_large]).await;
        println!("{question:?}: {of_small} bytes of 2,000 events, {of_large} of 20,000");
        assert!(of_large < of_small + of_small / 10, "{question:?}: {of_small} and {of_large} bytes");
        let searches: Vec<&Value> = requests.iter().filter(|request| !is_looked_up(request)).collect();
        assert!(!requests.is_empty() && searches.is_empty(), "{question:?}: {searches:?} of {requests:?}");
    }
}

/// Where the gateway is away, the whole log is read. For a subject that is not everything, the server counts with each page what is
/// left, subject by subject, which takes it longer than reading the page once there are millions.
#[tokio::test]
async fn a_whole_log_is_read_by_sequence() {
    let (mut stack, _) = require!(filled(Plan::default(), 3_000).await);
    let watched = Watched::before(&stack.nats().url()).await;
    let (_, requests) = asked(&stack, &watched, ["--since", "24h"]).await;
    let searches =
        |request: &&Value| request["next_by_subj"].as_str().is_some_and(|subjects| subjects.contains(['*', '>']));
    let pages: Vec<&Value> = requests.iter().filter(searches).collect();
    assert!(pages.len() >= 3, "{requests:?}");
    assert!(pages.iter().all(|page| page["next_by_subj"] == ">"), "{pages:?}");
}
