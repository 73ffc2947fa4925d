//! Digests of content as it passes (OCI image specification, "Digests").

use sha2::{Digest as _, Sha256, Sha384, Sha512};

/// Content and digest do not agree, or the digest is none. What is told of a digest has a digest's form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum DigestError {
    #[error("the content has the digest {actual}, and not {expected}")]
    Mismatch { expected: String, actual: String },
    #[error("a digest is of no known algorithm, or none; sha256, sha384 and sha512 are")]
    Unknown,
    #[error("more bytes came than the manifest says")]
    TooLong,
    #[error("fewer bytes came than the manifest says")]
    TooShort,
}

/// Algorithm and hexadecimal digits, if the text is a digest of a known algorithm.
pub(super) fn split_digest(digest: &str) -> Option<(&str, &str)> {
    let (algorithm, hex) = digest.split_once(':')?;
    let length = match algorithm {
        "sha256" => 64,
        "sha384" => 96,
        "sha512" => 128,
        _ => return None,
    };
    let is_hex = hex.len() == length && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    is_hex.then_some((algorithm, hex))
}

/// A digest that content should have.
pub(super) struct Expected<'d> {
    digest: &'d str,
    hasher: Hasher,
}

impl<'d> Expected<'d> {
    pub(super) fn new(digest: &'d str) -> Result<Self, DigestError> {
        let (algorithm, _) = split_digest(digest).ok_or(DigestError::Unknown)?;
        Ok(Self { digest, hasher: Hasher::of(algorithm) })
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
    }

    pub(super) fn check(self) -> Result<(), DigestError> {
        let actual = self.hasher.finish();
        if actual == self.digest {
            return Ok(());
        }
        Err(DigestError::Mismatch { expected: self.digest.to_owned(), actual })
    }
}

/// The content's SHA-256.
pub(super) fn sha256(body: &[u8]) -> String {
    let mut hasher = Hasher::Sha256(Sha256::new());
    hasher.update(body);
    hasher.finish()
}

enum Hasher {
    Sha256(Sha256),
    Sha384(Sha384),
    Sha512(Sha512),
}

impl Hasher {
    fn of(algorithm: &str) -> Self {
        match algorithm {
            "sha384" => Self::Sha384(Sha384::new()),
            "sha512" => Self::Sha512(Sha512::new()),
            _ => Self::Sha256(Sha256::new()),
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::Sha384(hasher) => hasher.update(bytes),
            Self::Sha512(hasher) => hasher.update(bytes),
        }
    }

    fn finish(self) -> String {
        let (algorithm, digest) = match self {
            Self::Sha256(hasher) => ("sha256", hasher.finalize().to_vec()),
            Self::Sha384(hasher) => ("sha384", hasher.finalize().to_vec()),
            Self::Sha512(hasher) => ("sha512", hasher.finalize().to_vec()),
        };
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{algorithm}:{hex}")
    }
}
