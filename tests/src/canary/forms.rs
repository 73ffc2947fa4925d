//! The forms in which a secret may lie around.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// Each distinct form with its name.
pub(super) fn forms(secret: &str) -> Vec<(&'static str, Vec<u8>)> {
    let bytes = secret.as_bytes();
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut all = vec![
        ("raw", bytes.to_vec()),
        ("percent-encoded", percent_encoded(secret).into_bytes()),
        ("JSON-escaped", json_escaped(secret).into_bytes()),
        ("hexadecimal", hex.to_ascii_uppercase().into_bytes()),
        ("hexadecimal", hex.into_bytes()),
    ];
    for before in 0..3 {
        all.push(("base64", embedded(bytes, before, |padded| STANDARD_NO_PAD.encode(padded))));
        all.push(("base64url", embedded(bytes, before, |padded| URL_SAFE_NO_PAD.encode(padded))));
    }
    let mut distinct: Vec<(&'static str, Vec<u8>)> = Vec::new();
    for (name, form) in all {
        if !form.is_empty() && distinct.iter().all(|(_, seen)| *seen != form) {
            distinct.push((name, form));
        }
    }
    distinct
}

/// The Base64 characters that depend on the secret alone when `before` other bytes (modulo three) come before it.
///
/// Three bytes make four characters. The characters that also hold bits of a neighbour are cut off at both ends.
fn embedded(secret: &[u8], before: usize, encode: impl Fn(&[u8]) -> String) -> Vec<u8> {
    let padded = [vec![0; before], secret.to_vec()].concat();
    let first = (before * 8).div_ceil(6);
    let whole = padded.len() * 8 / 6;
    encode(&padded).as_bytes().get(first..whole).map(<[u8]>::to_vec).unwrap_or_default()
}

/// RFC 3986: everything but unreserved characters as `%XX`.
fn percent_encoded(secret: &str) -> String {
    let encode = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    secret.bytes().map(encode).collect()
}

/// As inside a JSON string, without its quotes.
fn json_escaped(secret: &str) -> String {
    let quoted = serde_json::Value::from(secret).to_string();
    quoted.strip_prefix('"').unwrap_or_default().strip_suffix('"').unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::{STANDARD, URL_SAFE};

    use super::*;

    fn found(secret: &str, text: &str) -> bool {
        forms(secret).iter().any(|(_, form)| text.as_bytes().windows(form.len()).any(|part| part == form))
    }

    #[test]
    fn found_in_base64_whatever_surrounds_it() {
        for secret in ["canary-0123456789", "canary?>~/+0123", "x\u{ff}ÿÿÿ????>>>>"] {
            for before in ["", "u:", "me:", "ada:", "a longer user name:"] {
                for after in ["", "\n", "\"}", "more"] {
                    let text = format!("{before}{secret}{after}");
                    assert!(found(secret, &STANDARD.encode(&text)), "{text:?}");
                    assert!(found(secret, &URL_SAFE.encode(&text)), "{text:?}");
                }
            }
        }
    }

    #[test]
    fn found_in_every_other_form() {
        let secret = "a/b+c \"d\" \\e";
        for text in [
            r#"log line: a/b+c "d" \e"#,
            "?password=a%2Fb%2Bc%20%22d%22%20%5Ce&x=1",
            r#"{"p":"a/b+c \"d\" \\e"}"#,
            "612f622b63202264 22205c65".replace(' ', "").as_str(),
        ] {
            assert!(found(secret, text), "{text}");
        }
        assert!(!found(secret, "a/b+c"));
    }

    #[test]
    fn json_escapes_of_a_leading_quote_stay() {
        assert_eq!(json_escaped("\"q"), "\\\"q");
    }
}
