//! Bearer tokens: each belongs to one workspace, and only its hash is kept here.

use std::{fmt, str::FromStr};

use sha2::{Digest as _, Sha256};
use waybill_schemas::WorkspaceId;

/// Whose tokens are accepted.
#[derive(Clone, Default)]
pub struct Tokens {
    entries: Vec<(Holder, [u8; 32])>,
}

/// Who holds a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    workspace: WorkspaceId,
    name: Option<String>,
}

impl Holder {
    /// The workspace that the token is for.
    pub fn workspace(&self) -> &WorkspaceId {
        &self.workspace
    }

    /// The holder as events name it: `token/<workspace>`, with `/<name>` where the token has one.
    pub fn actor(&self) -> String {
        match &self.name {
            Some(name) => format!("token/{}/{name}", self.workspace),
            None => format!("token/{}", self.workspace),
        }
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tokens({} entries)", self.entries.len())
    }
}

/// Why a token file cannot be used; nothing of it is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenFileError {
    /// A line has another form.
    #[error("line {line} is not `<workspace> <SHA-256 of a token in hex> [name]`; `waybill init` writes the file")]
    Line {
        /// Line, counted from 1.
        line: usize,
    },
    /// A token would open two workspaces.
    #[error("line {line} gives a workspace the token of another one; give each workspace tokens of its own")]
    Shared {
        /// Line, counted from 1.
        line: usize,
    },
    /// Nobody could ask for anything.
    #[error("the file holds no token; `waybill init` writes one for each workspace")]
    Empty,
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
        let mut tokens = Self::default();
        for (line, text) in lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
            let (holder, hash) = entry(text).ok_or(TokenFileError::Line { line })?;
            if tokens.entries.iter().any(|(other, known)| *known == hash && other.workspace != holder.workspace) {
                return Err(TokenFileError::Shared { line });
            }
            tokens.entries.push((holder, hash));
        }
        if tokens.entries.is_empty() { Err(TokenFileError::Empty) } else { Ok(tokens) }
    }
}

/// Longest name of a token.
const MAX_NAME: usize = 64;

fn entry(line: &str) -> Option<(Holder, [u8; 32])> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let (workspace, hash, name) = match *words {
        [workspace, hash] => (workspace, hash, None),
        [workspace, hash, name] => (workspace, hash, Some(name)),
        _ => return None,
    };
    let fits = |name: &str| {
        name.len() <= MAX_NAME && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    };
    if !name.is_none_or(fits) {
        return None;
    }
    let mut bytes = [0_u8; 32];
    let digits: Option<Vec<u8>> = hash.chars().map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok())).collect();
    let digits = digits.filter(|digits| digits.len() == 64)?;
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        if let [high, low] = pair {
            *byte = (high << 4) | low;
        }
    }
    Some((Holder { workspace: workspace.parse().ok()?, name: name.map(str::to_owned) }, bytes))
}

impl Tokens {
    /// Who holds a token. Every entry is compared in full, so that time tells nothing.
    pub fn holder(&self, token: &str) -> Option<&Holder> {
        let digest = digest(token);
        let mut found = None;
        for (holder, hash) in &self.entries {
            let difference = hash.iter().zip(digest).fold(0_u8, |sum, (a, b)| sum | (a ^ b));
            if difference == 0 {
                found = Some(holder);
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
        let file =
            format!("# comment\n\nacme {}\nacme {}  ci.main\nother {}\n", hash("one"), hash("two"), hash("three"));
        let tokens: Tokens = file.parse().unwrap();
        let actor = |token| tokens.holder(token).map(Holder::actor);
        let expected = [Some("token/acme"), Some("token/acme/ci.main"), Some("token/other"), None, None];
        assert_eq!(["one", "two", "three", "four", ""].map(actor), expected.map(|actor| actor.map(str::to_owned)));
        assert!(!format!("{tokens:?}").contains(&hash("one")));
    }

    #[test]
    fn a_bad_file_is_told_by_its_line() {
        use TokenFileError::{Empty, Line, Shared};
        let (one, two) = (hash("one"), hash("two"));
        let cases = [
            ("no hash", "acme".to_owned(), Line { line: 1 }),
            ("not hex", format!("\nacme zz{}", &one[2..]), Line { line: 2 }),
            ("too short", format!("acme {}", &one[2..]), Line { line: 1 }),
            ("too long", format!("acme {one}00"), Line { line: 1 }),
            ("every workspace", format!("* {one}"), Line { line: 1 }),
            ("no id", format!("a.b {one}"), Line { line: 1 }),
            ("more than three words", format!("acme {one} x y"), Line { line: 1 }),
            ("a name that is none", format!("acme {one} a/b"), Line { line: 1 }),
            ("one token for two", format!("acme {one}\nother {two}\nother {one}"), Shared { line: 3 }),
            ("nothing", "# comment\n\n".to_owned(), Empty),
        ];
        for (name, text, expected) in cases {
            let error = text.parse::<Tokens>().unwrap_err();
            assert_eq!(error, expected, "{name}");
            assert!(!error.to_string().contains(&one[..16]), "{name}");
        }
        assert!(format!("acme {one}\nacme {one}").parse::<Tokens>().is_ok(), "said twice is no harm");
    }

    #[test]
    fn the_hash_is_plain_sha_256() {
        assert_eq!(hash("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
