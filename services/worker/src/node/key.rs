//! Access keys: 256 random bits that say on whose behalf somebody asks.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use subtle::ConstantTimeEq as _;
use waybill_domain::credentials::Secret;
use zeroize::Zeroizing;

const BYTES: usize = 32;

/// An access key, as it stands in its file: 32 bytes in Base64 (RFC 4648, section 5, without padding). A placement's begins
/// with its number and a dot.
#[derive(Debug, Clone)]
pub(super) struct AccessKey {
    text: Secret,
    placement: Option<u64>,
}

impl AccessKey {
    /// A new one, for a placement or for a workspace; none where the system gives no random numbers.
    pub(super) fn generate(placement: Option<u64>) -> Option<Self> {
        let mut bytes = Zeroizing::new([0_u8; BYTES]);
        getrandom::fill(bytes.as_mut_slice()).ok()?;
        let random = Zeroizing::new(URL_SAFE_NO_PAD.encode(bytes.as_slice()));
        let text = match placement {
            Some(number) => format!("{number}.{}", random.as_str()),
            None => random.to_string(),
        };
        Some(Self { text: Secret::new(text), placement })
    }

    /// The key in a file's text, if it is one.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let (placement, random) = match text.split_once('.') {
            Some((number, random)) => (Some(number.parse().ok()?), random),
            None => (None, text),
        };
        let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(random).ok()?);
        (bytes.len() == BYTES).then(|| Self { text: Secret::from(text), placement })
    }

    /// The placement that it speaks for; none for a workspace's.
    pub(super) fn placement(&self) -> Option<u64> {
        self.placement
    }

    /// The text for the file.
    pub(super) fn expose(&self) -> &str {
        self.text.expose()
    }

    /// True if this is what somebody showed. Takes as long for a near miss as for any other.
    pub(super) fn is(&self, shown: &Secret) -> bool {
        self.text.expose().as_bytes().ct_eq(shown.expose().as_bytes()).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_itself_only() {
        let [key, other] = [0; 2].map(|_| AccessKey::generate(None).unwrap());
        assert_eq!(key.expose().len(), 43);
        assert!(key.is(&Secret::from(key.expose())) && !key.is(&Secret::from(other.expose())));
        assert!(!key.is(&Secret::from(&key.expose()[1..])) && !key.is(&Secret::from("")));
        let read = AccessKey::parse(&format!("{}\n", key.expose())).unwrap();
        assert!(read.is(&Secret::from(key.expose())) && read.placement().is_none());
        for text in ["", "a", "dG9vIHNob3J0", &format!("{}A", key.expose()), "#".repeat(43).as_str()] {
            assert!(AccessKey::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_placement_s_key_names_it() {
        let key = AccessKey::generate(Some(17)).unwrap();
        assert!(key.expose().starts_with("17.") && key.placement() == Some(17));
        let read = AccessKey::parse(&format!("{}\n", key.expose())).unwrap();
        assert!(read.is(&Secret::from(key.expose())) && read.placement() == Some(17));
        let other = format!("18{}", &key.expose()[2..]);
        assert!(!key.is(&Secret::from(other.as_str())), "the number is part of the key");
        for text in [".", "x.y", &format!("x{}", key.expose()), &format!("1.{}", key.expose())] {
            assert!(AccessKey::parse(text).is_none(), "{text}");
        }
    }
}
