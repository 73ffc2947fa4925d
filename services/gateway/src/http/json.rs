//! From JSON text to a request, with errors that name the field or the place and never repeat what is there.

use axum::http::StatusCode;
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error as _},
};
use serde_json::{Number, error::Category};

use super::problem::Problem;

/// Longest name of an unknown field that is repeated.
const MAX_NAME: usize = 64;

/// Reads a JSON object, and nothing after it.
pub(super) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    if let Err(error) = std::str::from_utf8(bytes) {
        return Err(malformed(format!("the body is not UTF-8 at byte {}", error.valid_up_to())));
    }
    // A list would be taken for the fields in their order.
    if bytes.trim_ascii_start().starts_with(b"[") {
        return Err(wrong_form("body", "the body must be an object"));
    }
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| problem(&error))?;
    deserializer.end().map_err(|error| not_json(&error))?;
    Ok(value)
}

/// Reads a whole number as JSON Schema means it: `7.0` is the integer 7, as some languages write it.
pub(super) fn integer<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let number = Number::deserialize(deserializer)?;
    let whole = |number: &Number| number.as_f64().filter(|float| float.fract() == 0.0);
    let read = number.as_u64().or_else(|| whole(&number)?.to_string().parse().ok());
    read.ok_or_else(|| D::Error::custom("no whole number"))
}

/// As [`integer`], for a field that may be null.
pub(super) fn optional_integer<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    #[derive(Deserialize)]
    struct Integer(#[serde(deserialize_with = "integer")] u64);
    Ok(Option::<Integer>::deserialize(deserializer)?.map(|Integer(number)| number))
}

/// serde's own words can quote values; only names of fields and the place are taken from them.
fn problem(error: &serde_path_to_error::Error<serde_json::Error>) -> Problem {
    let inner = error.inner();
    if inner.classify() != Category::Data {
        return not_json(inner);
    }
    let text = inner.to_string();
    let name = text.split('`').nth(1).unwrap_or_default();
    let name: String = name.chars().take(MAX_NAME).collect();
    if text.starts_with("unknown field") {
        let detail = find_near_field(&name).unwrap_or("there is no such field");
        return Problem::unknown_field(name, detail).remedy("remove it; the fields are in /openapi.json");
    }
    if text.starts_with("missing field") {
        return Problem::invalid(name, "the field is missing").remedy("add it");
    }
    if text.starts_with("duplicate field") {
        return Problem::invalid(name, "the field is given twice").remedy("give it once");
    }
    // What follows in the path are the client's own keys: somebody may have swapped keys and values.
    match error.path().iter().next().map(ToString::to_string) {
        None => wrong_form("body", "the body must be an object"),
        Some(field) if field.ends_with("_creds") || field == "credentials" => {
            wrong_form(field, "credentials must be a string, or an object of strings with each key once")
        }
        Some(field) => wrong_form(field, "the value has the wrong type"),
    }
}

/// Each field of the bodies, and what is said of one that is spelled almost so: the client's own spelling is not repeated.
macro_rules! near_fields {
    ($($name:literal)*) => { [$(($name, concat!("there is no such field; is ", $name, " meant?"))),*] };
}

fn find_near_field(name: &str) -> Option<&'static str> {
    const FIELDS: [(&str, &str); 21] = near_fields!(
        "workspace" "image_id" "existing_image_uri" "existing_image_creds" "existing_image_secret" "base_image"
        "base_image_creds" "base_image_secret" "modified" "verify" "container_id" "worker_id" "build_container" "placement"
        "registry" "credentials" "if_version" "verify_image" "reason" "secret_name" "roles"
    );
    let distance = |field: &str| strsim::damerau_levenshtein(field, name);
    let near = FIELDS.into_iter().min_by_key(|(field, _)| distance(field))?;
    (distance(near.0) <= MOST_TYPOS).then_some(near.1)
}

/// Letters that may be wrong in a name that is meant.
const MOST_TYPOS: usize = 2;

fn wrong_form(field: impl Into<String>, detail: &'static str) -> Problem {
    Problem::invalid(field, detail).remedy("see the field's type in /openapi.json")
}

fn not_json(error: &serde_json::Error) -> Problem {
    let said = if error.classify() == Category::Eof { "ends too early" } else { "is not JSON" };
    malformed(format!("the body {said} at line {} column {}", error.line(), error.column()))
}

fn malformed(detail: String) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "malformed_json", detail)
        .in_own_words()
        .remedy("send one JSON object in UTF-8")
}
