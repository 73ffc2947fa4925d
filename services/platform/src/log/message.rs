//! A message as the stream holds it.

use async_nats::HeaderMap;
use bytes::Bytes;
use waybill_schemas::{DecodeError, Headers, RecordedEvent, Timestamp, decode};

/// A stored message: its place, and its content undecoded.
#[derive(Debug, Clone)]
pub struct RawMessage {
    /// Stream sequence.
    pub sequence: u64,
    /// The stream's timestamp.
    pub at: Timestamp,
    /// NATS subject.
    pub subject: String,
    /// Headers.
    pub headers: HeaderMap,
    /// Body.
    pub payload: Bytes,
    /// How many messages the reader has still to get after this one, as far as the server knew.
    pub pending: u64,
}

impl RawMessage {
    /// Reads the event.
    ///
    /// # Errors
    /// [`DecodeError`] says what is wrong, without repeating any of the content.
    pub fn decode(&self) -> Result<RecordedEvent, DecodeError> {
        decode(&self.subject, &NatsHeaders::of(&self.headers), &self.payload)
    }

    /// The headers as pairs, by name.
    pub fn header_pairs(&self) -> Vec<(String, String)> {
        let pairs = self
            .headers
            .iter()
            .flat_map(|(name, values)| values.iter().map(move |value| (name.to_string(), value.as_str().to_owned())));
        let mut pairs: Vec<_> = pairs.collect();
        // Values of one name keep their order: the first one counts.
        pairs.sort_by(|(a, _), (b, _)| a.cmp(b));
        pairs
    }
}

/// The first value of each header. The client's map builds a name for every question, which costs more than to look
/// through the dozen headers of an event.
struct NatsHeaders<'m>(Vec<(&'m str, &'m str)>);

impl<'m> NatsHeaders<'m> {
    fn of(headers: &'m HeaderMap) -> Self {
        let firsts = headers.iter().filter_map(|(name, values)| Some((name.as_ref(), values.first()?.as_str())));
        Self(firsts.collect())
    }
}

impl Headers for NatsHeaders<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| *key == name).map(|(_, value)| *value)
    }
}
