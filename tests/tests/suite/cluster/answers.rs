//! Servers that were started just now: an answer is lost, where chunks are awaited is not known everywhere yet, or the account of
//! the log is being built.

use std::time::{Duration, Instant};

use async_nats::{Client, Message, Subscriber};
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tokio::time::sleep;
use waybill_platform::log::{STREAM, Storage};
use waybill_tests::{
    error::StartError,
    find,
    nats::NatsServer,
    port::Port,
    process::{self, Process},
    require,
    scratch::Scratch,
};

use crate::log::config;

const CHUNKS: [&str; 2] = ["first", "second"];
/// Where the chunks go, as the server names it.
const TO: &str = "restore.here";
const LAST_SEQUENCE: u64 = 7;
const PATIENCE: Duration = Duration::from_secs(60);

/// A server without JetStream, so that the test alone answers in its place.
async fn server(scratch: &Scratch) -> Result<NatsServer, StartError> {
    let file = scratch.file("nats.conf", "server_name: plain\n")?;
    NatsServer::with_config(&file, scratch.path()).await
}

async fn answer(client: &Client, question: Message, answer: &Value) {
    let to = question.reply.expect("a question has a reply subject");
    client.publish(to, answer.to_string().into()).await.unwrap();
    client.flush().await.unwrap();
}

fn failure(err_code: u64, description: &str) -> Value {
    json!({ "error": { "code": 404, "err_code": err_code, "description": description } })
}

/// Takes a restore as a server does whose first answer is lost, and whose interest in the chunks is known late.
async fn take(client: Client, mut restores: Subscriber, mut infos: Subscriber) -> Vec<String> {
    answer(&client, infos.next().await.unwrap(), &failure(10059, "stream not found")).await;
    drop(restores.next().await);
    // The restore whose answer was lost still holds the name.
    answer(&client, restores.next().await.unwrap(), &failure(10130, "stream name already in use, cannot restore"))
        .await;
    answer(&client, restores.next().await.unwrap(), &json!({ "deliver_subject": TO })).await;
    sleep(Duration::from_millis(300)).await;
    let mut chunks = client.subscribe(TO).await.unwrap();
    let mut taken = Vec::new();
    while let Some(chunk) = chunks.next().await {
        let text = String::from_utf8(chunk.payload.to_vec()).unwrap();
        client.publish(chunk.reply.expect("a chunk is acknowledged"), "".into()).await.unwrap();
        if text.is_empty() {
            break;
        }
        taken.push(text);
    }
    let whole = json!({ "config": { "num_replicas": 1 }, "state": { "last_seq": LAST_SEQUENCE } });
    answer(&client, infos.next().await.unwrap(), &whole).await;
    taken
}

#[tokio::test]
async fn a_backup_is_restored_though_answers_are_lost() {
    let scratch = Scratch::new("answers").unwrap();
    let server = require!(server(&scratch).await);
    let client = async_nats::connect(server.url()).await.unwrap();
    let restores = client.subscribe(format!("$JS.API.STREAM.RESTORE.{STREAM}")).await.unwrap();
    let infos = client.subscribe(format!("$JS.API.STREAM.INFO.{STREAM}")).await.unwrap();
    client.flush().await.unwrap();
    let taken = tokio::spawn(take(client, restores, infos));

    let storage = Storage::connect(&config(server.url())).await.unwrap();
    let mut chunks = CHUNKS.iter().map(|chunk| chunk.as_bytes().to_vec());
    let state = json!({ "last_seq": LAST_SEQUENCE });
    storage.restore(STREAM, &json!({}), &state, || Ok(chunks.next())).await.unwrap();
    assert_eq!(taken.await.unwrap(), CHUNKS);
}

/// A server that builds an account with streams makes their folder and removes it again, to see whether it may write, when the
/// account's users are answered already: a stream made in that moment is refused, or its files are gone.
#[tokio::test]
async fn the_log_is_made_once_its_account_stands() {
    let scratch = Scratch::new("account").unwrap();
    let server = require!(server(&scratch).await);
    let client = async_nats::connect(server.url()).await.unwrap();
    let mut infos = client.subscribe("$JS.API.STREAM.INFO.*").await.unwrap();
    let mut creations = client.subscribe(format!("$JS.API.STREAM.CREATE.{STREAM}")).await.unwrap();
    client.flush().await.unwrap();
    let home = scratch.path().join("home");
    let waybill = |arguments: &[&str]| {
        let mut child = process::command(find::workspace_binary("waybill").unwrap());
        child.arg("--home").arg(&home).args(arguments).env("WAYBILL_NATS_URL", server.url());
        child
    };
    let init = Process::run("init", waybill(&["init"]), scratch.path(), PATIENCE).await.unwrap();
    assert!(init.status.success(), "{}", init.stderr);
    let mut scheduler = waybill(&["scheduler"]);
    scheduler.env("WAYBILL_SCHEDULER_HEALTH_LISTEN", Port::reserve().unwrap().host());
    let scheduler = Process::spawn("scheduler", scheduler, scratch.path()).unwrap();

    let mut missing_since = None;
    for _ in 0..2 {
        let creation = loop {
            tokio::select! {
                Some(info) = infos.next() => {
                    answer(&client, info, &failure(10059, "stream not found")).await;
                    missing_since.get_or_insert_with(Instant::now);
                }
                Some(creation) = creations.next() => break creation,
                () = sleep(PATIENCE) => panic!("the scheduler asks no more:\n{}", scheduler.output().last_lines()),
            }
        };
        let since = missing_since.take().expect("who makes a log has asked for it");
        assert!(since.elapsed() >= Duration::from_millis(500), "{:?}", since.elapsed());
        answer(&client, creation, &failure(10049, "error creating store for stream")).await;
    }
}
