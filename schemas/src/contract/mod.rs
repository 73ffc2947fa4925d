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
    macro_rules! of_type {
        ($($name:ident),+ $(,)?) => { match event { $(EventType::$name => root_schema::<v1::$name>(),)+ } };
    }
    let mut schema = of_type!(
        CredentialSecretSaved,
        CredentialSecretRotated,
        CredentialSecretRevoked,
        CredentialSecretShredded,
        ImageSecretNamed,
        CredentialSecretSkipped,
        ContainerRequested,
        ContainerEnded,
        WorkerRegistered,
        SchedulerKeyPublished,
        ContainerCredentialsAttached,
        ContainerCredentialsSkipped,
        ContainerCredentialsWithdrawn,
        WorkerCredentialsRenewed,
        CredentialProviderAttached,
        CredentialProviderFailed,
        ImagePullSucceeded,
        ImagePullFailed,
        SecretRenewalApplied,
        SecretRenewalFailed,
        QuarantineRetried,
        QuarantineDiscarded,
    );
    schema.insert("$id".to_owned(), json!(event.dataschema()));
    schema.to_value()
}

fn root_schema<T: JsonSchema>() -> Schema {
    SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<T>()
}
