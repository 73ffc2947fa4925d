//! One request to JetStream, and its answer as data.

use async_nats::{Message, Request, RequestErrorKind};
use serde::Deserialize;

use super::{EventLog, LogError};

/// An error as JetStream writes it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct ApiError {
    #[serde(default)]
    pub(super) err_code: u64,
    #[serde(default)]
    pub(super) description: String,
}

impl EventLog {
    /// Sends a request to an API subject, given without the prefix.
    pub(super) async fn api(&self, subject: &str, payload: Vec<u8>) -> Result<Message, LogError> {
        let subject = format!("{}.{subject}", self.api_prefix);
        self.ask(subject, Request::new().payload(payload.into())).await
    }

    pub(super) async fn ask(&self, subject: String, request: Request) -> Result<Message, LogError> {
        self.client.send_request(subject.clone(), request).await.map_err(|error| LogError::Unavailable {
            what: subject,
            reason: match error.kind() {
                RequestErrorKind::TimedOut => "no answer in time".to_owned(),
                RequestErrorKind::NoResponders => {
                    "nobody answers there: JetStream is away, the stream is missing, or this user may not".to_owned()
                }
                _ => error.to_string(),
            },
        })
    }
}
