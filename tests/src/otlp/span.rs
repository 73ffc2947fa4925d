//! A span as a test wants to see it.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde_json::Value;

/// What part a span has in a call or in messaging.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Not said.
    Unspecified,
    /// Within one service.
    Internal,
    /// Answers a call.
    Server,
    /// Makes a call.
    Client,
    /// Sends a message.
    Producer,
    /// Receives or processes a message.
    Consumer,
}

/// A span that was exported. Ids are in lower-case hexadecimal.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    /// The resource's `service.name`.
    pub service: String,
    /// All attributes of the resource.
    pub resource: BTreeMap<String, Value>,
    /// The span's name.
    pub name: String,
    /// Its kind.
    pub kind: Kind,
    /// Its trace.
    pub trace_id: String,
    /// Its own id.
    pub span_id: String,
    /// The span it is a child of; `None` for a root.
    pub parent_id: Option<String>,
    /// The spans it links to.
    pub links: Vec<Link>,
    /// Its attributes.
    pub attributes: BTreeMap<String, Value>,
    /// The names of its events, in order, each with its attributes.
    pub events: Vec<(String, BTreeMap<String, Value>)>,
    /// Whether its status is an error.
    pub failed: bool,
    /// When it began.
    pub start: SystemTime,
    /// How long it took.
    pub duration: Duration,
}

/// A link from one span to another.
#[derive(Debug, Clone, PartialEq)]
pub struct Link {
    /// The other span's trace.
    pub trace_id: String,
    /// The other span.
    pub span_id: String,
    /// The link's own attributes.
    pub attributes: BTreeMap<String, Value>,
}

impl Span {
    /// An attribute as text: strings as they are, anything else as JSON.
    pub fn attribute(&self, key: &str) -> Option<String> {
        self.attributes.get(key).map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
    }

    /// Whether it is a child of `other`.
    pub fn is_child_of(&self, other: &Self) -> bool {
        self.trace_id == other.trace_id && self.parent_id.as_ref() == Some(&other.span_id)
    }

    /// Its link to `other`, if it has one.
    pub fn link_to(&self, other: &Self) -> Option<&Link> {
        self.links.iter().find(|link| link.trace_id == other.trace_id && link.span_id == other.span_id)
    }
}
