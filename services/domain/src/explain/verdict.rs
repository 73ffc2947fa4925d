//! The verdict's words: fixed for programs, in sentences for people.

use serde::{Serialize, Serializer};
use waybill_schemas::{
    Timestamp,
    v1::{ProviderFailure, PullFailure, SaveSkipReason, WithdrawReason},
};

/// Whether an id is well. The exit status of `waybill explain` follows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Every hop did what it should.
    Healthy,
    /// A hop refused or failed.
    Broken,
    /// A hop has not reported yet.
    InFlight,
}

impl State {
    /// Every state.
    pub const ALL: &'static [Self] = &[Self::Healthy, Self::Broken, Self::InFlight];

    /// The word in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Broken => "broken",
            Self::InFlight => "in_flight",
        }
    }
}

/// A hop of the way from the build to the pull, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Hop {
    /// The gateway records a build's credentials.
    Saved,
    /// The orchestrator asks for a container.
    Requested,
    /// The scheduler attaches the credentials.
    Attached,
    /// The worker makes a credential provider of them.
    Provider,
    /// The worker pulls.
    Pull,
    /// A program of the node asks for the login.
    Asked,
    /// The credentials are taken away: revoked, shredded, superseded or ended.
    Withdrawn,
}

impl Hop {
    /// Every hop, in order.
    pub const ALL: &'static [Self] =
        &[Self::Saved, Self::Requested, Self::Attached, Self::Provider, Self::Pull, Self::Withdrawn];

    /// The word in JSON and in the timeline.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Saved => "saved",
            Self::Requested => "requested",
            Self::Attached => "attached",
            Self::Provider => "provider",
            Self::Pull => "pull",
            Self::Asked => "asked",
            Self::Withdrawn => "withdrawn",
        }
    }
}

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $word:literal,)+) => {
        /// Why, as one word. Where an event gives a reason code, this is the same word.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $($(#[$doc])* $variant,)+
        }

        impl Code {
            /// Every code.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word in JSON.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }
    };
}

codes! {
    /// Credentials are saved.
    Saved = "saved",
    /// The image was pulled.
    Pulled = "pulled",
    /// A newer request placed the container again.
    Superseded = "superseded",
    /// The placement has ended.
    Ended = "ended",
    /// The worker is no more.
    WorkerRetired = "worker_retired",
    /// The scheduler has not decided yet.
    AwaitingDecision = "awaiting_decision",
    /// The worker has not made a provider yet.
    AwaitingProvider = "awaiting_provider",
    /// The worker has not reported the pull yet.
    AwaitingPull = "awaiting_pull",
    /// The log takes no events.
    LogFull = "log_full",
    /// The scheduler has read what it was to decide about and never decided.
    LostByScheduler = "lost_by_scheduler",
    /// The worker is done with the decision and never reported.
    LostByWorker = "lost_by_worker",
    /// The recorded decision is another one than the log leads to.
    DecisionDiffers = "decision_differs",
    /// A message that belongs here cannot be read.
    Quarantined = "quarantined",
    /// The log holds no build of the image.
    NothingBuilt = "nothing_built",
    /// Only another workspace built the image.
    OtherWorkspace = "other_workspace",
    /// The image was built after the container asked.
    SavedAfterRequest = "saved_after_request",
    /// The build carried no credentials.
    NoCredentialsProvided = "no_credentials_provided",
    /// The build named no image reference.
    NoImageReference = "no_image_reference",
    /// The build changed the image: it is pulled from elsewhere.
    ImageModified = "image_modified",
    /// The registry needs no credentials.
    PublicRegistry = "public_registry",
    /// A key of the credentials is missing.
    IncompleteCredentials = "incomplete_credentials",
    /// The credentials are for another registry than the image.
    RegistryMismatch = "registry_mismatch",
    /// The credentials are of no known kind.
    UnrecognizedCredentials = "unrecognized_credentials",
    /// The credentials had expired when they were given.
    ExpiredCredentials = "expired_credentials",
    /// The registry refused the build's credentials, and took the version that is saved.
    VerificationFailed = "verification_failed",
    /// The log holds no request for the container.
    NotRequested = "not_requested",
    /// The gateway refused the request that would have recorded it.
    RequestRefused = "request_refused",
    /// The request names no image.
    NoImageId = "no_image_id",
    /// The container builds images and brings its own credentials.
    BuildContainer = "build_container",
    /// There is no secret of that name.
    SecretNotFound = "secret_not_found",
    /// The secret's newest version has expired.
    SecretExpired = "secret_expired",
    /// The secret was revoked.
    SecretRevoked = "secret_revoked",
    /// The secret was shredded.
    SecretShredded = "secret_shredded",
    /// The credentials expired between the decision and their use.
    ExpiredBeforePull = "expired_before_pull",
    /// The worker had not registered.
    UnknownWorker = "unknown_worker",
    /// The secret or its grant could not be opened.
    UnsealFailed = "unseal_failed",
    /// The vault holds no grant of the secret for the worker.
    SecretMissing = "secret_missing",
    /// The credentials were opened and are not what they should be.
    UnparsableCredentials = "unparsable_credentials",
    /// The cloud gave no token for them.
    TokenExchangeFailed = "token_exchange_failed",
    /// The cloud could not be asked.
    TokenExchangeUnreachable = "token_exchange_unreachable",
    /// The worker has no provider for their kind.
    Unsupported = "unsupported",
    /// The worker says that it was given none, against the decision.
    CredentialsWithheld = "credentials_withheld",
    /// The registry did not accept the login, or there was none.
    Unauthorized = "unauthorized",
    /// The registry knows who asks and refuses.
    Denied = "denied",
    /// The registry asks for a login in a way that cannot be given.
    UnsupportedChallenge = "unsupported_challenge",
    /// The registry has no such image, or does not show it.
    NotFound = "not_found",
    /// The registry did not answer.
    Unreachable = "unreachable",
    /// The TLS handshake failed.
    Tls = "tls",
    /// The registry's certificate is from an unknown authority.
    TlsUnknownAuthority = "tls_unknown_authority",
    /// The registry's certificate is for another host.
    TlsWrongHost = "tls_wrong_host",
    /// The registry's certificate has expired, or is not valid yet.
    TlsExpired = "tls_expired",
    /// The registry speaks plain HTTP.
    PlainHttp = "plain_http",
    /// The proxy let no request through.
    Proxy = "proxy",
    /// The registry asks to come back later.
    RateLimited = "rate_limited",
    /// The registry answered something else.
    RegistryError = "registry_error",
    /// The content was not what its digest says.
    DigestMismatch = "digest_mismatch",
    /// The reference cannot be pulled.
    InvalidReference = "invalid_reference",
    /// The node could not store the image.
    Storage = "storage",
    /// The worker had no login when it came to the pull.
    NoLogin = "no_login",
    /// The image has no variant for the node's platform.
    NoPlatform = "no_platform",
    /// A program of the node asked for the login, and the worker refused it.
    AskedAndRefused = "asked_and_refused",
}

impl From<SaveSkipReason> for Code {
    fn from(reason: SaveSkipReason) -> Self {
        match reason {
            SaveSkipReason::NoCredentialsProvided => Self::NoCredentialsProvided,
            SaveSkipReason::NoImageReference => Self::NoImageReference,
            SaveSkipReason::ImageModified => Self::ImageModified,
            SaveSkipReason::PublicRegistry => Self::PublicRegistry,
            SaveSkipReason::IncompleteCredentials => Self::IncompleteCredentials,
            SaveSkipReason::RegistryMismatch => Self::RegistryMismatch,
            SaveSkipReason::UnrecognizedCredentials => Self::UnrecognizedCredentials,
            SaveSkipReason::ExpiredCredentials => Self::ExpiredCredentials,
            SaveSkipReason::VerificationFailed => Self::VerificationFailed,
        }
    }
}

impl From<ProviderFailure> for Code {
    fn from(reason: ProviderFailure) -> Self {
        match reason {
            ProviderFailure::UnsealFailed => Self::UnsealFailed,
            ProviderFailure::SecretMissing => Self::SecretMissing,
            ProviderFailure::UnparsableCredentials => Self::UnparsableCredentials,
            ProviderFailure::TokenExchangeFailed => Self::TokenExchangeFailed,
            ProviderFailure::TokenExchangeUnreachable => Self::TokenExchangeUnreachable,
            ProviderFailure::Unsupported => Self::Unsupported,
            ProviderFailure::CredentialsWithheld => Self::CredentialsWithheld,
            ProviderFailure::RegistryMismatch => Self::RegistryMismatch,
        }
    }
}

impl From<PullFailure> for Code {
    fn from(reason: PullFailure) -> Self {
        match reason {
            PullFailure::Unauthorized => Self::Unauthorized,
            PullFailure::Denied => Self::Denied,
            PullFailure::UnsupportedChallenge => Self::UnsupportedChallenge,
            PullFailure::NotFound => Self::NotFound,
            PullFailure::Unreachable => Self::Unreachable,
            PullFailure::Tls => Self::Tls,
            PullFailure::TlsUnknownAuthority => Self::TlsUnknownAuthority,
            PullFailure::TlsWrongHost => Self::TlsWrongHost,
            PullFailure::TlsExpired => Self::TlsExpired,
            PullFailure::PlainHttp => Self::PlainHttp,
            PullFailure::Proxy => Self::Proxy,
            PullFailure::RateLimited => Self::RateLimited,
            PullFailure::RegistryError => Self::RegistryError,
            PullFailure::DigestMismatch => Self::DigestMismatch,
            PullFailure::NoImageReference => Self::NoImageReference,
            PullFailure::InvalidReference => Self::InvalidReference,
            PullFailure::Storage => Self::Storage,
            PullFailure::NoLogin => Self::NoLogin,
            PullFailure::NoPlatform => Self::NoPlatform,
        }
    }
}

impl From<WithdrawReason> for Code {
    fn from(reason: WithdrawReason) -> Self {
        match reason {
            WithdrawReason::Superseded => Self::Superseded,
            WithdrawReason::Ended => Self::Ended,
            WithdrawReason::SecretRevoked => Self::SecretRevoked,
            WithdrawReason::SecretShredded => Self::SecretShredded,
            WithdrawReason::WorkerRetired => Self::WorkerRetired,
        }
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// The first hop that broke or is still open; the last one when all is well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Whether the id is well.
    pub state: State,
    /// The hop.
    pub hop: Hop,
    /// Why, as one word.
    pub code: Code,
    /// Why, in one sentence.
    pub sentence: String,
    /// What to do; empty when there is nothing to do.
    pub remedy: String,
    /// The event that says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// The stream's time of that event: since when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
}

impl Verdict {
    /// A broken hop.
    pub(super) fn broken(hop: Hop, code: Code, sentence: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(State::Broken, hop, code, sentence.into(), remedy.into())
    }

    /// A hop that is still open.
    pub(super) fn open(hop: Hop, code: Code, sentence: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(State::InFlight, hop, code, sentence.into(), remedy.into())
    }

    /// All is well.
    pub(super) fn healthy(hop: Hop, code: Code, sentence: impl Into<String>) -> Self {
        Self::new(State::Healthy, hop, code, sentence.into(), String::new())
    }

    fn new(state: State, hop: Hop, code: Code, sentence: String, remedy: String) -> Self {
        Self { state, hop, code, sentence, remedy, sequence: None, since: None }
    }

    /// With the event that says so.
    #[must_use]
    pub(super) fn at(mut self, sequence: u64, since: Timestamp) -> Self {
        (self.sequence, self.since) = (Some(sequence), Some(since));
        self
    }
}
