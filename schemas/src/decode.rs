//! From a stored message to an event: every version ever written, or an error that names what is wrong.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;
use uuid::Uuid;

use crate::{Envelope, Event, EventType, Headers, Subject, SubjectError, Timestamp, TraceParent, header};

/// Largest body that is read, in bytes. Sealed credentials are a few kilobytes at most.
pub const MAX_BODY_BYTES: usize = 256 * 1024;

const MAX_HEADER_BYTES: usize = 512;

/// Why a stored message is not an event. The message's own text is never repeated here: it could be a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The subject is none of the log's.
    #[error("subject: {0}")]
    Subject(SubjectError),
    /// A required header is absent.
    #[error("header {0} is missing; see the message headers in schemas/asyncapi.yaml")]
    MissingHeader(&'static str),
    /// A header's value is not what it must be.
    #[error("header {name} {problem}")]
    Header {
        /// The header.
        name: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// `ce-type` names a version or event that this reader does not know.
    #[error("header ce-type names no event this version of Waybill can read; upgrade it, then retry the event")]
    UnknownType,
    /// Events of this type do not stand on such a subject.
    #[error("header ce-type says {ce_type}, which does not stand on a subject such as {template}")]
    TypeMismatch {
        /// What the header says.
        ce_type: EventType,
        /// The subject, without ids.
        template: &'static str,
    },
    /// The body is larger than [`MAX_BODY_BYTES`].
    #[error("the body has {0} bytes; at most {MAX_BODY_BYTES} are read")]
    TooLarge(usize),
    /// The body is not the JSON that its schema asks for.
    #[error("the body does not follow schemas/json/v1.{event_type}.json: {problem}{} at line {line} column {column}", .field.map(|field| format!(" ({field})")).unwrap_or_default())]
    Body {
        /// Event whose schema applies.
        event_type: EventType,
        /// The field, where it is one of the schema's.
        field: Option<&'static str>,
        /// Class of the problem.
        problem: &'static str,
        /// Line, counted from 1.
        line: usize,
        /// Column in bytes, counted from 1.
        column: usize,
    },
    /// The ids in the body are not those in the subject.
    #[error("the body's ids belong to another subject")]
    IdMismatch,
}

/// An event as the log holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedEvent {
    /// Where it stands.
    pub subject: Subject,
    /// What stands around it.
    pub envelope: Envelope,
    /// The fact.
    pub event: Event,
}

/// Something at a place in the log: the stream's sequence is the only clock, its timestamp the only time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recorded<T> {
    /// Stream sequence, from 1.
    pub sequence: u64,
    /// The stream's timestamp of it.
    pub at: Timestamp,
    /// What is there.
    pub value: T,
}

/// Reads one message.
///
/// # Errors
/// [`DecodeError`] says which header, or where in the body, and never repeats a value.
pub fn decode<H: Headers + ?Sized>(subject: &str, headers: &H, body: &[u8]) -> Result<RecordedEvent, DecodeError> {
    let subject: Subject = subject.parse().map_err(DecodeError::Subject)?;
    let envelope = envelope(headers)?;
    let event_type = event_type(headers)?;
    if !subject.event_types().contains(&event_type) {
        return Err(DecodeError::TypeMismatch { ce_type: event_type, template: subject.template() });
    }
    if body.len() > MAX_BODY_BYTES {
        return Err(DecodeError::TooLarge(body.len()));
    }
    let event = Event::decode_v1(event_type, body).map_err(|error| body_error(event_type, &error))?;
    if !event.belongs_on(&subject) {
        return Err(DecodeError::IdMismatch);
    }
    Ok(RecordedEvent { subject, envelope, event })
}

fn envelope<H: Headers + ?Sized>(headers: &H) -> Result<Envelope, DecodeError> {
    if required(headers, header::SPECVERSION)? != "1.0" {
        return Err(DecodeError::Header { name: header::SPECVERSION, problem: "is not 1.0" });
    }
    if headers.get(header::DATACONTENTTYPE).is_some_and(|media| !is_json(media)) {
        return Err(DecodeError::Header { name: header::DATACONTENTTYPE, problem: "is not application/json" });
    }
    let traceparent = headers.get(header::TRACEPARENT).and_then(TraceParent::parse);
    let tracestate = headers.get(header::TRACESTATE).filter(|state| state.len() <= MAX_HEADER_BYTES);
    Ok(Envelope {
        id: uuid(header::ID, required(headers, header::ID)?)?,
        source: unescape(required(headers, header::SOURCE)?),
        source_version: headers.get(header::SOURCE_VERSION).filter(|text| is_version(text)).map(str::to_owned),
        time: time(headers)?,
        causation_id: optional_uuid(headers, header::CAUSATION_ID)?,
        correlation_id: optional_uuid(headers, header::CORRELATION_ID)?,
        actor: headers.get(header::ACTOR).filter(|text| is_actor(text)).map(str::to_owned),
        tracestate: traceparent.as_ref().and(tracestate).map(str::to_owned),
        traceparent,
    })
}

fn required<'h, H: Headers + ?Sized>(headers: &'h H, name: &'static str) -> Result<&'h str, DecodeError> {
    let value = headers.get(name).ok_or(DecodeError::MissingHeader(name))?;
    match value.len() {
        0 => Err(DecodeError::Header { name, problem: "is empty" }),
        length if length > MAX_HEADER_BYTES => Err(DecodeError::Header { name, problem: "is longer than 512 bytes" }),
        _ => Ok(value),
    }
}

fn uuid(name: &'static str, value: &str) -> Result<Uuid, DecodeError> {
    Uuid::try_parse(value).map_err(|_| DecodeError::Header { name, problem: "is not a UUID" })
}

fn optional_uuid<H: Headers + ?Sized>(headers: &H, name: &'static str) -> Result<Option<Uuid>, DecodeError> {
    headers.get(name).map(|value| uuid(name, value)).transpose()
}

fn time<H: Headers + ?Sized>(headers: &H) -> Result<Option<Timestamp>, DecodeError> {
    let problem = DecodeError::Header { name: header::TIME, problem: "is not an RFC 3339 time" };
    headers.get(header::TIME).map(|value| unescape(value).parse().map_err(|_| problem)).transpose()
}

/// The text of an attribute that may be percent-encoded: CloudEvents' bindings have senders escape what is not visible
/// ASCII, and some SDKs escape `/` and `:` as well. What is no escape stays as it is, and so does one of a control
/// character: the text is shown to people.
fn unescape(value: &str) -> String {
    let text = percent_decode_str(value).decode_utf8().ok().filter(|text| !text.contains(char::is_control));
    text.map_or_else(|| value.to_owned(), Cow::into_owned)
}

/// Shown to people as it is, so it may hold nothing else.
fn is_version(text: &str) -> bool {
    !text.is_empty() && text.len() <= 64 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b".+-_".contains(&b))
}

/// Shown to people as it is, like a version.
fn is_actor(text: &str) -> bool {
    !text.is_empty() && text.len() <= 256 && text.bytes().all(|b| b.is_ascii_graphic())
}

fn is_json(media_type: &str) -> bool {
    media_type.split(';').next().is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"))
}

fn event_type<H: Headers + ?Sized>(headers: &H) -> Result<EventType, DecodeError> {
    let name = required(headers, header::TYPE)?.strip_prefix("waybill.v1.").ok_or(DecodeError::UnknownType)?;
    name.parse().map_err(|_| DecodeError::UnknownType)
}

/// Keeps the class and the place only: serde_json's own text can quote the input.
fn body_error(event_type: EventType, error: &serde_json::Error) -> DecodeError {
    use serde_json::error::Category;
    let text = error.to_string();
    let problem = match error.classify() {
        Category::Data if text.starts_with("missing field") => "a field is missing",
        Category::Data if text.starts_with("unknown field") => "there is a field that the schema does not have",
        Category::Data if text.starts_with("duplicate field") => "a field is given twice",
        Category::Data => "a field has the wrong type or form",
        Category::Syntax => "not JSON",
        Category::Eof => "the JSON ends too early",
        Category::Io => "unreadable",
    };
    // The word in backticks can come from the input: only names of the contract are repeated.
    let word = text.split('`').nth(1).unwrap_or_default();
    let field = FIELDS.iter().copied().find(|field| *field == word);
    DecodeError::Body { event_type, problem, field, line: error.line(), column: error.column() }
}

/// Names of the fields that an event cannot do without.
const FIELDS: &[&str] = &[
    "workspace",
    "image_id",
    "image_ref",
    "image_event",
    "registry",
    "secret_name",
    "version",
    "stored",
    "digest",
    "cred_type",
    "source",
    "reason",
    "container_id",
    "placement",
    "placements",
    "worker_id",
    "instance",
    "sealing_key",
    "credentials_length",
    "saved_by",
    "caused_by",
    "cause",
    "provider_name",
    "decided_by",
    "asked",
    "asked_with",
    "question",
    "program",
    "sequence",
    "token_id",
    "roles",
    "hash",
    "user_key",
    "operation",
    "status",
    "code",
    "run",
    "part",
    "parts",
    "before",
    "archive",
    "sequences",
];
