//! The keys Waybill knows, found among those a client gave, and their values fit to be sent.

use std::collections::BTreeMap;

use waybill_schemas::v1::CredType;

use super::{CredentialError, Secret, families::known_keys};

/// The values of one kind of credentials, under the names they are carried by.
pub(super) type Values = BTreeMap<&'static str, Secret>;

/// The values that there are.
pub(super) fn collect_values<const N: usize>(pairs: [(&'static str, Option<Secret>); N]) -> Values {
    pairs.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()
}

/// A client's keys: the known ones under their one name, whatever the case in which they came, without those that have no
/// value.
#[derive(Default)]
pub(super) struct Keys {
    known: BTreeMap<&'static str, Secret>,
    has_unknown: bool,
    /// Known keys that an unknown one is almost.
    misspelt: Vec<&'static str>,
    /// Known keys that came without a value.
    empty: Vec<&'static str>,
    /// Known keys whose values lost something at an end.
    trimmed: Vec<&'static str>,
}

impl Keys {
    /// Sorts what was given. Where two spellings of a key have a value, the exact one wins, then the first in byte order.
    pub(super) fn sort_given(given: &BTreeMap<String, Secret>) -> Result<Self, CredentialError> {
        let mut keys = Keys::default();
        let exact = |key: &str| known_keys().any(|known| known == key);
        for (key, value) in
            given.iter().filter(|(key, _)| exact(key)).chain(given.iter().filter(|(key, _)| !exact(key)))
        {
            keys.add_key(key, value)?;
        }
        Ok(keys)
    }

    fn add_key(&mut self, key: &str, value: &Secret) -> Result<(), CredentialError> {
        let Some(known) = known_keys().find(|known| known.eq_ignore_ascii_case(key)) else {
            self.has_unknown |= !value.is_empty();
            self.misspelt.extend(known_keys().filter(|known| is_almost(known, key)));
            return Ok(());
        };
        let kept = without_ends(known, value.expose());
        match kept {
            "" => self.empty.push(known),
            _ if self.known.contains_key(known) => {}
            kept => {
                check_characters(known, kept)?;
                if kept.len() < value.len() {
                    self.trimmed.push(known);
                }
                self.known.insert(known, Secret::from(kept));
            }
        }
        Ok(())
    }

    /// The value of the first of these keys that has one.
    pub(super) fn first_value(&self, keys: &[&str]) -> Option<&Secret> {
        keys.iter().find_map(|key| self.known.get(*key))
    }

    /// True if any of these keys has a value.
    pub(super) fn has_any(&self, keys: &[&str]) -> bool {
        self.first_value(keys).is_some()
    }

    /// The value of the first of `keys` that has one; `missing` is the name to ask for.
    pub(super) fn need_value(
        &self,
        cred_type: CredType,
        missing: &'static str,
        keys: &[&str],
    ) -> Result<Secret, CredentialError> {
        let misspelt = self.misspelt.contains(&missing);
        self.first_value(keys).cloned().ok_or(CredentialError::Incomplete { cred_type, missing, misspelt })
    }

    /// Likewise a user name, which cannot contain a colon (RFC 7617, section 2).
    pub(super) fn need_user(
        &self,
        cred_type: CredType,
        missing: &'static str,
        keys: &[&str],
    ) -> Result<String, CredentialError> {
        let username = self.need_value(cred_type, missing, keys)?;
        match username.expose().contains(':') {
            true => Err(CredentialError::InvalidValue { key: missing, expected: "a user name without a colon" }),
            false => Ok(username.expose().to_owned()),
        }
    }

    /// True if nothing with a value was given.
    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty() && !self.has_unknown
    }

    /// Known keys that came without a value, for people.
    pub(super) fn empty_keys(&self) -> String {
        self.empty.join(", ")
    }

    /// Known keys whose values lost something at an end.
    pub(super) fn trimmed(&self) -> &[&'static str] {
        &self.trimmed
    }
}

/// True if few letters are wrong, dropped, added or swapped; in a short name fewer are.
fn is_almost(known: &str, key: &str) -> bool {
    let most = if known.len() < 6 { 1 } else { 2 };
    // A key may be as long as a request: only one of about the same length is compared.
    known.len().abs_diff(key.len()) <= most && strsim::damerau_levenshtein(known, &key.to_ascii_uppercase()) <= most
}

/// What files and editors put before a text.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// The value without what shells, files and editors put at its ends: line breaks and other control characters, and byte
/// order marks. Blanks go as well, but from user names and passwords, which may begin or end with one.
fn without_ends<'v>(key: &str, value: &'v str) -> &'v str {
    let has_blanks = ["USERNAME", "_USER", "PASSWORD"].iter().any(|end| key.ends_with(end));
    value.trim_matches(|c: char| is_noise(c) || (!has_blanks && c.is_whitespace()))
}

/// Control characters may stand in no user name and no password (RFC 7617, section 2) and in no header (RFC 9110, section
/// 5.5). JSON text, such as a key file in a password's place, may have lines.
fn check_characters(key: &'static str, value: &str) -> Result<(), CredentialError> {
    let is_json = value.starts_with('{') && value.ends_with('}');
    let allowed = |c: char| is_json && matches!(c, '\n' | '\r' | '\t');
    match value.chars().any(|c| is_noise(c) && !allowed(c)) {
        true => Err(CredentialError::InvalidValue {
            key,
            expected: "text without line breaks and other control characters in it",
        }),
        false => Ok(()),
    }
}

fn is_noise(c: char) -> bool {
    c.is_control() || c == BYTE_ORDER_MARK
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_made_fit_to_be_sent() {
        let cases = [
            ("PASSWORD", "hunter2", Ok("hunter2"), false),
            ("PASSWORD", "hunter2\n", Ok("hunter2"), true),
            ("PASSWORD", "hunter2\r\n", Ok("hunter2"), true),
            ("PASSWORD", "\u{feff}hunter2", Ok("hunter2"), true),
            ("PASSWORD", "hunter2\0\0", Ok("hunter2"), true),
            ("PASSWORD", " hunter2 ", Ok(" hunter2 "), false),
            ("PASSWORD", " hunter2 \n", Ok(" hunter2 "), true),
            ("PASSWORD", "hunter2\u{85}", Ok("hunter2"), true),
            ("PASSWORD", "hun\nter2", Err("PASSWORD"), false),
            ("PASSWORD", "hun\u{feff}ter2", Err("PASSWORD"), false),
            ("PASSWORD", "hun\u{7f}ter2", Err("PASSWORD"), false),
            ("PASSWORD", "{\n\t\"a\": 1\r\n}", Ok("{\n\t\"a\": 1\r\n}"), false),
            ("PASSWORD", "{\0}", Err("PASSWORD"), false),
            ("USERNAME", "u\t", Ok("u"), true),
            ("CI_DEPLOY_USER", " u", Ok(" u"), false),
            ("TOKEN", " hunter2\n", Ok("hunter2"), true),
            ("TOKEN", "hun\rter2", Err("TOKEN"), false),
            ("AWS_SESSION_TOKEN", "a b", Ok("a b"), false),
        ];
        for (key, value, expected, trimmed) in cases {
            let given = BTreeMap::from([(key.to_owned(), Secret::from(value))]);
            match (Keys::sort_given(&given), expected) {
                (Ok(keys), Ok(expected)) => {
                    assert_eq!(keys.first_value(&[key]).map(Secret::expose), Some(expected), "{value:?}");
                    assert_eq!(
                        keys.trimmed(),
                        [key].iter().filter(|_| trimmed).copied().collect::<Vec<_>>(),
                        "{value:?}"
                    );
                }
                (Err(CredentialError::InvalidValue { key, .. }), Err(expected)) => assert_eq!(key, expected),
                (found, _) => panic!("{value:?}: {:?}", found.err()),
            }
        }
        for value in ["", "\n", "\u{feff}", "\0"] {
            let keys = Keys::sort_given(&BTreeMap::from([("PASSWORD".to_owned(), Secret::from(value))])).unwrap();
            assert_eq!((keys.is_empty(), keys.empty_keys().as_str()), (true, "PASSWORD"), "{value:?}");
        }
    }
}
