//! What could not be decoded, kept whole for a person and for a later version that can.

use serde::{Deserialize, Serialize};
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
