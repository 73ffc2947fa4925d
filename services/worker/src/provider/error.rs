//! Why there is no login.

use waybill_domain::reference::RegistryHost;

/// Why there is no login. The words are for people, bounded, and hold no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProviderError {
    /// The credentials are for another host.
    #[error("the credentials are for {bound}, and are not offered to {asked}")]
    OtherHost {
        /// Host they are bound to.
        bound: RegistryHost,
        /// Host that asked.
        asked: RegistryHost,
    },
    /// The issuer of tokens does not accept the credentials.
    #[error("{issuer}: {words}; check the keys and what they are allowed")]
    Refused {
        /// Who was asked, such as `ECR in eu-west-1`.
        issuer: String,
        /// Its code and words.
        words: String,
    },
    /// No connection to the issuer.
    #[error("{issuer} cannot be reached: {words}; check the node's network")]
    Unreachable {
        /// Who was asked.
        issuer: String,
        /// What went wrong.
        words: String,
    },
    /// The issuer did not answer in time.
    #[error("{issuer} did not answer within {seconds} s; check the node's network")]
    TimedOut {
        /// Who was asked.
        issuer: String,
        /// How long it had.
        seconds: u64,
    },
    /// The issuer answered, but not with a token.
    #[error("{issuer} gave no usable token: {words}")]
    Unusable {
        /// Who was asked.
        issuer: String,
        /// What is wrong with the answer.
        words: String,
    },
    /// The credentials themselves do not allow an exchange.
    #[error("{words}; build again with credentials in order")]
    Keys {
        /// Which field, and what is wrong with it.
        words: String,
    },
}

impl ProviderError {
    /// Whether nobody could be asked at all, so that the credentials may well be right.
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::TimedOut { .. })
    }
}
