//! Numbers as servers write them: as numbers, or as text.

use serde_json::Value;

/// Whole seconds in a JSON value: `3600`, `3599.0`, `"3600"` or `" 3599.7 "`. None for anything else, and for less than
/// nothing.
pub(crate) fn seconds(value: &Value) -> Option<u64> {
    let number = match value {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => text.trim().parse::<f64>().ok()?,
        _ => return None,
    };
    let duration = std::time::Duration::try_from_secs_f64(number).ok()?;
    Some(duration.as_secs())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn seconds_in_every_spelling() {
        let cases = [
            (json!(3600), Some(3600)),
            (json!(3599.0), Some(3599)),
            (json!(3599.7), Some(3599)),
            (json!("3600"), Some(3600)),
            (json!(" 3599.7 "), Some(3599)),
            (json!("3.6e3"), Some(3600)),
            (json!(0), Some(0)),
            (json!(-1), None),
            (json!("-1"), None),
            (json!("soon"), None),
            (json!(""), None),
            (json!(null), None),
            (json!([3600]), None),
            (json!("inf"), None),
            (json!("NaN"), None),
            (json!(1e300), None),
        ];
        for (value, expected) in cases {
            assert_eq!(seconds(&value), expected, "{value}");
        }
    }
}
