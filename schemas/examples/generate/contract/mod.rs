//! The contract as files, generated from the types: a JSON Schema for each event, and the AsyncAPI document.
//!
//! `cargo run -p waybill-schemas --example generate` writes them; `tests/contract.rs` fails when they differ.

mod about;
mod asyncapi;
mod channels;
mod schema;
mod yaml;

use serde_json::Value;

pub(crate) use schema::schema;
use waybill_schemas::EventType;

const HEADING: &str = "Generated from the Rust types: cargo run -p waybill-schemas --example generate";

/// Name, relative to `schemas/`, and text of every generated file.
pub(crate) fn files() -> Vec<(String, String)> {
    let schemas = EventType::ALL.iter().map(|event| (schema_file(*event), format!("{:#}\n", sorted(schema(*event)))));
    schemas.chain([("asyncapi.yaml".to_owned(), yaml::document(HEADING, &sorted(asyncapi::document())))]).collect()
}

fn schema_file(event: EventType) -> String {
    format!("json/v1.{event}.json")
}

/// One order of members, whatever `serde_json` was compiled with: a dependency of the tests makes it keep that of insertion.
fn sorted(mut document: Value) -> Value {
    document.sort_all_objects();
    document
}
