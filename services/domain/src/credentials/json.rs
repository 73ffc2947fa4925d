//! The JSON object `{"registry", "type", "credentials"}`: read without quoting it, written without copies.
//!
//! serde_json's own messages can repeat what they stumbled over. What leaves here is the place and the field only.

use core::cell::Cell;
use core::fmt::{self, Write as _};
use std::collections::{BTreeMap, BTreeSet};

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde_json::error::Category;

use super::Secret;
use super::input::read_keys;
use super::keys::Values;

const REGISTRY: &str = "registry";
const TYPE: &str = "type";
const CREDENTIALS: &str = "credentials";

/// The object as it stands in the text; `null` is the same as absent.
#[derive(Default)]
pub(super) struct Object {
    pub(super) registry: Option<Secret>,
    pub(super) cred_type: Option<Secret>,
    pub(super) credentials: Option<BTreeMap<String, Secret>>,
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JsonProblem {
    /// It is not JSON.
    Syntax,
    /// It ends too early.
    Truncated,
    /// It is JSON of another shape: another type, an unknown field, or one given twice.
    Shape,
}

impl fmt::Display for JsonProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Syntax => "not JSON",
            Self::Truncated => "the text ends too early",
            Self::Shape => "unexpected type or field",
        })
    }
}

/// Reads the object, and nothing after it.
pub(super) fn read(text: &str) -> Result<Object, JsonError> {
    let field = Cell::new(None);
    let mut deserializer = serde_json::Deserializer::from_str(text);
    ObjectSeed { field: &field }
        .deserialize(&mut deserializer)
        .and_then(|object| deserializer.end().map(|()| object))
        .map_err(|error| describe(&error, field.get()))
}

fn describe(error: &serde_json::Error, field: Option<&'static str>) -> JsonError {
    let problem = match error.classify() {
        Category::Data => JsonProblem::Shape,
        Category::Eof => JsonProblem::Truncated,
        Category::Syntax | Category::Io => JsonProblem::Syntax,
    };
    JsonError { problem, field, line: error.line(), column: error.column() }
}

/// Notes in `field` which field is being read, since the error that comes out cannot be asked.
struct ObjectSeed<'f> {
    field: &'f Cell<Option<&'static str>>,
}

impl<'de> DeserializeSeed<'de> for ObjectSeed<'_> {
    type Value = Object;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Object, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for ObjectSeed<'_> {
    type Value = Object;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
        let mut object = Object::default();
        let mut seen = BTreeSet::new();
        while let Some(key) = map.next_key::<String>()? {
            let name = field_name(&key).ok_or_else(|| de::Error::custom("unknown field"))?;
            self.field.set(Some(name));
            if !seen.insert(name) {
                return Err(de::Error::custom("field given twice"));
            }
            match name {
                REGISTRY => object.registry = map.next_value()?,
                TYPE => object.cred_type = map.next_value()?,
                _ => object.credentials = map.next_value::<Option<Keys>>()?.map(|Keys(keys)| keys),
            }
            self.field.set(None);
        }
        Ok(object)
    }
}

fn field_name(key: &str) -> Option<&'static str> {
    [REGISTRY, TYPE, CREDENTIALS].into_iter().find(|name| *name == key)
}

struct Keys(BTreeMap<String, Secret>);

impl<'de> de::Deserialize<'de> for Keys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(KeysVisitor)
    }
}

struct KeysVisitor;

impl<'de> Visitor<'de> for KeysVisitor {
    type Value = Keys;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of strings")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Keys, A::Error> {
        read_keys(map).map(Keys)
    }
}

/// Writes the object. The order of fields and keys is fixed: the same credentials give the same text.
pub(super) fn write_credentials(registry: &str, cred_type: &str, credentials: &Values) -> Secret {
    let fixed = longest(registry).saturating_add(longest(cred_type)).saturating_add(64);
    let mut out = String::with_capacity(fixed.saturating_add(longest_object(credentials)));
    out.push_str("{\"registry\":");
    push_string(&mut out, registry);
    out.push_str(",\"type\":");
    push_string(&mut out, cred_type);
    out.push_str(",\"credentials\":");
    push_object(&mut out, credentials);
    out.push('}');
    Secret::new(out)
}

/// Writes an object of strings.
pub(super) fn write_object(members: &Values) -> Secret {
    let mut out = String::with_capacity(longest_object(members));
    push_object(&mut out, members);
    Secret::new(out)
}

/// Bytes of a string at most. Buffers are large enough from the start, so that no copy of a value is left behind by growing
/// them.
fn longest(text: &str) -> usize {
    text.len().saturating_mul(ESCAPED_MAX).saturating_add(4)
}

fn longest_object(members: &Values) -> usize {
    let member = |(key, value): (&&str, &Secret)| longest(key).saturating_add(longest(value.expose()));
    members.iter().map(member).fold(4, usize::saturating_add)
}

fn push_object(out: &mut String, members: &Values) {
    out.push('{');
    for (at, (key, value)) in members.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        push_string(out, key);
        out.push(':');
        push_string(out, value.expose());
    }
    out.push('}');
}

/// Bytes that one byte becomes at most: `\u0000`.
const ESCAPED_MAX: usize = 6;

/// Writes a JSON string (RFC 8259, section 7).
fn push_string(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            // Writing to a String cannot fail.
            c if c < ' ' => _ = write!(out, "\\u{:04x}", u32::from(c)),
            c => out.push(c),
        }
    }
    out.push('"');
}
