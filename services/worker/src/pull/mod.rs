//! Pulls: the manifest and, when asked, configuration and layers into an OCI image layout.
//!
//! An `oci_client::Client` keeps the first credential that it saw for a registry, so that each pull has a client of its own.

mod classify;
mod clean;
mod layout;

use std::{fs, path::PathBuf, time::Duration};

use oci_client::{
    Client, Reference,
    client::{Certificate, CertificateEncoding, ClientConfig, ClientProtocol},
    secrets::RegistryAuth,
};
use waybill_domain::reference::{ImageReference, RegistryHost};
use waybill_schemas::v1::PullFailure;

use crate::provider::RegistryLogin;
pub use clean::clean;

const CONNECT_LIMIT: Duration = Duration::from_secs(10);
const SILENCE_LIMIT: Duration = Duration::from_secs(60);

const MANIFEST_TYPES: &[&str] = &[
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
];

/// How images are pulled.
#[derive(Debug, Clone, Default)]
pub struct PullConfig {
    /// Hosts that are spoken to without TLS.
    pub plain_http: Vec<RegistryHost>,
    /// A further certificate authority, PEM.
    pub ca_file: Option<PathBuf>,
    /// Where OCI layouts are written; only the manifest is pulled without it.
    pub image_dir: Option<PathBuf>,
    /// How long a pull may take.
    pub limit: Duration,
}

/// Why a pull failed, for the event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {detail}")]
pub struct PullError {
    /// Reason code.
    pub reason: PullFailure,
    /// More words for people, without secrets.
    pub detail: String,
}

impl PullError {
    /// An error with a reason code.
    pub fn new(reason: PullFailure, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into() }
    }
}

/// Pulls an image, and returns the digest of its manifest. `name` is the layout's folder below the image folder.
///
/// # Errors
/// [`PullError`]; nothing half-written is left.
pub async fn pull(
    config: &PullConfig,
    image: &ImageReference,
    login: &RegistryLogin,
    name: &str,
) -> Result<String, PullError> {
    match tokio::time::timeout(config.limit, attempt(config, image, login, name)).await {
        Ok(outcome) => outcome,
        Err(_) => {
            let detail = format!("{} did not finish within {} s", image.registry(), config.limit.as_secs());
            Err(PullError::new(PullFailure::Unreachable, detail))
        }
    }
}

async fn attempt(
    config: &PullConfig,
    image: &ImageReference,
    login: &RegistryLogin,
    name: &str,
) -> Result<String, PullError> {
    let client = client(config)?;
    let (reference, auth) = (reference(image), auth(login));
    let classified = |error| classify::classify(&error, image.registry(), login);
    client.store_auth_if_needed(reference.resolve_registry(), &auth).await;
    let (manifest, digest) = client.pull_manifest_raw(&reference, &auth, MANIFEST_TYPES).await.map_err(classified)?;
    if let Some(folder) = &config.image_dir {
        layout::write(&client, &reference, &auth, &folder.join(name), (&manifest, &digest), classified).await?;
    }
    Ok(digest)
}

fn client(config: &PullConfig) -> Result<Client, PullError> {
    // A provider that is installed already is just as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let storage = |detail: String| PullError::new(PullFailure::Tls, detail);
    let extra_root_certificates = match &config.ca_file {
        Some(file) => {
            let data = fs::read(file)
                .map_err(|error| storage(format!("the CA file {} cannot be read: {error}", file.display())))?;
            vec![Certificate { encoding: CertificateEncoding::Pem, data }]
        }
        None => Vec::new(),
    };
    let settings = ClientConfig {
        protocol: ClientProtocol::HttpsExcept(
            config.plain_http.iter().map(|host| wire_host(host).to_owned()).collect(),
        ),
        extra_root_certificates,
        connect_timeout: Some(CONNECT_LIMIT),
        read_timeout: Some(SILENCE_LIMIT),
        user_agent: concat!("waybill/", env!("CARGO_PKG_VERSION")),
        ..ClientConfig::default()
    };
    Client::try_from(settings).map_err(|error| storage(format!("no client can be made: {error}")))
}

/// Docker Hub's name and the host that serves it differ.
fn wire_host(host: &RegistryHost) -> &str {
    if *host == RegistryHost::docker_hub() { "index.docker.io" } else { host.as_str() }
}

fn reference(image: &ImageReference) -> Reference {
    let (registry, repository) = (image.registry().to_string(), image.repository().to_owned());
    match (image.tag().map(str::to_owned), image.digest().map(str::to_owned)) {
        (Some(tag), Some(digest)) => Reference::with_tag_and_digest(registry, repository, tag, digest),
        (None, Some(digest)) => Reference::with_digest(registry, repository, digest),
        (tag, None) => Reference::with_tag(registry, repository, tag.unwrap_or_else(|| "latest".to_owned())),
    }
}

fn auth(login: &RegistryLogin) -> RegistryAuth {
    match login {
        RegistryLogin::Anonymous => RegistryAuth::Anonymous,
        RegistryLogin::Basic(login) => RegistryAuth::Basic(login.username.clone(), login.password.expose().to_owned()),
        RegistryLogin::Bearer(token) => RegistryAuth::Bearer(token.expose().to_owned()),
    }
}
