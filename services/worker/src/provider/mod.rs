//! Credential providers: each gives logins for one registry host, and for no other.

mod cache;
mod ecr;
mod freshness;

use std::{fmt, sync::Arc};

use waybill_domain::{
    credentials::{BasicLogin, Secret},
    provider::{CustomPlan, Login},
    reference::RegistryHost,
};
use waybill_schemas::{Timestamp, WorkspaceId};

pub use cache::TokenCache;
pub use ecr::EcrConfig;
use ecr::EcrProvider;

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

/// Why there is no login. The words are for people and hold no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProviderError {
    /// The credentials are for another host.
    #[error("the credentials are for {bound}, and are not offered to {asked}")]
    OtherHost {
        /// Host they are bound to.
        bound: RegistryHost,
        /// Host that asked.
        asked: RegistryHost,
    },
    /// The cloud refused, or did not answer.
    #[error("{0}")]
    Exchange(String),
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
    Ecr(Arc<EcrProvider>),
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Provider").field("registry", &self.registry).finish_non_exhaustive()
    }
}

impl Provider {
    /// A provider for a workspace's credentials. Tokens are shared with its other containers through the cache.
    pub fn new(plan: CustomPlan, workspace: &WorkspaceId, tokens: &TokenCache) -> Self {
        let kind = match plan.login {
            Login::Basic(login) => Kind::Static(RegistryLogin::Basic(login)),
            Login::Bearer(token) => Kind::Static(RegistryLogin::Bearer(token)),
            Login::Ecr(keys) => Kind::Ecr(tokens.provider(workspace, &plan.registry, keys)),
        };
        Self { registry: plan.registry, kind }
    }

    /// A login for a host, which must be the provider's own, and when it stops working, if it does.
    ///
    /// # Errors
    /// [`ProviderError`].
    pub async fn login(&self, host: &RegistryHost) -> Result<(RegistryLogin, Option<Timestamp>), ProviderError> {
        if *host != self.registry {
            return Err(ProviderError::OtherHost { bound: self.registry.clone(), asked: host.clone() });
        }
        match &self.kind {
            Kind::Static(login) => Ok((login.clone(), None)),
            Kind::Ecr(provider) => {
                let token = provider.token().await?;
                Ok((RegistryLogin::Basic(token.login), Some(token.expires_at.into())))
            }
        }
    }

    /// Forgets a login that the registry did not accept. True where another one may be had.
    pub async fn forget(&self, refused: &RegistryLogin) -> bool {
        match (&self.kind, refused) {
            (Kind::Ecr(provider), RegistryLogin::Basic(login)) => provider.forget(login).await,
            _ => false,
        }
    }
}
