//! Digests of sealed bytes, and keyed hashes that tell equal values without telling the value.

use std::fmt;

use ring::{
    digest::{SHA256, digest as hash},
    hmac,
    rand::{SecureRandom as _, SystemRandom},
};
use waybill_domain::credentials::Secret;
use waybill_schemas::Sealed;
use zeroize::Zeroizing;

const KEY_BYTES: usize = 32;
/// Hex digits of an account's hash.
const ACCOUNT_DIGITS: usize = 32;

/// `sha256:` and the SHA-256 of the ciphertext's text, in hex: what an event says of the sealed bytes in the vault.
pub fn digest(sealed: &Sealed) -> String {
    format!("sha256:{}", sha256_hex(sealed.ciphertext.as_bytes()))
}

/// SHA-256 in hex.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(hash(&SHA256, bytes).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The text is no key for hashes; it is not repeated, since it may be one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HashKeyError {
    /// Not 32 bytes in hex.
    #[error("not a key for hashes (64 hex digits); `waybill init` makes one")]
    Form,
    /// The system gives no random numbers.
    #[error("the system gives no random numbers")]
    Random,
}

/// The gateway's key for hashes: HMAC-SHA256 with 32 random bytes.
#[derive(Clone)]
pub struct HashKey(hmac::Key);

impl fmt::Debug for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HashKey(redacted)")
    }
}

impl HashKey {
    /// Makes a new key, in hex, to be stored where only its owner reads.
    ///
    /// # Errors
    /// [`HashKeyError::Random`].
    pub fn generate() -> Result<Secret, HashKeyError> {
        let mut bytes = Zeroizing::new([0_u8; KEY_BYTES]);
        SystemRandom::new().fill(bytes.as_mut()).map_err(|_| HashKeyError::Random)?;
        Ok(Secret::new(hex(bytes.as_ref())))
    }

    /// Reads a key in hex.
    ///
    /// # Errors
    /// [`HashKeyError::Form`].
    pub fn from_hex(text: &Secret) -> Result<Self, HashKeyError> {
        let bytes = Zeroizing::new(from_hex(text.expose().trim()).ok_or(HashKeyError::Form)?);
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, bytes.as_ref())))
    }

    /// Keyed hash of a value, in hex: equal for equal values.
    pub fn mac(&self, value: &[u8]) -> String {
        hex(hmac::sign(&self.0, value).as_ref())
    }

    /// Compares a value with a keyed hash, in constant time.
    pub fn matches(&self, value: &[u8], mac: &str) -> bool {
        from_hex(mac).is_some_and(|mac| hmac::verify(&self.0, value, &mac).is_ok())
    }

    /// Keyed hash of an account's name, as it stands in events: equal for two versions of one account.
    pub fn account(&self, cred_type: &str, identity: &str) -> String {
        let mut mac = self.mac(format!("{cred_type}\n{identity}").as_bytes());
        mac.truncate(ACCOUNT_DIGITS);
        mac
    }
}

fn from_hex(text: &str) -> Option<[u8; KEY_BYTES]> {
    let digits = text.as_bytes();
    if digits.len() != KEY_BYTES.saturating_mul(2) {
        return None;
    }
    let mut bytes = [0; KEY_BYTES];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok().filter(|pair| !pair.starts_with('+'))?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_the_standards() {
        assert_eq!(sha256_hex(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        // RFC 4231, test case 2, with its key padded to 32 bytes, which HMAC does as well.
        let key = format!("{:0<64}", "4a656665");
        let key = HashKey::from_hex(&Secret::new(key)).unwrap();
        let mac = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(key.mac(b"what do ya want for nothing?"), mac);
        assert!(key.matches(b"what do ya want for nothing?", mac));
        assert!(!key.matches(b"what do ya want for nothing!", mac));
        assert!(!key.matches(b"what do ya want for nothing?", &mac[..62]));
    }

    #[test]
    fn an_account_is_known_again_under_the_same_key_only() {
        let keys = [0; 2].map(|_| HashKey::from_hex(&HashKey::generate().unwrap()).unwrap());
        let account = keys[0].account("basic", "canary-user");
        assert_eq!(account.len(), 32);
        assert_eq!(account, keys[0].account("basic", "canary-user"));
        assert_ne!(account, keys[0].account("token", "canary-user"));
        assert_ne!(account, keys[1].account("basic", "canary-user"));
        assert_eq!(format!("{:?}", keys[0]), "HashKey(redacted)");
    }

    #[test]
    fn a_key_is_64_hex_digits() {
        for text in ["", "00", &"0".repeat(63), &"0".repeat(65), &"g".repeat(64), &"+f".repeat(32)] {
            assert_eq!(HashKey::from_hex(&Secret::new(text)).unwrap_err(), HashKeyError::Form, "{text}");
        }
        assert!(HashKey::from_hex(&Secret::new(format!("{}\n", "0f".repeat(32)))).is_ok());
    }
}
