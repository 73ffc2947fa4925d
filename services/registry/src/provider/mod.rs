//! Credential providers: each gives logins for one registry host, and for no other.

mod aws;
mod azure;
mod cache;
mod ecr;
mod error;
mod google;
mod oauth;
mod rest;
mod token;

use std::fmt;

use waybill_domain::{
    credentials::{BasicLogin, Credentials, GOOGLE_TOKEN_USER, GoogleCredentials, RegistryToken, Secret},
    provider::CustomPlan,
    reference::RegistryHost,
};
use waybill_schemas::{Timestamp, WorkspaceId};

use azure::AzureExchange;
use cache::Source;
pub use cache::{CloudConfig, TokenCache};
use ecr::EcrExchange;
pub use error::ProviderError;
use google::GoogleExchange;
pub use token::Observer;

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
    Exchanged(Source),
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
        let (cache, config) = (tokens, &tokens.config);
        let basic = |username: &str, password: &Secret| {
            Kind::Static(RegistryLogin::Basic(BasicLogin { username: username.to_owned(), password: password.clone() }))
        };
        let kind = match &credentials {
            Credentials::Basic(login) => basic(&login.username, &login.password),
            Credentials::Token(token) => Kind::Static(RegistryLogin::from(token.clone())),
            Credentials::Google(GoogleCredentials::AccessToken(token)) => basic(GOOGLE_TOKEN_USER, token),
            Credentials::Google(GoogleCredentials::Keys(keys)) => {
                let exchange = || -> Box<dyn token::Exchange> {
                    Box::new(GoogleExchange::new(keys, config, cache.oauth_client()))
                };
                Kind::Exchanged(cache.source(workspace, &registry, &credentials, exchange))
            }
            Credentials::Azure(keys) => {
                let exchange = || -> Box<dyn token::Exchange> {
                    Box::new(AzureExchange::new(keys, &registry, config, cache.oauth_client()))
                };
                Kind::Exchanged(cache.source(workspace, &registry, &credentials, exchange))
            }
            Credentials::Aws(keys) => {
                let exchange = || -> Box<dyn token::Exchange> {
                    Box::new(EcrExchange::new(keys, &registry, config, cache.aws_client()))
                };
                Kind::Exchanged(cache.source(workspace, &registry, &credentials, exchange))
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
            Kind::Exchanged(source) => {
                let (token, from_before) = source.token().await?;
                let expires_at = Some(token.expires_at.into());
                Ok(Issued { login: RegistryLogin::Basic(token.login), expires_at, from_before })
            }
        }
    }

    /// Forgets a login that the registry did not accept, so that the next one is new.
    pub fn forget(&self, refused: &RegistryLogin) {
        if let (Kind::Exchanged(source), RegistryLogin::Basic(login)) = (&self.kind, refused) {
            source.forget(login);
        }
    }
}

#[cfg(test)]
mod tests;
