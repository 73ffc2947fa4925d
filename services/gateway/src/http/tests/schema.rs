//! Whether a value follows a schema of the OpenAPI document. A keyword that this does not know is an error, so that
//! nothing passes unchecked.

use std::collections::BTreeSet;

use serde_json::Value;

/// Panics with the path of the first value that does not follow the schema.
pub(super) fn check(document: &Value, schema: &Value, value: &Value, path: &str) {
    let schema = resolve(document, schema);
    for (keyword, rule) in schema.as_object().unwrap() {
        match keyword.as_str() {
            "type" => assert!(types(rule).iter().any(|name| is(value, name)), "{path}: {value} is not {rule}"),
            "enum" => assert!(rule.as_array().unwrap().contains(value), "{path}: {value} is not one of {rule}"),
            "minimum" => assert!(value.as_f64().unwrap() >= rule.as_f64().unwrap(), "{path}: {value} < {rule}"),
            "pattern" => check_pattern(rule.as_str().unwrap(), value, path),
            "format" => check_format(rule.as_str().unwrap(), value, path),
            "required" => rule.as_array().unwrap().iter().for_each(|name| {
                assert!(value.get(name.as_str().unwrap()).is_some(), "{path}: {name} is missing in {value}");
            }),
            "properties" => rule.as_object().unwrap().iter().for_each(|(name, schema)| {
                if let Some(member) = value.get(name) {
                    check(document, schema, member, &format!("{path}.{name}"));
                }
            }),
            "additionalProperties" => value.as_object().unwrap().iter().for_each(|(name, member)| {
                check(document, rule, member, &format!("{path}.{name}"));
            }),
            "items" => value.as_array().unwrap().iter().enumerate().for_each(|(at, item)| {
                check(document, rule, item, &format!("{path}[{at}]"));
                check_known(document, rule, item, &format!("{path}[{at}]"));
            }),
            "allOf" => rule.as_array().unwrap().iter().for_each(|part| check(document, part, value, path)),
            "oneOf" => {
                let has = |part: &&Value| {
                    let required = resolve(document, part).get("required").and_then(Value::as_array);
                    required.into_iter().flatten().all(|name| value.get(name.as_str().unwrap()).is_some())
                };
                let parts: Vec<&Value> = rule.as_array().unwrap().iter().filter(has).collect();
                let [part] = parts.as_slice() else { panic!("{path}: {value} is {} of {rule}", parts.len()) };
                check(document, part, value, path);
                check_known(document, part, value, path);
            }
            "description" | "example" | "examples" | "propertyNames" => {}
            unknown => panic!("{path}: the keyword {unknown} is not checked"),
        }
    }
}

/// Panics where an object has a property that the schema does not tell of.
pub(super) fn check_known(document: &Value, schema: &Value, value: &Value, path: &str) {
    let (Some(members), Some(known)) = (value.as_object(), properties(document, schema)) else { return };
    for name in members.keys() {
        assert!(known.contains(name), "{path}: {name} is not in the document");
    }
}

/// Names of the properties; none where any may be there.
fn properties(document: &Value, schema: &Value) -> Option<BTreeSet<String>> {
    let schema = resolve(document, schema);
    let own = schema.get("properties").and_then(Value::as_object);
    let mut names: BTreeSet<String> = own.map(|own| own.keys().cloned().collect()).unwrap_or_default();
    for part in schema.get("allOf").and_then(Value::as_array).into_iter().flatten() {
        names.extend(properties(document, part)?);
    }
    (!names.is_empty()).then_some(names)
}

fn resolve<'d>(document: &'d Value, schema: &'d Value) -> &'d Value {
    match schema.get("$ref").and_then(Value::as_str) {
        Some(reference) => document.pointer(reference.strip_prefix('#').unwrap()).unwrap(),
        None => schema,
    }
}

fn types(rule: &Value) -> Vec<&str> {
    match rule {
        Value::String(name) => vec![name],
        Value::Array(names) => names.iter().map(|name| name.as_str().unwrap()).collect(),
        other => panic!("{other} is no type"),
    }
}

fn is(value: &Value, name: &str) -> bool {
    match name {
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "null" => value.is_null(),
        other => panic!("the type {other} is not checked"),
    }
}

fn check_pattern(pattern: &str, value: &Value, path: &str) {
    let text = value.as_str().unwrap();
    let follows = match pattern {
        "^[0-9a-f]{32}$" => text.len() == 32 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)),
        other => panic!("{path}: the pattern {other} is not checked"),
    };
    assert!(follows, "{path}: {value} does not follow {pattern}");
}

fn check_format(format: &str, value: &Value, path: &str) {
    match format {
        "uuid" => drop(value.as_str().unwrap().parse::<uuid::Uuid>().unwrap()),
        "date-time" => drop(value.as_str().unwrap().parse::<waybill_schemas::Timestamp>().unwrap()),
        "int32" | "int64" => assert!(value.is_i64() || value.is_u64(), "{path}: {value}"),
        other => panic!("{path}: the format {other} is not checked"),
    }
}
