//! Words of a registry or a cloud, made fit for an event: short, on one line, without secrets.

use waybill_domain::credentials::Secret;

const MAX_CHARACTERS: usize = 300;

/// Replaces what could be a secret, control characters and everything past 300 characters.
pub fn clean<'s>(text: &str, secrets: impl IntoIterator<Item = &'s Secret>) -> String {
    let mut text = text.to_owned();
    for secret in secrets {
        if !secret.expose().is_empty() {
            text = text.replace(secret.expose(), "[redacted]");
        }
    }
    let words = text.split_whitespace().map(without_address_parts);
    let line = words.collect::<Vec<_>>().join(" ");
    line.chars().filter(|c| !c.is_control()).take(MAX_CHARACTERS).collect()
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
    use super::*;

    #[test]
    fn secrets_and_noise_go() {
        let secret = Secret::from("s3cr3t");
        let long = "x".repeat(400);
        let cases = [
            ("denied for s3cr3t", "denied for [redacted]".to_owned()),
            ("two\nlines\u{1b}[31m", "two lines[31m".to_owned()),
            ("see https://u:p@h.example/p?X-Amz-Signature=abc now", "see https://h.example/p now".to_owned()),
            (&long, "x".repeat(300)),
        ];
        for (text, expected) in cases {
            assert_eq!(clean(text, [&secret]), expected);
        }
    }
}
