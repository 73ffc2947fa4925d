//! What a client may hand over as credentials.

use core::fmt;
use std::collections::BTreeMap;

use serde::de::{self, Deserialize, Deserializer};

use super::node::{Keys, Node};
use super::{CredentialError, DockerConfig, Secret};

/// Credentials as a client gave them: a JSON object of environment-style keys, a Docker configuration, or a string.
#[derive(Clone, PartialEq, Eq)]
pub enum CredentialInput {
    /// Environment-style keys, such as `AWS_ACCESS_KEY_ID` or `USERNAME`, with their values.
    Keys(BTreeMap<String, Secret>),
    /// A Docker configuration file, as an object, or which value of it is malformed.
    Docker(Result<DockerConfig, CredentialError>),
    /// The JSON text `{"registry", "type", "credentials"}` or that of a Docker configuration file, or `user:password`.
    Text(Secret),
}

impl CredentialInput {
    /// True if nothing with a value was given, as by variables that are not set.
    pub fn is_blank(&self) -> bool {
        match self {
            Self::Keys(keys) => keys.values().all(Secret::is_empty),
            Self::Docker(_) => false,
            Self::Text(text) => text.expose().trim().is_empty(),
        }
    }

    /// The keys and values given, as a map.
    pub fn from_keys<K: Into<String>, V: Into<Secret>>(keys: impl IntoIterator<Item = (K, V)>) -> Self {
        Self::Keys(keys.into_iter().map(|(key, value)| (key.into(), value.into())).collect())
    }

    /// How many keys were given; a string counts as one, an empty string as none.
    pub fn count(&self) -> usize {
        match self {
            Self::Keys(keys) => keys.len(),
            Self::Docker(config) => config.as_ref().map_or(0, DockerConfig::count),
            Self::Text(text) => usize::from(!text.is_empty()),
        }
    }
}

/// Neither values nor keys are shown: a client may have swapped them.
impl fmt::Debug for CredentialInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keys(keys) => write!(f, "Keys({} redacted)", keys.len()),
            Self::Docker(_) => f.write_str("Docker(redacted)"),
            Self::Text(_) => f.write_str("Text(redacted)"),
        }
    }
}

impl<'de> Deserialize<'de> for CredentialInput {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Node::deserialize(deserializer)? {
            Node::Text(text) => Ok(Self::Text(text)),
            Node::Object(members) if DockerConfig::is_one(&members) => {
                Ok(Self::Docker(DockerConfig::from_members(members)))
            }
            Node::Object(members) => Keys::from_members(members).map(|Keys(keys)| Self::Keys(keys)),
            Node::Null | Node::Other => Err(de::Error::custom("credentials must be a string or an object of strings")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_and_strings_are_read() {
        let keys: CredentialInput = serde_json::from_str(r#"{"USERNAME":"u","PASSWORD":"p\"q","TOKEN":null}"#).unwrap();
        assert_eq!(keys, CredentialInput::from_keys([("USERNAME", "u"), ("PASSWORD", "p\"q"), ("TOKEN", "")]));
        let text: CredentialInput = serde_json::from_str(r#""u:p\nq""#).unwrap();
        assert_eq!(text, CredentialInput::Text("u:p\nq".into()));
        assert_eq!((keys.count(), text.count()), (3, 1));
    }

    #[test]
    fn other_json_is_refused_without_quoting_it() {
        let cases = [
            "314159",
            "-314159",
            "3.14159",
            "true",
            "[\"314159\"]",
            r#"{"PASSWORD":314159}"#,
            r#"{"PASSWORD":{"314159":"314159"}}"#,
            r#"{"314159":"a","314159":"b"}"#,
        ];
        for json in cases {
            let said = serde_json::from_str::<CredentialInput>(json).unwrap_err().to_string();
            assert!(!said.contains("14159"), "{json}: {said}");
        }
    }
}
