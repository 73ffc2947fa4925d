//! The checked-in contract is what the types say, and hangs together.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::Value;
use waybill_schemas::{EventType, Subject, contract, v1};

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

/// Read back as any YAML parser would: what is written is what was meant, and every reference leads somewhere.
#[test]
fn the_asyncapi_document_is_yaml_whose_references_resolve() {
    let text = fs::read_to_string(schemas().join("asyncapi.yaml")).unwrap();
    let document: Value = serde_norway::from_str(&text).unwrap();
    assert_eq!(document["asyncapi"], "3.0.0");
    let mut references = Vec::new();
    collect(&document, &mut references);
    assert!(references.len() > 30, "{references:?}");
    for reference in references {
        match reference.strip_prefix('#') {
            Some(pointer) => assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere"),
            None => assert!(schemas().join(&reference).exists(), "{reference} leads nowhere"),
        }
    }
    for event in EventType::ALL {
        let address = document["channels"][event.as_str()]["address"].as_str().unwrap();
        let subject = address.replace("{sequence}", "7").replace(['{', '}'], "");
        assert_eq!(subject.parse::<Subject>().unwrap().template(), address, "the channel is the subject");
        assert_eq!(document["components"]["messages"][event.as_str()]["name"], event.ce_type());
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
        assert_eq!(schema["additionalProperties"], false, "{event}");
        assert_eq!(schema["title"], event.as_str());
        for (name, property) in schema["properties"].as_object().unwrap() {
            let described = !property["description"].is_null() || property["$ref"].is_string();
            assert!(described, "{event}.{name} has no description");
        }
    }
}

#[test]
fn words_are_snake_case() {
    let words = v1::CredType::ALL.iter().map(|word| word.as_str());
    let words = words.chain(v1::SaveSkipReason::ALL.iter().map(|word| word.as_str()));
    let words = words.chain(v1::AttachSkipReason::ALL.iter().map(|word| word.as_str()));
    let words = words.chain(v1::ProviderFailure::ALL.iter().map(|word| word.as_str()));
    let words = words.chain(v1::PullFailure::ALL.iter().map(|word| word.as_str()));
    for word in words.chain(v1::CredentialSource::ALL.iter().map(|word| word.as_str())) {
        assert!(word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{word}");
    }
}
