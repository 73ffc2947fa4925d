//! The collector takes what an exporter sends and gives it back as spans.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::Link;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message as _;
use reqwest::StatusCode;
use waybill_tests::canary::{Canary, Search};
use waybill_tests::otlp::{Collector, Kind};
use waybill_tests::scratch::Scratch;

use super::PATIENCE;

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..Default::default() }
}

/// Two spans of one service, the second a consumer that is the first one's child and links to it.
fn export(secret: &Canary) -> Vec<u8> {
    let producer = Span {
        trace_id: vec![1; 16],
        span_id: vec![2; 8],
        name: "publish events".into(),
        kind: 4,
        attributes: vec![attribute("leak", Value::StringValue(secret.value().to_owned()))],
        ..Default::default()
    };
    let link = Link {
        trace_id: vec![1; 16],
        span_id: vec![2; 8],
        attributes: vec![attribute("why", Value::StringValue("cause".into()))],
        ..Default::default()
    };
    let consumer = Span {
        trace_id: vec![1; 16],
        span_id: vec![3; 8],
        parent_span_id: vec![2; 8],
        name: "process events".into(),
        kind: 5,
        attributes: vec![attribute("sequence", Value::IntValue(7))],
        links: vec![link],
        ..Default::default()
    };
    let service = attribute("service.name", Value::StringValue("waybill-scheduler".into()));
    let resource = Resource { attributes: vec![service], ..Default::default() };
    let scope_spans = vec![ScopeSpans { spans: vec![producer, consumer], ..Default::default() }];
    let resource_spans = ResourceSpans { resource: Some(resource), scope_spans, ..Default::default() };
    ExportTraceServiceRequest { resource_spans: vec![resource_spans] }.encode_to_vec()
}

async fn post(collector: &Collector, kind: &str, body: Vec<u8>) -> StatusCode {
    let client = waybill_tests::http::client().unwrap();
    let request = client.post(format!("{}/v1/traces", collector.endpoint())).header("content-type", kind).body(body);
    request.send().await.unwrap().status()
}

#[tokio::test]
async fn spans_arrive_with_their_relations() {
    let collector = Collector::start().unwrap();
    let secret = Canary::new("span attribute");
    assert_eq!(post(&collector, "application/x-protobuf", export(&secret)).await, StatusCode::OK);

    let two = collector.wait_for(PATIENCE, "two spans", |spans| (spans.len() == 2).then(|| spans.to_vec()));
    assert_eq!(two.await.unwrap(), collector.trace(&"01".repeat(16)));
    let found = |name| collector.find("waybill-scheduler", name).remove(0);
    let (producer, consumer) = (found("publish events"), found("process events"));
    assert_eq!((producer.kind, consumer.kind), (Kind::Producer, Kind::Consumer));
    assert_eq!((producer.parent_id.clone(), producer.span_id.as_str()), (None, "0202020202020202"));
    assert!(consumer.is_child_of(&producer) && !producer.is_child_of(&consumer));
    assert_eq!(consumer.link_to(&producer).unwrap().attributes["why"], "cause");
    assert_eq!(consumer.attribute("sequence").unwrap(), "7");
    assert!(collector.find("waybill-worker", "process events").is_empty());

    let scratch = Scratch::new("spans").unwrap();
    let file = scratch.path().join("spans.bin");
    collector.save_raw(&file).unwrap();
    assert_eq!(Search::new([&secret]).in_dir(scratch.path()).unwrap().0.len(), 1);
}

#[tokio::test]
async fn what_is_not_otlp_is_refused() {
    let collector = Collector::start().unwrap();
    assert_eq!(post(&collector, "application/json", vec![]).await, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert_eq!(post(&collector, "application/x-protobuf", vec![0xff; 9]).await, StatusCode::BAD_REQUEST);
    assert!(collector.spans().is_empty() && collector.raw().is_empty());
}
