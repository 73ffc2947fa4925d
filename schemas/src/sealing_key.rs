//! Public sealing keys on the wire: NATS curve keys (xkeys) in their text form.

use crate::ids::checked_text;

/// The pattern every public sealing key matches, as a JSON Schema regular expression.
pub const SEALING_KEY_PATTERN: &str = "^X[A-Z2-7]{55}$";

checked_text!(
    /// A public xkey, `X` and 55 characters of base32. Its checksum is verified where it is used.
    PublicSealingKey, SEALING_KEY_PATTERN, SealingKeyError, check
);

/// The text is not a public sealing key; it is not repeated, since it could be a private one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a public sealing key: X and 55 characters of A-Z 2-7, as `waybill init` makes them")]
pub struct SealingKeyError;

fn check(text: &str) -> Result<(), SealingKeyError> {
    let is_base32 = |b: u8| b.is_ascii_uppercase() || (b'2'..=b'7').contains(&b);
    let valid = text.len() == 56 && text.starts_with('X') && text.bytes().all(is_base32);
    if valid { Ok(()) } else { Err(SealingKeyError) }
}
