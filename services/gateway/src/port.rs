//! What the gateway needs of others: who asks registries, and who explains.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use waybill_domain::{credentials::Secret, reference::ImageReference};
use waybill_platform::log::{Log, LogError};
use waybill_schemas::{
    ContainerId, ImageId, WorkspaceId,
    v1::{ProviderFailure, PullFailure, Verified},
};

/// Credentials to ask a registry about.
#[derive(Debug)]
pub struct Unverified {
    /// Owner of the image. Nothing is shared between workspaces.
    pub workspace: WorkspaceId,
    /// The image to ask for.
    pub image: ImageReference,
    /// The credentials, as they are sealed.
    pub credentials: Secret,
}

/// Why credentials are not known to work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotAccepted {
    /// Why.
    pub failure: VerifyFailure,
    /// More words for people, without secrets.
    pub detail: String,
}

/// Which step failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VerifyFailure {
    /// There is no login to ask with.
    Provider(ProviderFailure),
    /// The registry did not give the manifest.
    Pull(PullFailure),
}

/// Asks registries whether credentials work. How is not the gateway's business.
pub trait Verifies: Send + Sync + 'static {
    /// The digest of the image's manifest, fetched with the credentials, within a time of the implementation's own.
    fn verify<'a>(&'a self, asked: &'a Unverified) -> BoxFuture<'a, Result<String, NotAccepted>>;
}

/// What a registry said, as it stands in events.
pub(crate) fn verified_from(said: Result<String, NotAccepted>) -> Verified {
    let nothing = Verified { digest: None, provider_failure: None, pull_failure: None, detail: None };
    match said {
        Ok(digest) => Verified { digest: Some(digest), ..nothing },
        Err(NotAccepted { failure: VerifyFailure::Provider(reason), detail }) => {
            Verified { provider_failure: Some(reason), detail: Some(detail), ..nothing }
        }
        Err(NotAccepted { failure: VerifyFailure::Pull(reason), detail }) => {
            Verified { pull_failure: Some(reason), detail: Some(detail), ..nothing }
        }
    }
}

/// Reason code of a refusal; none where the credentials work.
pub(crate) fn refusal_code(verified: &Verified) -> Option<&'static str> {
    let exchange = verified.provider_failure.map(ProviderFailure::as_str);
    exchange.or(verified.pull_failure.map(PullFailure::as_str))
}

/// An explanation, as the JSON that clients get.
pub type Explanation = serde_json::Value;

/// Answers questions from the log.
pub trait Explains: Send + Sync + 'static {
    /// What a container that asks for the image would find.
    fn image<'a>(&'a self, workspace: &'a WorkspaceId, id: &'a ImageId)
    -> BoxFuture<'a, Result<Explanation, LogError>>;

    /// What became of the container's newest request.
    fn container<'a>(
        &'a self,
        workspace: &'a WorkspaceId,
        id: &'a ContainerId,
    ) -> BoxFuture<'a, Result<Explanation, LogError>>;
}

/// Makes who explains, from the gateway's log.
pub type MakeExplains = Box<dyn FnOnce(Arc<dyn Log>) -> Arc<dyn Explains> + Send>;

/// What the gateway is handed by the program that it runs in.
pub struct Helpers {
    /// Asks registries; without it, none is ever asked.
    pub verifies: Option<Arc<dyn Verifies>>,
    /// Makes who explains.
    pub explains: MakeExplains,
}
