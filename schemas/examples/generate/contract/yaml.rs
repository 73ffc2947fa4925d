//! YAML for a JSON value: block style, keys in their order, every string in JSON's quotes, which are YAML's too.

use serde_json::Value;

/// A document under a comment line.
pub(super) fn document(heading: &str, value: &Value) -> String {
    let mut text = format!("# {heading}\n");
    block(&mut text, value, 0);
    text
}

fn block(text: &mut String, value: &Value, indent: usize) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                text.push_str(&" ".repeat(indent));
                text.push_str(&name(key));
                text.push(':');
                nested(text, value, indent);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                text.push_str(&" ".repeat(indent));
                text.push('-');
                nested(text, item, indent);
            }
        }
        scalar => text.push_str(&format!("{scalar}\n")),
    }
}

fn nested(text: &mut String, value: &Value, indent: usize) {
    let deeper = match value {
        Value::Object(map) => !map.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => false,
    };
    text.push(if deeper { '\n' } else { ' ' });
    block(text, value, if deeper { indent.saturating_add(2) } else { 0 });
}

/// Plain words stand without quotes.
fn name(key: &str) -> String {
    let plain = key.starts_with(|c: char| c.is_ascii_alphabetic())
        && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    if plain { key.to_owned() } else { Value::from(key).to_string() }
}
