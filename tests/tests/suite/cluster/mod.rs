//! Three servers: one at a time hangs, is cut off or dies, and everything goes on; one server becomes three; a log is lost and
//! restored; nothing beyond loopback goes in the clear.

mod answers;
mod damage;
mod drill;
mod limits;
mod loss;
mod tls;

use std::time::Duration;

use async_nats::ConnectOptions;
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tokio::time::timeout;
use waybill_tests::{
    stack::{Recorded, Stack},
    wait::eventually,
};

/// Upper bound of each wait. A condition that holds ends its wait at once.
const PATIENCE: Duration = Duration::from_secs(60);
/// A registry that nobody asks: decisions are looked at, not pulls.
const REFERENCE: &str = "registry.invalid/team/app:1";
const DECISION: &str = "ContainerCredentialsAttached";

/// Requests a container until the log has the request, and waits until it is decided.
async fn request_until_decided(stack: &Stack, container: &str) -> Recorded {
    let accepted = eventually(PATIENCE, "an accepted request", async || {
        let body = json!({ "workspace": "acme", "container_id": container, "image_id": "img", "worker_id": "w1" });
        let answer = stack.post_raw("/v1/containers", &stack.token("acme"), &[], body.to_string()).await?;
        (answer.status == 202).then_some(())
    });
    accepted.await.unwrap_or_else(|error| panic!("{error}: {container}\n{}", stack.logs()));
    let mut decided = None;
    let found = eventually(PATIENCE, "a decision", async || {
        let finished = stack.run(&["events", "--json", "--container", container, "--workspace", "acme"]).await;
        decided = finished.stdout.lines().map(Recorded::parse).find(|event| event.is(DECISION, container));
        decided.as_ref().map(drop)
    });
    found.await.unwrap_or_else(|error| panic!("{error}: {container}\n{}", stack.logs()));
    decided.unwrap()
}

/// Builds the image of all containers with a login.
async fn build(stack: &Stack) {
    let login = json!({ "USERNAME": "puller", "PASSWORD": "pass" });
    assert_eq!(stack.build("acme", "img", REFERENCE, login).await.status, 201);
}

/// The doctor's findings that need attention, as `check: says → remedy`.
async fn findings(stack: &Stack) -> Vec<String> {
    let finished = stack.run(&["doctor", "--json"]).await;
    let report: Value = serde_json::from_str(&finished.stdout).unwrap_or_else(|_| panic!("{}", finished.stderr));
    let checks = report["checks"].as_array().unwrap().iter().filter(|check| check["status"] == "attention");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    checks
        .map(|check| format!("{}: {} → {}", text(&check["check"]), text(&check["says"]), text(&check["remedy"])))
        .collect()
}

/// What servers answer to a question of the system account within a second.
async fn ask_servers(stack: &Stack, question: &str) -> Vec<Value> {
    let options = ConnectOptions::with_credentials_file(stack.home().join("keys/system.creds")).await.unwrap();
    let client = options.custom_inbox_prefix("_INBOX_system").connect(stack.nats_addresses()).await.unwrap();
    let inbox = client.new_inbox();
    let mut answers = client.subscribe(inbox.clone()).await.unwrap();
    client.publish_with_reply(format!("$SYS.REQ.SERVER.PING.{question}"), inbox, "".into()).await.unwrap();
    let mut found = Vec::new();
    while let Ok(Some(answer)) = timeout(Duration::from_secs(1), answers.next()).await {
        found.push(serde_json::from_slice(&answer.payload).unwrap());
    }
    found
}

/// Which server a client is connected to, by the name that it gives.
async fn server_of(stack: &Stack, client: &str) -> usize {
    let found = eventually(PATIENCE, client, async || {
        ask_servers(stack, "CONNZ").await.iter().find_map(|answer| {
            let connections = answer["data"]["connections"].as_array()?;
            connections.iter().any(|connection| connection["name"] == client).then(|| {
                let name = answer["server"]["name"].as_str().unwrap();
                name.trim_start_matches('n').parse::<usize>().unwrap() - 1
            })
        })
    });
    found.await.unwrap_or_else(|error| panic!("{error}\n{}", stack.logs()))
}

/// Waits until every server has all of the log and the vault.
async fn until_whole(stack: &Stack) {
    let mut last = Vec::new();
    let whole = eventually(PATIENCE, "three servers that are up to date", async || {
        last = findings(stack).await;
        let of_servers = |finding: &&String| {
            ["server", "stream", "vault", "nats", "jetstream"].iter().any(|check| finding.starts_with(check))
        };
        last.iter().find(of_servers).is_none().then_some(())
    });
    whole.await.unwrap_or_else(|error| panic!("{error}: {last:#?}"));
}
