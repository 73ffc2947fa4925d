//! A trial: would the registry give an image for these credentials? Nothing is written, and no event is made.

use waybill_domain::{
    credentials::Secret,
    provider::{Failure, plan_to_try},
    reference::ImageReference,
};
use waybill_schemas::{
    Timestamp, WorkspaceId,
    v1::{ProviderFailure, PullFailure},
};

use crate::{
    provider::{CloudConfig, Provider, ProviderError, RegistryLogin, TokenCache},
    pull::{PullConfig, PullError, pull},
};

/// Asks registries as a worker does.
#[derive(Debug, Clone)]
pub struct Trial {
    pull: PullConfig,
    clouds: CloudConfig,
}

/// The registry gives the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// Digest of the manifest, or of the index where it is one.
    pub digest: String,
    /// When the login stops working, where its issuer said so.
    pub expires_at: Option<Timestamp>,
}

/// The registry, or who issues its tokens, does not give it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Which step failed, and why.
    pub failure: TrialFailure,
    /// More words for people, without secrets.
    pub detail: String,
}

/// The step that failed, with the reason code of the event that a worker would record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrialFailure {
    /// There is no login to ask with: as in `CredentialProviderFailed`.
    Provider(ProviderFailure),
    /// The registry did not give the manifest: as in `ImagePullFailed`.
    Pull(PullFailure),
}

impl TrialFailure {
    /// The reason code.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Provider(reason) => reason.as_str(),
            Self::Pull(reason) => reason.as_str(),
        }
    }
}

impl Trial {
    /// A trial that asks as these settings say. It stores nothing and uses no login of the node.
    pub fn new(pull: PullConfig, clouds: CloudConfig) -> Self {
        let clouds = CloudConfig { plain_http: pull.plain_http.clone(), endpoints: pull.endpoints.clone(), ..clouds };
        Self { pull: PullConfig { image_dir: None, docker_config: None, ..pull }, clouds }
    }

    /// Asks for the manifest, with credentials as they are sealed, or without any.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn ask(
        &self,
        workspace: &WorkspaceId,
        image: &ImageReference,
        credentials: Option<&Secret>,
    ) -> Result<Given, Refused> {
        let plan = credentials.map(plan_to_try).transpose();
        let refused =
            |failure: Failure| Refused { failure: TrialFailure::Provider(failure.reason), detail: failure.detail };
        let plan = plan.map_err(refused)?;
        let (login, expires_at) = match plan {
            Some(plan) => {
                // No token of an earlier question, and none is kept.
                let tokens = TokenCache::new(self.clouds.clone());
                let issued = Provider::new(plan, workspace, &tokens).login(image.registry()).await?;
                (issued.login, issued.expires_at)
            }
            None => (RegistryLogin::Anonymous, None),
        };
        let digest = pull(&self.pull, image, &login, "").await?;
        Ok(Given { digest, expires_at })
    }
}

impl From<ProviderError> for Refused {
    fn from(error: ProviderError) -> Self {
        let failure = TrialFailure::Provider(error.failure());
        Self { failure, detail: error.to_string() }
    }
}

impl From<PullError> for Refused {
    fn from(error: PullError) -> Self {
        Self { failure: TrialFailure::Pull(error.reason), detail: error.detail }
    }
}
