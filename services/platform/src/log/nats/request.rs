//! One request to JetStream, and its answer as data.

use async_nats::{Message, Request, RequestErrorKind};
use serde::Deserialize;
use tokio::time::Instant;

use super::EventLog;
use crate::log::{API_PREFIX, Log as _, LogError, publish::ApiError};

impl EventLog {
    /// Moves to another server where this one has served no request for some time, if there is another one.
    async fn leave_if_useless(&self, is_answered: bool, began: Instant) {
        let is_exhausted = self.patience.is_exhausted(is_answered, began, Instant::now());
        if is_exhausted && self.has_other_servers() {
            tracing::warn!("this NATS server answers no requests to JetStream, moving to another one");
            // It fails only while the client goes down.
            let _ = self.client.force_reconnect().await;
        }
    }

    /// Sends a request to an API subject, given without the prefix.
    pub(crate) async fn api(&self, subject: &str, payload: Vec<u8>) -> Result<Message, LogError> {
        let subject = format!("{API_PREFIX}.{subject}");
        self.ask(subject, Request::new().payload(payload.into())).await
    }

    pub(crate) async fn ask(&self, subject: String, request: Request) -> Result<Message, LogError> {
        let began = Instant::now();
        let answer = self.client.send_request(subject.clone(), request).await;
        // Any replica answers direct reads, one that is cut off as well: they say nothing of the server.
        if !subject.contains(".DIRECT.GET.") {
            let is_answered = answer.as_ref().is_ok_and(|message| !is_without_leader(&message.payload));
            self.leave_if_useless(is_answered, began).await;
        }
        answer.map_err(|error| {
            let reason = match error.kind() {
                RequestErrorKind::TimedOut => "no answer in time".to_owned(),
                RequestErrorKind::NoResponders => {
                    "nobody answers there: JetStream is away, the stream is missing, or this user may not".to_owned()
                }
                // The message itself cannot be sent: the next try would not go better.
                RequestErrorKind::InvalidSubject | RequestErrorKind::MaxPayloadExceeded => {
                    return LogError::Refused { what: subject, code: 0, description: error.to_string() };
                }
                _ => error.to_string(),
            };
            LogError::Unavailable { what: subject, reason }
        })
    }
}

/// True for the answer of a server that knows of no leader: it lost the majority, or one is being chosen. Such a server refuses
/// most requests, and tells the stream's state from its own copy, with no leader named.
pub(super) fn is_without_leader(answer: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Answer {
        error: Option<ApiError>,
        cluster: Option<Cluster>,
    }
    #[derive(Deserialize)]
    struct Cluster {
        #[serde(default)]
        leader: String,
    }
    const NO_LEADER: [u64; 2] = [10008, 10009];
    let Ok(Answer { error, cluster }) = serde_json::from_slice(answer) else { return false };
    error.is_some_and(|error| NO_LEADER.contains(&error.err_code))
        || cluster.is_some_and(|cluster| cluster.leader.is_empty())
}

/// Reads an answer's JSON.
pub(crate) fn parse_answer<'p, T: Deserialize<'p>>(what: &str, payload: &'p [u8]) -> Result<T, LogError> {
    serde_json::from_slice(payload)
        .map_err(|error| LogError::Protocol { what: what.to_owned(), reason: error.to_string() })
}

/// The error that JetStream answered with.
pub(crate) fn refused(what: String, error: ApiError) -> LogError {
    LogError::Refused { what, code: error.err_code, description: error.description }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_without_a_leader_serves_nobody() {
        let refused =
            |code: u64| format!(r#"{{"error":{{"code":503,"err_code":{code},"description":"unavailable"}}}}"#);
        let cases = [
            (refused(10008), true),
            (refused(10009), true),
            (refused(10059), false),
            (r#"{"state":{"last_seq":19},"cluster":{"name":"waybill","replicas":[]}}"#.to_owned(), true),
            (r#"{"state":{"last_seq":19},"cluster":{"name":"waybill","leader":"n1"}}"#.to_owned(), false),
            (r#"{"state":{"last_seq":19}}"#.to_owned(), false),
            (r#"{"stream":"WAYBILL","seq":3}"#.to_owned(), false),
            ("no JSON".to_owned(), false),
        ];
        for (answer, is_without) in cases {
            assert_eq!(is_without_leader(answer.as_bytes()), is_without, "{answer}");
        }
    }
}
