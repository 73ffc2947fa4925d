//! Root causes: what broke, in the words of an explanation, and the one thing that has to be mended.

use std::fmt;

use serde::{Serialize, Serializer};
use waybill_schemas::v1::{AttachSkipReason, ProviderFailure, PullFailure, SaveSkipReason};

use crate::explain::{Code, Hop};

/// What has to be mended. Failures with one code about one thing have one cause.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum About {
    /// A secret of the workspace.
    Secret(Box<str>),
    /// An image of the workspace.
    Image(Box<str>),
    /// A registry host.
    Registry(Box<str>),
    /// A worker.
    Worker(Box<str>),
    /// The workspace's orchestrator, or its builders.
    Workspace,
    /// The scheduler.
    Scheduler,
    /// What a client sends: the code of the refusal, and the field where one is wrong.
    Request(Box<str>),
}

impl About {
    /// The kind as one word, and the name where it has one.
    pub fn parts(&self) -> (&'static str, Option<&str>) {
        match self {
            Self::Secret(name) => ("secret", Some(name)),
            Self::Image(name) => ("image", Some(name)),
            Self::Registry(name) => ("registry", Some(name)),
            Self::Worker(name) => ("worker", Some(name)),
            Self::Workspace => ("workspace", None),
            Self::Scheduler => ("scheduler", None),
            Self::Request(answer) => ("request", Some(answer)),
        }
    }
}

impl fmt::Display for About {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.parts() {
            (kind, Some(name)) => write!(f, "{kind} {name}"),
            (kind, None) => f.write_str(kind),
        }
    }
}

impl Serialize for About {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A root cause.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Cause {
    /// The hop that broke.
    pub hop: Hop,
    /// Why, as one word.
    pub code: Code,
    /// What has to be mended.
    pub about: About,
}

/// What a failure may be about.
#[derive(Debug, Clone, Copy)]
pub(super) struct Involved<'i> {
    pub(super) worker: &'i str,
    pub(super) image: Option<&'i str>,
    pub(super) secret: Option<&'i str>,
    pub(super) registry: Option<&'i str>,
}

impl Involved<'_> {
    pub(super) fn worker(self) -> About {
        About::Worker(self.worker.into())
    }

    fn image(self) -> About {
        self.image.map_or(About::Workspace, |image| About::Image(image.into()))
    }

    fn registry(self) -> About {
        self.registry.map_or_else(|| self.image(), |registry| About::Registry(registry.into()))
    }

    pub(super) fn secret(self) -> About {
        self.secret.map_or_else(|| self.registry(), |secret| About::Secret(secret.into()))
    }
}

/// The cause of a placement that was refused credentials; `build` is why the image's newest build has none.
pub(super) fn of_skip(reason: AttachSkipReason, build: Option<SaveSkipReason>, involved: Involved<'_>) -> Cause {
    use AttachSkipReason as Reason;
    let (hop, code, about) = match reason {
        Reason::NoImageId => (Hop::Requested, Code::NoImageId, About::Workspace),
        Reason::BuildContainer => (Hop::Attached, Code::BuildContainer, About::Workspace),
        Reason::NoSecretForImage | Reason::CredentialsUnusable => return of_build(build, involved),
        Reason::SecretNotFound => (Hop::Attached, Code::SecretNotFound, involved.secret()),
        Reason::RegistryMismatch => (Hop::Attached, Code::RegistryMismatch, involved.secret()),
        Reason::UnknownWorker => (Hop::Attached, Code::UnknownWorker, involved.worker()),
        Reason::SecretExpired => (Hop::Attached, Code::SecretExpired, involved.secret()),
        Reason::SecretRevoked => (Hop::Attached, Code::SecretRevoked, involved.secret()),
        Reason::SecretShredded => (Hop::Attached, Code::SecretShredded, involved.secret()),
    };
    Cause { hop, code, about }
}

/// Builders that forget credentials forget them for a registry: one cause for all of its images.
fn of_build(build: Option<SaveSkipReason>, involved: Involved<'_>) -> Cause {
    let (code, about) = match build {
        None => (Code::NothingBuilt, involved.image()),
        Some(reason @ (SaveSkipReason::NoImageReference | SaveSkipReason::ImageModified)) => {
            (reason.into(), involved.image())
        }
        Some(reason) => (reason.into(), involved.registry()),
    };
    Cause { hop: Hop::Saved, code, about }
}

/// The cause of a provider or a renewal that failed.
pub(super) fn of_provider(reason: ProviderFailure, involved: Involved<'_>) -> Cause {
    let about = match reason {
        // Each of a worker's grants is sealed to its key.
        ProviderFailure::UnsealFailed | ProviderFailure::Unsupported | ProviderFailure::CredentialsWithheld => {
            involved.worker()
        }
        ProviderFailure::SecretMissing
        | ProviderFailure::UnparsableCredentials
        | ProviderFailure::TokenExchangeFailed
        | ProviderFailure::RegistryMismatch => involved.secret(),
        ProviderFailure::TokenExchangeUnreachable => involved.registry(),
    };
    Cause { hop: Hop::Provider, code: reason.into(), about }
}

/// The cause of a pull that failed; `expired` is true where the credentials had ended by then.
pub(super) fn of_pull(reason: PullFailure, expired: bool, involved: Involved<'_>) -> Cause {
    let refused = matches!(reason, PullFailure::Unauthorized | PullFailure::Denied);
    if expired && refused {
        return Cause { hop: Hop::Pull, code: Code::ExpiredBeforePull, about: involved.secret() };
    }
    let about = match reason {
        PullFailure::Unauthorized => involved.secret(),
        PullFailure::Denied if involved.secret.is_some() => involved.secret(),
        PullFailure::Denied
        | PullFailure::NotFound
        | PullFailure::DigestMismatch
        | PullFailure::NoImageReference
        | PullFailure::InvalidReference
        | PullFailure::NoPlatform => involved.image(),
        PullFailure::UnsupportedChallenge
        | PullFailure::Unreachable
        | PullFailure::Tls
        | PullFailure::TlsUnknownAuthority
        | PullFailure::TlsWrongHost
        | PullFailure::TlsExpired
        | PullFailure::PlainHttp
        | PullFailure::Proxy
        | PullFailure::RateLimited
        | PullFailure::RegistryError => involved.registry(),
        PullFailure::Storage | PullFailure::NoLogin => involved.worker(),
    };
    Cause { hop: Hop::Pull, code: reason.into(), about }
}

/// True if the failure may be of the way from one worker as well as of the registry.
pub(super) fn is_of_the_way(code: Code) -> bool {
    matches!(
        code,
        Code::Unreachable
            | Code::Tls
            | Code::TlsUnknownAuthority
            | Code::TlsExpired
            | Code::Proxy
            | Code::TokenExchangeUnreachable
    )
}
