//! Logging in to a registry: greet it, and get what it wants to see with each request.

use std::time::Duration;

use reqwest::{RequestBuilder, StatusCode, Url};
use serde::Deserialize;
use waybill_domain::{
    credentials::{BasicLogin, IDENTITY_TOKEN_USER, Secret},
    reference::ImageReference,
};
use waybill_schemas::v1::PullFailure;
use zeroize::Zeroizing;

use super::{
    PullConfig, PullError,
    challenge::{Challenge, Challenges, token_service},
    classify::{self, Asker},
    guard::{NotPublic, Unfit},
    transport::{Transport, read_bounded},
    trouble::Refusal,
};
use crate::{number::seconds, provider::RegistryLogin};

/// How long a token works if its issuer does not say ("Token Authentication", `expires_in`).
const USUAL_LIFE: Duration = Duration::from_secs(60);
const LONGEST_LIFE: Duration = Duration::from_secs(24 * 3600);
const MOST_BYTES: usize = 256 * 1024;

/// What a token is for, and who issues it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Grant {
    realm: String,
    service: Option<String>,
    scopes: Vec<String>,
}

/// What goes with each request.
#[derive(Debug)]
pub(super) enum Access {
    Anonymous,
    Basic(BasicLogin),
    /// A token that was given, and works for as long as it does.
    Given(Secret),
    /// A token that was had for a grant, and how long it works.
    Token(Secret, Grant, Duration),
}

/// One registry, and whom it is asked as.
pub(super) struct Site<'p> {
    pub(super) config: &'p PullConfig,
    pub(super) image: &'p ImageReference,
    pub(super) login: &'p RegistryLogin,
    /// Its clients follow no redirects: whoever is sent a password is who was meant.
    pub(super) transport: Transport,
    /// `scheme://host[:port]` of the registry.
    pub(super) base: String,
}

impl Grant {
    /// The grant that a challenge asks for. What a refused request names as its scope is what is asked for, in the words of
    /// whoever refused; a greeting's scope is of the greeting, and so is what was not said.
    pub(super) fn from_challenge(challenge: &Challenge, image: &ImageReference, of_request: bool) -> Option<Self> {
        let Challenge::Bearer { realm, service, scope } = challenge else { return None };
        let named = scope.as_deref().filter(|_| of_request).unwrap_or_default();
        let mut scopes: Vec<String> = named.split_whitespace().map(str::to_owned).collect();
        if scopes.is_empty() {
            scopes.push(format!("repository:{}:pull", image.repository()));
        }
        Some(Self { realm: realm.clone(), service: service.clone(), scopes })
    }
}

impl Site<'_> {
    /// What goes with requests before anything was asked for: a token that was given.
    pub(super) fn given_access(&self) -> Result<Option<Access>, PullError> {
        let RegistryLogin::Bearer(token) = self.login else { return Ok(None) };
        let unsendable = "the token holds characters that no request can carry; save it again without them";
        match is_sendable(token.expose()) {
            true => Ok(Some(Access::Given(token.clone()))),
            false => Err(PullError::new(PullFailure::NoLogin, unsendable)),
        }
    }

    /// What the registry wants to see, as its greeting says.
    pub(super) async fn greet_registry(&self) -> Result<Challenges, PullError> {
        let answer = self.send_request(self.transport.http.get(format!("{}/v2/", self.base))).await?;
        let (status, challenges) = (answer.status(), Challenges::from_headers(answer.headers()));
        let is_down = status == StatusCode::TOO_MANY_REQUESTS
            || status == StatusCode::PROXY_AUTHENTICATION_REQUIRED
            || status.is_server_error();
        if challenges.is_empty() && is_down {
            let refusal = Refusal::from_answer(answer, true).await;
            return Err(classify::classify(&refusal.into(), self.asker(false, true)));
        }
        Ok(challenges)
    }

    /// The token for a grant.
    pub(super) async fn fetch_token(&self, grant: &Grant) -> Result<Access, PullError> {
        let url = token_service(&grant.realm, &self.config.plain_http).map_err(|unfit| self.unfit_error(unfit))?;
        let admitted = self.transport.guard.admit(&url, self.image.registry(), self.config);
        admitted.map_err(|refused| self.unfit_error(refused.into()))?;
        let answer = self.request_token(url, grant).await?;
        if !answer.status().is_success() {
            return Err(self.refusal_error(&Refusal::from_answer(answer, true).await));
        }
        let malformed = || self.login_error(PullFailure::RegistryError, "its token service gave no token");
        let body = read_bounded(answer, MOST_BYTES).await.map_err(|error| self.transport_error(&error))?;
        let body = Zeroizing::new(body.ok_or_else(malformed)?);
        let (token, life) = read_token(&body).ok_or_else(malformed)?;
        Ok(Access::Token(token, grant.clone(), life))
    }

    /// Asks for a token. An identity token has a request of its own (distribution's "OAuth2 Token Authentication"), which not
    /// every service knows.
    async fn request_token(&self, mut url: Url, grant: &Grant) -> Result<reqwest::Response, PullError> {
        let login = match self.login {
            RegistryLogin::Basic(login) => Some(login),
            _ => None,
        };
        let service = grant.service.as_deref().map(|service| ("service", service));
        if let Some(login) = login.filter(|login| login.username == IDENTITY_TOKEN_USER) {
            let scope = grant.scopes.join(" ");
            let first = [("grant_type", "refresh_token"), ("client_id", "waybill"), ("scope", scope.as_str())];
            let last = [("refresh_token", login.password.expose())];
            let fields: Vec<_> = first.into_iter().chain(service).chain(last).collect();
            let answer = self.send_request(self.transport.http.post(url.clone()).form(&fields)).await?;
            if ![StatusCode::NOT_FOUND, StatusCode::METHOD_NOT_ALLOWED].contains(&answer.status()) {
                return Ok(answer);
            }
        }
        let scopes = grant.scopes.iter().map(|scope| ("scope", scope.as_str()));
        url.query_pairs_mut().extend_pairs(scopes.chain(service));
        let request = self.transport.http.get(url);
        self.send_request(match login {
            Some(login) => request.basic_auth(&login.username, Some(login.password.expose())),
            None => request,
        })
        .await
    }

    async fn send_request(&self, request: RequestBuilder) -> Result<reqwest::Response, PullError> {
        request.send().await.map_err(|error| self.transport_error(&error))
    }

    fn refusal_error(&self, refusal: &Refusal) -> PullError {
        let sent = !matches!(self.login, RegistryLogin::Anonymous);
        let asker = self.asker(sent, !sent);
        let told = match refusal.status {
            401 => classify::describe_refusal(refusal, asker),
            _ => classify::describe_answer(refusal, asker.sent_nothing),
        };
        self.login_error(classify::find_reason(refusal), &format!("its token service {told}"))
    }

    fn transport_error(&self, error: &reqwest::Error) -> PullError {
        match NotPublic::is_cause_of(error) {
            true => self.unfit_error(NotPublic.into()),
            false => classify::transport_error(error, self.asker(false, true), "its token service"),
        }
    }

    pub(super) fn asker(&self, sent: bool, sent_nothing: bool) -> Asker<'_> {
        let (registry, proxies) = (self.image.registry(), &self.transport.proxies);
        Asker { registry, login: self.login, sent, sent_nothing, proxies }
    }

    fn unfit_error(&self, unfit: Unfit) -> PullError {
        self.login_error(PullFailure::RegistryError, &format!("names a token service {unfit}"))
    }

    fn login_error(&self, reason: PullFailure, words: &str) -> PullError {
        PullError::new(reason, format!("{}: {words}", self.image.registry()))
    }
}

/// Returns the token in a token service's answer and its time to live; none if no token in it can be sent.
pub(super) fn read_token(body: &[u8]) -> Option<(Secret, Duration)> {
    let answer: TokenAnswer = serde_json::from_slice(body).ok()?;
    // Services send either name, some both, and some one of them empty.
    let given = [answer.token, answer.access_token].into_iter().flatten().find(|token| !token.expose().is_empty());
    let token = given.filter(|token| is_sendable(token.expose()))?;
    let life = answer.expires_in.as_ref().and_then(seconds);
    Some((token, life.map_or(USUAL_LIFE, Duration::from_secs).min(LONGEST_LIFE)))
}

/// What may stand in a header: visible ASCII.
fn is_sendable(token: &str) -> bool {
    !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic())
}

#[derive(Deserialize)]
struct TokenAnswer {
    token: Option<Secret>,
    access_token: Option<Secret>,
    /// A number, but not everywhere.
    expires_in: Option<serde_json::Value>,
}
