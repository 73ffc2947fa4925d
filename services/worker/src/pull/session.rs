//! A login at a registry for the time of one pull; a token that ends meanwhile is had again.

use std::time::{Duration, Instant};

use oci_client::{
    Client, Reference, RegistryOperation, client::LayerDescriptor, errors::OciDistributionError, secrets::RegistryAuth,
    token_cache::RegistryTokenType,
};
use reqwest::{Url, header::ACCEPT};
use tokio::io::AsyncWrite;
use waybill_domain::reference::ImageReference;

use super::{
    PullConfig, PullError, bounded,
    classify::classify,
    login::{Access, Greeting},
    manifest::Document,
    transport::Transport,
};
use crate::{provider::RegistryLogin, redact::Redactor};

/// A token is had again this long before its end, or a tenth of its life if that is shorter.
const AHEAD: Duration = Duration::from_secs(10);

const MANIFEST_TYPES: &[&str] = &[
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
];

/// Everything a pull asks the registry goes through here.
pub(super) struct Session<'p> {
    config: &'p PullConfig,
    image: &'p ImageReference,
    login: &'p RegistryLogin,
    transport: Transport,
    reference: Reference,
    client: Client,
    access: Access,
    until: Option<Instant>,
    redactor: Redactor,
}

impl<'p> Session<'p> {
    /// Logs in.
    pub(super) async fn open(
        config: &'p PullConfig,
        image: &'p ImageReference,
        login: &'p RegistryLogin,
    ) -> Result<Self, PullError> {
        let transport = Transport::new(config)?;
        let client = transport.oci_client()?;
        let (reference, redactor, access) = (reference(image), Redactor::of(login), Access::Anonymous);
        let mut session = Self { config, image, login, transport, reference, client, access, until: None, redactor };
        session.log_in().await?;
        Ok(session)
    }

    /// The manifest that the image reference names, or the one with a digest.
    pub(super) async fn manifest(&mut self, digest: Option<&str>) -> Result<Document, PullError> {
        self.stay_logged_in().await?;
        let wanted = digest.or(self.image.digest());
        let name = wanted.or(self.image.tag()).unwrap_or("latest");
        let base = self.transport.base(self.image.registry());
        let url = format!("{base}/v2/{}/manifests/{name}", self.image.repository());
        let ask = |url: Url, at_registry: bool| {
            let request = self.transport.http.get(url).header(ACCEPT, MANIFEST_TYPES.join(", "));
            match &self.access {
                Access::Basic(login) if at_registry => {
                    request.basic_auth(&login.username, Some(login.password.expose()))
                }
                Access::Bearer(token, _) if at_registry => request.bearer_auth(token.expose()),
                _ => request,
            }
        };
        bounded::get(&url, wanted, ask).await.map_err(|error| self.error(&error))
    }

    /// A blob, verified while it is written. Other addresses that a manifest may give for it are not asked: they would be the
    /// choice of whoever made the image.
    pub(super) async fn blob(&mut self, digest: &str, out: impl AsyncWrite) -> Result<(), PullError> {
        self.stay_logged_in().await?;
        let blob = LayerDescriptor { digest, urls: &None };
        self.client.pull_blob(&self.reference, &blob, out).await.map_err(|error| self.error(&error))
    }

    async fn stay_logged_in(&mut self) -> Result<(), PullError> {
        if self.until.is_some_and(|until| until <= Instant::now()) {
            tracing::debug!("the registry's token is about to end, logging in again");
            self.client = self.transport.oci_client()?;
            self.log_in().await?;
        }
        Ok(())
    }

    /// Hands the client what goes with its requests, so that it never logs in by itself.
    async fn log_in(&mut self) -> Result<(), PullError> {
        let greeting = Greeting {
            transport: &self.transport,
            config: self.config,
            image: self.image,
            login: self.login,
            base: &self.transport.base(self.image.registry()),
            redactor: &self.redactor,
        };
        let access = greeting.access().await?;
        let registry = self.reference.resolve_registry();
        self.until = None;
        match &access {
            Access::Anonymous => self.client.store_auth_if_needed(registry, &RegistryAuth::Anonymous).await,
            Access::Basic(login) => {
                let password = login.password.expose().to_owned();
                let login = RegistryTokenType::Basic(login.username.clone(), password);
                self.client.store_auth_if_needed(registry, &RegistryAuth::Anonymous).await;
                self.client.tokens.insert(&self.reference, RegistryOperation::Pull, login).await;
            }
            Access::Bearer(token, life) => {
                let auth = RegistryAuth::Bearer(token.expose().to_owned());
                self.client.store_auth_if_needed(registry, &auth).await;
                self.redactor.add(token);
                self.until = life.map(|life| Instant::now() + life.saturating_sub(AHEAD.min(life / 10)));
            }
        }
        self.access = access;
        Ok(())
    }

    fn error(&self, error: &OciDistributionError) -> PullError {
        classify(error, self.image.registry(), self.login, &self.redactor)
    }
}

fn reference(image: &ImageReference) -> Reference {
    let (registry, repository) = (image.registry().to_string(), image.repository().to_owned());
    match (image.tag().map(str::to_owned), image.digest().map(str::to_owned)) {
        (Some(tag), Some(digest)) => Reference::with_tag_and_digest(registry, repository, tag, digest),
        (None, Some(digest)) => Reference::with_digest(registry, repository, digest),
        (tag, None) => Reference::with_tag(registry, repository, tag.unwrap_or_else(|| "latest".to_owned())),
    }
}
