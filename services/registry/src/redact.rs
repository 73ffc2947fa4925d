//! Words of a registry or a cloud, made fit for an event: short, on one line, and without a secret in any form.
//!
//! A server may repeat what it was sent, and how it was sent: a password comes back as it is, or inside the Base64 of an
//! `Authorization` header, or percent-encoded in an address.

use std::fmt;

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
use waybill_domain::credentials::Secret;
use zeroize::Zeroizing;

use crate::provider::RegistryLogin;

/// Most characters that are kept.
pub(crate) const MAX_CHARACTERS: usize = 300;
/// Encoded forms shorter than this occur in any text by chance.
const SHORTEST_FORM: usize = 4;
const REDACTED: &str = "[redacted]";

/// Knows the secrets of one login, and takes them out of texts.
#[derive(Clone, Default)]
pub(crate) struct Redactor {
    forms: Vec<Zeroizing<String>>,
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redactor").finish_non_exhaustive()
    }
}

impl Redactor {
    /// For these secrets.
    pub(crate) fn new<'s>(secrets: impl IntoIterator<Item = &'s Secret>) -> Self {
        let mut redactor = Self::default();
        secrets.into_iter().for_each(|secret| redactor.add(secret));
        redactor
    }

    /// For what a login sends.
    pub(crate) fn of(login: &RegistryLogin) -> Self {
        match login {
            RegistryLogin::Anonymous => Self::default(),
            RegistryLogin::Basic(login) => Self::new([&login.password]),
            RegistryLogin::Bearer(token) => Self::new([token]),
        }
    }

    /// For one more secret.
    pub(crate) fn add(&mut self, secret: &Secret) {
        let raw = secret.expose();
        if raw.is_empty() {
            return;
        }
        let encoded = encodings(raw).into_iter().filter(|form| form.len() >= SHORTEST_FORM);
        self.forms.extend(std::iter::once(raw.to_owned()).chain(encoded).map(Zeroizing::new));
        // A form may be part of another one: the longest goes first.
        self.forms.sort_by_key(|form| std::cmp::Reverse(form.len()));
        self.forms.dedup();
    }

    /// Takes out secrets, users and queries of addresses, control characters, and everything past 300 characters.
    pub(crate) fn clean(&self, text: &str) -> String {
        let text = self.without_secrets(text.to_owned());
        let visible: String = text.chars().filter(|c| !c.is_control() || c.is_whitespace()).collect();
        let words: Vec<String> = visible.split_whitespace().map(without_address_parts).collect();
        // Once more: what was just taken away may have stood inside a secret.
        let line = self.without_secrets(words.join(" "));
        line.chars().take(MAX_CHARACTERS).collect()
    }

    fn without_secrets(&self, text: String) -> String {
        self.forms.iter().fold(text, |text, form| text.replace(form.as_str(), REDACTED))
    }
}

fn encodings(raw: &str) -> Vec<String> {
    let hex: String = raw.bytes().map(|byte| format!("{byte:02x}")).collect();
    let mut forms = vec![percent_encoded(raw), json_escaped(raw), hex.to_ascii_uppercase(), hex];
    for before in 0..3 {
        forms.push(embedded(raw, before, |bytes| STANDARD_NO_PAD.encode(bytes)));
        forms.push(embedded(raw, before, |bytes| URL_SAFE_NO_PAD.encode(bytes)));
    }
    forms
}

/// The Base64 characters that depend on the secret alone when `before` other bytes (modulo three) come before it: those
/// that also hold bits of a neighbour are cut off at both ends.
fn embedded(raw: &str, before: usize, encode: impl Fn(&[u8]) -> String) -> String {
    let padding = std::iter::repeat_n(0, before);
    let padded = Zeroizing::new(padding.chain(raw.bytes()).collect::<Vec<u8>>());
    let (first, whole) = ((before * 8).div_ceil(6), padded.len() * 8 / 6);
    encode(&padded).get(first..whole).unwrap_or_default().to_owned()
}

/// RFC 3986: everything but unreserved characters as `%XX`.
fn percent_encoded(raw: &str) -> String {
    let encode = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    raw.bytes().map(encode).collect()
}

/// As inside a JSON string, without its quotes.
fn json_escaped(raw: &str) -> String {
    let quoted = serde_json::Value::from(raw).to_string();
    let inner = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    inner.unwrap_or_default().to_owned()
}

/// Addresses lose their user and query: both can hold tokens.
fn without_address_parts(word: &str) -> String {
    let Some((scheme, rest)) = word.split_once("://") else { return word.to_owned() };
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let (host, path) = rest.split_once('/').map_or((rest, None), |(host, path)| (host, Some(path)));
    let host = host.rsplit('@').next().unwrap_or_default();
    match path {
        Some(path) => format!("{scheme}://{host}/{path}"),
        None => format!("{scheme}://{host}"),
    }
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::{STANDARD, URL_SAFE};

    use super::*;

    #[test]
    fn secrets_and_noise_go() {
        let redactor = Redactor::new([&Secret::from("s3cr3t-pw")]);
        let cases = [
            ("denied for s3cr3t-pw", "denied for [redacted]".to_owned()),
            ("split s3cr\u{1}3t-pw", "split [redacted]".to_owned()),
            ("two\nlines\u{1b}[31m", "two lines[31m".to_owned()),
            ("see https://u:p@h.example/p?X-Amz-Signature=abc now", "see https://h.example/p now".to_owned()),
            ("https://h.example?a=b", "https://h.example".to_owned()),
            (&"x".repeat(400), "x".repeat(300)),
        ];
        for (text, expected) in cases {
            assert_eq!(redactor.clean(text), expected);
        }
    }

    #[test]
    fn encoded_secrets_go_whatever_surrounds_them() {
        for raw in ["canary-0123456789", "canary?>~/+0123", "pässwörd \"q\" \\"] {
            let redactor = Redactor::new([&Secret::from(raw)]);
            for user in ["", "u:", "me:", "ada:", "a longer user name:"] {
                let pair = format!("{user}{raw}");
                for text in [STANDARD.encode(&pair), URL_SAFE.encode(&pair), percent_encoded(raw), json_escaped(raw)] {
                    let cleaned = redactor.clean(&format!("sent: {text} thus"));
                    assert!(cleaned.contains(REDACTED), "{text} in {cleaned}");
                }
            }
        }
    }

    #[test]
    fn nothing_shows_what_it_knows() {
        let redactor = Redactor::new([&Secret::from("s3cr3t-pw")]);
        assert!(!format!("{redactor:?}").contains("s3cr3t"));
        assert_eq!(Redactor::new([&Secret::from("")]).clean("as it is"), "as it is");
    }
}
