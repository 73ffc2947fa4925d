//! One request to JetStream, and its answer as data.

use async_nats::{Message, Request, RequestErrorKind};
use serde::Deserialize;

use super::EventLog;
use crate::log::{API_PREFIX, LogError, publish::ApiError};

impl EventLog {
    /// Sends a request to an API subject, given without the prefix.
    pub(crate) async fn api(&self, subject: &str, payload: Vec<u8>) -> Result<Message, LogError> {
        let subject = format!("{API_PREFIX}.{subject}");
        self.ask(subject, Request::new().payload(payload.into())).await
    }

    pub(crate) async fn ask(&self, subject: String, request: Request) -> Result<Message, LogError> {
        self.client.send_request(subject.clone(), request).await.map_err(|error| {
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

/// Reads an answer's JSON.
pub(crate) fn parse_answer<'p, T: Deserialize<'p>>(what: &str, payload: &'p [u8]) -> Result<T, LogError> {
    serde_json::from_slice(payload)
        .map_err(|error| LogError::Protocol { what: what.to_owned(), reason: error.to_string() })
}

/// The error that JetStream answered with.
pub(crate) fn refused(what: String, error: ApiError) -> LogError {
    LogError::Refused { what, code: error.err_code, description: error.description }
}
