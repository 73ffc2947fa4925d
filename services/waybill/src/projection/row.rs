//! Rows as they may be shown: no ciphertext, and nothing of what was quarantined.

use serde_json::{Value, json};
use waybill_scheduler::projection::Row;

use crate::text;

/// The row's value as it is stored.
pub(crate) fn parse(value: &[u8]) -> Result<Value, serde_json::Error> {
    serde_json::from_slice(value)
}

/// The row's value as it may be shown.
pub(crate) fn shown(row: &Row) -> Result<Value, serde_json::Error> {
    let mut value = parse(&row.value)?;
    hide(row.table, "", &mut value);
    Ok(value)
}

/// One value in a row as it may be shown; `field` is its path with dots.
pub(crate) fn shown_leaf(table: &str, field: &str, value: &Value) -> Value {
    let mut value = value.clone();
    hide(table, field, &mut value);
    value
}

fn hide(table: &str, field: &str, value: &mut Value) {
    let name = field.rsplit('.').next().unwrap_or_default();
    if let (true, Value::String(text)) = (name == "ciphertext", &value) {
        *value = json!(format!("(sealed, {} bytes)", decoded_length(text)));
        return;
    }
    // Whatever was published there: somebody may have put a secret where it does not belong.
    let kept_aside = matches!(table, "quarantine" | "discarded");
    if kept_aside && field.starts_with("headers") {
        *value = json!("(withheld)");
        return;
    }
    if let (true, Value::String(text)) = (kept_aside && field == "payload", &value) {
        *value = json!(format!("(withheld, {} bytes)", decoded_length(text)));
        return;
    }
    match value {
        Value::Object(members) => {
            members.iter_mut().for_each(|(name, member)| hide(table, &text::path(field, name), member));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| hide(table, field, item)),
        _ => {}
    }
}

/// How many bytes a text in standard base64 stands for.
fn decoded_length(text: &str) -> usize {
    let characters = text.trim_end_matches('=').len();
    characters.saturating_mul(3) / 4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ciphertext_and_quarantined_content_are_hidden_at_any_depth() {
        let sealed = json!({ "sender": "XA", "recipient": "XB", "ciphertext": "AAAAAA==" });
        let shown_sealed = json!({ "sender": "XA", "recipient": "XB", "ciphertext": "(sealed, 4 bytes)" });
        let cases = [
            (
                "images",
                json!({ "saved": { "credentials": sealed } }),
                json!({ "saved": { "credentials": shown_sealed } }),
            ),
            (
                "pending",
                json!([{ "a": { "ciphertext": "" } }]),
                json!([{ "a": { "ciphertext": "(sealed, 0 bytes)" } }]),
            ),
            (
                "quarantine",
                json!({ "payload": "AAAA", "headers": [["a", "b"]], "subject": "s" }),
                json!({ "payload": "(withheld, 3 bytes)", "headers": "(withheld)", "subject": "s" }),
            ),
            ("meta", json!({ "sequence": 3 }), json!({ "sequence": 3 })),
        ];
        for (table, stored, expected) in cases {
            let row = Row { table, key: String::new(), value: serde_json::to_vec(&stored).unwrap() };
            assert_eq!(shown(&row).unwrap(), expected, "{table}");
        }
        assert_eq!(shown_leaf("images", "saved.credentials.ciphertext", &json!("AAAA")), json!("(sealed, 3 bytes)"));
        assert_eq!(shown_leaf("quarantine", "payload", &json!("AAAA")), json!("(withheld, 3 bytes)"));
        assert_eq!(shown_leaf("discarded", "payload", &json!("AAAA")), json!("(withheld, 3 bytes)"));
        assert_eq!(shown_leaf("quarantine", "headers", &json!([["a", "b"]])), json!("(withheld)"));
    }
}
