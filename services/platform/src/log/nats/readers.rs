//! Who reads the log, and how far each is: what the server says of the consumers.

use serde::Deserialize;
use serde_json::json;
use waybill_schemas::{Filter, Timestamp};

use super::{
    EventLog,
    request::{parse_answer, refused},
};
use crate::log::{ConsumerState, LogError, STREAM, publish::ApiError};

const CONSUMER_NOT_FOUND: u64 = 10014;
/// Names of the scheduler's readers begin so.
const SCHEDULER: &str = "waybill-scheduler-";

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
    pub(super) async fn find_scheduler_reader(&self) -> Result<Option<ConsumerState>, LogError> {
        let all = Filter::All.to_string();
        let mut found = Vec::new();
        for name in self.consumer_names().await?.iter().filter(|name| name.starts_with(SCHEDULER)) {
            found.extend(self.read_consumer_state(name).await?.filter(|state| state.filter == all));
        }
        Ok(found.into_iter().max_by_key(|state| (state.waiting > 0, state.delivered)))
    }

    async fn consumer_names(&self) -> Result<Vec<String>, LogError> {
        let what = format!("CONSUMER.NAMES.{STREAM}");
        let mut names: Vec<String> = Vec::new();
        loop {
            let answer = self.api(&what, json!({ "offset": names.len() }).to_string().into_bytes()).await?;
            let page: Names = parse_answer(&what, &answer.payload)?;
            if let Some(error) = page.error {
                return Err(refused(what, error));
            }
            let page_names = page.consumers.unwrap_or_default();
            let none_left = page_names.is_empty();
            names.extend(page_names);
            if none_left || names.len() >= page.total {
                return Ok(names);
            }
        }
    }

    pub(super) async fn read_consumer_state(&self, name: &str) -> Result<Option<ConsumerState>, LogError> {
        let what = format!("CONSUMER.INFO.{STREAM}.{name}");
        let info: Info = parse_answer(&what, &self.api(&what, Vec::new()).await?.payload)?;
        match info.error {
            Some(error) if error.err_code == CONSUMER_NOT_FOUND => return Ok(None),
            Some(error) => return Err(refused(what, error)),
            None => {}
        }
        Ok(Some(ConsumerState {
            filter: info.config.map(|config| config.filter_subject).unwrap_or_default(),
            pending: info.num_pending,
            delivered: info.delivered.stream_seq,
            acknowledged: info.ack_floor.stream_seq,
            unacknowledged: info.num_ack_pending,
            waiting: info.num_waiting,
            last_active: info.delivered.last_active.max(info.ack_floor.last_active),
            created: info.created,
            told_at: info.ts,
        }))
    }
}
