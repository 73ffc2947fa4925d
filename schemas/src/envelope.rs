//! The CloudEvents 1.0 envelope in binary mode: attributes as `ce-*` headers (NATS protocol binding 1.0.2).

use std::fmt;

use uuid::Uuid;

use crate::{EventType, Subject, Timestamp};

/// Header names. NATS header look-up is case-sensitive, so these spellings are part of the contract.
pub mod header {
    /// CloudEvents id.
    pub const ID: &str = "ce-id";
    /// CloudEvents source: who wrote the event.
    pub const SOURCE: &str = "ce-source";
    /// CloudEvents version, always `1.0`.
    pub const SPECVERSION: &str = "ce-specversion";
    /// CloudEvents type with version.
    pub const TYPE: &str = "ce-type";
    /// When the writer made the event; the stream's own timestamp decides.
    pub const TIME: &str = "ce-time";
    /// What the event is about: its NATS subject without the prefix, with slashes for dots.
    pub const SUBJECT: &str = "ce-subject";
    /// URI of the body's JSON Schema.
    pub const DATASCHEMA: &str = "ce-dataschema";
    /// Media type of the body. NATS has no header of its own for it.
    pub const DATACONTENTTYPE: &str = "ce-datacontenttype";
    /// Id of the event that caused this one.
    pub const CAUSATION_ID: &str = "ce-causationid";
    /// Id of the event that began the chain.
    pub const CORRELATION_ID: &str = "ce-correlationid";
    /// Who asked for what the event says: a token, a user or a worker, such as `token/acme` or `worker/node-1`.
    pub const ACTOR: &str = "ce-actor";
    /// Version of the program that wrote the event.
    pub const SOURCE_VERSION: &str = "ce-sourceversion";
    /// W3C trace context.
    pub const TRACEPARENT: &str = "traceparent";
    /// W3C trace state.
    pub const TRACESTATE: &str = "tracestate";
    /// JetStream's key for de-duplication, equal to `ce-id`.
    pub const NATS_MSG_ID: &str = "Nats-Msg-Id";
    /// Sequence of the last message on the exact subject, 0 where there is none: JetStream refuses the event otherwise.
    pub const NATS_EXPECTED_LAST: &str = "Nats-Expected-Last-Subject-Sequence";
}

/// Headers of one message: a name looks up one value.
pub trait Headers {
    /// The value of the header with exactly this name, if there is one.
    fn get(&self, name: &str) -> Option<&str>;
}

impl Headers for [(String, String)] {
    fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// W3C `traceparent`, version 00, checked for form: `00-<32 hex>-<16 hex>-<2 hex>`, ids not all zero.
#[derive(Clone, PartialEq, Eq)]
pub struct TraceParent(String);

impl TraceParent {
    /// Takes the text if it has the form; anything else counts as no context (W3C Trace Context, section 4.3).
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let mut next = || parts.next().unwrap_or_default();
        let (version, trace, span, flags) = (next(), next(), next(), next());
        if parts.next().is_some() {
            return None;
        }
        let hex = |part: &str, length: usize| {
            part.len() == length && part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        };
        let set = |part: &str| part.bytes().any(|b| b != b'0');
        let valid = version == "00" && hex(trace, 32) && set(trace) && hex(span, 16) && set(span) && hex(flags, 2);
        valid.then(|| Self(text.to_owned()))
    }

    /// The header's value.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The trace id: 32 hex digits.
    pub fn trace_id(&self) -> &str {
        self.0.split('-').nth(1).unwrap_or_default()
    }

    /// The trace flags: 2 hex digits.
    pub fn flags(&self) -> &str {
        self.0.split('-').nth(3).unwrap_or_default()
    }
}

impl fmt::Debug for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What stands around an event's body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// `ce-id`: a UUID, since further ids are derived from it.
    pub id: Uuid,
    /// `ce-source`: a URI reference, such as `/waybill/gateway`.
    pub source: String,
    /// `ce-sourceversion`: version of the program that wrote the event, where it says so.
    pub source_version: Option<String>,
    /// `ce-time`, where the writer gave one.
    pub time: Option<Timestamp>,
    /// `ce-causationid`.
    pub causation_id: Option<Uuid>,
    /// `ce-correlationid`.
    pub correlation_id: Option<Uuid>,
    /// `ce-actor`, where the writer gave one: up to 256 visible ASCII characters.
    pub actor: Option<String>,
    /// `traceparent`, where it is well-formed.
    pub traceparent: Option<TraceParent>,
    /// `tracestate`, kept only beside a `traceparent`.
    pub tracestate: Option<String>,
}

impl Envelope {
    /// An envelope with an id and a source, which begins a chain of its own.
    pub fn new(id: Uuid, source: impl Into<String>) -> Self {
        Self {
            id,
            source: source.into(),
            source_version: None,
            time: None,
            causation_id: None,
            correlation_id: Some(id),
            actor: None,
            traceparent: None,
            tracestate: None,
        }
    }

    /// All headers of the message: CloudEvents attributes, trace context and `Nats-Msg-Id`.
    pub fn to_headers(&self, event_type: EventType, subject: &Subject) -> Vec<(&'static str, String)> {
        let mut headers = vec![
            (header::NATS_MSG_ID, self.id.to_string()),
            (header::ID, self.id.to_string()),
            (header::SOURCE, self.source.clone()),
            (header::SPECVERSION, "1.0".to_owned()),
            (header::TYPE, event_type.ce_type()),
            (header::SUBJECT, about(subject)),
            (header::DATASCHEMA, event_type.dataschema()),
            (header::DATACONTENTTYPE, "application/json".to_owned()),
        ];
        let optional = [
            (header::SOURCE_VERSION, self.source_version.clone()),
            (header::TIME, self.time.map(|t| t.to_string())),
            (header::CAUSATION_ID, self.causation_id.map(|id| id.to_string())),
            (header::CORRELATION_ID, self.correlation_id.map(|id| id.to_string())),
            (header::ACTOR, self.actor.clone()),
            (header::TRACEPARENT, self.traceparent.as_ref().map(|t| t.as_str().to_owned())),
            (header::TRACESTATE, self.tracestate.clone()),
        ];
        headers.extend(optional.into_iter().filter_map(|(name, value)| Some((name, value?))));
        headers
    }
}

/// The subject without the root, its tokens separated by slashes.
fn about(subject: &Subject) -> String {
    subject.to_string().trim_start_matches("waybill.events.").replace('.', "/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_malformed_trace_context_counts_as_none() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(TraceParent::parse(good).unwrap().trace_id(), "0af7651916cd43dd8448eb211c80319c");
        for bad in [
            "",
            "garbage",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
        ] {
            assert_eq!(TraceParent::parse(bad), None, "{bad}");
        }
    }
}
