//! Bearer tokens: each belongs to one workspace, and only its hash is kept here.

use std::{fmt, str::FromStr};

use sha2::{Digest as _, Sha256};
use waybill_schemas::WorkspaceId;

/// Whose tokens are accepted.
#[derive(Clone, Default)]
pub struct Tokens {
    entries: Vec<(WorkspaceId, [u8; 32])>,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tokens({} entries)", self.entries.len())
    }
}

/// A line of the token file is not valid; it is not repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("line {line} is not `<workspace> <SHA-256 of a token in hex>`; `waybill init` writes the file")]
pub struct TokenFileError {
    /// Line, counted from 1.
    pub line: usize,
}

/// The SHA-256 of a token, in hex, for the token file. Tokens are random, so that a plain hash will do.
pub fn hash(token: &str) -> String {
    digest(token).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

impl FromStr for Tokens {
    type Err = TokenFileError;

    fn from_str(text: &str) -> Result<Self, TokenFileError> {
        let lines = text.lines().enumerate().map(|(index, line)| (index.saturating_add(1), line.trim()));
        let entries = lines
            .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
            .map(|(line, text)| entry(text).ok_or(TokenFileError { line }));
        Ok(Self { entries: entries.collect::<Result<_, _>>()? })
    }
}

fn entry(line: &str) -> Option<(WorkspaceId, [u8; 32])> {
    let (workspace, hash) = line.split_once(char::is_whitespace)?;
    let hash = hash.trim();
    let mut bytes = [0_u8; 32];
    let digits: Option<Vec<u8>> = hash.chars().map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok())).collect();
    let digits = digits.filter(|digits| digits.len() == 64)?;
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        if let [high, low] = pair {
            *byte = (high << 4) | low;
        }
    }
    Some((workspace.parse().ok()?, bytes))
}

impl Tokens {
    /// The workspace that a token is for. Every entry is compared in full, so that time tells nothing.
    pub fn workspace_of(&self, token: &str) -> Option<&WorkspaceId> {
        let digest = digest(token);
        let mut found = None;
        for (workspace, hash) in &self.entries {
            let difference = hash.iter().zip(digest).fold(0_u8, |sum, (a, b)| sum | (a ^ b));
            if difference == 0 {
                found = Some(workspace);
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_belongs_to_its_workspace() {
        let file = format!("# comment\n\nacme {}\nacme {}\nother {}\n", hash("one"), hash("two"), hash("three"));
        let tokens: Tokens = file.parse().unwrap();
        let of = |token| tokens.workspace_of(token).map(|workspace| workspace.as_str());
        assert_eq!(
            [of("one"), of("two"), of("three"), of("four"), of("")],
            [Some("acme"), Some("acme"), Some("other"), None, None]
        );
        assert!(!format!("{tokens:?}").contains(&hash("one")));
    }

    #[test]
    fn a_bad_line_is_named_by_its_number() {
        for (text, line) in [("acme", 1), ("\nacme zz", 2), ("* 00", 1), (&format!("a.b {}", hash("x")), 1)] {
            assert_eq!(text.parse::<Tokens>().unwrap_err(), TokenFileError { line }, "{text}");
        }
    }
}
