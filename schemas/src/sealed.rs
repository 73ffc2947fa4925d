//! A sealed box on the wire: who sealed it, for whom, and the ciphertext.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::PublicSealingKey;

/// Credentials sealed with NATS xkeys (curve25519, `xkv1`), readable by the recipient only.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sealed {
    /// Public xkey (`X…`) of the sealer.
    pub sender: PublicSealingKey,
    /// Public xkey (`X…`) of the only reader.
    pub recipient: PublicSealingKey,
    /// The `xkv1` box, in standard base64.
    #[schemars(extend("contentEncoding" = "base64"))]
    pub ciphertext: String,
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealed")
            .field("sender", &self.sender)
            .field("recipient", &self.recipient)
            .field("ciphertext_bytes", &self.ciphertext.len())
            .finish()
    }
}
