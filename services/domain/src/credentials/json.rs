//! The JSON object `{"registry", "type", "credentials"}`: read without quoting it, written without copies.
//!
//! serde_json's own messages can repeat what they stumbled over. What leaves here is the place and the field only.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::error::Category;
use serde_path_to_error::Segment;

use super::{Secret, keys::Values, node::Keys};

const FIELDS: [&str; 3] = ["registry", "type", "credentials"];

/// The object as it stands in the text; `null` is the same as absent.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Object {
    pub(super) registry: Option<Secret>,
    #[serde(rename = "type")]
    pub(super) cred_type: Option<Secret>,
    pub(super) credentials: Option<Keys>,
}

/// Where a text stops being the JSON object expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}{} at line {line} column {column}", .field.map(|field| format!(" in {field}")).unwrap_or_default())]
pub struct JsonError {
    /// What kind of mistake it is.
    pub problem: JsonProblem,
    /// The field it is in, if it is in one.
    pub field: Option<&'static str>,
    /// Line, from 1.
    pub line: usize,
    /// Column in bytes, from 1; 0 stands for the end of the line before.
    pub column: usize,
}

/// Kinds of mistakes in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JsonProblem {
    /// It is not JSON.
    #[error("not JSON")]
    Syntax,
    /// It ends too early.
    #[error("the text ends too early")]
    Truncated,
    /// It is JSON of another shape: another type, an unknown field, or one given twice.
    #[error("unexpected type or field")]
    Shape,
}

/// Reads the object, and nothing after it.
pub(super) fn read_object(text: &str) -> Result<Object, JsonError> {
    // serde would take a list of the three values for the object.
    if text.trim_start().starts_with('[') {
        return Err(JsonError { problem: JsonProblem::Shape, field: None, line: 1, column: 1 });
    }
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let object = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let field = match error.path().iter().next() {
            Some(Segment::Map { key }) => FIELDS.into_iter().find(|field| field == key),
            // A field that is given twice has no value whose path there could be.
            _ => {
                let words = error.inner().to_string();
                FIELDS.into_iter().find(|field| words.starts_with(&format!("duplicate field `{field}`")))
            }
        };
        describe_error(error.inner(), field)
    })?;
    deserializer.end().map_err(|error| describe_error(&error, None))?;
    Ok(object)
}

fn describe_error(error: &serde_json::Error, field: Option<&'static str>) -> JsonError {
    let problem = match error.classify() {
        Category::Data => JsonProblem::Shape,
        Category::Eof => JsonProblem::Truncated,
        Category::Syntax | Category::Io => JsonProblem::Syntax,
    };
    JsonError { problem, field, line: error.line(), column: error.column() }
}

/// The object in the order of its fields: the same credentials give the same text.
#[derive(Serialize)]
struct Written<'w> {
    registry: &'w str,
    #[serde(rename = "type")]
    cred_type: &'w str,
    credentials: BTreeMap<&'w str, &'w str>,
}

/// Writes the object.
pub(super) fn write_credentials(registry: &str, cred_type: &str, credentials: &Values) -> Secret {
    write_json(&Written { registry, cred_type, credentials: expose_values(credentials) }, credentials)
}

/// Writes an object of strings.
pub(super) fn write_object(members: &Values) -> Secret {
    write_json(&expose_values(members), members)
}

fn expose_values(values: &Values) -> BTreeMap<&str, &str> {
    values.iter().map(|(key, value)| (*key, value.expose())).collect()
}

/// The buffer is large enough from the start: growing it would leave copies of the values behind. A host has 260 bytes at
/// most, a key 40, and `\u0000` is the longest form of one byte.
fn write_json(object: &impl Serialize, values: &Values) -> Secret {
    let longest = values.values().map(|value| value.len().saturating_mul(6).saturating_add(48));
    let mut out = Vec::with_capacity(longest.fold(400, usize::saturating_add));
    // Strings and maps of strings cannot fail, and are UTF-8.
    let _ = serde_json::to_writer(&mut out, object);
    Secret::new(String::from_utf8(out).unwrap_or_default())
}
