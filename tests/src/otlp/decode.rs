//! From OTLP's protobuf messages (opentelemetry-proto 1) to spans that are easy to ask.

use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::span::{Link as ProtoLink, SpanKind};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, Span as ProtoSpan};
use serde_json::Value;

use super::span::{Kind, Link, Span};

pub(super) fn spans(request: ExportTraceServiceRequest) -> impl Iterator<Item = Span> {
    request.resource_spans.into_iter().flat_map(of_resource)
}

fn of_resource(of: ResourceSpans) -> impl Iterator<Item = Span> {
    let resource = attributes(of.resource.unwrap_or_default().attributes);
    let all = of.scope_spans.into_iter().flat_map(|scope| scope.spans);
    all.map(move |span| one(&resource, span))
}

fn one(resource: &BTreeMap<String, Value>, span: ProtoSpan) -> Span {
    let service = resource.get("service.name").and_then(Value::as_str).unwrap_or_default().to_owned();
    let events = span.events.into_iter().map(|event| (event.name, attributes(event.attributes)));
    Span {
        service,
        resource: resource.clone(),
        kind: kind(span.kind),
        name: span.name,
        trace_id: hex(&span.trace_id),
        span_id: hex(&span.span_id),
        parent_id: Some(hex(&span.parent_span_id)).filter(|id| !id.is_empty()),
        links: span.links.into_iter().map(link).collect(),
        attributes: attributes(span.attributes),
        events: events.collect(),
        failed: span.status.is_some_and(|status| status.code() == StatusCode::Error),
        start: UNIX_EPOCH + Duration::from_nanos(span.start_time_unix_nano),
        duration: Duration::from_nanos(span.end_time_unix_nano.saturating_sub(span.start_time_unix_nano)),
    }
}

fn kind(number: i32) -> Kind {
    match SpanKind::try_from(number) {
        Ok(SpanKind::Internal) => Kind::Internal,
        Ok(SpanKind::Server) => Kind::Server,
        Ok(SpanKind::Client) => Kind::Client,
        Ok(SpanKind::Producer) => Kind::Producer,
        Ok(SpanKind::Consumer) => Kind::Consumer,
        Ok(SpanKind::Unspecified) | Err(_) => Kind::Unspecified,
    }
}

fn link(link: ProtoLink) -> Link {
    Link { trace_id: hex(&link.trace_id), span_id: hex(&link.span_id), attributes: attributes(link.attributes) }
}

pub(super) fn attributes(pairs: Vec<KeyValue>) -> BTreeMap<String, Value> {
    pairs.into_iter().map(|pair| (pair.key, value(pair.value))).collect()
}

fn value(any: Option<AnyValue>) -> Value {
    match any.and_then(|any| any.value) {
        None => Value::Null,
        Some(Any::StringValue(text)) => text.into(),
        Some(Any::BoolValue(truth)) => truth.into(),
        Some(Any::IntValue(number)) => number.into(),
        Some(Any::DoubleValue(number)) => number.into(),
        Some(Any::BytesValue(bytes)) => hex(&bytes).into(),
        Some(Any::ArrayValue(array)) => array.values.into_iter().map(|one| value(Some(one))).collect(),
        Some(Any::KvlistValue(list)) => Value::Object(attributes(list.values).into_iter().collect()),
        // An index into a table that only profiles have.
        Some(Any::StringValueStrindex(index)) => index.into(),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
