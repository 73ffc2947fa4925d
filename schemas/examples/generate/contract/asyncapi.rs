//! The AsyncAPI 3.0 document: enough, in one file, for a client that knows nothing else.

use serde_json::{Map, Value, json};

use super::{
    about,
    channels::{CHANNELS, Channel, Exchange, Operation, REFUSED},
    schema,
};
use waybill_schemas::{EventType, ID_PATTERN, MAX_BODY_BYTES, Subject, header};

pub(super) fn document() -> Value {
    json!({
        "asyncapi": "3.0.0",
        "info": { "title": "Waybill events", "version": "1.0.0", "description": about::ABOUT },
        "defaultContentType": "application/json",
        "servers": { "nats": {
            "host": "{host}:4222",
            "protocol": "nats",
            "description": "NATS 2.12 or newer with JetStream",
            "variables": { "host": { "default": "127.0.0.1" } },
        }},
        "channels": channels(),
        "operations": operations(),
        "components": {
            "messages": messages(),
            "messageTraits": { "CloudEvent": { "contentType": "application/json", "headers": headers() } },
            "schemas": schemas(),
        },
    })
}

fn every_channel() -> impl Iterator<Item = &'static Channel> {
    CHANNELS.iter().chain(&REFUSED)
}

/// Every channel with its subject.
fn addressed() -> impl Iterator<Item = (&'static Channel, Subject)> {
    every_channel().filter_map(|channel| Some((channel, channel.subject()?)))
}

fn channels() -> Value {
    let entry = |(channel, subject): (&Channel, Subject)| {
        let events = subject.event_types().iter();
        let messages = events.map(|event| (event.to_string(), reference(&format!("/components/messages/{event}"))));
        let body = json!({
            "address": subject.template(),
            "description": channel.about,
            "parameters": parameters(&subject),
            "messages": messages.collect::<Map<_, _>>(),
        });
        (channel.name.to_owned(), body)
    };
    Value::Object(addressed().map(entry).collect())
}

fn parameters(subject: &Subject) -> Map<String, Value> {
    let names = subject.template().split('.').filter_map(|token| token.strip_prefix('{')?.strip_suffix('}'));
    names.map(|name| (name.to_owned(), json!({ "description": about_parameter(name) }))).collect()
}

/// A parameter of an address is one subject token.
fn about_parameter(name: &str) -> String {
    match name {
        "secret" => "Name of the secret; each dot of it is written as `=`.".to_owned(),
        "placement" => "Stream sequence of the request, in decimal digits.".to_owned(),
        "version" => "Version of the secret, in decimal digits.".to_owned(),
        "sequence" => "Stream sequence of the message, in decimal digits.".to_owned(),
        "run" => "Number of the run, in decimal digits.".to_owned(),
        "request" => format!("Id of the request, the same whenever it is sent again: {ID_PATTERN}"),
        "build" => format!("Id of the build, the same whenever it is sent again: {ID_PATTERN}"),
        _ => format!("As in the body: {ID_PATTERN}"),
    }
}

fn operations() -> Value {
    let of_channel =
        |channel: &'static Channel| channel.operations.iter().map(move |operation| (channel.name, operation));
    let named = |(channel, operation): (&str, &Operation)| (operation.name.to_owned(), describe(channel, operation));
    Value::Object(every_channel().flat_map(of_channel).map(named).collect())
}

fn describe(channel: &str, operation: &Operation) -> Value {
    let tags: Vec<Value> = operation.by.iter().map(|program| json!({ "name": program })).collect();
    let mut body = json!({
        "channel": reference(&format!("/channels/{channel}")),
        "summary": operation.summary,
        "tags": tags,
    });
    let (action, events) = match operation.exchange {
        Exchange::Send(events) => ("send", Some(events)),
        Exchange::Receive => ("receive", None),
    };
    if let Some(body) = body.as_object_mut() {
        body.insert("action".to_owned(), json!(action));
        let messages = events.map(|events| {
            events.iter().map(|event| reference(&format!("/channels/{channel}/messages/{event}"))).collect::<Vec<_>>()
        });
        body.extend(messages.map(|messages| ("messages".to_owned(), json!(messages))));
    }
    body
}

fn reference(pointer: &str) -> Value {
    json!({ "$ref": format!("#{pointer}") })
}

fn messages() -> Value {
    let message = |event: &EventType| {
        let message = json!({
            "name": event.ce_type(),
            "title": event.as_str(),
            "summary": schema(*event).get("description"),
            "contentType": "application/json",
            "correlationId": { "location": format!("$message.header#/{}", header::CORRELATION_ID) },
            "traits": [reference("/components/messageTraits/CloudEvent")],
            "headers": {
                "type": "object",
                "properties": {
                    (header::TYPE): { "const": event.ce_type() },
                    (header::DATASCHEMA): { "const": event.dataschema() },
                },
            },
            "payload": reference(&format!("/components/schemas/{event}")),
        });
        (event.as_str().to_owned(), message)
    };
    Value::Object(EventType::ALL.iter().map(message).collect())
}

/// Bodies and what they share, each once, so that a generator makes one type of it.
fn schemas() -> Value {
    let mut schemas = Map::new();
    for event in EventType::ALL {
        let mut body = schema(*event);
        move_references(&mut body);
        let Some(fields) = body.as_object_mut() else { continue };
        fields.remove("$id");
        fields.remove("$schema");
        if let Some(Value::Object(definitions)) = fields.remove("$defs") {
            schemas.extend(definitions);
        }
        schemas.insert(event.to_string(), body);
    }
    Value::Object(schemas)
}

/// Definitions of a body become components of the document.
fn move_references(value: &mut Value) {
    match value {
        Value::Object(map) => {
            if let Some(Value::String(reference)) = map.get_mut("$ref") {
                *reference = reference.replace("#/$defs/", "#/components/schemas/");
            }
            map.values_mut().for_each(move_references);
        }
        Value::Array(items) => items.iter_mut().for_each(move_references),
        _ => {}
    }
}

/// Headers of every event. A message's own fix its type.
fn headers() -> Value {
    let uuid = |text: &str| json!({ "type": "string", "format": "uuid", "description": text });
    let text = |text: &str| json!({ "type": "string", "description": text });
    let bounded = |most: u16, pattern: &str, text: &str| json!({ "type": "string", "maxLength": most, "pattern": pattern, "description": text });
    json!({
        "type": "object",
        "description": format!("Names are case-sensitive. The body has at most {MAX_BODY_BYTES} bytes."),
        "required": [header::ID, header::SOURCE, header::SPECVERSION, header::TYPE],
        "properties": {
            (header::ID): uuid("Id of the event; the same when it is published again."),
            (header::SOURCE): bounded(512, ".", "Program that writes the event, such as /my/orchestrator."),
            (header::SPECVERSION): { "const": "1.0" },
            (header::TYPE): text("Type with version."),
            (header::ACTOR): bounded(256, "^[!-~]+$", "Who asked for what the event says, such as token/acme or worker/node-1."),
            (header::SOURCE_VERSION): bounded(64, "^[A-Za-z0-9.+_-]+$", "Version of the program that wrote the event."),
            (header::TIME): { "type": "string", "format": "date-time", "description": "When the writer made the event." },
            (header::SUBJECT): text("Subject without `waybill.events.`, with `/` for each `.`."),
            (header::DATASCHEMA): text("URI of the body's JSON Schema."),
            (header::DATACONTENTTYPE): { "const": "application/json" },
            (header::CAUSATION_ID): uuid("Id of the event that caused this one."),
            (header::CORRELATION_ID): uuid("Id of the event that began the chain."),
            (header::TRACEPARENT): text("W3C trace context: the event then stands in your trace."),
            (header::TRACESTATE): text("W3C trace state."),
            (header::NATS_MSG_ID): uuid("Equal to ce-id: JetStream drops a repetition within 15 minutes, where its expectation holds."),
            (header::NATS_EXPECTED_LAST): bounded(20, "^[0-9]+$", "Last sequence on the exact subject, 0 where there is none: JetStream refuses the event otherwise."),
        },
    })
}
