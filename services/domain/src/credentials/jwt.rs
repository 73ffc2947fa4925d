//! When a token stops working, by its own words: the `exp` claim of a JSON Web Token.
//!
//! Source: RFC 7519, section 4.1.4, and RFC 7515, section 3.1. The signature is not checked: whoever issued the token
//! does that. A wrong claim only makes credentials end earlier or later than they would.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Number;
use time::{Duration, OffsetDateTime};
use waybill_schemas::Timestamp;
use zeroize::Zeroizing;

use super::Secret;

/// Longer texts are not looked into. Registries and clouds issue tokens of at most a few kilobytes.
const MAX: usize = 16 * 1024;

#[derive(Deserialize)]
struct Header {
    #[serde(rename = "alg")]
    _alg: String,
}

#[derive(Deserialize)]
struct Claims {
    exp: Option<Number>,
}

/// The expiry of a signed token. None for anything else, and for a token without a positive number as its `exp`.
pub fn expires_at(text: &Secret) -> Option<Timestamp> {
    if text.len() > MAX {
        return None;
    }
    let (header, rest) = text.expose().split_once('.')?;
    let (claims, signature) = rest.split_once('.')?;
    if signature.is_empty() || !signature.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_')) {
        return None;
    }
    decode_object::<Header>(header)?;
    let seconds = decode_object::<Claims>(claims)?.exp?.as_f64().filter(|seconds| *seconds > 0.0)?;
    let since = Duration::checked_seconds_f64(seconds)?;
    OffsetDateTime::UNIX_EPOCH.checked_add(since).map(Timestamp::from)
}

/// The JSON object in a part of a token. (serde would take an array for a struct, too.)
fn decode_object<T: DeserializeOwned>(part: &str) -> Option<T> {
    let json = Zeroizing::new(URL_SAFE_NO_PAD.decode(part).ok()?);
    json.starts_with(b"{").then(|| serde_json::from_slice(&json).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = r#"{"alg":"RS256","typ":"JWT"}"#;

    fn token(header: &str, claims: &str) -> String {
        format!("{}.{}.c2ln", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims))
    }

    fn said(text: &str) -> Option<String> {
        expires_at(&Secret::from(text)).map(|at| at.to_string())
    }

    #[test]
    fn the_claim_is_read_from_tokens_only() {
        let cases = [
            (HEADER, r#"{"exp":1896091200}"#, Some("2030-01-31T12:00:00Z")),
            (HEADER, r#"{"sub":"é","exp":1896091200,"x":{"exp":1}}"#, Some("2030-01-31T12:00:00Z")),
            (HEADER, r#" {"exp":1896091200}"#, None),
            (HEADER, r#"{"exp":1896091200.5}"#, Some("2030-01-31T12:00:00.5Z")),
            (HEADER, r#"{"exp":1.8960912e9}"#, Some("2030-01-31T12:00:00Z")),
            (HEADER, r#"{"exp":1}"#, Some("1970-01-01T00:00:01Z")),
            (HEADER, r#"{"exp":253402300799}"#, Some("9999-12-31T23:59:59Z")),
            (HEADER, r#"{"exp":1896091200000}"#, None),
            (HEADER, r#"{"exp":1e308}"#, None),
            (HEADER, r#"{"exp":18446744073709551615}"#, None),
            (HEADER, r#"{"exp":0}"#, None),
            (HEADER, r#"{"exp":-1}"#, None),
            (HEADER, r#"{"exp":"1896091200"}"#, None),
            (HEADER, r#"{"exp":null}"#, None),
            (HEADER, r#"{"exp":[1896091200]}"#, None),
            (HEADER, r#"{"exp":1896091200,"exp":1}"#, None),
            (HEADER, r#"{"exp":1896091200}x"#, None),
            (HEADER, r#"{"iat":1896091200}"#, None),
            (HEADER, "[1896091200]", None),
            (HEADER, "1896091200", None),
            (HEADER, "", None),
            ("{}", r#"{"exp":1896091200}"#, None),
            (r#"{"alg":1}"#, r#"{"exp":1896091200}"#, None),
            (r#"["RS256"]"#, r#"{"exp":1896091200}"#, None),
        ];
        for (header, claims, expected) in cases {
            assert_eq!(said(&token(header, claims)).as_deref(), expected, "{header} {claims}");
        }
    }

    #[test]
    fn other_texts_have_no_expiry() {
        let good = token(HEADER, r#"{"exp":1896091200}"#);
        let (unsigned, _) = good.rsplit_once('.').unwrap();
        let cases = [
            String::new(),
            "hunter2".to_owned(),
            "a.b.c".to_owned(),
            "..".to_owned(),
            unsigned.to_owned(),
            format!("{unsigned}."),
            format!("{unsigned}.a+b"),
            format!("{unsigned}.a=="),
            format!("{good}.{good}"),
            format!("{good}.x"),
            format!(" {good}"),
            format!("{good}\n"),
            good.replacen('.', "=.", 1),
            good.to_ascii_uppercase(),
            token(HEADER, &format!("{}1896091200{}", "[".repeat(4000), "]".repeat(4000))),
            token(HEADER, &format!(r#"{{"exp":1896091200,"x":"{}"}}"#, "x".repeat(MAX))),
        ];
        for text in cases {
            assert_eq!(said(&text), None, "{text}");
        }
        let long = token(HEADER, &format!(r#"{{"exp":1896091200,"x":"{}"}}"#, "x".repeat(MAX / 2)));
        assert!(said(&long).is_some());
    }
}
