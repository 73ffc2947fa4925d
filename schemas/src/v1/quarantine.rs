//! What the operator says of a message that could not be read.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

/// A quarantined message is to be read again, by a scheduler that may know it now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct QuarantineRetried {
    /// Stream sequence of the message.
    pub sequence: u64,
}

/// A quarantined message is given up for good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct QuarantineDiscarded {
    /// Stream sequence of the message.
    pub sequence: u64,
    /// Why, in the operator's words.
    #[serde(default, deserialize_with = "printable", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 200))]
    pub reason: Option<String>,
}

/// Longest reason of a discard or a revocation, in characters.
pub const MAX_REASON: usize = 200;

/// Shown to people as it is.
pub(super) fn printable<'de, D: Deserializer<'de>>(input: D) -> Result<Option<String>, D::Error> {
    let text = Option::<String>::deserialize(input)?;
    let fits = |text: &String| text.chars().count() <= MAX_REASON && !text.chars().any(char::is_control);
    if text.as_ref().is_none_or(fits) { Ok(text) } else { Err(D::Error::custom("not a short line of text")) }
}
