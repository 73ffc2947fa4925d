//! Events that were written once decode for ever. A golden file is never edited: a new version gets new files.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

use std::{collections::BTreeMap, fs, path::Path};

use serde::Deserialize;
use serde_json::Value;
use waybill_schemas::{EventType, RecordedEvent, decode};

#[derive(Deserialize)]
struct Golden {
    subject: String,
    headers: BTreeMap<String, String>,
    body: Value,
}

impl Golden {
    fn read() -> Vec<(String, Self)> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden");
        let versions = fs::read_dir(folder).unwrap().map(|version| version.unwrap().path());
        let files = versions.flat_map(|version| fs::read_dir(version).unwrap().map(|file| file.unwrap().path()));
        let golden = files.map(|file| {
            let name = file.file_name().unwrap().to_str().unwrap().to_owned();
            (name, serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap())
        });
        golden.collect()
    }

    fn decode(&self) -> RecordedEvent {
        let headers: Vec<(String, String)> = self.headers.clone().into_iter().collect();
        let body = serde_json::to_vec(&self.body).unwrap();
        decode(&self.subject, headers.as_slice(), &body).unwrap_or_else(|error| panic!("{}: {error}", self.subject))
    }
}

#[test]
fn every_golden_event_decodes_to_what_it_says() {
    for (name, golden) in Golden::read() {
        let RecordedEvent { envelope, event } = golden.decode();
        assert_eq!(envelope.id.to_string(), golden.headers["ce-id"], "{name}");
        assert_eq!(event.subject().to_string(), golden.subject, "{name}");
        let written: Value = serde_json::from_slice(&event.to_json().unwrap()).unwrap();
        // Defaults are written out; everything that the file says is there as it was.
        for (field, value) in golden.body.as_object().unwrap() {
            assert_eq!(written[field], *value, "{name}: {field}");
        }
        let headers: BTreeMap<String, String> = envelope
            .to_headers(event.event_type(), &event.subject())
            .into_iter()
            .map(|(header, value)| (header.to_owned(), value))
            .collect();
        for (header, value) in &golden.headers {
            assert_eq!(headers.get(header), Some(value), "{name}: {header}");
        }
    }
}

#[test]
fn every_event_has_golden_files() {
    let golden = Golden::read();
    for event in EventType::ALL {
        for form in ["least", "full"] {
            let file = format!("{event}.{form}.json");
            assert!(golden.iter().any(|(name, _)| *name == file), "golden/v1/{file} is missing");
        }
    }
}
