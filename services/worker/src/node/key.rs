//! Access keys: 256 random bits that say on whose behalf somebody asks.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use subtle::ConstantTimeEq as _;
use waybill_domain::credentials::Secret;
use zeroize::Zeroizing;

const BYTES: usize = 32;

/// An access key, as it stands in its file: 32 bytes in Base64 (RFC 4648, section 5, without padding).
#[derive(Debug, Clone)]
pub(super) struct AccessKey(Secret);

impl AccessKey {
    /// A new one; nothing where the system gives no random numbers.
    pub(super) fn generate() -> Option<Self> {
        let mut bytes = Zeroizing::new([0_u8; BYTES]);
        getrandom::fill(bytes.as_mut_slice()).ok()?;
        Some(Self(Secret::new(URL_SAFE_NO_PAD.encode(bytes.as_slice()))))
    }

    /// The key in a file's text, if it is one.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(text).ok()?);
        (bytes.len() == BYTES).then(|| Self(Secret::from(text)))
    }

    /// The text for the file.
    pub(super) fn expose(&self) -> &str {
        self.0.expose()
    }

    /// Whether this is what somebody showed. Takes as long for a near miss as for any other.
    pub(super) fn is(&self, shown: &Secret) -> bool {
        self.0.expose().as_bytes().ct_eq(shown.expose().as_bytes()).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_itself_only() {
        let (key, other) = (AccessKey::generate().unwrap(), AccessKey::generate().unwrap());
        assert_eq!(key.expose().len(), 43);
        assert!(key.is(&Secret::from(key.expose())) && !key.is(&Secret::from(other.expose())));
        assert!(!key.is(&Secret::from(&key.expose()[1..])) && !key.is(&Secret::from("")));
        let read = AccessKey::parse(&format!("{}\n", key.expose())).unwrap();
        assert!(read.is(&Secret::from(key.expose())));
        for text in ["", "a", "dG9vIHNob3J0", &format!("{}A", key.expose()), "#".repeat(43).as_str()] {
            assert!(AccessKey::parse(text).is_none(), "{text}");
        }
    }
}
