//! Whole streams: backed up while they run, restored into servers that have none, kept on more or fewer servers.
//!
//! Only a user of the account that holds the streams can do this: the server adds a header to what crosses accounts, and takes
//! it for a part of a chunk.

use std::time::Duration;

use async_nats::{Message, Request, RequestErrorKind};
use bytes::Bytes;
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use super::{InspectError, Inspector, NatsConfig, Reply};
use crate::log::API_PREFIX;

/// How long one step may take: the server checks and packs a stream before it sends the first chunk.
const STEP_LIMIT: Duration = Duration::from_secs(60);
/// How long a question that can be asked again waits for its answer. A server gives a restore up after as long without a chunk.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// Bytes of a chunk; far below the largest message.
const CHUNK: usize = 256 * 1024;
/// How long a stream that was restored, or got more copies, may take to be whole.
const WHOLE_LIMIT: Duration = Duration::from_secs(300);
/// How long servers may take to find each other. Meanwhile what is sent to one of them, or comes back from it, can be lost.
const START_LIMIT: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(200);
const STREAM_NOT_FOUND: u64 = 10059;
/// A restore is under way, or there is such a stream.
const NAME_IN_USE: u64 = 10130;

/// Why a stream could not be backed up, restored or changed.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// No connection.
    #[error("cannot connect as the user that backs streams up and restores them (a log-admin)")]
    Connect(#[from] InspectError),
    /// The server refuses, or does not answer.
    #[error("the server does not {what} the stream {stream}: {reason}")]
    Refused {
        /// What was asked.
        what: &'static str,
        /// Of which stream.
        stream: String,
        /// Its words.
        reason: String,
    },
    /// Nothing is restored over what is there.
    #[error(
        "the stream {stream} exists, up to sequence {last}; a backup is restored into servers that do not have it: start them \
         with empty data folders"
    )]
    Exists {
        /// The stream.
        stream: String,
        /// Its last sequence.
        last: u64,
    },
    /// A chunk could not be written or read.
    #[error("cannot read or write the backup")]
    File(#[from] std::io::Error),
}

/// A connection that may do this.
#[derive(Debug)]
pub struct Storage {
    inspector: Inspector,
}

impl Storage {
    /// Connects once.
    ///
    /// # Errors
    /// [`StorageError::Connect`].
    pub async fn connect(config: &NatsConfig) -> Result<Self, StorageError> {
        Ok(Self { inspector: Inspector::connect(config).await? })
    }

    /// Configuration and state of a stream; none if there is no such stream.
    ///
    /// # Errors
    /// [`StorageError::Refused`].
    pub async fn info(&self, stream: &str) -> Result<Option<Value>, StorageError> {
        let reply = self.inspector.api(&format!("STREAM.INFO.{stream}"), &Value::Null).await;
        match reply.error_code() {
            Some(STREAM_NOT_FOUND) => Ok(None),
            _ => accepted("show", stream, reply).map(Some),
        }
    }

    /// Hands over a stream, checked by the server, in chunks; `begin` is given its configuration and state before them.
    ///
    /// # Errors
    /// [`StorageError`].
    pub async fn back_up(
        &self,
        stream: &str,
        begin: impl FnOnce(&Value) -> std::io::Result<()>,
        mut write: impl FnMut(&[u8]) -> std::io::Result<()>,
    ) -> Result<(), StorageError> {
        let refused = |reason: String| StorageError::Refused { what: "back up", stream: stream.to_owned(), reason };
        let client = self.inspector.client();
        let inbox = client.new_inbox();
        let subscribed = client.subscribe(inbox.clone()).await;
        let mut chunks = subscribed.map_err(|error| refused(error.to_string()))?;
        let question = json!({ "deliver_subject": inbox, "chunk_size": CHUNK, "jsck": true, "no_consumers": false });
        // The answer comes once every message was checked.
        let subject = format!("{API_PREFIX}.STREAM.SNAPSHOT.{stream}");
        let reply = self.send(&subject, question.to_string().into(), STEP_LIMIT).await;
        begin(&accepted("back up", stream, reply)?)?;
        loop {
            let next = timeout(STEP_LIMIT, chunks.next()).await;
            let Message { payload, reply, status, description, .. } =
                next.ok().flatten().ok_or_else(|| refused("it stopped sending".to_owned()))?;
            if status.is_some_and(|status| status.as_u16() >= 400) {
                return Err(refused(description.unwrap_or_else(|| "it gave up".to_owned())));
            }
            if payload.is_empty() {
                return Ok(());
            }
            write(&payload)?;
            if let Some(reply) = reply {
                let acknowledged = client.publish(reply, Bytes::new()).await;
                acknowledged.map_err(|error| refused(error.to_string()))?;
            }
        }
    }

    /// Makes a stream of what [`back_up`](Self::back_up) gave, and waits until it is whole.
    ///
    /// # Errors
    /// [`StorageError::Exists`] where there is such a stream.
    pub async fn restore(
        &self,
        stream: &str,
        config: &Value,
        state: &Value,
        mut read: impl FnMut() -> std::io::Result<Option<Vec<u8>>>,
    ) -> Result<(), StorageError> {
        if let Some(info) = self.wait_for_info(stream).await? {
            let last = info.pointer("/state/last_seq").and_then(Value::as_u64).unwrap_or_default();
            return Err(StorageError::Exists { stream: stream.to_owned(), last });
        }
        let question = json!({ "config": config, "state": state });
        let answer = accepted("restore", stream, self.ask(&format!("RESTORE.{stream}"), &question).await)?;
        let refused = |reason: String| StorageError::Refused { what: "restore", stream: stream.to_owned(), reason };
        let to = answer.get("deliver_subject").and_then(Value::as_str).map(str::to_owned);
        let to = to.ok_or_else(|| refused("it says nowhere to send the backup".to_owned()))?;
        loop {
            let chunk = read()?;
            let is_last = chunk.is_none();
            let reply = self.send(&to, chunk.unwrap_or_default().into(), STEP_LIMIT).await;
            accepted("restore", stream, reply)?;
            if is_last {
                break;
            }
        }
        let last = state.get("last_seq").and_then(Value::as_u64).unwrap_or_default();
        self.wait_until_whole(stream, |info| info.pointer("/state/last_seq").and_then(Value::as_u64) == Some(last))
            .await
    }

    /// Keeps a stream on this many servers, and waits until each has all of it.
    ///
    /// # Errors
    /// [`StorageError`].
    pub async fn set_replicas(&self, stream: &str, replicas: u64) -> Result<(), StorageError> {
        let refused = |reason: &str| StorageError::Refused {
            what: "change",
            stream: stream.to_owned(),
            reason: reason.to_owned(),
        };
        let info = self.info(stream).await?.ok_or_else(|| refused("there is no such stream"))?;
        let mut config = info.get("config").cloned().unwrap_or_default();
        if let Some(fields) = config.as_object_mut() {
            fields.insert("num_replicas".to_owned(), json!(replicas));
        }
        accepted("change", stream, self.ask(&format!("UPDATE.{stream}"), &config).await)?;
        self.wait_until_whole(stream, |info| {
            info.pointer("/config/num_replicas").and_then(Value::as_u64) == Some(replicas)
        })
        .await
    }

    /// Asks the stream API for what may be asked twice, until there is an answer. A restore whose answer was lost holds the name
    /// until the server gives it up.
    async fn ask(&self, subject: &str, question: &Value) -> Reply {
        let subject = format!("{API_PREFIX}.STREAM.{subject}");
        let question = Bytes::from(question.to_string());
        let limit = Instant::now() + START_LIMIT;
        let mut was_lost = false;
        loop {
            let reply = self.send(&subject, question.clone(), ANSWER_LIMIT).await;
            let is_silence = matches!(reply, Reply::Silence(_));
            let is_held = was_lost && reply.error_code() == Some(NAME_IN_USE);
            was_lost |= is_silence;
            if !(is_silence || is_held) || Instant::now() > limit {
                return reply;
            }
            sleep(LOOK).await;
        }
    }

    /// Sends a question or a chunk, and again while the server says that nobody was there to get it.
    async fn send(&self, to: &str, payload: Bytes, limit: Duration) -> Reply {
        let until = Instant::now() + ANSWER_LIMIT;
        loop {
            let request = Request::new().payload(payload.clone()).timeout(Some(limit));
            match self.inspector.client().send_request(to.to_owned(), request).await {
                Ok(message) => return Reply::Answer(serde_json::from_slice(&message.payload).unwrap_or(Value::Null)),
                Err(error) if error.kind() == RequestErrorKind::NoResponders && Instant::now() < until => {
                    sleep(LOOK).await;
                }
                Err(error) => return Reply::Silence(error.to_string()),
            }
        }
    }

    /// As [`info`](Self::info), of servers that may have been started just now and have no leader yet.
    async fn wait_for_info(&self, stream: &str) -> Result<Option<Value>, StorageError> {
        let limit = Instant::now() + START_LIMIT;
        loop {
            match self.info(stream).await {
                Err(StorageError::Refused { .. }) if Instant::now() < limit => sleep(LOOK).await,
                answered => return answered,
            }
        }
    }

    /// Waits until a stream is as it should be, has a leader, and all copies are up to date.
    async fn wait_until_whole(&self, stream: &str, is_right: impl Fn(&Value) -> bool) -> Result<(), StorageError> {
        let limit = Instant::now() + WHOLE_LIMIT;
        loop {
            let reason = match self.info(stream).await {
                Ok(Some(info)) if is_right(&info) && is_current(&info) => return Ok(()),
                Ok(_) => "not every copy is up to date".to_owned(),
                Err(error) => error.to_string(),
            };
            if Instant::now() > limit {
                return Err(StorageError::Refused { what: "complete", stream: stream.to_owned(), reason });
            }
            sleep(LOOK).await;
        }
    }
}

/// True if a stream has a leader and as many current copies as it should; a server alone says nothing of copies.
fn is_current(info: &Value) -> bool {
    let Some(cluster) = info.get("cluster") else { return true };
    let replicas = info.pointer("/config/num_replicas").and_then(Value::as_u64).unwrap_or(1);
    let followers = cluster.get("replicas").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let current = followers.iter().filter(|one| one.get("current").and_then(Value::as_bool) == Some(true)).count();
    let has_leader = cluster.get("leader").and_then(Value::as_str).is_some_and(|leader| !leader.is_empty());
    has_leader && u64::try_from(current).is_ok_and(|current| current.saturating_add(1) >= replicas)
}

/// The answer, unless it is an error or none.
fn accepted(what: &'static str, stream: &str, reply: Reply) -> Result<Value, StorageError> {
    let refused = |reason: String| StorageError::Refused { what, stream: stream.to_owned(), reason };
    match reply {
        Reply::Answer(answer) => match answer.pointer("/error/description").and_then(Value::as_str) {
            Some(reason) => Err(refused(reason.to_owned())),
            None => Ok(answer),
        },
        Reply::Forbidden => Err(refused("this user may not".to_owned())),
        Reply::Silence(reason) => Err(refused(reason)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_whole_when_each_copy_is_up_to_date() {
        let info = |replicas: u64, leader: &str, current: &[bool]| {
            let followers: Vec<Value> = current.iter().map(|current| json!({ "current": current })).collect();
            json!({ "config": { "num_replicas": replicas }, "cluster": { "leader": leader, "replicas": followers } })
        };
        let cases = [
            (info(3, "n1", &[true, true]), true),
            (info(3, "n1", &[true, false]), false),
            (info(3, "n1", &[true]), false),
            (info(3, "", &[true, true]), false),
            (info(1, "n1", &[]), true),
            (json!({ "config": { "num_replicas": 1 } }), true),
        ];
        for (info, expected) in cases {
            assert_eq!(is_current(&info), expected, "{info}");
        }
    }
}
