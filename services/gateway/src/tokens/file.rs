//! The file of tokens that `waybill init` writes: those that are there before there is a log.

use std::str::FromStr;

use sha2::{Digest as _, Sha256};

use super::{Holder, Tokens};

/// Why a token file cannot be used; nothing of it is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenFileError {
    /// A line has another form.
    #[error(
        "line {line} is not `<workspace> <SHA-256 of a token in hex> [name]`, with * for an operator; `waybill init` writes the file"
    )]
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

pub(super) fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

impl FromStr for Tokens {
    type Err = TokenFileError;

    fn from_str(text: &str) -> Result<Self, TokenFileError> {
        let lines = text.lines().enumerate().map(|(index, line)| (index.saturating_add(1), line.trim()));
        let mut tokens = Self::default();
        for (line, text) in lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
            let (holder, hash) = entry(text).ok_or(TokenFileError::Line { line })?;
            if tokens.entries.iter().any(|(other, known)| *known == hash && other.workspaces != holder.workspaces) {
                return Err(TokenFileError::Shared { line });
            }
            tokens.entries.push((holder, hash));
        }
        if tokens.entries.is_empty() { Err(TokenFileError::Empty) } else { Ok(tokens) }
    }
}

/// In the place of a workspace: the token is an operator's.
const EVERY_WORKSPACE: &str = "*";

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
    let bytes = from_hex(hash)?;
    let workspace = match workspace {
        EVERY_WORKSPACE => None,
        workspace => Some(workspace.parse().ok()?),
    };
    Some((Holder::of_file(workspace, name), bytes))
}

pub(super) fn from_hex(hash: &str) -> Option<[u8; 32]> {
    let mut bytes = [0_u8; 32];
    let digits: Option<Vec<u8>> = hash.chars().map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok())).collect();
    let digits = digits.filter(|digits| digits.len() == 64)?;
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        if let [high, low] = pair {
            *byte = (high << 4) | low;
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_belongs_to_its_workspace() {
        let [one, two, three, all] = ["one", "two", "three", "all"].map(hash);
        let file = format!("# comment\n\nacme {one}\nacme {two}  ci.main\nother {three}\n* {all} anna\n");
        let tokens: Tokens = file.parse().unwrap();
        let (acme, other) = ("acme".parse().unwrap(), "other".parse().unwrap());
        let cases = [
            ("one", Some("token/acme"), [true, false]),
            ("two", Some("token/acme/ci.main"), [true, false]),
            ("three", Some("token/other"), [false, true]),
            ("all", Some("operator/anna"), [true, true]),
            ("four", None, [false, false]),
            ("", None, [false, false]),
        ];
        for (token, actor, opens) in cases {
            let holder = tokens.holder(token);
            assert_eq!(holder.as_ref().map(Holder::actor).as_deref(), actor, "{token}");
            let opened = |own| holder.as_ref().is_some_and(|holder: &Holder| holder.opens(own));
            assert_eq!([&acme, &other].map(opened), opens, "{token}");
            assert_eq!(tokens.holder_by_hash(&hash(token)), holder, "{token}");
        }
        assert_eq!(tokens.holder_by_hash("no hash"), None);
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
