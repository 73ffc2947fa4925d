//! A trial: would the registry give an image for these credentials? Nothing is written, and no event is made.

use std::path::PathBuf;

use waybill_domain::{
    credentials::Secret,
    provider::{CustomPlan, plan_to_try},
    reference::{ImageReference, RegistryHost},
};
use waybill_platform::config::Reader;
use waybill_schemas::{Timestamp, WorkspaceId};

use crate::{
    config,
    provider::{Provider, ProviderError, RegistryLogin, TokenCache},
    pull::{PullConfig, PullError, pull},
};

/// Asks registries as a worker does.
#[derive(Debug, Clone)]
pub struct Trial {
    pull: PullConfig,
    tokens: TokenCache,
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
    /// Reason code: that of `CredentialProviderFailed`, or of `ImagePullFailed`.
    pub reason: &'static str,
    /// More words for people, without secrets.
    pub detail: String,
}

impl Trial {
    /// The settings of a worker that say how registries are spoken to; and further hosts that are spoken to without TLS,
    /// and another certificate authority.
    pub fn read(
        reader: &mut Reader<'_>,
        plain_http: impl IntoIterator<Item = RegistryHost>,
        ca_file: Option<PathBuf>,
    ) -> Self {
        let (mut pull, aws) = config::registries(reader, ca_file);
        pull.plain_http.extend(plain_http);
        Self { pull: PullConfig { image_dir: None, docker_config: None, ..pull }, tokens: TokenCache::new(aws) }
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
        let plan = plan.map_err(|failure| Refused { reason: failure.reason.as_str(), detail: failure.detail })?;
        let (login, expires_at) = match plan {
            Some(plan) => self.login(workspace, image, plan).await?,
            None => (RegistryLogin::Anonymous, None),
        };
        let digest = pull(&self.pull, image, &login, "").await?;
        Ok(Given { digest, expires_at })
    }

    async fn login(
        &self,
        workspace: &WorkspaceId,
        image: &ImageReference,
        plan: CustomPlan,
    ) -> Result<(RegistryLogin, Option<Timestamp>), Refused> {
        let issued = Provider::new(plan, workspace, &self.tokens).login(image.registry()).await?;
        Ok((issued.login, issued.expires_at))
    }
}

impl From<ProviderError> for Refused {
    fn from(error: ProviderError) -> Self {
        let reason = waybill_schemas::v1::ProviderFailure::TokenExchangeFailed;
        Self { reason: reason.as_str(), detail: error.to_string() }
    }
}

impl From<PullError> for Refused {
    fn from(error: PullError) -> Self {
        Self { reason: error.reason.as_str(), detail: error.detail }
    }
}
