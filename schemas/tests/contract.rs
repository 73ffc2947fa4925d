//! The checked-in contract is what the types say, and hangs together.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

#[path = "../examples/generate/contract/mod.rs"]
mod contract;
mod support;

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::Value;
use support::Golden;
use waybill_schemas::{Envelope, EventType, Filter, Subject, TraceParent, Uuid, header, v1};

fn schemas() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn generated_files_are_checked_in() {
    let files = contract::files();
    for (name, text) in &files {
        let checked_in = fs::read_to_string(schemas().join(name)).unwrap_or_default();
        assert_eq!(checked_in, *text, "schemas/{name} differs; run: cargo run -p waybill-schemas --example generate");
    }
    let generated: BTreeSet<_> = files.iter().map(|(name, _)| name.clone()).collect();
    for entry in fs::read_dir(schemas().join("json")).unwrap() {
        let name = format!("json/{}", entry.unwrap().file_name().to_str().unwrap());
        assert!(generated.contains(&name), "schemas/{name} is generated from nothing");
    }
}

fn asyncapi() -> Value {
    serde_norway::from_str(&fs::read_to_string(schemas().join("asyncapi.yaml")).unwrap()).unwrap()
}

/// Read back as any YAML parser would: what is written is what was meant, and every reference leads somewhere.
#[test]
fn the_asyncapi_document_is_yaml_whose_references_resolve() {
    let document = asyncapi();
    assert_eq!(document["asyncapi"], "3.0.0");
    let mut references = Vec::new();
    collect(&document, &mut references);
    assert!(references.len() > 100, "{references:?}");
    for reference in references {
        let pointer = reference.strip_prefix('#').unwrap_or_else(|| panic!("{reference} leads out of the document"));
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
    for event in EventType::ALL {
        assert_eq!(document["components"]["messages"][event.as_str()]["name"], event.ce_type());
    }
}

#[test]
fn a_channel_is_a_form_of_subject() {
    let document = asyncapi();
    let channels = document["channels"].as_object().unwrap();
    assert_eq!(channels.len(), 21);
    let mut types = BTreeSet::new();
    for (name, channel) in channels {
        let address = channel["address"].as_str().unwrap();
        let number = |text: String, parameter: &str| text.replace(parameter, "7");
        let text = ["{placement}", "{version}", "{sequence}", "{run}"].into_iter().fold(address.to_owned(), number);
        let subject: Subject = text.replace(['{', '}'], "").parse().unwrap();
        assert_eq!(subject.template(), address, "{name}");
        let takes: BTreeSet<_> = subject.event_types().iter().map(|event| event.as_str().to_owned()).collect();
        assert_eq!(keys(&channel["messages"]), takes, "{name}");
        let named: BTreeSet<_> = address.split(['{', '}']).skip(1).step_by(2).map(str::to_owned).collect();
        assert_eq!(keys(&channel["parameters"]), named, "{name}");
        types.extend(takes);
    }
    assert_eq!(types.len(), EventType::ALL.len(), "each type has a channel");
}

/// Somebody publishes each event of a channel, and somebody reads the channel.
#[test]
fn every_event_is_published_and_read() {
    let document = asyncapi();
    for (name, channel) in document["channels"].as_object().unwrap() {
        let reference = format!("#/channels/{name}");
        let operations = document["operations"].as_object().unwrap().values();
        let (sends, reads): (Vec<_>, Vec<_>) = operations
            .filter(|operation| operation["channel"]["$ref"] == *reference)
            .partition(|operation| operation["action"] == "send");
        let published = sends.iter().flat_map(|operation| operation["messages"].as_array().unwrap());
        let published =
            published.map(|message| message["$ref"].as_str().unwrap().rsplit('/').next().unwrap().to_owned());
        let published: Vec<String> = published.collect();
        assert_eq!(published.len(), channel["messages"].as_object().unwrap().len(), "{name}: each event once");
        assert_eq!(published.into_iter().collect::<BTreeSet<_>>(), keys(&channel["messages"]), "{name}");
        assert_eq!(reads.len(), 1, "{name}");
        for operation in sends.iter().chain(&reads) {
            assert!(!operation["summary"].as_str().unwrap().is_empty(), "{name}");
            assert!(!operation["tags"].as_array().unwrap().is_empty(), "{name}: who does it?");
        }
    }
}

fn keys(map: &Value) -> BTreeSet<String> {
    map.as_object().unwrap().keys().cloned().collect()
}

/// The text for clients names what the code does.
#[test]
fn the_text_has_the_names_of_ids_filters_and_headers() {
    let document = asyncapi();
    let about = document["info"]["description"].as_str().unwrap();
    let consumers = [
        Filter::ContainerDecisions(None, Some("ws".parse().unwrap()), None),
        Filter::ContainerOutcomes(None, Some("ws".parse().unwrap()), None),
    ];
    let filters = consumers.map(|filter| filter.to_string().replace(".ws.", ".<workspace>."));
    let names = [
        "decision",
        "withdrawal:<placement>",
        "renewal:<worker_id>:<secret_name>",
        "naming",
        "provider",
        "pull",
        "applied",
    ];
    let headers = [header::ID, header::NATS_MSG_ID, header::NATS_EXPECTED_LAST, header::CAUSATION_ID, header::TYPE];
    let words = filters.iter().map(String::as_str).chain(names).chain(headers);
    for word in
        words.chain(EventType::ALL.iter().map(|event| event.as_str()).filter(|event| event.starts_with("Container")))
    {
        assert!(about.contains(&format!("`{word}`")), "{word} is not in the text");
    }
    let headers = document.pointer("/components/messageTraits/CloudEvent/headers/properties").unwrap();
    let envelope = Envelope {
        source_version: Some("1".to_owned()),
        time: Some("2026-01-01T00:00:00Z".parse().unwrap()),
        causation_id: Some(Uuid::from_u128(1)),
        actor: Some("token/acme".to_owned()),
        traceparent: TraceParent::parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        tracestate: Some("vendor=1".to_owned()),
        ..Envelope::new(Uuid::from_u128(2), "/test")
    };
    for (name, _) in envelope.to_headers(EventType::WorkerRegistered, &Subject::SchedulerKeys) {
        assert!(headers.get(name).is_some(), "{name} is not described");
    }
}

fn collect(value: &Value, references: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            references.extend(map.get("$ref").and_then(Value::as_str).map(str::to_owned));
            map.values().for_each(|value| collect(value, references));
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, references)),
        _ => {}
    }
}

#[test]
fn schemas_are_strict_and_described() {
    for event in EventType::ALL {
        let schema = contract::schema(*event);
        assert_eq!(schema["title"], event.as_str());
        for (at, object) in objects(&schema) {
            assert_eq!(object["additionalProperties"], false, "{event}{at}");
            for (name, property) in object["properties"].as_object().unwrap() {
                assert!(!property["description"].is_null(), "{event}{at}.{name} has no description");
            }
        }
    }
}

/// The body's schema and those of its definitions that are objects.
fn objects(schema: &Value) -> Vec<(String, &Value)> {
    let definitions = schema["$defs"].as_object().into_iter().flatten();
    let inner = definitions.map(|(name, definition)| (format!(".{name}"), definition));
    let all = std::iter::once((String::new(), schema)).chain(inner);
    all.filter(|(_, schema)| schema["type"] == "object").collect()
}

/// Every schema is one that generators make a plain type of.
#[test]
fn schemas_make_plain_types() {
    let mut sets = BTreeSet::new();
    for event in EventType::ALL {
        let schema = contract::schema(*event);
        plain(&schema, &event.to_string());
        for (name, definition) in schema["$defs"].as_object().into_iter().flatten() {
            assert_eq!(definition["title"], **name, "{event}");
            assert!(name.bytes().all(|b| b.is_ascii_alphanumeric()), "{event}: {name} is no plain name");
            if !definition["enum"].is_null() {
                sets.insert(name.clone());
            }
        }
    }
    let expected = [
        "AskedWith",
        "AttachSkipReason",
        "CredType",
        "CredentialSource",
        "LoginRefusal",
        "ProviderFailure",
        "PullFailure",
        "Question",
        "RefusalCode",
        "RefusedOperation",
        "RenewCause",
        "SaveSkipReason",
        "TokenRole",
        "WithdrawReason",
    ];
    assert_eq!(sets, expected.map(str::to_owned).into());
}

/// Each type is one word, each integer has a lower bound, and alternatives are words.
fn plain(schema: &Value, at: &str) {
    for keyword in ["oneOf", "anyOf", "allOf", "const"] {
        assert!(schema[keyword].is_null(), "{at}: {keyword}");
    }
    assert!(schema["type"].is_string() || schema["$ref"].is_string(), "{at}: {schema}");
    if schema["type"] == "integer" {
        assert!(schema["minimum"].is_number() && schema["format"] == "int64", "{at}: {schema}");
    }
    if let Some(format) = schema["format"].as_str() {
        assert!(["uuid", "date-time", "int64"].contains(&format), "{at}: no generator knows {format}");
    }
    for group in ["properties", "$defs"] {
        schema[group].as_object().into_iter().flatten().for_each(|(name, inner)| plain(inner, &format!("{at}.{name}")));
    }
    if let Some(items) = schema.get("items") {
        plain(items, &format!("{at}[]"));
    }
}

/// The words of a set are those of its type, each with its meaning.
#[test]
fn an_enum_has_every_word() {
    let of = |event: EventType, set: &str| contract::schema(event)["$defs"][set].clone();
    let skipped = of(EventType::ContainerCredentialsSkipped, "AttachSkipReason");
    let words: Vec<_> = v1::AttachSkipReason::ALL.iter().map(|word| word.as_str()).collect();
    assert_eq!(skipped["enum"], serde_json::json!(words));
    for word in v1::AttachSkipReason::ALL {
        let line = format!("- `{word}`: {}", word.meaning());
        assert!(skipped["description"].as_str().unwrap().contains(&line), "{line}");
    }
    let failed = of(EventType::ImagePullFailed, "PullFailure");
    assert_eq!(failed["enum"].as_array().unwrap().len(), v1::PullFailure::ALL.len());
}

/// A body that decodes follows its schema, down to the names and types of its fields.
#[test]
fn golden_bodies_follow_their_schemas() {
    for golden in Golden::read() {
        let schema = contract::schema(golden.decode_on(&golden.subject).unwrap().event.event_type());
        follow(&schema, &schema, &golden.body, &golden.name);
    }
}

fn follow(root: &Value, schema: &Value, value: &Value, at: &str) {
    if let Some(reference) = schema["$ref"].as_str() {
        return follow(root, root.pointer(&reference[1..]).unwrap(), value, at);
    }
    let is_type = match schema["type"].as_str().unwrap() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "integer" => value.as_u64().is_some_and(|number| number >= schema["minimum"].as_u64().unwrap()),
        "boolean" => value.is_boolean(),
        _ => value.is_string(),
    };
    assert!(is_type, "{at}: {value} is not {}", schema["type"]);
    assert!(schema["enum"].as_array().is_none_or(|words| words.contains(value)), "{at}: {value}");
    for required in schema["required"].as_array().into_iter().flatten() {
        assert!(value.get(required.as_str().unwrap()).is_some(), "{at}: {required} is missing");
    }
    for (name, member) in value.as_object().into_iter().flatten() {
        let known = schema["properties"].get(name).unwrap_or_else(|| panic!("{at}: {name} is not in the schema"));
        follow(root, known, member, &format!("{at}.{name}"));
    }
    for item in value.as_array().into_iter().flatten() {
        follow(root, &schema["items"], item, at);
    }
}

/// Facts only: no field of an event could hold credentials, sealed or not.
#[test]
fn no_event_has_a_place_for_credentials() {
    let fields = EventType::ALL.iter().flat_map(|event| {
        let schema = contract::schema(*event);
        objects(&schema).into_iter().flat_map(|(_, object)| keys(&object["properties"])).collect::<Vec<_>>()
    });
    let fields: BTreeSet<String> = fields.collect();
    for name in
        ["credentials", "ciphertext", "sealed", "sender", "recipient", "password", "token", "secret", "value", "mac"]
    {
        assert!(!fields.contains(name), "{name}");
    }
    assert!(fields.contains("credentials_length") && fields.contains("digest"), "{fields:?}");
}

#[test]
fn words_are_snake_case() {
    let words = v1::CredType::ALL.iter().map(|word| word.as_str());
    let words = words.chain(v1::SaveSkipReason::ALL.iter().map(|word| word.as_str()));
    let words = words.chain(v1::WithdrawReason::ALL.iter().map(|word| word.as_str()));
    let words = words.chain(v1::RenewCause::ALL.iter().map(|word| word.as_str()));
    let words = words.chain(v1::AttachSkipReason::ALL.iter().map(|word| word.as_str()));
    let words = words.chain(v1::ProviderFailure::ALL.iter().map(|word| word.as_str()));
    let words = words.chain(v1::PullFailure::ALL.iter().map(|word| word.as_str()));
    for word in words.chain(v1::CredentialSource::ALL.iter().map(|word| word.as_str())) {
        assert!(word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{word}");
    }
}
