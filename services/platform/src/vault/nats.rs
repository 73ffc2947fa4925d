//! The vault over NATS: the stream of a key-value bucket, by plain publishes, direct gets and deletions by sequence.
//!
//! Deleting a message by its sequence overwrites its bytes in the server's files; a purge may leave them in the block.

use std::{collections::BTreeMap, time::Duration};

use async_nats::{HeaderMap, Request};
use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use waybill_schemas::{VAULT_BUCKET, VaultFilter, VaultKey};

use super::{Created, Kept, Vault, VaultEntry, VaultError};
use crate::log::{
    EventLog, LogError, RawMessage,
    nats::{BATCH, parse_answer, refused},
    publish::{ApiError, Next, PubAck, back_off, interpret},
};

/// Entries that the server keeps for each key. An entry is erased when it is replaced, so that none falls off this end.
const HISTORY: u32 = 8;
/// How long one write may take, tries and all.
const WRITE_LIMIT: Duration = Duration::from_secs(10);
/// How often a key is looked at again while it is erased: replicas may be behind.
const ERASE_ROUNDS: u32 = 20;

/// The vault over a connection. Clones share it.
#[derive(Debug, Clone)]
pub struct NatsVault {
    log: EventLog,
    stream: String,
}

#[derive(Deserialize)]
struct Answer {
    error: Option<ApiError>,
}

impl EventLog {
    /// The vault on the same servers, over the same connection.
    pub fn vault(&self) -> NatsVault {
        NatsVault { log: self.clone(), stream: format!("KV_{VAULT_BUCKET}") }
    }
}

/// JetStream's code for a stream of that name with other settings.
const OTHER_SETTINGS: u64 = 10058;

#[async_trait]
impl Vault for NatsVault {
    async fn ensure(&self, replicas: usize) -> Result<(), VaultError> {
        let what = format!("STREAM.CREATE.{}", self.stream);
        let mut outcome = Ok(());
        // A vault that is there may be kept on another number of servers since.
        for count in [replicas, 1, 3, 5] {
            let answer = self.log.api(&what, vault_config(count).to_string().into_bytes()).await?;
            outcome = check(what.clone(), &answer.payload);
            if !matches!(&outcome, Err(VaultError::Log(LogError::Refused { code: OTHER_SETTINGS, .. }))) {
                break;
            }
        }
        outcome
    }

    async fn create(&self, key: &VaultKey, entry: &VaultEntry) -> Result<Created, VaultError> {
        let json = encode(key, entry)?;
        match self.write(key, json, Some(0)).await? {
            Written::Stored(sequence) => Ok(Created::Stored(sequence)),
            Written::Conflict => match self.get(key).await? {
                Some(kept) if kept.entry == *entry => Ok(Created::Stored(kept.sequence)),
                Some(kept) => Ok(Created::Conflict(kept)),
                None => Err(LogError::behind(format!("vault {key}")).into()),
            },
        }
    }

    async fn put(&self, key: &VaultKey, entry: &VaultEntry) -> Result<u64, VaultError> {
        match self.write(key, encode(key, entry)?, None).await? {
            Written::Stored(sequence) => {
                self.erase_before(key, sequence).await?;
                Ok(sequence)
            }
            // Nothing was expected.
            Written::Conflict => Err(LogError::behind(format!("vault {key}")).into()),
        }
    }

    async fn get(&self, key: &VaultKey) -> Result<Option<Kept>, VaultError> {
        let found = self.log.last_in(&self.stream, &key.subject()).await?;
        found.map(|message| decode(key.clone(), &message)).transpose()
    }

    async fn last_matching(&self, filter: &VaultFilter) -> Result<Option<Kept>, VaultError> {
        let Some(message) = self.log.last_in(&self.stream, &filter.to_string()).await? else { return Ok(None) };
        let Some(key) = key_of(&message.subject) else { return Ok(None) };
        decode(key, &message).map(Some)
    }

    async fn keys(&self, filter: &VaultFilter) -> Result<Vec<VaultKey>, VaultError> {
        let what = format!("STREAM.INFO.{}", self.stream);
        let mut keys: Vec<VaultKey> = Vec::new();
        let mut offset = 0_usize;
        loop {
            let request = json!({ "subjects_filter": filter.to_string(), "offset": offset });
            let answer = self.log.api(&what, request.to_string().into_bytes()).await?;
            let page: Subjects = parse_answer(&what, &answer.payload)?;
            if let Some(error) = page.error {
                return Err(refused(what, error).into());
            }
            let subjects = page.state.and_then(|state| state.subjects).unwrap_or_default();
            offset = offset.saturating_add(subjects.len());
            let is_last = subjects.is_empty() || offset >= page.total;
            keys.extend(subjects.keys().filter_map(|subject| key_of(subject)));
            if is_last {
                keys.sort();
                return Ok(keys);
            }
        }
    }

    async fn erase(&self, key: &VaultKey) -> Result<u64, VaultError> {
        self.erase_before(key, u64::MAX).await
    }
}

/// A page of the subjects of a stream.
#[derive(Deserialize)]
struct Subjects {
    error: Option<ApiError>,
    state: Option<SubjectsState>,
    #[serde(default)]
    total: usize,
}

#[derive(Deserialize)]
struct SubjectsState {
    subjects: Option<BTreeMap<String, u64>>,
}

enum Written {
    Stored(u64),
    Conflict,
}

impl NatsVault {
    async fn write(&self, key: &VaultKey, json: Vec<u8>, expected: Option<u64>) -> Result<Written, VaultError> {
        let (subject, limit) = (key.subject(), Instant::now() + WRITE_LIMIT);
        let payload = bytes::Bytes::from(json);
        for tries in 0_u32.. {
            let mut headers = HeaderMap::new();
            if let Some(expected) = expected {
                headers.insert("Nats-Expected-Last-Subject-Sequence", expected.to_string().as_str());
            }
            let request = Request::new().headers(headers).payload(payload.clone());
            let ack = match self.log.ask(subject.clone(), request).await {
                Ok(answer) => parse_answer::<PubAck>(&subject, &answer.payload),
                Err(error) => Err(error),
            };
            let error = match interpret(ack.clone()) {
                Next::Stored(sequence) | Next::Duplicate(sequence) => {
                    self.log.room.report_room();
                    return Ok(Written::Stored(sequence));
                }
                Next::Conflict => return Ok(Written::Conflict),
                Next::Refused(error) => return Err(refused(subject, error).into()),
                Next::Full(reason) => {
                    self.log.room.report_full(&reason);
                    ack.ok().and_then(|ack| ack.error).map(|error| refused(subject.clone(), error))
                }
                Next::Again(reason) => Some(LogError::Unavailable { what: subject.clone(), reason }),
            };
            if Instant::now() >= limit
                && let Some(error) = error
            {
                return Err(error.into());
            }
            sleep(back_off(tries)).await;
        }
        Err(LogError::Unavailable { what: subject, reason: "no answer in time".to_owned() }.into())
    }

    /// Every message that matches a filter, in order.
    async fn messages(&self, filter: &str) -> Result<Vec<RawMessage>, LogError> {
        let (mut messages, mut next) = (Vec::new(), Some(1));
        while let Some(from) = next {
            let batch = self.log.matching(&self.stream, filter, from, BATCH).await?;
            let last = batch.messages.last().map(|message| message.sequence);
            next = last.filter(|_| batch.more).map(|last| last.saturating_add(1));
            messages.extend(batch.messages);
        }
        Ok(messages)
    }

    /// Erases the key's messages before a sequence, until none is found.
    async fn erase_before(&self, key: &VaultKey, end: u64) -> Result<u64, VaultError> {
        let mut erased = 0_u64;
        for tries in 0..ERASE_ROUNDS {
            let found = self.messages(&key.subject()).await?;
            let earlier: Vec<u64> = found.iter().map(|message| message.sequence).filter(|at| *at < end).collect();
            if earlier.is_empty() {
                return Ok(erased);
            }
            for sequence in earlier {
                erased = erased.saturating_add(u64::from(self.erase_message(sequence).await?));
            }
            if tries > 0 {
                sleep(back_off(tries)).await;
            }
        }
        Err(LogError::behind(format!("erase {key}")).into())
    }

    /// Overwrites and deletes one message. False if it was gone already.
    async fn erase_message(&self, sequence: u64) -> Result<bool, VaultError> {
        Ok(self.log.delete_in(&self.stream, sequence, true).await?)
    }
}

fn encode(key: &VaultKey, entry: &VaultEntry) -> Result<Vec<u8>, VaultError> {
    let json = entry.to_json().ok().filter(|_| entry.fits(key));
    json.ok_or_else(|| VaultError::Kind { key: key.clone() })
}

fn decode(key: VaultKey, message: &RawMessage) -> Result<Kept, VaultError> {
    let entry = VaultEntry::from_json(&key, &message.payload)?;
    Ok(Kept { key, sequence: message.sequence, at: message.at, entry })
}

fn key_of(subject: &str) -> Option<VaultKey> {
    VaultKey::parse(subject.strip_prefix("$KV.")?.strip_prefix(VAULT_BUCKET)?.strip_prefix('.')?)
}

fn check(what: String, payload: &[u8]) -> Result<(), VaultError> {
    let answer: Answer = parse_answer(&what, payload)?;
    answer.error.map_or(Ok(()), |error| Err(refused(what, error).into()))
}

/// The vault's settings: on disk, read directly, and its messages can be erased one by one.
fn vault_config(replicas: usize) -> Value {
    json!({
        "name": format!("KV_{VAULT_BUCKET}"),
        "description": "Waybill's sealed secrets and grants",
        "subjects": [VaultFilter::All.to_string()],
        "retention": "limits",
        "storage": "file",
        "discard": "new",
        "num_replicas": replicas,
        "max_msgs": -1,
        "max_bytes": -1,
        "max_msgs_per_subject": HISTORY,
        "max_consumers": -1,
        "max_age": 0,
        "max_msg_size": -1,
        "duplicate_window": 120_000_000_000_u64,
        "allow_direct": true,
        "deny_delete": false,
        "deny_purge": true,
    })
}

/// What is wrong with the vault's settings, as `STREAM.INFO` gives them: name of the setting, and the risk.
pub fn vault_problems(config: &Value) -> Vec<(&'static str, &'static str)> {
    let expected = vault_config(1);
    let rules = [
        ("subjects", "entries outside these subjects are not kept"),
        ("storage", "entries are lost when the server stops"),
        ("retention", "entries vanish once they are read"),
        ("discard", "old entries make room for new ones"),
        ("max_msgs_per_subject", "replaced entries leave before they are erased"),
        ("allow_direct", "workers cannot read their grants"),
    ];
    let get = |config: &Value, name: &str| config.get(name).cloned().unwrap_or(Value::Null);
    let wrong = rules.into_iter().filter(|(name, _)| get(config, name) != get(&expected, name));
    // The server leaves out what is false.
    let denied = config.get("deny_delete") == Some(&Value::Bool(true));
    wrong.chain(denied.then_some(("deny_delete", "secrets cannot be shredded"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_differ_are_told() {
        assert_eq!(vault_problems(&vault_config(3)), []);
        let cases = [("storage", json!("memory")), ("allow_direct", json!(false)), ("deny_delete", json!(true))];
        for (setting, value) in cases {
            let mut config = vault_config(1);
            config[setting] = value;
            let told: Vec<_> = vault_problems(&config).iter().map(|(name, _)| *name).collect();
            assert_eq!(told, [setting]);
        }
    }
}
