//! The contract as files, generated from the types: a JSON Schema for each event, and the AsyncAPI document.
//!
//! `cargo run -p waybill-schemas --example generate` writes them; `tests/contract.rs` fails when they differ.

mod asyncapi;
mod yaml;

use schemars::{JsonSchema, Schema, generate::SchemaSettings};
use serde_json::{Value, json};

use crate::{EventType, v1};

/// Name, relative to `schemas/`, and text of every generated file.
pub fn files() -> Vec<(String, String)> {
    let schemas = EventType::ALL.iter().map(|event| (schema_file(*event), pretty(&schema(*event))));
    schemas.chain([("asyncapi.yaml".to_owned(), yaml::document(HEADING, &asyncapi::document()))]).collect()
}

const HEADING: &str = "Generated from the Rust types: cargo run -p waybill-schemas --example generate";

fn schema_file(event: EventType) -> String {
    format!("json/v1.{event}.json")
}

fn pretty(schema: &Value) -> String {
    format!("{schema:#}\n")
}

/// The JSON Schema (draft 2020-12) of an event's body in its present version.
pub fn schema(event: EventType) -> Value {
    let mut schema = match event {
        EventType::CredentialSecretSaved => of::<v1::CredentialSecretSaved>(),
        EventType::CredentialSecretSkipped => of::<v1::CredentialSecretSkipped>(),
        EventType::CredentialSecretRotated => of::<v1::CredentialSecretRotated>(),
        EventType::CredentialSecretRevoked => of::<v1::CredentialSecretRevoked>(),
        EventType::CredentialSecretVerified => of::<v1::CredentialSecretVerified>(),
        EventType::ContainerRequested => of::<v1::ContainerRequested>(),
        EventType::ContainerEnded => of::<v1::ContainerEnded>(),
        EventType::WorkerRegistered => of::<v1::WorkerRegistered>(),
        EventType::QuarantineRetried => of::<v1::QuarantineRetried>(),
        EventType::QuarantineDiscarded => of::<v1::QuarantineDiscarded>(),
        EventType::ContainerCredentialsAttached => of::<v1::ContainerCredentialsAttached>(),
        EventType::ContainerCredentialsSkipped => of::<v1::ContainerCredentialsSkipped>(),
        EventType::CredentialProviderAttached => of::<v1::CredentialProviderAttached>(),
        EventType::CredentialProviderFailed => of::<v1::CredentialProviderFailed>(),
        EventType::ImagePullSucceeded => of::<v1::ImagePullSucceeded>(),
        EventType::ImagePullFailed => of::<v1::ImagePullFailed>(),
    };
    schema.insert("$id".to_owned(), json!(event.dataschema()));
    schema.to_value()
}

fn of<T: JsonSchema>() -> Schema {
    SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<T>()
}
