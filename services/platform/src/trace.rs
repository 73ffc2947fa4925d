//! Spans of the hops, after the OpenTelemetry messaging conventions, and the W3C context that joins them.
//!
//! A live first delivery continues the publisher's trace and links to it. A redelivery, a replay or an old message starts a
//! trace of its own and links, so that a trace stays the story of one moment.

use std::{fmt::Display, time::Duration};

use opentelemetry::{
    Context, KeyValue, SpanId, TraceFlags, TraceId,
    trace::{SpanContext, TraceContextExt as _, TraceState},
};
use time::OffsetDateTime;
use tracing::{Span, field::Empty};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use waybill_schemas::{Event, RecordedEvent, Timestamp, TraceParent};

use crate::log::NewEvent;

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
        otel.status_code = Empty,
        otel.status_description = Empty,
    );
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
        otel.status_code = Empty,
        otel.status_description = Empty,
    );
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

/// Writes the ids that people search for into the span.
fn set_ids(span: &Span, event: &Event) {
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
        span.set_attribute("waybill.placement", i64::try_from(placement).unwrap_or(i64::MAX));
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
    span.set_attribute("waybill.saved_sequence", sequence);
    let attributes = vec![KeyValue::new("waybill.link", "saved"), KeyValue::new("waybill.saved_sequence", sequence)];
    span.add_link_with_attributes(context, attributes);
}

/// Writes an error into the span's status.
pub fn record_outcome(span: &Span, error: Option<&impl Display>) {
    if let Some(error) = error {
        span.record("otel.status_code", "ERROR");
        span.record("otel.status_description", error.to_string());
    }
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
