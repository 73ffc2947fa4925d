//! Credential providers: each gives logins for one registry host, and for no other.

mod aws;
mod azure;
mod cache;
mod clouds;
mod ecr;
mod ecr_public;
mod error;
mod freshness;
mod google;
mod oauth;
mod rest;
mod rs256;
mod sts;
mod token;

use std::{fmt, sync::Arc};

use waybill_domain::{
    credentials::{BasicLogin, Credentials, GOOGLE_TOKEN_USER, GoogleCredentials, RegistryToken, Secret},
    provider::CustomPlan,
    reference::RegistryHost,
};
use waybill_schemas::{Timestamp, WorkspaceId};

pub use cache::TokenCache;
pub use clouds::CloudConfig;
use clouds::CloudExchange;
pub use ecr::EcrConfig;
use ecr::EcrExchange;
pub use error::ProviderError;
pub use token::Observer;
use token::{Token, TokenSource};

/// What is sent to a registry.
#[derive(Debug, Clone)]
pub enum RegistryLogin {
    /// Nothing.
    Anonymous,
    /// User name and password.
    Basic(BasicLogin),
    /// A bearer token.
    Bearer(Secret),
}

impl From<RegistryToken> for RegistryLogin {
    fn from(token: RegistryToken) -> Self {
        match token {
            RegistryToken { username: Some(username), token } => Self::Basic(BasicLogin { username, password: token }),
            RegistryToken { username: None, token } => Self::Bearer(token),
        }
    }
}

/// A login, as it was given out.
#[derive(Debug, Clone)]
pub struct Issued {
    /// The login.
    pub login: RegistryLogin,
    /// When it stops working, if it does.
    pub expires_at: Option<Timestamp>,
    /// Whether it was issued before it was asked for: the registry may no longer take it, and a new one can be had.
    pub from_before: bool,
}

/// A source of logins for one registry host.
#[derive(Clone)]
pub struct Provider {
    registry: RegistryHost,
    kind: Kind,
}

#[derive(Clone)]
enum Kind {
    Static(RegistryLogin),
    Ecr(Arc<TokenSource<EcrExchange>>),
    Cloud(Arc<TokenSource<CloudExchange>>),
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Provider").field("registry", &self.registry).finish_non_exhaustive()
    }
}

impl Provider {
    /// A provider for a workspace's credentials. Tokens are shared with its other containers through the cache.
    pub fn new(plan: CustomPlan, workspace: &WorkspaceId, tokens: &TokenCache) -> Self {
        let CustomPlan { registry, credentials } = plan;
        let kind = match &credentials {
            Credentials::Aws(keys) => Kind::Ecr(tokens.source(workspace, &registry, keys)),
            Credentials::Azure(keys) => Kind::Cloud(tokens.clouds.azure(workspace, &registry, keys, tokens.observer)),
            Credentials::Google(GoogleCredentials::Keys(keys)) => {
                Kind::Cloud(tokens.clouds.google(workspace, &registry, keys, tokens.observer))
            }
            Credentials::Basic(login) => Kind::Static(RegistryLogin::Basic(login.clone())),
            Credentials::Token(token) => Kind::Static(RegistryLogin::from(token.clone())),
            Credentials::Google(GoogleCredentials::AccessToken(token)) => {
                let (username, password) = (GOOGLE_TOKEN_USER.to_owned(), token.clone());
                Kind::Static(RegistryLogin::Basic(BasicLogin { username, password }))
            }
        };
        Self { registry, kind }
    }

    /// The host that the credentials are for.
    pub fn registry(&self) -> &RegistryHost {
        &self.registry
    }

    /// A login for a host, which must be the provider's own.
    ///
    /// # Errors
    /// [`ProviderError`].
    pub async fn login(&self, host: &RegistryHost) -> Result<Issued, ProviderError> {
        if *host != self.registry {
            return Err(ProviderError::OtherHost { bound: self.registry.clone(), asked: host.clone() });
        }
        match &self.kind {
            Kind::Static(login) => Ok(Issued { login: login.clone(), expires_at: None, from_before: false }),
            Kind::Ecr(source) => source.token().await.map(issued),
            Kind::Cloud(source) => source.token().await.map(issued),
        }
    }

    /// Forgets a login that the registry did not accept, so that the next one is new.
    pub fn forget(&self, refused: &RegistryLogin) {
        match (&self.kind, refused) {
            (Kind::Ecr(source), RegistryLogin::Basic(login)) => source.forget(login),
            (Kind::Cloud(source), RegistryLogin::Basic(login)) => source.forget(login),
            _ => {}
        }
    }
}

fn issued((token, from_before): (Token, bool)) -> Issued {
    let expires_at = Some(token.expires_at.into());
    Issued { login: RegistryLogin::Basic(token.login), expires_at, from_before }
}

#[cfg(test)]
mod tests;
