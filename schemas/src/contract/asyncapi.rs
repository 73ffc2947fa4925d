//! The AsyncAPI 3.0 document: enough for a client that knows nothing else.

use serde_json::{Map, Value, json};

use super::schema_file;
use crate::{EventType, ID_PATTERN, MAX_BODY_BYTES, header};

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

fn channels() -> Value {
    let image = ["workspace", "image_id"];
    let container = ["workspace", "container_id"];
    let decision = ["worker_id", "workspace", "container_id"];
    let mut channels = Map::new();
    for event in EventType::ALL {
        let (address, parameters): (String, &[&str]) = match event {
            event if EventType::OF_IMAGE.contains(event) => {
                (format!("waybill.events.image.{{workspace}}.{{image_id}}.{event}"), &image)
            }
            EventType::ContainerCredentialsAttached | EventType::ContainerCredentialsSkipped => {
                (format!("waybill.events.worker.{{worker_id}}.{{workspace}}.{{container_id}}.{event}"), &decision)
            }
            EventType::WorkerRegistered => ("waybill.events.worker.{worker_id}.registered".to_owned(), &["worker_id"]),
            EventType::QuarantineRetried | EventType::QuarantineDiscarded => {
                (format!("waybill.events.quarantine.{{sequence}}.{event}"), &["sequence"])
            }
            _ => (format!("waybill.events.container.{{workspace}}.{{container_id}}.{event}"), &container),
        };
        let named =
            |name: &&str| ((*name).to_owned(), json!({ "description": format!("One subject token, {ID_PATTERN}.") }));
        let parameters: Map<String, Value> = parameters.iter().map(named).collect();
        let name = event.as_str();
        let message = json!({ "$ref": format!("#/components/messages/{name}") });
        channels.insert(
            name.to_owned(),
            json!({ "address": address, "parameters": parameters, "messages": { name: message } }),
        );
    }
    Value::Object(channels)
}

/// Who publishes an event, and who reads it.
fn operations() -> Value {
    let mut operations = Map::new();
    for event in EventType::ALL {
        let by = match event {
            event if EventType::OF_IMAGE.contains(event) => "The gateway",
            EventType::ContainerRequested => "The gateway or any orchestrator",
            EventType::ContainerEnded => "The worker, the gateway or any orchestrator",
            EventType::ContainerCredentialsAttached | EventType::ContainerCredentialsSkipped => "The scheduler",
            EventType::QuarantineRetried | EventType::QuarantineDiscarded => "The operator",
            _ => "The worker",
        };
        let channel = json!({ "$ref": format!("#/channels/{event}") });
        operations.insert(
            format!("publish{event}"),
            json!({ "action": "send", "channel": channel, "summary": format!("{by} publishes it.") }),
        );
    }
    for event in EventType::DECISIONS.iter().chain(EventType::OUTCOMES) {
        let channel = json!({ "$ref": format!("#/channels/{event}") });
        operations.insert(
            format!("read{event}"),
            json!({ "action": "receive", "channel": channel, "summary": "Anybody with the workspace's user may read it." }),
        );
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
