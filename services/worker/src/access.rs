//! From a decision to a login: open the credentials, choose the provider, and have it log in.

use waybill_domain::{
    credentials::Secret,
    provider::{Failure, ProviderPlan, default_chain_name, plan_with_credentials, plan_without_credentials},
};
use waybill_platform::{
    sealing::{Binding, PrivateKey, PublicKey, open},
    trace,
};
use waybill_registry::{
    provider::{Issued, Provider, ProviderError, TokenCache},
    pull::PullError,
};
use waybill_schemas::{
    Timestamp,
    v1::{ContainerCredentialsAttached, ProviderFailure, PullFailure},
};

use crate::outcome::{Decision, Said};

/// What turns decisions into logins.
pub(crate) struct Keys {
    pub(crate) own: PrivateKey,
    pub(crate) scheduler: PublicKey,
    pub(crate) tokens: TokenCache,
}

/// How a container logs in: with a login at hand, and the provider that gives the next one.
pub(crate) enum Access {
    DefaultChain,
    Custom { provider: Provider, issued: Issued },
}

impl Access {
    /// `creds-<registry>`, or `default-chain`.
    pub(crate) fn provider_name(&self) -> String {
        match self {
            Self::DefaultChain => default_chain_name().to_owned(),
            Self::Custom { provider, .. } => format!("creds-{}", provider.registry()),
        }
    }

    pub(crate) fn expires_at(&self) -> Option<Timestamp> {
        match self {
            Self::DefaultChain => None,
            Self::Custom { issued, .. } => issued.expires_at,
        }
    }
}

/// Why there is no access, as the provider's failure and as the pull's.
#[derive(Debug, Clone)]
pub(crate) struct NoAccess {
    pub(crate) failure: Failure,
    /// Whether it says nothing of the credentials.
    passing: bool,
    /// The provider whose first login failed: a later one may not.
    pub(crate) provider: Option<Provider>,
}

impl NoAccess {
    /// The pull's failure, where a provider is recorded already and only the pull is left to report.
    pub(crate) fn as_pull_error(&self) -> PullError {
        let reason = if self.passing { PullFailure::Unreachable } else { PullFailure::NoLogin };
        PullError::new(reason, self.failure.detail.clone())
    }
}

impl From<Failure> for NoAccess {
    fn from(failure: Failure) -> Self {
        Self { failure, passing: false, provider: None }
    }
}

impl From<ProviderError> for NoAccess {
    fn from(error: ProviderError) -> Self {
        let failure = Failure { reason: ProviderFailure::TokenExchangeFailed, detail: error.to_string() };
        Self { failure, passing: error.is_passing(), provider: None }
    }
}

impl Keys {
    /// The provider that the decision calls for, with a first login.
    pub(crate) async fn access(&self, decision: &Decision) -> Result<Access, NoAccess> {
        let Some(provider) = self.provider(decision)? else { return Ok(Access::DefaultChain) };
        let registry = provider.registry().clone();
        match provider.login(&registry).await {
            Ok(issued) => {
                tracing::debug!(%registry, from_before = issued.from_before, "login at hand");
                Ok(Access::Custom { provider, issued })
            }
            Err(error) => Err(NoAccess { provider: Some(provider), ..error.into() }),
        }
    }

    /// The provider that the decision calls for, which has asked nobody yet; none for the default chain.
    pub(crate) fn provider(&self, decision: &Decision) -> Result<Option<Provider>, Failure> {
        let plan = match &decision.said {
            Said::Attached(attached) => {
                tracing::debug!(has_image_credentials = true, cred_type = %attached.cred_type, "decision received");
                plan_with_credentials(attached, self.unseal(attached).as_ref())
            }
            Said::Skipped(skipped) => {
                tracing::debug!(has_image_credentials = false, reason = %skipped.reason, "decision received");
                plan_without_credentials(skipped.reason)
            }
        };
        match plan {
            ProviderPlan::Fail(failure) => Err(failure),
            ProviderPlan::DefaultChain => Ok(None),
            ProviderPlan::Custom(plan) => Ok(Some(Provider::new(plan, decision.workspace(), &self.tokens))),
        }
    }

    fn unseal(&self, attached: &ContainerCredentialsAttached) -> Option<Secret> {
        let binding = Binding::Container {
            workspace: attached.workspace.clone(),
            container_id: attached.container_id.clone(),
            registry: attached.registry.clone(),
        };
        let span = tracing::info_span!(
            "unseal",
            otel.name = "unseal credentials",
            cred_type = %attached.cred_type,
            otel.status_code = tracing::field::Empty,
            otel.status_description = tracing::field::Empty,
        );
        let opened = span.in_scope(|| open(&self.own, &self.scheduler, &binding, &attached.credentials));
        trace::record_outcome(&span, opened.as_ref().err());
        match opened {
            Ok(credentials) => Some(credentials),
            Err(error) => {
                tracing::warn!(container_id = %attached.container_id, %error, "attached credentials cannot be opened");
                None
            }
        }
    }
}
