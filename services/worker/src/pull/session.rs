//! A login at a registry for the time of one pull; a token that ends meanwhile is had again.

use std::time::{Duration, Instant};

use reqwest::{RequestBuilder, Response, Url, header::ACCEPT};
use tokio::io::AsyncWrite;
use waybill_domain::reference::ImageReference;

use super::{
    PullConfig, PullError, bounded,
    classify::classify,
    follow::follow,
    login::{Access, Greeting},
    manifest::Document,
    place::{Unfit, fit},
    transport::{self, Transport},
    trouble::Trouble,
};
use crate::{provider::RegistryLogin, redact::Redactor};

/// A token is had again this long before its end, or a tenth of its life if that is shorter.
const AHEAD: Duration = Duration::from_secs(10);

const MANIFEST_TYPES: &str = "application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json, \
    application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json";
const ANY_TYPE: &str = "*/*";

/// Everything a pull asks the registry goes through here.
pub(super) struct Session<'p> {
    config: &'p PullConfig,
    image: &'p ImageReference,
    login: &'p RegistryLogin,
    transport: Transport,
    /// `scheme://host[:port]` of the registry.
    base: String,
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
        let (transport, base) = (Transport::new(config)?, transport::base(image.registry(), config));
        let (redactor, access) = (Redactor::of(login), Access::Anonymous);
        let mut session = Self { config, image, login, transport, base, access, until: None, redactor };
        session.log_in().await?;
        Ok(session)
    }

    /// The manifest that the image reference names, or the one with a digest.
    pub(super) async fn manifest(&mut self, digest: Option<&str>) -> Result<Document, PullError> {
        let wanted = digest.or(self.image.digest());
        let name = wanted.or(self.image.tag()).unwrap_or("latest");
        let answer = self.get(&format!("manifests/{name}"), MANIFEST_TYPES).await?;
        bounded::manifest(answer, wanted).await.map_err(|trouble| self.error(&trouble))
    }

    /// A blob, verified while it is written. Other addresses that a manifest may give for it are not asked: they would be the
    /// choice of whoever made the image.
    pub(super) async fn blob(&mut self, digest: &str, out: impl AsyncWrite) -> Result<(), PullError> {
        let answer = self.get(&format!("blobs/{digest}"), ANY_TYPE).await?;
        bounded::blob(answer, digest, out).await.map_err(|trouble| self.error(&trouble))
    }

    async fn get(&mut self, what: &str, accept: &str) -> Result<Response, PullError> {
        self.stay_logged_in().await?;
        let url = format!("{}/v2/{}/{what}", self.base, self.image.repository());
        self.ask(&url, accept).await.map_err(|trouble| self.error(&trouble))
    }

    async fn ask(&self, url: &str, accept: &str) -> Result<Response, Trouble> {
        let ask = |url: Url, at_registry: bool| {
            let request = self.transport.http.get(url).header(ACCEPT, accept);
            if at_registry { self.access.on(request) } else { request }
        };
        follow(url, |place| self.judge(place), ask).await
    }

    fn judge(&self, place: &Url) -> Result<(), Unfit> {
        fit(place, &self.config.plain_http)?;
        Ok(self.transport.guard.admit(place, self.image.registry(), self.config)?)
    }

    async fn stay_logged_in(&mut self) -> Result<(), PullError> {
        if self.until.is_some_and(|until| until <= Instant::now()) {
            tracing::debug!("the registry's token is about to end, logging in again");
            self.log_in().await?;
        }
        Ok(())
    }

    async fn log_in(&mut self) -> Result<(), PullError> {
        let greeting = Greeting {
            transport: &self.transport,
            config: self.config,
            image: self.image,
            login: self.login,
            base: &self.base,
            redactor: &self.redactor,
        };
        let access = greeting.access().await?;
        self.until = None;
        if let Access::Bearer(token, life) = &access {
            self.redactor.add(token);
            self.until = life.map(|life| Instant::now() + life.saturating_sub(AHEAD.min(life / 10)));
        }
        self.access = access;
        Ok(())
    }

    fn error(&self, trouble: &Trouble) -> PullError {
        let sent = !matches!(self.access, Access::Anonymous);
        classify(trouble, self.image.registry(), (self.login, sent), &self.redactor)
    }
}

impl Access {
    fn on(&self, request: RequestBuilder) -> RequestBuilder {
        match self {
            Self::Anonymous => request,
            Self::Basic(login) => request.basic_auth(&login.username, Some(login.password.expose())),
            Self::Bearer(token, _) => request.bearer_auth(token.expose()),
        }
    }
}
