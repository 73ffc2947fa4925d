//! Digests of content as it passes.

use oci_client::errors::DigestError;
use sha2::{Digest as _, Sha256, Sha384, Sha512};

/// A digest that content should have.
pub(super) struct Expected<'d> {
    digest: &'d str,
    hasher: Hasher,
}

impl<'d> Expected<'d> {
    pub(super) fn new(digest: &'d str) -> Result<Self, DigestError> {
        Ok(Self { digest, hasher: Hasher::of(digest)? })
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
    }

    pub(super) fn check(self) -> Result<(), DigestError> {
        let actual = self.hasher.finish();
        if actual == self.digest {
            return Ok(());
        }
        Err(DigestError::VerificationError { expected: self.digest.to_owned(), actual })
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
    /// By the algorithm of a digest.
    fn of(digest: &str) -> Result<Self, DigestError> {
        let (algorithm, _) = digest.split_once(':').ok_or(DigestError::MissingAlgorithm)?;
        match algorithm {
            "sha256" => Ok(Self::Sha256(Sha256::new())),
            "sha384" => Ok(Self::Sha384(Sha384::new())),
            "sha512" => Ok(Self::Sha512(Sha512::new())),
            other => Err(DigestError::UnsupportedAlgorithm(other.to_owned())),
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
