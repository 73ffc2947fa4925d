//! The operator of nats-server: its configuration, and JetStream without the limits of Waybill's roles.

use std::time::Duration;

use serde_json::{Value, json};
use waybill_tests::{stack::Stack, wait::eventually};

use super::{
    PATIENCE,
    contract::{PROBE_SUBJECT, STREAM, worker_consumers},
};

const LIMIT: Duration = Duration::from_secs(10);
/// The shortest duplicate window that nats-server takes.
const SHORTEST_WINDOW: Duration = Duration::from_millis(100);
/// The beginning of the account that holds the stream, as `waybill init` writes it.
const ACCOUNT: &str = "jetstream: enabled\n";

/// A connection to the account that holds the stream.
pub(super) struct Admin(async_nats::Client);

impl Admin {
    /// Adds an administrator to the server's configuration, restarts the server and connects.
    pub(super) async fn connect(stack: &mut Stack) -> Self {
        configure(stack, |text| {
            let users = format!("{ACCOUNT}    users: [{{ user: \"admin\", password: \"admin\" }}]\n");
            text.replacen(ACCOUNT, &users, 1)
        })
        .await;
        let options = async_nats::ConnectOptions::with_user_and_password("admin".to_owned(), "admin".to_owned());
        let options = options.request_timeout(Some(LIMIT));
        Self(options.connect(stack.nats().url()).await.unwrap())
    }

    /// Asks the JetStream API; retries while the server starts.
    pub(super) async fn ask(&self, api: &str, body: Value) -> Value {
        let subject = format!("$JS.API.{api}");
        let answered = eventually(PATIENCE, &subject, async || {
            let payload = if body.is_null() { String::new() } else { body.to_string() };
            let answer = self.0.request(subject.clone(), payload.into()).await.ok()?;
            serde_json::from_slice::<Value>(&answer.payload).ok()
        });
        answered.await.unwrap()
    }

    /// The stream's configuration and state.
    pub(super) async fn stream(&self) -> Value {
        let found = self.ask(&format!("STREAM.INFO.{STREAM}"), Value::Null).await;
        assert!(found["error"].is_null(), "{found}");
        found
    }

    /// Size of the stream's messages in bytes.
    pub(super) async fn stream_bytes(&self) -> u64 {
        self.stream().await["state"]["bytes"].as_u64().unwrap()
    }

    /// Size of everything that the account stores, in bytes.
    pub(super) async fn account_bytes(&self) -> u64 {
        self.ask("INFO", Value::Null).await["storage"].as_u64().unwrap()
    }

    /// The stream's last sequence.
    pub(super) async fn last_sequence(&self) -> u64 {
        self.stream().await["state"]["last_seq"].as_u64().unwrap()
    }

    /// Has the stream remember message ids for as short a time as nats-server allows.
    pub(super) async fn shorten_duplicate_window(&self) {
        let mut config = self.stream().await["config"].clone();
        config["duplicate_window"] = json!(u64::try_from(SHORTEST_WINDOW.as_nanos()).unwrap());
        let changed = self.ask(&format!("STREAM.UPDATE.{STREAM}"), config).await;
        assert!(changed["error"].is_null(), "{changed}");
    }

    /// Waits until the stream has forgotten every message id that it has seen so far: it takes a probe's id again.
    pub(super) async fn pass_duplicate_window(&self) {
        let forgotten = eventually(PATIENCE, "the duplicate window to pass", async || {
            let mut headers = async_nats::HeaderMap::new();
            headers.insert("Nats-Msg-Id", "probe");
            let answer = self.0.request_with_headers(PROBE_SUBJECT, headers, "probe".into()).await.ok()?;
            let answer: Value = serde_json::from_slice(&answer.payload).ok()?;
            let first = self.is_first_probe(&answer).await;
            (answer["duplicate"] != true && !first).then_some(())
        });
        forgotten.await.unwrap();
    }

    async fn is_first_probe(&self, answer: &Value) -> bool {
        let body = json!({ "subjects_filter": PROBE_SUBJECT });
        let found = self.ask(&format!("STREAM.INFO.{STREAM}"), body).await;
        answer["duplicate"] != true && found["state"]["subjects"][PROBE_SUBJECT] == 1
    }

    /// Deletes the consumers of a worker.
    pub(super) async fn delete_consumers(&self, worker: &str) {
        for name in worker_consumers(worker) {
            let deleted = self.ask(&format!("CONSUMER.DELETE.{STREAM}.{name}"), Value::Null).await;
            assert_eq!(deleted["success"], true, "{deleted}");
        }
    }

    /// Waits until a worker has acknowledged everything that is addressed to it.
    pub(super) async fn until_acknowledged(&self, worker: &str) {
        let done = eventually(PATIENCE, "acknowledgement of every decision", async || {
            for name in worker_consumers(worker) {
                let info = self.ask(&format!("CONSUMER.INFO.{STREAM}.{name}"), Value::Null).await;
                let idle = info["num_pending"] == 0 && info["num_ack_pending"] == 0;
                if !idle || info["delivered"]["consumer_seq"].as_u64()? == 0 {
                    return None;
                }
            }
            Some(())
        });
        done.await.unwrap();
    }
}

/// Limits the storage of the account that holds the stream, or lifts the limit, and restarts the server.
pub(super) async fn limit_storage(stack: &mut Stack, bytes: Option<u64>) {
    configure(stack, |text| {
        let limited = bytes.map_or_else(|| ACCOUNT.to_owned(), |bytes| format!("jetstream: {{ max_file: {bytes} }}\n"));
        let lines = text.lines().map(|line| match line.trim_start().starts_with("jetstream:") {
            true => format!("    {limited}"),
            false => format!("{line}\n"),
        });
        lines.collect()
    })
    .await;
}

async fn configure(stack: &mut Stack, change: impl FnOnce(&str) -> String) {
    let file = stack.home().join("nats-server.conf");
    let text = std::fs::read_to_string(&file).unwrap();
    let changed = change(&text);
    assert_ne!(text, changed, "the configuration has another form");
    std::fs::write(&file, changed).unwrap();
    stack.nats().stop().await.unwrap();
    stack.nats().restart().await.unwrap();
}
