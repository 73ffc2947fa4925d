//! Who reads the log, and how far each is: what the server says of the consumers.

use serde::Deserialize;
use serde_json::json;
use waybill_schemas::{ALL_SUBJECTS, Timestamp, WorkerId};

use super::{EventLog, LogError, STREAM, request::ApiError};

const CONSUMER_NOT_FOUND: u64 = 10014;
/// Names of the scheduler's readers begin so.
const SCHEDULER: &str = "waybill-scheduler-";

/// A consumer, as the server describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerState {
    /// Messages that it has not been given.
    pub pending: u64,
    /// Stream sequence of the last message that it was given.
    pub delivered: u64,
    /// Stream sequence up to which everything is acknowledged; 0 for a consumer without acknowledgements.
    pub acknowledged: u64,
    /// Messages that were given and are not acknowledged.
    pub unacknowledged: u64,
    /// Requests for messages that wait.
    pub waiting: u64,
    /// When it was last given a message or acknowledged one.
    pub last_active: Option<Timestamp>,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// The server's time when it said this: what its other times are compared with, whatever the clock here says.
    pub told_at: Option<Timestamp>,
}

#[derive(Deserialize)]
struct Info {
    error: Option<ApiError>,
    config: Option<InfoConfig>,
    created: Option<Timestamp>,
    ts: Option<Timestamp>,
    #[serde(default)]
    num_pending: u64,
    #[serde(default)]
    num_waiting: u64,
    #[serde(default)]
    num_ack_pending: u64,
    #[serde(default)]
    delivered: Place,
    #[serde(default)]
    ack_floor: Place,
}

#[derive(Deserialize)]
struct InfoConfig {
    #[serde(default)]
    filter_subject: String,
}

#[derive(Deserialize, Default)]
struct Place {
    #[serde(default)]
    stream_seq: u64,
    last_active: Option<Timestamp>,
}

#[derive(Deserialize)]
struct Names {
    error: Option<ApiError>,
    #[serde(default)]
    consumers: Option<Vec<String>>,
    #[serde(default)]
    total: usize,
}

impl EventLog {
    /// The consumer of a worker; none if there is no such consumer.
    ///
    /// # Errors
    /// [`LogError`] when the log does not answer.
    pub async fn worker_consumer(&self, worker_id: &WorkerId) -> Result<Option<ConsumerState>, LogError> {
        Ok(self.consumer_info(&format!("worker-{worker_id}")).await?.map(|(_, state)| state))
    }

    /// The scheduler's reader: the one that is asking for messages and is furthest; none if no scheduler reads.
    ///
    /// # Errors
    /// [`LogError`] when the log does not answer.
    pub async fn scheduler_reader(&self) -> Result<Option<ConsumerState>, LogError> {
        let mut found = Vec::new();
        for name in self.consumer_names().await?.iter().filter(|name| name.starts_with(SCHEDULER)) {
            let info = self.consumer_info(name).await?;
            found.extend(info.filter(|(filter, _)| filter == ALL_SUBJECTS).map(|(_, state)| state));
        }
        Ok(found.into_iter().max_by_key(|state| (state.waiting > 0, state.delivered)))
    }

    async fn consumer_names(&self) -> Result<Vec<String>, LogError> {
        let what = format!("CONSUMER.NAMES.{STREAM}");
        let mut names: Vec<String> = Vec::new();
        loop {
            let answer = self.api(&what, json!({ "offset": names.len() }).to_string().into_bytes()).await?;
            let page: Names = parse(&what, &answer.payload)?;
            if let Some(error) = page.error {
                return Err(LogError::Refused { what, code: error.err_code, description: error.description });
            }
            let page_names = page.consumers.unwrap_or_default();
            let none_left = page_names.is_empty();
            names.extend(page_names);
            if none_left || names.len() >= page.total {
                return Ok(names);
            }
        }
    }

    /// A consumer's filter and state.
    async fn consumer_info(&self, name: &str) -> Result<Option<(String, ConsumerState)>, LogError> {
        let what = format!("CONSUMER.INFO.{STREAM}.{name}");
        let info: Info = parse(&what, &self.api(&what, Vec::new()).await?.payload)?;
        match info.error {
            Some(error) if error.err_code == CONSUMER_NOT_FOUND => return Ok(None),
            Some(error) => {
                return Err(LogError::Refused { what, code: error.err_code, description: error.description });
            }
            None => {}
        }
        let filter = info.config.map(|config| config.filter_subject).unwrap_or_default();
        let state = ConsumerState {
            pending: info.num_pending,
            delivered: info.delivered.stream_seq,
            acknowledged: info.ack_floor.stream_seq,
            unacknowledged: info.num_ack_pending,
            waiting: info.num_waiting,
            last_active: info.delivered.last_active.max(info.ack_floor.last_active),
            created: info.created,
            told_at: info.ts,
        };
        Ok(Some((filter, state)))
    }
}

fn parse<'p, T: Deserialize<'p>>(what: &str, payload: &'p [u8]) -> Result<T, LogError> {
    serde_json::from_slice(payload)
        .map_err(|error| LogError::Protocol { what: what.to_owned(), reason: error.to_string() })
}
