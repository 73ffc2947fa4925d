//! One request to JetStream, and its answer as data.

use async_nats::{Message, Request, RequestErrorKind};
use serde::Deserialize;
use tokio::time::Instant;

use super::EventLog;
use crate::log::{API_PREFIX, LogError, publish::ApiError};

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

    fn has_other_servers(&self) -> bool {
        self.has_many_servers || self.client.server_info().connect_urls.len() > 1
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

/// True for the answer of a server that knows of no leader: it lost the majority, or one is being chosen.
fn is_without_leader(answer: &[u8]) -> bool {
    const LONGEST: usize = 1024;
    let codes = [&b"\"err_code\":10008"[..], b"\"err_code\":10009"];
    answer.len() < LONGEST && codes.iter().any(|code| answer.windows(code.len()).any(|part| part == *code))
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
