//! What could not be decoded, kept whole for a person and for a later version that can.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use waybill_platform::log::RawMessage;
use waybill_schemas::Timestamp;

/// A message that is not an event this version knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantined {
    /// NATS subject it was published on.
    pub subject: String,
    /// Its headers, in order.
    pub headers: Vec<(String, String)>,
    /// Its body, in standard base64.
    pub payload: String,
    /// The stream's time of it.
    pub at: Timestamp,
    /// Why it could not be decoded.
    pub error: String,
}

impl Quarantined {
    /// The message, with why it is here.
    pub fn of(message: &RawMessage, error: String) -> Self {
        Self {
            subject: message.subject.clone(),
            headers: message.header_pairs(),
            payload: STANDARD.encode(&message.payload),
            at: message.at,
            error,
        }
    }
}
