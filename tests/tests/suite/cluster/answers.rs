//! Servers that found each other just now: an answer is lost, and where chunks are awaited is not known everywhere yet.

use std::time::Duration;

use async_nats::{Client, Message, Subscriber};
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tokio::time::sleep;
use waybill_platform::log::{STREAM, Storage};
use waybill_tests::{error::StartError, nats::NatsServer, require, scratch::Scratch};

use crate::log::config;

const CHUNKS: [&str; 2] = ["first", "second"];
/// Where the chunks go, as the server names it.
const TO: &str = "restore.here";
const LAST_SEQUENCE: u64 = 7;

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
