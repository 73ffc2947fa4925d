//! One request to JetStream, and its answer as data.

use async_nats::{HeaderMap, Message, Request, RequestErrorKind, StatusCode};
use bytes::Bytes;
use serde::Deserialize;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use waybill_schemas::Timestamp;

use super::{EventLog, LogError, RawMessage, STREAM};

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

    /// The last message on a subject, through the direct API, whose permission can name the subject.
    ///
    /// # Errors
    /// [`LogError`] when the log does not answer.
    pub async fn last(&self, subject: &str) -> Result<Option<RawMessage>, LogError> {
        let answer = self.api(&format!("DIRECT.GET.{STREAM}.{subject}"), Vec::new()).await?;
        direct(answer)
    }

    /// The message at a sequence. Only the scheduler and the operator may ask.
    ///
    /// # Errors
    /// [`LogError`] when the log does not answer.
    pub async fn message_at(&self, sequence: u64) -> Result<Option<RawMessage>, LogError> {
        let answer = self.api(&format!("DIRECT.GET.{STREAM}"), format!("{{\"seq\":{sequence}}}").into_bytes()).await?;
        direct(answer)
    }
}

fn direct(answer: Message) -> Result<Option<RawMessage>, LogError> {
    let protocol = |reason: &str| LogError::Protocol { what: "direct get".to_owned(), reason: reason.to_owned() };
    match answer.status {
        Some(StatusCode::NOT_FOUND) => return Ok(None),
        Some(status) if status != StatusCode::OK => {
            let description = answer.description.unwrap_or_default();
            return Err(protocol(&format!("status {status} {description}")));
        }
        _ => {}
    }
    let headers = answer.headers.unwrap_or_default();
    let header = |name: &str| headers.get(name).map(|value| value.as_str().to_owned());
    let sequence = header("Nats-Sequence").and_then(|text| text.parse().ok()).ok_or(protocol("no Nats-Sequence"))?;
    let at = header("Nats-Time-Stamp")
        .and_then(|text| OffsetDateTime::parse(&text, &Rfc3339).ok())
        .ok_or(protocol("no Nats-Time-Stamp"))?;
    let subject = header("Nats-Subject").ok_or(protocol("no Nats-Subject"))?;
    Ok(Some(message(sequence, at.into(), subject, headers, answer.payload)))
}

fn message(sequence: u64, at: Timestamp, subject: String, headers: HeaderMap, payload: Bytes) -> RawMessage {
    RawMessage { sequence, at, subject, headers, payload, pending: 0 }
}
