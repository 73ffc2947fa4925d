//! Spans of the hops, after the OpenTelemetry messaging conventions, and the W3C context that joins them.
//!
//! A live first delivery continues the publisher's trace and links to it. A redelivery, a replay or an old message starts a
//! trace of its own and links, so that a trace stays the story of one moment.

use std::{
    fmt::Display,
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use opentelemetry::{
    Array, Context, KeyValue, SpanId, StringValue, TraceFlags, TraceId, Value,
    trace::{SpanContext, TraceContextExt as _, TraceState},
};
use time::OffsetDateTime;
use tracing::{Span, field::Empty};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use uuid::Uuid;
use waybill_schemas::{Envelope, Event, RecordedEvent, Timestamp, TraceParent};

use crate::log::NewEvent;

/// Attributes that people search spans by; parts of a piece of work inherit them (`telemetry::init`).
pub(crate) const IDS: [&str; 6] =
    ["waybill.workspace", "container.id", "waybill.image.id", "waybill.secret.name", "waybill.worker.id", PLACEMENT];

const PLACEMENT: &str = "waybill.placement";
/// Place of what a build said of its image, and of the version that its containers are given.
const BUILD_SEQUENCE: &str = "waybill.build_sequence";
const SAVED_SEQUENCE: &str = "waybill.saved_sequence";

/// Host and port of the log's server. A process has one log, and publishing knows no connection.
static SERVER: OnceLock<(String, u16)> = OnceLock::new();

/// Says where the log is, for the spans of messages. The first one stays.
pub(crate) fn set_server(host: &str, port: u16) {
    let _ = SERVER.set((host.to_owned(), port));
}

/// True where neither a collector nor a log line shows the spans of messages.
static UNSEEN: AtomicBool = AtomicBool::new(false);

/// Says that nobody sees the spans of messages: what they would say is not gathered then, and [`follow_on`] keeps events in
/// their traces.
pub(crate) fn set_unseen(unseen: bool) {
    UNSEEN.store(unseen, Ordering::Relaxed);
}

/// A message older than this is not live.
const LIVE: Duration = Duration::from_secs(60);

/// How a message came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// For the first time, soon after it was published.
    Live,
    /// Again, from a replay, or long after it was published.
    Old,
}

impl Delivery {
    /// How a message came that the stream recorded at `recorded`.
    pub fn of(recorded: Timestamp, redelivered: bool) -> Self {
        if !redelivered && is_live(recorded) { Self::Live } else { Self::Old }
    }
}

/// Whether a message was recorded within the last minute.
pub fn is_live(recorded: Timestamp) -> bool {
    OffsetDateTime::now_utc() - recorded.instant() < LIVE
}

/// The present time, for `ce-time`. Decisions use the stream's time instead.
pub fn now() -> Timestamp {
    OffsetDateTime::now_utc().into()
}

/// The context of the span that is entered here, for a message's headers.
pub fn current() -> Option<(TraceParent, Option<String>)> {
    let context = Context::current();
    let span = context.span();
    let span_context = span.span_context();
    if !span_context.is_valid() {
        return None;
    }
    let flags = span_context.trace_flags().to_u8();
    let text = format!("00-{}-{}-{flags:02x}", span_context.trace_id(), span_context.span_id());
    let state = span_context.trace_state().header();
    Some((TraceParent::parse(&text)?, Some(state).filter(|state| !state.is_empty())))
}

/// A PRODUCER span for publishing an event.
pub fn publish_span(new: &NewEvent) -> Span {
    if is_unseen() {
        return Span::none();
    }
    let template = new.subject.template();
    let span = tracing::info_span!(
        "publish",
        otel.name = format!("publish {template}"),
        otel.kind = "producer",
        messaging.system = "nats",
        messaging.operation.name = "publish",
        messaging.operation.r#type = "send",
        messaging.destination.name = %new.subject,
        messaging.destination.template = template,
        messaging.message.id = %new.envelope.id,
        error.r#type = Empty,
        otel.status_code = Empty,
        otel.status_description = Empty,
    );
    if span.is_disabled() {
        return span;
    }
    set_message(&span, &new.envelope);
    set_ids(&span, &new.event);
    span
}

/// A CONSUMER span for processing an event, joined to the span that published it.
pub fn process_span(recorded: &RecordedEvent, delivery: Delivery) -> Span {
    let (template, envelope) = (recorded.subject.template(), &recorded.envelope);
    let span = tracing::info_span!(
        parent: None,
        "process",
        otel.name = format!("process {template}"),
        otel.kind = "consumer",
        messaging.system = "nats",
        messaging.operation.name = "process",
        messaging.operation.r#type = "process",
        messaging.destination.name = %recorded.subject,
        messaging.destination.template = template,
        messaging.message.id = %envelope.id,
        error.r#type = Empty,
        otel.status_code = Empty,
        otel.status_description = Empty,
    );
    if span.is_disabled() {
        return span;
    }
    set_message(&span, envelope);
    set_ids(&span, &recorded.event);
    // A fresh context: the one that happens to be active here is nobody's parent.
    let parent = match envelope.traceparent.as_ref().map(|parent| remote(parent, envelope.tracestate.as_deref())) {
        Some(publisher) => {
            span.add_link(publisher.clone());
            match delivery {
                Delivery::Live => Context::new().with_remote_span_context(publisher),
                Delivery::Old => Context::new(),
            }
        }
        None => Context::new(),
    };
    set_parent(&span, parent);
    span
}

/// Where the message is, and the chain of events that it belongs to.
fn set_message(span: &Span, envelope: &Envelope) {
    if let Some((host, port)) = SERVER.get() {
        span.set_attribute("server.address", host.as_str());
        span.set_attribute("server.port", i64::from(*port));
    }
    if let Some(correlation) = envelope.correlation_id {
        span.set_attribute("messaging.message.conversation_id", correlation.to_string());
    }
}

/// Writes the place that the log gave to a published event into its span, under the name by which later spans speak of it
/// as well: one search finds a build and the containers that rest on it, whichever came first.
pub(crate) fn set_sequence(span: &Span, event: &Event, sequence: u64) {
    if span.is_disabled() {
        return;
    }
    let name = match event {
        Event::ContainerRequested(_) => PLACEMENT,
        Event::ImageSecretNamed(_) | Event::CredentialSecretSkipped(_) => BUILD_SEQUENCE,
        Event::CredentialSecretSaved(_) | Event::CredentialSecretRotated(_) => SAVED_SEQUENCE,
        _ => "waybill.sequence",
    };
    set_number(span, name, sequence);
}

fn set_number(span: &Span, name: &'static str, number: u64) {
    span.set_attribute(name, i64::try_from(number).unwrap_or(i64::MAX));
}

/// Writes an attribute that is a list, which the macros of `tracing` cannot; none where the list is empty.
pub fn set_list<'t>(span: &Span, key: &'static str, items: impl IntoIterator<Item = &'t str>) {
    let items: Vec<StringValue> = items.into_iter().map(|item| item.to_owned().into()).collect();
    if !items.is_empty() {
        span.set_attribute(key, Value::Array(Array::String(items)));
    }
}

/// True where nobody sees the spans of messages.
pub fn is_unseen() -> bool {
    UNSEEN.load(Ordering::Relaxed)
}

/// False where nobody takes the spans of this module: what they would say need not be gathered.
pub fn is_on() -> bool {
    !is_unseen() && tracing::span_enabled!(tracing::Level::INFO)
}

/// The context of an event that follows from another one, where no span gives it: in the trace of its cause, or in one of its
/// own where that is old or has none. Its ids follow from the event's.
pub fn follow_on(cause: Option<&TraceParent>, delivery: Delivery, event: Uuid) -> Option<TraceParent> {
    let (high, low) = event.as_u64_pair();
    let own = format!("{high:016x}{low:016x}");
    let live = cause.filter(|_| delivery == Delivery::Live);
    let (trace, flags) = live.map_or((own.as_str(), "01"), |cause| (cause.trace_id(), cause.flags()));
    TraceParent::parse(&format!("00-{trace}-{low:016x}-{flags}"))
}

/// Writes the ids that people search for into the span.
pub fn set_ids(span: &Span, event: &Event) {
    if span.is_disabled() {
        return;
    }
    let ids = [
        ("waybill.workspace", event.workspace().map(|id| id.as_str())),
        ("container.id", event.container_id().map(|id| id.as_str())),
        ("waybill.image.id", event.image_id().map(|id| id.as_str())),
        ("waybill.secret.name", event.secret_name().map(|name| name.as_str())),
        ("waybill.worker.id", event.worker_id().map(|id| id.as_str())),
    ];
    ids.into_iter()
        .filter_map(|(name, id)| Some((name, id?)))
        .for_each(|(name, id)| span.set_attribute(name, id.to_owned()));
    if let Some(placement) = event.placement() {
        set_number(span, PLACEMENT, placement);
    }
    if let Event::ContainerCredentialsAttached(attached) = event {
        set_number(span, BUILD_SEQUENCE, attached.image_event);
        set_number(span, SAVED_SEQUENCE, attached.saved_by);
    }
}

/// Makes the span of an incoming request the child of its caller's, if the caller sent a context.
pub fn continue_from(span: &Span, traceparent: Option<&str>, tracestate: Option<&str>) {
    if let Some(parent) = traceparent.and_then(TraceParent::parse) {
        set_parent(span, Context::new().with_remote_span_context(remote(&parent, tracestate)));
    }
}

/// Links a span to the one that saved the credentials, however long ago. Viewers drop the attributes of links, so the span
/// has them as well.
pub fn link_saved(span: &Span, saved: &TraceParent, saved_sequence: u64) {
    let context = remote(saved, None);
    let sequence = i64::try_from(saved_sequence).unwrap_or(i64::MAX);
    span.set_attribute("linked.trace_id", context.trace_id().to_string());
    span.set_attribute("linked.span_id", context.span_id().to_string());
    set_number(span, SAVED_SEQUENCE, saved_sequence);
    let attributes = vec![KeyValue::new("waybill.link", "saved"), KeyValue::new(SAVED_SEQUENCE, sequence)];
    span.add_link_with_attributes(context, attributes);
}

/// Marks a span as failed: with a word of few, which can be counted, and the whole sentence. The span must have the fields
/// `error.type`, `otel.status_code` and `otel.status_description`.
pub fn record_error(span: &Span, error_type: &str, error: &impl Display) {
    span.record("error.type", error_type);
    span.record("otel.status_code", "ERROR");
    span.record("otel.status_description", error.to_string());
}

/// Fails only without a telemetry layer, or for a span that was entered before: then the span has no parent, and no harm is done.
fn set_parent(span: &Span, parent: Context) {
    let _ = span.set_parent(parent);
}

fn remote(parent: &TraceParent, state: Option<&str>) -> SpanContext {
    let mut parts = parent.as_str().split('-').skip(1);
    let mut part = || parts.next().unwrap_or_default();
    let trace_id = TraceId::from_hex(part()).unwrap_or(TraceId::INVALID);
    let span_id = SpanId::from_hex(part()).unwrap_or(SpanId::INVALID);
    let flags = TraceFlags::new(u8::from_str_radix(part(), 16).unwrap_or_default());
    let state = state.and_then(|state| state.parse::<TraceState>().ok()).unwrap_or_default();
    SpanContext::new(trace_id, span_id, flags, true, state)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_stays_in_its_trace_without_a_span() {
        let cause = TraceParent::parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00").unwrap();
        let event = Uuid::from_u128(0x1122_3344_5566_7788_99aa_bbcc_ddee_ff00);
        let own = "00-112233445566778899aabbccddeeff00-99aabbccddeeff00-01";
        let cases = [
            (Some(&cause), Delivery::Live, "00-0af7651916cd43dd8448eb211c80319c-99aabbccddeeff00-00"),
            (Some(&cause), Delivery::Old, own),
            (None, Delivery::Live, own),
        ];
        for (cause, delivery, expected) in cases {
            assert_eq!(follow_on(cause, delivery, event).unwrap().as_str(), expected);
        }
    }
}
