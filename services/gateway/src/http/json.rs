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
        let detail = match find_near_field(&text, &name) {
            Some(near) => format!("there is no such field; is {near} meant?").into(),
            None => "there is no such field".into(),
        };
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

/// The field that was meant, of those that serde's words list, which are this program's: the client's own spelling stands before
/// the last ", expected", whatever it holds, and is not repeated.
fn find_near_field<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    let (_, expected) = text.rsplit_once(", expected ")?;
    let fields = expected.split('`').skip(1).step_by(2);
    let near = fields.map(|field| (strsim::damerau_levenshtein(field, name), field)).min()?;
    (near.0 <= MOST_TYPOS).then_some(near.1)
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
