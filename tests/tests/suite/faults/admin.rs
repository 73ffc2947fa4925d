//! The operator of nats-server: its configuration, and JetStream without the limits of Waybill's roles.

use std::time::Duration;

use serde_json::{Value, json};
use waybill_tests::{stack::Stack, wait::eventually};

use super::{
    super::accounts::change_account,
    PATIENCE,
    contract::{PROBE_SUBJECT, STREAM, worker_consumers},
};

const LIMIT: Duration = Duration::from_secs(10);
/// The shortest duplicate window that nats-server takes.
const SHORTEST_WINDOW: Duration = Duration::from_millis(100);
/// The beginning of the server's JetStream settings, as `waybill init` writes it.
const SERVER: &str = "\njetstream {\n";

/// A connection to the account that holds the stream.
pub(super) struct Admin(async_nats::Client);

impl Admin {
    /// Makes credentials of an administrator, as a person does for a repair, and connects.
    pub(super) async fn connect(stack: &mut Stack) -> Self {
        let file = stack.dir().join("admin.creds");
        if !file.exists() {
            let made = stack.run(&["creds", "log-admin", "--out", file.to_str().unwrap()]).await;
            assert!(made.status.success(), "{}", made.stderr);
        }
        let options = async_nats::ConnectOptions::with_credentials_file(file).await.unwrap();
        let options = options.custom_inbox_prefix("_INBOX_log-admin").request_timeout(Some(LIMIT));
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
    ///
    /// A server looks at once which ids it may forget, and can do so by the window that it had before: then it looks again when that
    /// one has passed. The second change has it look by the first one's window at least.
    pub(super) async fn shorten_duplicate_window(&self) {
        let mut config = self.stream().await["config"].clone();
        for window in [SHORTEST_WINDOW.saturating_mul(2), SHORTEST_WINDOW] {
            config["duplicate_window"] = json!(u64::try_from(window.as_nanos()).unwrap());
            let changed = self.ask(&format!("STREAM.UPDATE.{STREAM}"), config.clone()).await;
            assert!(changed["error"].is_null(), "{changed}");
        }
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
    let bytes = bytes.map_or(json!(-1), Value::from);
    change_account(stack, "LOG", |nats| nats["limits"]["disk_storage"] = bytes).await;
}

/// Has the server refuse messages of a stream while it has more than so many in hand, and restarts it.
pub(super) async fn limit_requests(stack: &mut Stack, messages: u32) {
    configure(stack, |text| text.replacen(SERVER, &format!("{SERVER}  max_buffered_msgs: {messages}\n"), 1)).await;
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
