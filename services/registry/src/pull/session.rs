//! A login at a registry for the time of one pull; a token that ends meanwhile is had again.

use std::time::{Duration, Instant};

use reqwest::{RequestBuilder, Response, Url, header::ACCEPT};
use tokio::io::AsyncWrite;
use waybill_domain::reference::ImageReference;

use super::{
    PullConfig, PullError, bounded,
    challenge::Challenge,
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
    /// Whether the registry gave something for this access.
    worked: bool,
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
        let mut session = Self { config, image, login, transport, base, access, worked: false, until: None, redactor };
        session.log_in(&Challenge::None).await?;
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

    /// Asks, and once more after a login if that may help.
    async fn get(&mut self, what: &str, accept: &str) -> Result<Response, PullError> {
        self.stay_logged_in().await?;
        let url = format!("{}/v2/{}/{what}", self.base, self.image.repository());
        let outcome = match self.ask(&url, accept).await {
            Err(Trouble::Unauthorized(challenge)) if may_help(&self.access, self.worked, self.login, &challenge) => {
                tracing::debug!("the registry asks for a login that it did not ask for before, logging in");
                self.log_in(&challenge).await?;
                self.ask(&url, accept).await
            }
            outcome => outcome,
        };
        self.worked |= outcome.is_ok();
        outcome.map_err(|trouble| self.error(&trouble))
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
            self.log_in(&Challenge::None).await?;
        }
        Ok(())
    }

    /// By what the registry has just asked for; if that is nothing, it is greeted.
    async fn log_in(&mut self, challenge: &Challenge) -> Result<(), PullError> {
        let greeting = Greeting {
            transport: &self.transport,
            config: self.config,
            image: self.image,
            login: self.login,
            base: &self.base,
            redactor: &self.redactor,
        };
        let access = match challenge {
            Challenge::None => greeting.access().await?,
            asked => greeting.answer(asked).await?,
        };
        self.until = None;
        if let Access::Bearer(token, life) = &access {
            self.redactor.add(token);
            self.until = life.map(|life| Instant::now() + life.saturating_sub(AHEAD.min(life / 10)));
        }
        (self.access, self.worked) = (access, false);
        Ok(())
    }

    fn error(&self, trouble: &Trouble) -> PullError {
        let sent = !matches!(self.access, Access::Anonymous);
        classify(trouble, self.image.registry(), (self.login, sent), &self.redactor)
    }
}

/// Whether a login can turn a 401 into something else: nothing was sent and something can be, or a token from a token service
/// worked before. One that never worked would only be had again.
fn may_help(access: &Access, worked: bool, login: &RegistryLogin, challenge: &Challenge) -> bool {
    match (access, challenge) {
        (Access::Anonymous, Challenge::Bearer { .. }) => true,
        (Access::Anonymous, Challenge::Basic) => matches!(login, RegistryLogin::Basic(_)),
        (Access::Anonymous, Challenge::None) | (Access::Basic(_) | Access::Bearer(_, None), _) => false,
        (Access::Bearer(_, Some(_)), _) => worked,
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

#[cfg(test)]
mod tests {
    use waybill_domain::credentials::{BasicLogin, Secret};

    use super::*;

    #[test]
    fn when_a_login_may_help() {
        let login = || BasicLogin { username: "u".to_owned(), password: Secret::from("p") };
        let (nobody, ada, given) =
            (RegistryLogin::Anonymous, RegistryLogin::Basic(login()), RegistryLogin::Bearer(Secret::from("t")));
        let issued = || Access::Bearer(Secret::from("t"), Some(Duration::ZERO));
        let (none, basic) = (Challenge::None, Challenge::Basic);
        let bearer = Challenge::Bearer { realm: "https://a/t".to_owned(), service: None };
        let cases = [
            (Access::Anonymous, false, &ada, &none, false),
            (Access::Anonymous, false, &ada, &basic, true),
            (Access::Anonymous, true, &ada, &bearer, true),
            (Access::Anonymous, false, &nobody, &basic, false),
            (Access::Anonymous, false, &nobody, &bearer, true),
            (Access::Basic(login()), true, &ada, &basic, false),
            (Access::Bearer(Secret::from("t"), None), true, &given, &bearer, false),
            (issued(), false, &ada, &bearer, false),
            (issued(), true, &ada, &bearer, true),
            (issued(), true, &ada, &none, true),
            (issued(), true, &nobody, &bearer, true),
        ];
        for (access, worked, login, challenge, expected) in cases {
            assert_eq!(may_help(&access, worked, login, challenge), expected, "{access:?} {login:?} {challenge:?}");
        }
    }
}
