//! The stream itself, and the workers' consumers on it. Only the scheduler creates either.

use std::time::Duration;

use serde::Deserialize;
use serde_json::json;
use waybill_schemas::{Subject, Timestamp, WorkerId};

use super::{
    EventLog, LogError, STREAM,
    request::ApiError,
    settings::{nanoseconds, stream_config},
};

/// How long a worker may take before a decision is delivered again; it says when it needs longer.
const ACK_WAIT: Duration = Duration::from_secs(10);
/// Most decisions that a worker has at once.
const MAX_UNACKNOWLEDGED: u32 = 256;

const STREAM_NOT_FOUND: u64 = 10059;

/// What the stream says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamState {
    /// When it was created: its identity.
    pub created: Timestamp,
    /// Sequence of its first message.
    pub first_sequence: u64,
    /// Sequence of its last message; 0 when there was none yet.
    pub last_sequence: u64,
}

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

impl EventLog {
    /// The stream's state; none if there is no such stream.
    ///
    /// # Errors
    /// [`LogError`] when the log does not answer.
    pub async fn stream_state(&self) -> Result<Option<StreamState>, LogError> {
        self.stream_api("INFO", Vec::new()).await
    }

    /// Creates the stream if it is not there, and returns its state.
    ///
    /// # Errors
    /// [`LogError::Refused`], with code 10058 when a stream of that name with other settings exists.
    pub async fn ensure_stream(&self, replicas: usize) -> Result<StreamState, LogError> {
        let created = self.stream_api("CREATE", stream_config(replicas).to_string().into_bytes()).await?;
        created.ok_or_else(|| LogError::Protocol {
            what: format!("create stream {STREAM}"),
            reason: "created, but not found".to_owned(),
        })
    }

    /// Makes the durable consumer of a worker if it is not there: everything addressed to it, from the start.
    ///
    /// # Errors
    /// [`LogError`] when the log does not answer or refuses.
    pub async fn ensure_worker_consumer(&self, worker_id: &WorkerId) -> Result<(), LogError> {
        let (name, filter) = (format!("worker-{worker_id}"), Subject::of_worker(worker_id));
        let what = format!("CONSUMER.CREATE.{STREAM}.{name}.{filter}");
        let config = json!({ "stream_name": STREAM, "action": "", "config": {
            "name": name,
            "durable_name": name,
            "description": "decisions for one worker",
            "filter_subject": filter,
            "deliver_policy": "all",
            "ack_policy": "explicit",
            "ack_wait": nanoseconds(ACK_WAIT),
            "max_ack_pending": MAX_UNACKNOWLEDGED,
            "max_deliver": -1,
            "replay_policy": "instant",
        }});
        let answer = self.api(&what, config.to_string().into_bytes()).await?;
        let answer: InfoAnswer = parse(&what, &answer.payload)?;
        answer.error.map_or(Ok(()), |error| Err(refused(what, error)))
    }

    async fn stream_api(&self, verb: &str, payload: Vec<u8>) -> Result<Option<StreamState>, LogError> {
        let what = format!("STREAM.{verb}.{STREAM}");
        let answer = self.api(&what, payload).await?;
        let answer: InfoAnswer = parse(&what, &answer.payload)?;
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

fn parse(what: &str, payload: &[u8]) -> Result<InfoAnswer, LogError> {
    serde_json::from_slice(payload)
        .map_err(|error| LogError::Protocol { what: what.to_owned(), reason: error.to_string() })
}

fn refused(what: String, error: ApiError) -> LogError {
    LogError::Refused { what, code: error.err_code, description: error.description }
}
