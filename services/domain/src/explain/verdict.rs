//! The verdict's words: fixed for programs, in sentences for people.

use serde::{Serialize, Serializer};
use waybill_schemas::Timestamp;

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
}

impl Hop {
    /// The word in JSON and in the timeline.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Saved => "saved",
            Self::Requested => "requested",
            Self::Attached => "attached",
            Self::Provider => "provider",
            Self::Pull => "pull",
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
    /// Credentials are saved for the image.
    Saved = "saved",
    /// The image was pulled.
    Pulled = "pulled",
    /// The scheduler has not decided yet.
    AwaitingDecision = "awaiting_decision",
    /// The worker has not made a provider yet.
    AwaitingProvider = "awaiting_provider",
    /// The worker has not reported the pull yet.
    AwaitingPull = "awaiting_pull",
    /// The scheduler has read the request and never decided.
    LostByScheduler = "lost_by_scheduler",
    /// The worker is done with the decision and never reported.
    LostByWorker = "lost_by_worker",
    /// The log holds no build of the image.
    NothingBuilt = "nothing_built",
    /// Only another workspace built the image.
    OtherWorkspace = "other_workspace",
    /// The credentials were saved after the container asked.
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
    /// Nobody knows what kind the credentials are.
    UnrecognizedCredentials = "unrecognized_credentials",
    /// The credentials had expired when they were given.
    ExpiredCredentials = "expired_credentials",
    /// A message that belongs here cannot be read.
    Quarantined = "quarantined",
    /// The log holds no request for the container.
    NotRequested = "not_requested",
    /// The request names no image.
    NoImageId = "no_image_id",
    /// The container builds images and brings its own credentials.
    BuildContainer = "build_container",
    /// The saved credentials had expired when the container asked, or have since.
    SecretExpired = "secret_expired",
    /// The credentials were revoked.
    SecretRevoked = "secret_revoked",
    /// The credentials expired between the attach and the pull.
    ExpiredBeforePull = "expired_before_pull",
    /// The worker had not registered.
    UnknownWorker = "unknown_worker",
    /// The worker registered another key after the credentials were sealed to it.
    WorkerKeyReplaced = "worker_key_replaced",
    /// The credentials could not be opened.
    UnsealFailed = "unseal_failed",
    /// The credentials were opened and are not what they should be.
    UnparsableCredentials = "unparsable_credentials",
    /// The cloud gave no token for them.
    TokenExchangeFailed = "token_exchange_failed",
    /// This worker has no provider for their kind.
    Unsupported = "unsupported",
    /// The registry answered 401.
    Unauthorized = "unauthorized",
    /// The registry answered 403.
    Denied = "denied",
    /// The registry answered 404.
    NotFound = "not_found",
    /// The registry did not answer.
    Unreachable = "unreachable",
    /// The registry's certificate was not accepted.
    Tls = "tls",
    /// The registry answered 429.
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
