//! Words of a registry or a cloud, made fit for an event: short, on one line, and from places that hold no secret.
//!
//! A server may repeat what it was sent. So its free text is told only where no secret was sent; elsewhere its codes are,
//! and those phrases of it that are known beforehand. Nothing is searched for the secret: what a search leaves out tells
//! what the secret is.

/// Most characters that are kept.
pub(crate) const MAX_CHARACTERS: usize = 300;
/// Longest code of an error.
const LONGEST_CODE: usize = 64;

/// What servers are known to say that helps whoever reads it. They are told in these letters, wherever they came from.
const PHRASES: [&str; 14] = [
    "authorization token has expired",
    "Invalid client secret provided.",
    "client secret keys for app are expired",
    "was not found in the directory",
    "Invalid grant: account not found",
    "Invalid JWT Signature.",
    "Token has been expired or revoked.",
    "The given credential is rejected by the attribute condition.",
    "Permission 'iam.serviceAccounts.getAccessToken' denied",
    "The security token included in the request is invalid",
    "pull rate limit",
    "vulnerabilities",
    "quarantined",
    "account is suspended",
];

/// A server's free text, where it was sent no secret: addresses without user and query, one line, at most 300 characters.
pub(crate) fn clean_text(text: &str) -> String {
    let visible: String = text.chars().filter(|c| !c.is_control() || c.is_whitespace()).collect();
    let words: Vec<String> = visible.split_whitespace().map(without_address_parts).collect();
    words.join(" ").chars().take(MAX_CHARACTERS).collect()
}

/// The code of an error, if that is what the text is: letters, digits, `_`, `-` and `.`.
pub(crate) fn read_code(text: &str) -> Option<&str> {
    let text = text.trim();
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    (!text.is_empty() && text.len() <= LONGEST_CODE && text.bytes().all(legal)).then_some(text)
}

/// Those phrases in a server's free text that are known beforehand.
pub(crate) fn known_phrases(text: &str) -> Vec<&'static str> {
    let text = text.to_ascii_lowercase();
    PHRASES.into_iter().filter(|phrase| text.contains(&phrase.to_ascii_lowercase())).collect()
}

/// An error's code and what may be told of its text.
pub(crate) fn tell_error(code: &str, text: &str, was_sent_secret: bool) -> String {
    let text = if was_sent_secret { known_phrases(text).join(", ") } else { clean_text(text) };
    match (code, text.as_str()) {
        ("", _) => text,
        (_, "") => code.to_owned(),
        _ => format!("{code}: {text}").chars().take(MAX_CHARACTERS).collect(),
    }
}

/// Likewise for an answer of AWS, which says who may not do what.
pub(crate) fn tell_aws_error(code: &str, text: &str, was_sent_secret: bool) -> String {
    match read_unauthorized(text).filter(|_| was_sent_secret) {
        Some(words) => tell_error(code, &words, false),
        None => tell_error(code, text, was_sent_secret),
    }
}

/// `User: <ARN> is not authorized to perform: <action>`, each part in the form that it has.
fn read_unauthorized(text: &str) -> Option<String> {
    let (_, rest) = text.split_once("User: ")?;
    let (user, rest) = rest.split_once(" is not authorized to perform: ")?;
    let action = rest.split_whitespace().next().unwrap_or_default();
    let legal = |b: u8| b.is_ascii_alphanumeric() || b"_+=,.@-:/".contains(&b);
    let is_arn = user.starts_with("arn:") && user.len() <= 256 && user.bytes().all(legal);
    let is_action = action.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b':')) && action.len() <= 64;
    (is_arn && is_action).then(|| format!("User: {user} is not authorized to perform: {action}"))
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
    fn free_text_becomes_a_short_line() {
        let cases = [
            ("two\nlines\u{1b}[31m", "two lines[31m".to_owned()),
            ("see https://u:p@h.example/p?X-Amz-Signature=abc now", "see https://h.example/p now".to_owned()),
            ("https://h.example?a=b", "https://h.example".to_owned()),
            (&"x".repeat(400), "x".repeat(300)),
        ];
        for (text, expected) in cases {
            assert_eq!(clean_text(text), expected);
        }
    }

    /// A short secret, of which a search would leave gaps, leaves none.
    #[test]
    fn what_may_repeat_a_secret_is_not_told() {
        let text = "Invalid client secret provided. s at https://s:s@s/?s=s";
        assert_eq!(tell_error("invalid_client", text, true), "invalid_client: Invalid client secret provided.");
        assert_eq!(tell_error("DENIED", "the password s3cr3t is wrong", true), "DENIED");
        assert_eq!(tell_error("", "the password s3cr3t is wrong", true), "");
        assert_eq!(tell_error("DENIED", "not yours", false), "DENIED: not yours");
    }

    #[test]
    fn codes_are_codes() {
        for text in ["DENIED", "invalid_client", "AADSTS7000215", " TOO-MANY ", "Tag.Expired"] {
            assert!(read_code(text).is_some(), "{text}");
        }
        for text in ["", " ", "two words", "a\nb", "<html>", "ü", &"X".repeat(65)] {
            assert!(read_code(text).is_none(), "{text}");
        }
    }
}
