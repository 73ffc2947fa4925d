//! JSON Schemas of the event bodies, in the form from which generators of other languages make plain types.
//!
//! Each set of words is one `enum` with a name, an optional field is one that may be left out, and an integer has a
//! lower bound and the width that generators know. `waybill_schemas::decode` takes `null` for an optional field as well.

use schemars::{
    JsonSchema, Schema,
    generate::SchemaSettings,
    transform::{RecursiveTransform, Transform},
};
use serde_json::{Value, json};

use waybill_schemas::{EventType, for_events, v1};

/// The JSON Schema (draft 2020-12) of an event's body in its present version.
pub(crate) fn schema(event: EventType) -> Value {
    macro_rules! of_type {
        ($($name:ident,)+) => { match event { $(EventType::$name => root_schema::<v1::$name>(),)+ } };
    }
    let mut schema = for_events!(of_type);
    schema.insert("$id".to_owned(), json!(event.dataschema()));
    schema.to_value()
}

fn root_schema<T: JsonSchema>() -> Schema {
    let mut schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<T>();
    for simplify in [join_lines, drop_null, name_words, name_width] {
        RecursiveTransform(simplify).transform(&mut schema);
    }
    title_definitions(&mut schema);
    schema
}

/// A doc comment is wrapped for the source only; its paragraphs stay.
fn join_lines(schema: &mut Schema) {
    if let Some(Value::String(description)) = schema.get_mut("description") {
        let paragraphs = description.split("\n\n").map(|paragraph| paragraph.replace('\n', " "));
        *description = paragraphs.collect::<Vec<_>>().join("\n\n");
    }
}

/// An optional field is left out, so its type needs no `null`.
fn drop_null(schema: &mut Schema) {
    let is_null = |of: &Value| *of == json!("null") || of.get("type").is_some_and(|of| *of == json!("null"));
    if let Some(Value::Array(mut types)) = schema.get("type").cloned() {
        types.retain(|of| !is_null(of));
        let only = if types.len() == 1 { types.pop() } else { None };
        schema.insert("type".to_owned(), only.unwrap_or(Value::Array(types)));
    }
    let Some(alternatives) = schema.get("anyOf").and_then(Value::as_array) else { return };
    if let [alternative, null] = alternatives.as_slice()
        && is_null(null)
        && let Some(reference) = alternative.get("$ref").cloned()
    {
        schema.remove("anyOf");
        schema.insert("$ref".to_owned(), reference);
    }
}

/// One `enum` in place of a `oneOf` of constants; what each word means moves into the description.
fn name_words(schema: &mut Schema) {
    let Some(alternatives) = schema.get("oneOf").and_then(Value::as_array) else { return };
    let text = |of: &Value, key| of.get(key).and_then(Value::as_str).map(str::to_owned);
    let word = |of: &Value| Some((text(of, "const")?, text(of, "description")?));
    let Some(words) = alternatives.iter().map(word).collect::<Option<Vec<_>>>() else { return };
    let about = schema.get("description").and_then(Value::as_str).unwrap_or_default();
    let meanings = words.iter().map(|(word, meaning)| format!("\n- `{word}`: {meaning}"));
    let description = format!("{about}\n{}", meanings.collect::<String>());
    let words: Vec<String> = words.into_iter().map(|(word, _)| word).collect();
    schema.remove("oneOf");
    schema.insert("type".to_owned(), json!("string"));
    schema.insert("enum".to_owned(), json!(words));
    schema.insert("description".to_owned(), json!(description));
}

/// Generators make 64 bits of `int64` and 32 of no format, which a long log's sequences outgrow. They know no `uint64`;
/// `minimum` says the rest.
fn name_width(schema: &mut Schema) {
    if schema.get("type").is_some_and(|of| *of == json!("integer")) {
        schema.insert("format".to_owned(), json!("int64"));
    }
}

/// A definition's title is its name, which generators take for the type's.
fn title_definitions(schema: &mut Schema) {
    let definitions = schema.get_mut("$defs").and_then(Value::as_object_mut);
    for (name, definition) in definitions.into_iter().flatten() {
        if let Some(definition) = definition.as_object_mut() {
            definition.insert("title".to_owned(), json!(name));
        }
    }
}
