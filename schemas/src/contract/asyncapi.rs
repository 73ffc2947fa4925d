//! The AsyncAPI 3.0 document: enough for a client that knows nothing else.

use serde_json::{Map, Value, json};

use super::schema_file;
use crate::{EventType, ID_PATTERN, MAX_BODY_BYTES, Subject, header};

const ABOUT: &str = "\
Every event is one message in the JetStream stream WAYBILL: CloudEvents 1.0 in binary mode, attributes as ce-* headers, a \
JSON body.\n\n\
To publish: connect with the nkey user that `waybill init` made for you (keys/orchestrator-<workspace>.nkey), set the inbox \
prefix to `_INBOX_orchestrator-<workspace>` and the JetStream API prefix to `waybill.api`, and publish with an \
acknowledgement. Give each event a fresh UUID, in `ce-id` and in `Nats-Msg-Id`; publish again with the same id when no \
acknowledgement comes. Send a `traceparent` to see the event in your trace.\n\n\
To read: a pull consumer named `orchestrator-<workspace>` with one filter. The decision about a request carries the request's \
ce-id in `ce-causationid`; its own id is UUIDv5(request's ce-id, \"decision\"). When an image's credentials are rotated or \
revoked, each container that uses them gets a further decision, caused by that event, with the id UUIDv5(that event's ce-id, \
\"renewal:\" and the request's ce-id). Outcomes are UUIDv5(decision's id, \
\"provider\") and UUIDv5(decision's id, \"pull\").\n\n\
Bodies are strict: a field that the schema does not have makes the event unreadable, and it is quarantined. Ids are \
[A-Za-z0-9_-]{1,128}. Credentials are always sealed to one reader.";

pub(super) fn document() -> Value {
    json!({
        "asyncapi": "3.0.0",
        "info": { "title": "Waybill events", "version": "1.0.0", "description": ABOUT },
        "defaultContentType": "application/json",
        "servers": { "nats": {
            "host": "{host}:4222",
            "protocol": "nats",
            "description": "NATS 2.12 or newer with JetStream",
            "variables": { "host": { "default": "127.0.0.1" } },
        }},
        "channels": channels(),
        "operations": operations(),
        "components": { "messages": messages(), "schemas": { "Headers": headers(None) } },
    })
}

/// One subject of each form, with placeholders that are ids.
const FORMS: [&str; 10] = [
    "waybill.events.secret.w.s",
    "waybill.events.image.w.i.b",
    "waybill.events.container.w.c.r",
    "waybill.events.decision.n.container.w.c.1",
    "waybill.events.decision.n.secret.w.s.1",
    "waybill.events.outcome.n.w.c.1",
    "waybill.events.outcome.n.secret.w.s.1",
    "waybill.events.worker.n",
    "waybill.events.scheduler.keys",
    "waybill.events.quarantine.1",
];

fn channels() -> Value {
    let mut channels = Map::new();
    for subject in FORMS.iter().filter_map(|form| form.parse::<Subject>().ok()) {
        let address = subject.template();
        let names = address.split('.').filter_map(|token| token.strip_prefix('{')?.strip_suffix('}'));
        let parameters: Map<String, Value> = names
            .map(|name| (name.to_owned(), json!({ "description": format!("One subject token, {ID_PATTERN}.") })))
            .collect();
        let messages: Map<String, Value> = subject
            .event_types()
            .iter()
            .map(|event| (event.to_string(), json!({ "$ref": format!("#/components/messages/{event}") })))
            .collect();
        let channel = json!({ "address": address, "parameters": parameters, "messages": messages });
        channels.insert(channel_name(&subject).to_owned(), channel);
    }
    Value::Object(channels)
}

fn channel_name(subject: &Subject) -> &'static str {
    match subject {
        Subject::Secret { .. } => "secret",
        Subject::Image { .. } => "image",
        Subject::Container { .. } => "container",
        Subject::ContainerDecision { .. } => "containerDecision",
        Subject::SecretDecision { .. } => "secretDecision",
        Subject::ContainerOutcome { .. } => "containerOutcome",
        Subject::SecretOutcome { .. } => "secretOutcome",
        Subject::Worker { .. } => "worker",
        Subject::SchedulerKeys => "schedulerKeys",
        Subject::Quarantine { .. } => "quarantine",
    }
}

fn operations() -> Value {
    let mut operations = Map::new();
    for subject in FORMS.iter().filter_map(|form| form.parse::<Subject>().ok()) {
        let name = channel_name(&subject);
        let channel = json!({ "$ref": format!("#/channels/{name}") });
        operations.insert(format!("publish_{name}"), json!({ "action": "send", "channel": channel }));
    }
    Value::Object(operations)
}

fn messages() -> Value {
    let message = |event: &EventType| {
        let schema = super::schema(*event);
        let message = json!({
            "name": event.ce_type(),
            "title": event.as_str(),
            "summary": schema.get("description"),
            "contentType": "application/json",
            "headers": headers(Some(*event)),
            "payload": {
                "schemaFormat": "application/schema+json;version=draft-2020-12",
                "schema": { "$ref": schema_file(*event) },
            },
        });
        (event.as_str().to_owned(), message)
    };
    Value::Object(EventType::ALL.iter().map(message).collect())
}

fn headers(event: Option<EventType>) -> Value {
    let uuid = |text: &str| json!({ "type": "string", "format": "uuid", "description": text });
    let text = |text: &str| json!({ "type": "string", "description": text });
    let ce_type = event.map_or_else(|| text("Type with version."), |event| json!({ "const": event.ce_type() }));
    let dataschema =
        event.map_or_else(|| text("URI of the body's schema."), |event| json!({ "const": event.dataschema() }));
    json!({
        "type": "object",
        "description": format!("Names are case-sensitive. The body has at most {MAX_BODY_BYTES} bytes."),
        "required": [header::ID, header::SOURCE, header::SPECVERSION, header::TYPE],
        "properties": {
            (header::ID): uuid("Fresh for each event; the same when it is published again."),
            (header::SOURCE): text("Who writes the event, such as /my/orchestrator."),
            (header::SPECVERSION): { "const": "1.0" },
            (header::TYPE): ce_type,
            (header::SOURCE_VERSION): { "type": "string", "maxLength": 64, "pattern": "^[A-Za-z0-9.+_-]+$", "description": "Version of the program that wrote the event." },
            (header::TIME): { "type": "string", "format": "date-time" },
            (header::SUBJECT): text("What the event is about."),
            (header::DATASCHEMA): dataschema,
            (header::DATACONTENTTYPE): { "const": "application/json" },
            (header::CAUSATION_ID): uuid("Id of the event that caused this one."),
            (header::CORRELATION_ID): uuid("Id of the event that began the chain."),
            (header::TRACEPARENT): text("W3C trace context."),
            (header::TRACESTATE): text("W3C trace state."),
            (header::NATS_MSG_ID): uuid("Equal to ce-id: JetStream drops a repetition within 15 minutes."),
        },
    })
}
