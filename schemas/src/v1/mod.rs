//! Version 1 of every event body. Fixed: a change to a field is a new version in a module of its own. A set of words may gain
//! one; readers that do not know it yet quarantine the event until they are upgraded.

mod archive;
mod container;
mod decision;
mod identity;
mod image;
mod outcome;
mod quarantine;
mod question;
mod refusal;
mod secret;
mod worker;

pub use archive::{MAX_ARCHIVE, MAX_RANGES, PlacementsArchived, SequenceRange};
pub use container::{ContainerEnded, ContainerRequested};
pub use decision::{
    AttachSkipReason, ContainerCredentialsAttached, ContainerCredentialsSkipped, ContainerCredentialsWithdrawn,
    RenewCause, WithdrawReason, WorkerCredentialsRenewed,
};
pub use identity::{TokenCreated, TokenRevoked, TokenRole, WorkerJoined, WorkerRetired, WorkspaceAdded, is_user_key};
pub use image::{CredentialSecretSkipped, CredentialSource, ImageSecretNamed, SaveSkipReason};
pub use outcome::{
    CredentialProviderAttached, CredentialProviderFailed, DEFAULT_CHAIN, ImagePullFailed, ImagePullSucceeded,
    ProviderFailure, PullFailure, SecretRenewalApplied, SecretRenewalFailed,
};
pub use quarantine::{MAX_REASON, QuarantineDiscarded, QuarantineRetried};
pub use question::{
    AskedWith, ContainerLoginAsked, LoginQuestion, LoginRefusal, NodeLoginAsked, PodIdentity, Question,
};
pub use refusal::{RefusalCode, RefusedOperation, RequestRefused};
pub use secret::{
    CredType, CredentialSecretRevoked, CredentialSecretRotated, CredentialSecretSaved, CredentialSecretShredded,
    SecretVersion, Verified,
};
pub use worker::{SchedulerKeyPublished, WorkerRegistered};

/// A closed set of words on the wire, each with its one spelling in `snake_case`, and its documentation as what it means.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[doc = $meaning:literal])+ $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
        pub enum $name {
            $($(#[doc = $meaning])+ #[serde(rename = $word)] $variant,)+
        }

        impl $name {
            /// Every word, in the order of the contract.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word as it stands on the wire and in log lines.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }

            /// What the word means, as a sentence for people.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$variant => concat!($($meaning),+).trim_ascii(),)+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}
use words;
