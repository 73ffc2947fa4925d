//! Logging in to a registry: greet it, and get what it wants to see with each request.

use std::time::Duration;

use reqwest::{RequestBuilder, StatusCode, Url};
use serde::Deserialize;
use waybill_domain::{
    credentials::{BasicLogin, Secret},
    reference::ImageReference,
};
use waybill_schemas::v1::PullFailure;
use zeroize::Zeroizing;

use super::{
    PullConfig, PullError,
    challenge::{self, Challenge, token_service},
    classify::{self, Symptom},
    guard::NotPublic,
    place::Unfit,
    transport::{Transport, read_bounded},
};
use crate::{provider::RegistryLogin, redact::Redactor};

/// How long a token works if its issuer does not say ("Token Authentication", `expires_in`).
const USUAL_LIFE: Duration = Duration::from_secs(60);
const LONGEST_LIFE: Duration = Duration::from_secs(24 * 3600);
/// The user name under which Docker's tools keep an identity token.
const IDENTITY_TOKEN_USER: &str = "<token>";
const MOST_BYTES: usize = 256 * 1024;

/// What goes with each request.
#[derive(Debug)]
pub(super) enum Access {
    Anonymous,
    Basic(BasicLogin),
    /// A token, and how long it works if that is limited.
    Bearer(Secret, Option<Duration>),
}

/// One login at one registry.
pub(super) struct Greeting<'p> {
    /// Its clients follow no redirects: whoever is sent a password is who was meant.
    pub(super) transport: &'p Transport,
    pub(super) config: &'p PullConfig,
    pub(super) image: &'p ImageReference,
    pub(super) login: &'p RegistryLogin,
    pub(super) base: &'p str,
    pub(super) redactor: &'p Redactor,
}

impl Greeting<'_> {
    pub(super) async fn access(&self) -> Result<Access, PullError> {
        if let RegistryLogin::Bearer(token) = self.login {
            let unsendable = "the token holds characters that no request can carry; save it again without them";
            let error = || PullError::new(PullFailure::NoLogin, unsendable);
            return if sendable(token.expose()) { Ok(Access::Bearer(token.clone(), None)) } else { Err(error()) };
        }
        self.answer(&self.ping().await?).await
    }

    /// What goes with requests to a registry that wants to see this.
    pub(super) async fn answer(&self, challenge: &Challenge) -> Result<Access, PullError> {
        match (challenge, self.login) {
            (Challenge::Basic, RegistryLogin::Basic(login)) => Ok(Access::Basic(login.clone())),
            (Challenge::None | Challenge::Basic, _) => Ok(Access::Anonymous),
            (Challenge::Bearer { realm, service }, _) => self.token(realm, service.as_deref()).await,
        }
    }

    async fn ping(&self) -> Result<Challenge, PullError> {
        let answer = self.send(self.transport.http.get(format!("{}/v2/", self.base))).await?;
        let challenge = challenge::of(answer.headers());
        let status = answer.status();
        if challenge == Challenge::None && (status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error()) {
            return Err(self.status_error("the registry", status.as_u16(), answer).await);
        }
        Ok(challenge)
    }

    async fn token(&self, realm: &str, service: Option<&str>) -> Result<Access, PullError> {
        let url = token_service(realm, &self.config.plain_http).map_err(|unfit| self.unfit(unfit))?;
        let admitted = self.transport.guard.admit(&url, self.image.registry(), self.config);
        admitted.map_err(|refused| self.unfit(refused.into()))?;
        let answer = self.ask(url, service).await?;
        let status = answer.status();
        if !status.is_success() {
            return Err(self.status_error("its token service", status.as_u16(), answer).await);
        }
        let malformed = || self.error(PullFailure::RegistryError, "its token service gave no token");
        let body = read_bounded(answer, MOST_BYTES).await.map_err(|error| self.transport_error(&error))?;
        let body = Zeroizing::new(body.ok_or_else(malformed)?);
        let answer: TokenAnswer = serde_json::from_slice(&body).map_err(|_| malformed())?;
        let given = [answer.token, answer.access_token].into_iter().flatten().find(|token| !token.expose().is_empty());
        let token = given.filter(|token| sendable(token.expose()));
        let seconds = answer.expires_in.and_then(|seconds| seconds.as_u64());
        let life = seconds.map_or(USUAL_LIFE, Duration::from_secs).min(LONGEST_LIFE);
        Ok(Access::Bearer(token.ok_or_else(malformed)?, Some(life)))
    }

    /// Asks for a token. An identity token has a request of its own (distribution's "OAuth2 Token Authentication"), which not
    /// every service knows.
    async fn ask(&self, mut url: Url, service: Option<&str>) -> Result<reqwest::Response, PullError> {
        let scope = format!("repository:{}:pull", self.image.repository());
        let mut form = vec![("scope", scope.as_str())];
        form.extend(service.map(|service| ("service", service)));
        let login = match self.login {
            RegistryLogin::Basic(login) => Some(login),
            _ => None,
        };
        if let Some(login) = login.filter(|login| login.username == IDENTITY_TOKEN_USER) {
            let grant = [("grant_type", "refresh_token"), ("client_id", "waybill")];
            let token = [("refresh_token", login.password.expose())];
            let fields: Vec<_> = grant.into_iter().chain(form.clone()).chain(token).collect();
            let answer = self.send(self.transport.http.post(url.clone()).form(&fields)).await?;
            if ![StatusCode::NOT_FOUND, StatusCode::METHOD_NOT_ALLOWED].contains(&answer.status()) {
                return Ok(answer);
            }
        }
        url.query_pairs_mut().extend_pairs(form);
        let request = self.transport.http.get(url);
        self.send(match login {
            Some(login) => request.basic_auth(&login.username, Some(login.password.expose())),
            None => request,
        })
        .await
    }

    async fn send(&self, request: RequestBuilder) -> Result<reqwest::Response, PullError> {
        request.send().await.map_err(|error| self.transport_error(&error))
    }

    async fn status_error(&self, who: &str, status: u16, answer: reqwest::Response) -> PullError {
        let reason = classify::reason(&Symptom::Status(status));
        let told = if status == 401 {
            classify::refused(self.login, true).to_owned()
        } else {
            let body = read_bounded(answer, MOST_BYTES).await.ok().flatten().unwrap_or_default();
            format!("answered {status} {}", String::from_utf8_lossy(&body))
        };
        self.error(reason, &format!("{who} {told}"))
    }

    fn transport_error(&self, error: &reqwest::Error) -> PullError {
        if NotPublic::caused(error) {
            return self.unfit(NotPublic.into());
        }
        let (symptom, words) = classify::of_transport(error);
        let place = classify::elsewhere(error, self.image.registry());
        let words = place.map_or_else(|| words.clone(), |host| format!("its token service {host}: {words}"));
        self.error(classify::reason(&symptom), &words)
    }

    fn unfit(&self, unfit: Unfit) -> PullError {
        self.error(PullFailure::RegistryError, &format!("names a token service {unfit}"))
    }

    fn error(&self, reason: PullFailure, words: &str) -> PullError {
        PullError::new(reason, self.redactor.clean(&format!("{}: {words}", self.image.registry())))
    }
}

/// What may stand in a header: visible ASCII.
fn sendable(token: &str) -> bool {
    !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic())
}

#[derive(Deserialize)]
struct TokenAnswer {
    token: Option<Secret>,
    access_token: Option<Secret>,
    /// A number, but not everywhere.
    expires_in: Option<serde_json::Value>,
}
