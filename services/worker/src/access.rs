//! From a placement to a login: what the view grants it, the provider of that, and a first login.

use waybill_domain::{
    decision::Credential,
    fold::SecretKey,
    provider::{Failure, ProviderPlan, default_chain_name, plan_without_credentials},
    reference::ImageReference,
};
use waybill_registry::{
    provider::{Issued, Provider, ProviderError},
    pull::PullError,
};
use waybill_schemas::{
    Timestamp,
    v1::{ProviderFailure, PullFailure},
};

use crate::{
    grants::GrantError,
    handler::{HandleError, Handler},
    view::{self, Placed},
};

/// How a placement logs in: with a login at hand, and the provider that gives the next one.
#[derive(Debug)]
pub(crate) enum Access {
    DefaultChain,
    Custom { provider: Provider, issued: Issued, credential: Box<Credential> },
}

impl Access {
    /// `creds-<registry>`, or `default-chain`.
    pub(crate) fn provider_name(&self) -> String {
        match self {
            Self::DefaultChain => default_chain_name().to_owned(),
            Self::Custom { provider, .. } => format!("creds-{}", provider.registry()),
        }
    }

    /// The version of a secret that it uses.
    pub(crate) fn credential(&self) -> Option<&Credential> {
        match self {
            Self::DefaultChain => None,
            Self::Custom { credential, .. } => Some(credential),
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
    /// True if it says nothing of the credentials.
    passing: bool,
}

impl NoAccess {
    fn new(reason: ProviderFailure, detail: impl Into<String>) -> Self {
        Failure { reason, detail: detail.into() }.into()
    }

    /// The pull's failure, where a provider is recorded already and only the pull is left to report.
    pub(crate) fn as_pull_error(&self) -> PullError {
        let reason = if self.passing { PullFailure::Unreachable } else { PullFailure::NoLogin };
        PullError::new(reason, self.failure.detail.clone())
    }
}

impl From<Failure> for NoAccess {
    fn from(failure: Failure) -> Self {
        Self { failure, passing: false }
    }
}

impl From<ProviderError> for NoAccess {
    fn from(error: ProviderError) -> Self {
        let failure = Failure { reason: error.failure(), detail: error.to_string() };
        Self { failure, passing: error.is_passing() }
    }
}

/// What the view grants a placement, to be used outside its lock.
pub(crate) enum Granted {
    Over,
    Plan(ProviderPlan),
    Secret { secret: SecretKey, image_ref: String, credential: Credential },
}

impl Handler {
    /// What the placement may use now.
    pub(crate) fn granted(&self, placed: &Placed) -> Granted {
        match self.view().access(placed) {
            view::Access::Unread | view::Access::Over => Granted::Over,
            view::Access::Nothing(reason) => Granted::Plan(plan_without_credentials(reason)),
            view::Access::Granted { image, credential } => Granted::Secret {
                secret: SecretKey {
                    workspace: placed.container.workspace.clone(),
                    secret_name: credential.secret_name.clone(),
                },
                image_ref: image.image_ref.clone(),
                credential: credential.clone(),
            },
        }
    }

    /// Access for a placement, with a first login; none if it is over. Where a version of the secret gives none and there is
    /// a newer one, that counts: its renewal may stand behind the decision in the log.
    pub(crate) async fn access(&self, placed: &Placed) -> Result<Option<Result<Access, NoAccess>>, HandleError> {
        loop {
            let (secret, image_ref, credential) = match self.granted(placed) {
                Granted::Over => return Ok(None),
                Granted::Plan(ProviderPlan::Fail(failure)) => return Ok(Some(Err(failure.into()))),
                Granted::Plan(_) => return Ok(Some(Ok(Access::DefaultChain))),
                Granted::Secret { secret, image_ref, credential } => (secret, image_ref, credential),
            };
            let none = match self.log_in(&secret, &image_ref, &credential).await {
                Ok(Ok((provider, issued))) => {
                    return Ok(Some(Ok(Access::Custom { provider, issued, credential: Box::new(credential) })));
                }
                Ok(Err(none)) => none,
                Err(error) => {
                    // A version that was replaced meanwhile is no reason to wait.
                    if self.is_renewed(&secret, &credential).await? {
                        continue;
                    }
                    return Err(error);
                }
            };
            if !self.is_renewed(&secret, &credential).await? {
                return Ok(Some(Err(none)));
            }
            tracing::info!(container_id = %placed.container.container_id, "the credentials were rotated meanwhile, using the new ones");
        }
    }

    async fn log_in(
        &self,
        secret: &SecretKey,
        image_ref: &str,
        credential: &Credential,
    ) -> Result<Result<(Provider, Issued), NoAccess>, HandleError> {
        if let Err(none) = check_host(image_ref, credential) {
            return Ok(Err(none));
        }
        let provider = match self.provider(secret, credential).await? {
            Ok(provider) => provider,
            Err(failure) => return Ok(Err(failure.into())),
        };
        let registry = provider.registry().clone();
        match provider.login(&registry).await {
            Ok(issued) => {
                tracing::debug!(%registry, from_before = issued.from_before, "login at hand");
                Ok(Ok((provider, issued)))
            }
            Err(error) => Ok(Err(error.into())),
        }
    }

    /// The provider of a version, or why there is none for good.
    pub(crate) async fn provider(
        &self,
        secret: &SecretKey,
        credential: &Credential,
    ) -> Result<Result<Provider, Failure>, HandleError> {
        let made = self.providers.provider(secret, credential).await;
        if self.view().uses(secret) == 0 {
            // Its last placement went meanwhile.
            self.providers.forget(secret);
        }
        let error = match made {
            Ok(provider) => return Ok(Ok(provider)),
            Err(GrantError::Unusable(failure)) => return Ok(Err(failure)),
            Err(GrantError::Vault(error)) => return Err(error.into()),
            Err(GrantError::Log(error)) => return Err(error.into()),
            Err(error @ (GrantError::Missing | GrantError::AnotherKey)) => error,
        };
        let another_key = matches!(error, GrantError::AnotherKey);
        if self.view().awaits_grant(secret, another_key) {
            return Err(HandleError::GrantFollows);
        }
        let reason = if another_key { ProviderFailure::UnsealFailed } else { ProviderFailure::SecretMissing };
        Ok(Err(Failure { reason, detail: error.to_string() }))
    }

    /// True if the log or the view has a newer version.
    pub(crate) async fn is_renewed(&self, secret: &SecretKey, credential: &Credential) -> Result<bool, HandleError> {
        self.read_renewal(secret).await?;
        Ok(self.view().newest(secret).is_some_and(|newest| newest.version > credential.version))
    }
}

/// Invariant 7: the image's host is the secret's.
fn check_host(image_ref: &str, credential: &Credential) -> Result<(), NoAccess> {
    let mismatch = |other: &str| {
        let detail = format!("the credentials are bound to {}, the image is on {other}", credential.registry);
        NoAccess::new(ProviderFailure::RegistryMismatch, detail)
    };
    let image = ImageReference::parse(image_ref).map_err(|_| mismatch("no valid reference"))?;
    if image.registry().as_str() == credential.registry { Ok(()) } else { Err(mismatch(image.registry().as_str())) }
}
