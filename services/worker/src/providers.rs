//! One provider a secret, made from the grant of its newest version, and used by every placement that has the secret.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::Mutex as AsyncMutex;
use waybill_domain::{
    decision::Credential,
    fold::SecretKey,
    provider::{Failure, ProviderPlan, plan_with_credentials},
};
use waybill_registry::provider::{Provider, TokenCache};

use crate::grants::{GrantError, Grants};

/// The provider of one version of a secret; whoever makes it holds the lock.
type Slot = Arc<AsyncMutex<Option<(u64, Provider)>>>;

/// The providers of this worker.
#[derive(Debug)]
pub(crate) struct Providers {
    grants: Grants,
    tokens: TokenCache,
    slots: Mutex<BTreeMap<SecretKey, Slot>>,
}

impl Providers {
    pub(crate) fn new(grants: Grants, tokens: TokenCache) -> Self {
        Self { grants, tokens, slots: Mutex::default() }
    }

    /// The provider of a version, which has asked nobody for a token yet. One of another version is replaced.
    pub(crate) async fn provider(&self, secret: &SecretKey, credential: &Credential) -> Result<Provider, GrantError> {
        let slot = self.slot(secret);
        let mut slot = slot.lock().await;
        if let Some((version, provider)) = slot.as_ref()
            && *version == credential.version
        {
            return Ok(provider.clone());
        }
        // Nobody uses the version before any more, whether this one can be used or not.
        *slot = None;
        let opened = self.grants.open(secret, credential).await?;
        tracing::debug!(secret_name = %secret.secret_name, version = credential.version, cred_type = %credential.cred_type, "grant opened");
        let provider = match plan_with_credentials(&credential.registry, None, &opened) {
            ProviderPlan::Custom(plan) => Provider::new(plan, &secret.workspace, &self.tokens),
            ProviderPlan::Fail(failure) => return Err(GrantError::Unusable(failure)),
            ProviderPlan::DefaultChain => return Err(GrantError::Unusable(no_plan())),
        };
        *slot = Some((credential.version, provider.clone()));
        Ok(provider)
    }

    /// Forgets the credentials of a secret.
    pub(crate) fn forget(&self, secret: &SecretKey) {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner).remove(secret);
    }

    fn slot(&self, secret: &SecretKey) -> Slot {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner).entry(secret.clone()).or_default().clone()
    }
}

/// Credentials always have a plan of their own.
fn no_plan() -> Failure {
    let reason = waybill_schemas::v1::ProviderFailure::Unsupported;
    Failure { reason, detail: "the credentials have no provider".to_owned() }
}
