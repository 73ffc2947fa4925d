//! The repository, tag and digest rules of the distribution reference grammar.
//!
//! Source: <https://github.com/distribution/reference>, `reference.go` and `regexp.go`. Digests are
//! held to the algorithms the OCI image specification registers and everybody implements.

use super::ReferenceError;

const REPOSITORY_MAX: usize = 255;
const TAG_MAX: usize = 128;

/// Checks `component ['/' component]*` and its length.
pub(super) fn check_repository(repository: &str) -> Result<(), ReferenceError> {
    if repository.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err(ReferenceError::UppercaseRepository);
    }
    if repository.len() > REPOSITORY_MAX {
        return Err(ReferenceError::RepositoryTooLong { length: repository.len() });
    }
    match repository.split('/').all(is_component) {
        true => Ok(()),
        false => Err(ReferenceError::InvalidRepository),
    }
}

/// `alphanumeric (separator alphanumeric)*`.
fn is_component(component: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bounded =
        component.bytes().next().is_some_and(alphanumeric) && component.bytes().next_back().is_some_and(alphanumeric);
    bounded && component.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit()).all(is_separator)
}

/// Nothing (between two letters), one period, one or two underscores, or any number of dashes.
fn is_separator(text: &str) -> bool {
    matches!(text, "." | "_" | "__") || text.bytes().all(|b| b == b'-')
}

/// Checks `[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}`.
pub(super) fn check_tag(tag: &str) -> Result<(), ReferenceError> {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let legal = tag.len() <= TAG_MAX
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|b| word(b) || matches!(b, b'.' | b'-'));
    match legal {
        true => Ok(()),
        false => Err(ReferenceError::InvalidTag),
    }
}

/// Checks `algorithm:hex` for an algorithm whose length is known.
pub(super) fn check_digest(digest: &str) -> Result<(), ReferenceError> {
    let (algorithm, hex) = digest.split_once(':').ok_or(ReferenceError::InvalidDigest)?;
    let length = match algorithm {
        "sha256" => 64,
        "sha512" => 128,
        _ => return Err(ReferenceError::UnsupportedDigestAlgorithm),
    };
    match hex.len() == length && is_hex(hex) {
        true => Ok(()),
        false => Err(ReferenceError::InvalidDigest),
    }
}

/// Whether the text is an image id: 64 lower-case hexadecimal digits and nothing else.
pub(super) fn is_image_id(text: &str) -> bool {
    text.len() == 64 && is_hex(text)
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'a'..=b'f'))
}
