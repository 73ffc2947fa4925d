//! Why there is no login.

use std::time::Duration;

use waybill_domain::reference::RegistryHost;
use waybill_schemas::v1::ProviderFailure;

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
    /// The issuer is overloaded or broken, or was asked too often: this says nothing of the credentials.
    #[error("{issuer} issues no tokens at the moment: {words}; the keys may be right, so try again in a while")]
    Unavailable {
        /// Who was asked.
        issuer: String,
        /// Its code and words.
        words: String,
        /// How long it asks to be left alone, where it says so.
        retry_after: Option<Duration>,
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
    /// The issuer gave no token a moment ago, and is left alone for now.
    #[error("{told} (that was {ago} s ago; it is not asked again for another {left} s)")]
    Kept {
        /// What came of it then.
        told: Box<ProviderError>,
        /// How long ago that was, in seconds.
        ago: u64,
        /// Seconds until the issuer is asked again.
        left: u64,
    },
}

impl ProviderError {
    /// Whether this says nothing of the credentials, which may well be right: the issuer could not be asked, or cannot
    /// answer at the moment.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::TimedOut { .. } | Self::Unavailable { .. } => true,
            Self::Kept { told, .. } => told.is_passing(),
            Self::OtherHost { .. } | Self::Refused { .. } | Self::Unusable { .. } | Self::Keys { .. } => false,
        }
    }

    /// The reason code of the event. An issuer that could not be asked has refused nothing.
    pub fn failure(&self) -> ProviderFailure {
        match self {
            Self::OtherHost { .. } => ProviderFailure::RegistryMismatch,
            passing if passing.is_passing() => ProviderFailure::TokenExchangeUnreachable,
            _ => ProviderFailure::TokenExchangeFailed,
        }
    }

    /// How long the issuer asks to be left alone.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Unavailable { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}
