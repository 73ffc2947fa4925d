//! The stream itself, and the durable consumers on it. Only the scheduler creates either.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use waybill_schemas::Timestamp;

use super::{
    EventLog,
    request::{is_without_leader, parse_answer, refused},
    settings::{nanoseconds, stream_config},
};
use crate::log::{ConsumerSpec, LogError, STREAM, StreamState, publish::ApiError};

/// How long a worker may take before a decision is delivered again; it says when it needs longer.
const ACK_WAIT: Duration = Duration::from_secs(30);
/// Most decisions that a worker has at once.
const MAX_UNACKNOWLEDGED: u32 = 10_000;

const STREAM_NOT_FOUND: u64 = 10059;
const CONSUMER_NOT_FOUND: u64 = 10014;
/// The message is gone already.
const NO_MESSAGE: u64 = 10037;
const NO_SEQUENCE: u64 = 10043;
const MESSAGE_DELETE_FAILED: u64 = 10057;

#[derive(Deserialize)]
struct InfoAnswer {
    error: Option<ApiError>,
    created: Option<Timestamp>,
    state: Option<StateAnswer>,
}

#[derive(Deserialize)]
struct StateAnswer {
    first_seq: u64,
    last_seq: u64,
}

#[derive(Deserialize)]
struct ConsumerAnswer {
    error: Option<ApiError>,
    #[serde(default)]
    config: Value,
}

#[derive(Deserialize)]
struct DeleteAnswer {
    error: Option<ApiError>,
}

impl EventLog {
    /// Deletes a message of the log. False if it was gone already. Only an administrator of the log's account may.
    ///
    /// # Errors
    /// [`LogError`] when the log does not answer or refuses.
    pub async fn delete_message(&self, sequence: u64) -> Result<bool, LogError> {
        self.delete_in(STREAM, sequence, false).await
    }

    /// Deletes a message of a stream, and overwrites its bytes if they are to be erased. False if it was gone already.
    pub(crate) async fn delete_in(&self, stream: &str, sequence: u64, erase: bool) -> Result<bool, LogError> {
        let what = format!("STREAM.MSG.DELETE.{stream}");
        let request = json!({ "seq": sequence, "no_erase": !erase });
        let answer = self.api(&what, request.to_string().into_bytes()).await?;
        let is_gone = |error: &ApiError| {
            [NO_MESSAGE, NO_SEQUENCE].contains(&error.err_code)
                || error.err_code == MESSAGE_DELETE_FAILED && error.description.contains("no message found")
        };
        match parse_answer::<DeleteAnswer>(&what, &answer.payload)?.error {
            None => Ok(true),
            Some(error) if is_gone(&error) => Ok(false),
            Some(error) => Err(refused(what, error)),
        }
    }

    /// What the log's leader says of it.
    pub(super) async fn read_stream_state(&self) -> Result<Option<StreamState>, LogError> {
        self.stream_api("INFO", Vec::new()).await
    }

    pub(super) async fn create_stream(&self, replicas: usize) -> Result<StreamState, LogError> {
        let created = self.stream_api("CREATE", stream_config(replicas).to_string().into_bytes()).await?;
        created.ok_or_else(|| LogError::Protocol {
            what: format!("create stream {STREAM}"),
            reason: "created, but not found".to_owned(),
        })
    }

    pub(super) async fn create_or_update_consumer(&self, spec: &ConsumerSpec) -> Result<bool, LogError> {
        let expected = consumer_settings(spec);
        let Some(mut config) = self.consumer_config(&spec.name).await? else {
            self.put_consumer(spec, "create", &merged(new_consumer(spec), &expected)).await?;
            return Ok(true);
        };
        if differs(&config, &expected) {
            config = merged(config, &expected);
            self.put_consumer(spec, "update", &config).await?;
        }
        Ok(false)
    }

    pub(super) async fn remove_consumer(&self, name: &str) -> Result<bool, LogError> {
        let what = format!("CONSUMER.DELETE.{STREAM}.{name}");
        let answer: ConsumerAnswer = parse_answer(&what, &self.api(&what, Vec::new()).await?.payload)?;
        match answer.error {
            Some(error) if error.err_code == CONSUMER_NOT_FOUND => Ok(false),
            Some(error) => Err(refused(what, error)),
            None => Ok(true),
        }
    }

    async fn consumer_config(&self, name: &str) -> Result<Option<Value>, LogError> {
        let what = format!("CONSUMER.INFO.{STREAM}.{name}");
        let answer: ConsumerAnswer = parse_answer(&what, &self.api(&what, Vec::new()).await?.payload)?;
        match answer.error {
            Some(error) if error.err_code == CONSUMER_NOT_FOUND => Ok(None),
            Some(error) => Err(refused(what, error)),
            None => Ok(Some(answer.config)),
        }
    }

    async fn put_consumer(&self, spec: &ConsumerSpec, action: &str, config: &Value) -> Result<(), LogError> {
        let what = format!("CONSUMER.CREATE.{STREAM}.{}.{}", spec.name, spec.filter);
        let request = json!({ "stream_name": STREAM, "action": action, "config": config });
        let answer = self.api(&what, request.to_string().into_bytes()).await?;
        let answer: ConsumerAnswer = parse_answer(&what, &answer.payload)?;
        answer.error.map_or(Ok(()), |error| Err(refused(what, error)))
    }

    async fn stream_api(&self, verb: &str, payload: Vec<u8>) -> Result<Option<StreamState>, LogError> {
        let what = format!("STREAM.{verb}.{STREAM}");
        let answer = self.api(&what, payload).await?;
        // A copy that was cut off or hung tells how far it came, and nobody else's word comes after it.
        if verb == "INFO" && is_without_leader(&answer.payload) {
            let reason = "a server answered whose copy of the log has no leader now; ask again".to_owned();
            return Err(LogError::Unavailable { what, reason });
        }
        let answer: InfoAnswer = parse_answer(&what, &answer.payload)?;
        match (answer.error, answer.created, answer.state) {
            (Some(error), _, _) if error.err_code == STREAM_NOT_FOUND => Ok(None),
            (Some(error), _, _) => Err(refused(what, error)),
            (None, Some(created), Some(state)) => {
                Ok(Some(StreamState { created, first_sequence: state.first_seq, last_sequence: state.last_seq }))
            }
            _ => Err(LogError::Protocol { what, reason: "neither state nor error".to_owned() }),
        }
    }
}

/// What a consumer must have, now and later.
fn consumer_settings(spec: &ConsumerSpec) -> Value {
    json!({
        "filter_subject": spec.filter.to_string(),
        "ack_wait": nanoseconds(ACK_WAIT),
        "max_ack_pending": MAX_UNACKNOWLEDGED,
        "max_deliver": -1,
    })
}

/// What is settled when a consumer is made.
fn new_consumer(spec: &ConsumerSpec) -> Value {
    let mut config = json!({
        "name": spec.name,
        "durable_name": spec.name,
        "description": "made by Waybill's scheduler",
        "ack_policy": "explicit",
        "replay_policy": "instant",
        "deliver_policy": "all",
    });
    if spec.start > 1 {
        config = merged(config, &json!({ "deliver_policy": "by_start_sequence", "opt_start_seq": spec.start }));
    }
    config
}

fn merged(mut config: Value, changes: &Value) -> Value {
    if let (Some(config), Some(changes)) = (config.as_object_mut(), changes.as_object()) {
        config.extend(changes.iter().map(|(name, value)| (name.clone(), value.clone())));
    }
    config
}

fn differs(config: &Value, expected: &Value) -> bool {
    expected.as_object().is_some_and(|expected| expected.iter().any(|(name, value)| config.get(name) != Some(value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_consumer_starts_where_it_is_told_and_keeps_its_position() {
        let spec = |start| ConsumerSpec::for_worker(&"w1".parse().unwrap(), start);
        assert_eq!(new_consumer(&spec(0))["deliver_policy"], "all");
        assert_eq!(new_consumer(&spec(7))["deliver_policy"], "by_start_sequence");
        assert_eq!(new_consumer(&spec(7))["opt_start_seq"], 7);
        let made = merged(new_consumer(&spec(7)), &consumer_settings(&spec(7)));
        assert!(!differs(&made, &consumer_settings(&spec(9))), "a start is no setting of one that is there");
        let narrow = merged(made.clone(), &json!({ "max_ack_pending": 1 }));
        assert!(differs(&narrow, &consumer_settings(&spec(9))));
        let put_right = merged(narrow, &consumer_settings(&spec(9)));
        assert_eq!(put_right, made);
    }
}
