//! Public sealing keys on the wire: NATS curve keys (xkeys) in their text form.

use std::{borrow::Cow, fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// The pattern every public sealing key matches, as a JSON Schema regular expression.
pub const SEALING_KEY_PATTERN: &str = "^X[A-Z2-7]{55}$";

const LENGTH: usize = 56;

/// A public xkey, `X` and 55 characters of base32. Its checksum is verified where it is used.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublicSealingKey(String);

/// The text is not a public sealing key; it is not repeated, since it could be a private one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a public sealing key: X and 55 characters of A-Z 2-7, as `waybill init` makes them")]
pub struct SealingKeyError;

impl PublicSealingKey {
    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for PublicSealingKey {
    type Error = SealingKeyError;

    fn try_from(text: String) -> Result<Self, SealingKeyError> {
        let base32 = |b: u8| b.is_ascii_uppercase() || (b'2'..=b'7').contains(&b);
        let valid = text.len() == LENGTH && text.starts_with('X') && text.bytes().all(base32);
        if valid { Ok(Self(text)) } else { Err(SealingKeyError) }
    }
}

impl FromStr for PublicSealingKey {
    type Err = SealingKeyError;

    fn from_str(text: &str) -> Result<Self, SealingKeyError> {
        Self::try_from(text.to_owned())
    }
}

impl From<PublicSealingKey> for String {
    fn from(key: PublicSealingKey) -> String {
        key.0
    }
}

impl fmt::Display for PublicSealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl JsonSchema for PublicSealingKey {
    fn schema_name() -> Cow<'static, str> {
        "PublicSealingKey".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": SEALING_KEY_PATTERN })
    }
}
