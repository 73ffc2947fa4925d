//! Pulls: the manifest, configuration and layers, into an OCI image layout or only asked for.

mod bounded;
mod challenge;
mod classify;
pub(crate) mod connection;
mod digest;
mod encoding;
#[cfg(fuzzing)]
pub mod fuzzing;
mod guard;
mod layout;
mod login;
mod manifest;
mod platform;
pub(crate) mod proxy;
mod public;
mod scratch;
mod session;
mod transport;
mod trouble;

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use waybill_domain::reference::{ImageReference, RegistryHost};
use waybill_schemas::v1::PullFailure;

use crate::provider::RegistryLogin;
use session::Session;
pub use transport::read_ca_file;

/// How images are pulled.
#[derive(Debug, Clone)]
pub struct PullConfig {
    /// Hosts that are spoken to without TLS.
    pub plain_http: Vec<RegistryHost>,
    /// Where registries are reached instead of at their own host: `scheme://host[:port]`. The operator vouches for them:
    /// the registry's login is sent there.
    pub endpoints: BTreeMap<RegistryHost, String>,
    /// Token services and storage that registries may send us to although they are in the operator's own network.
    pub internal_token_services: Vec<RegistryHost>,
    /// A further certificate authority, PEM.
    pub ca_file: Option<PathBuf>,
    /// Where OCI layouts are written. Without it nothing is kept: the registry is asked whether it gives each layer and the
    /// configuration, and not for their content.
    pub image_dir: Option<PathBuf>,
    /// The node's own logins, a Docker configuration file: for images without credentials only, and for all workspaces.
    pub docker_config: Option<PathBuf>,
    /// How long a pull may take.
    pub limit: Duration,
}

impl Default for PullConfig {
    fn default() -> Self {
        Self {
            plain_http: Vec::new(),
            endpoints: BTreeMap::new(),
            internal_token_services: Vec::new(),
            ca_file: None,
            image_dir: None,
            docker_config: None,
            limit: Duration::from_secs(300),
        }
    }
}

/// Why a pull failed, for the event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {detail}")]
pub struct PullError {
    /// Reason code.
    pub reason: PullFailure,
    /// More words for people, without secrets.
    pub detail: String,
    /// True if the registry said that a token is over.
    says_expired: bool,
}

impl PullError {
    /// An error with a reason code.
    pub fn new(reason: PullFailure, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into(), says_expired: false }
    }

    /// The same error, of which the registry said that a token is over.
    fn of_expired_token(self) -> Self {
        Self { says_expired: true, ..self }
    }

    /// True if a newer token might help.
    pub fn may_be_stale(&self) -> bool {
        self.reason == PullFailure::Unauthorized || self.says_expired
    }
}

/// Pulls an image, and returns the digest of its manifest (of the index, where it is one). The registry gave every layer
/// and the configuration, or said that it would. `name` is the layout's folder below the image folder.
///
/// # Errors
/// [`PullError`]; nothing half-written is left.
pub async fn pull(
    config: &PullConfig,
    image: &ImageReference,
    login: &RegistryLogin,
    name: &str,
) -> Result<String, PullError> {
    match tokio::time::timeout(config.limit, attempt_pull(config, image, login, name)).await {
        Ok(outcome) => outcome,
        Err(_) => {
            let detail = format!("{} did not finish within {} s", image.registry(), config.limit.as_secs());
            Err(PullError::new(PullFailure::Unreachable, detail))
        }
    }
}

async fn attempt_pull(
    config: &PullConfig,
    image: &ImageReference,
    login: &RegistryLogin,
    name: &str,
) -> Result<String, PullError> {
    let mut session = Session::open(config, image, login).await?;
    let pulled = manifest::fetch_manifests(&mut session).await?;
    match &config.image_dir {
        Some(folder) => layout::write_image(&mut session, &pulled, &folder.join(name)).await?,
        None => {
            for blob in &pulled.blobs {
                session.check_blob(blob).await?;
            }
        }
    }
    Ok(pulled.documents.first().map(|top| top.digest.clone()).unwrap_or_default())
}

#[cfg(test)]
mod tests;
