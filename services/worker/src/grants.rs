//! Grants of this worker: read from the vault, and opened with its own key if a key of the scheduler sealed them.

use std::sync::{Arc, Mutex, PoisonError};

use waybill_domain::{credentials::Secret, decision::Credential, fold::SecretKey, provider::Failure};
use waybill_platform::{
    log::{ErrorKind, Log, LogError},
    sealing::{Binding, PrivateKey, Senders, open},
    trace,
    vault::{GrantEntry, Vault, VaultEntry, VaultError},
};
use waybill_schemas::{Event, PublicSealingKey, Sealed, Subject, VaultKey, WorkerId, v1::ProviderFailure};

/// Reads and opens grants.
#[derive(Debug)]
pub(crate) struct Grants {
    log: Arc<dyn Log>,
    vault: Arc<dyn Vault>,
    worker_id: WorkerId,
    own: PrivateKey,
    /// The scheduler's keys, as the log named them last.
    senders: Mutex<Vec<PublicSealingKey>>,
}

/// Why there are no credentials.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GrantError {
    /// No grant of the version.
    #[error("the vault holds no grant of this version")]
    Missing,
    /// The grant is for another key of this worker.
    #[error("the grant is sealed to another key than this worker has")]
    AnotherKey,
    /// The grant is there and of no use.
    #[error("the grant cannot be used: {}", .0.detail)]
    Unusable(Failure),
    /// The vault does not answer.
    #[error("the vault does not answer")]
    Vault(#[source] VaultError),
    /// The log does not say which keys the scheduler has.
    #[error("the log does not say which keys the scheduler has")]
    Log(#[from] LogError),
}

impl GrantError {
    fn unusable(reason: ProviderFailure, detail: impl Into<String>) -> Self {
        Self::Unusable(Failure { reason, detail: detail.into() })
    }
}

impl Grants {
    pub(crate) fn new(log: Arc<dyn Log>, vault: Arc<dyn Vault>, worker_id: WorkerId, own: PrivateKey) -> Self {
        Self { log, vault, worker_id, own, senders: Mutex::default() }
    }

    /// The credentials JSON of a version.
    pub(crate) async fn open(&self, secret: &SecretKey, credential: &Credential) -> Result<Secret, GrantError> {
        let key = VaultKey::Grant {
            worker_id: self.worker_id.clone(),
            workspace: secret.workspace.clone(),
            secret: secret.secret_name.clone(),
            version: credential.version,
        };
        let sealed = match self.vault.get(&key).await {
            Ok(None) => return Err(GrantError::Missing),
            Ok(Some(kept)) => sealed_grant(kept.entry)?,
            Err(error) if error.kind() == ErrorKind::Never => {
                return Err(GrantError::unusable(ProviderFailure::UnsealFailed, error.to_string()));
            }
            Err(error) => return Err(GrantError::Vault(error)),
        };
        let own = self.own.public().map_err(|error| unseal_failed(&error))?;
        if sealed.recipient != *own.text() {
            return Err(GrantError::AnotherKey);
        }
        if !self.senders().contains(&sealed.sender) {
            self.read_senders().await?;
        }
        self.unseal(secret, credential, &sealed)
    }

    fn unseal(&self, secret: &SecretKey, credential: &Credential, sealed: &Sealed) -> Result<Secret, GrantError> {
        let binding = Binding::Grant {
            worker_id: self.worker_id.clone(),
            workspace: secret.workspace.clone(),
            secret: secret.secret_name.clone(),
            version: credential.version,
            registry: credential.registry.clone(),
        };
        let span = tracing::info_span!(
            "unseal",
            otel.name = "unseal credentials",
            cred_type = %credential.cred_type,
            error.r#type = tracing::field::Empty,
            otel.status_code = tracing::field::Empty,
            otel.status_description = tracing::field::Empty,
        );
        let senders = self.senders();
        let opened = span.in_scope(|| open(&self.own, Senders::OneOf(&senders), &binding, sealed));
        if let Err(error) = &opened {
            trace::record_error(&span, ProviderFailure::UnsealFailed.as_str(), error);
        }
        opened.map_err(|error| unseal_failed(&error))
    }

    fn senders(&self) -> Vec<PublicSealingKey> {
        self.senders.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asks the log for the scheduler's keys, as for a grant that was sealed by an unknown one.
    async fn read_senders(&self) -> Result<(), GrantError> {
        let last = self.log.last(&Subject::SchedulerKeys).await?;
        let recorded = last.and_then(|message| message.decode().ok());
        let senders = match recorded.map(|recorded| recorded.event) {
            Some(Event::SchedulerKeyPublished(keys)) => [vec![keys.sealing_key], keys.earlier_keys].concat(),
            _ => Vec::new(),
        };
        *self.senders.lock().unwrap_or_else(PoisonError::into_inner) = senders;
        Ok(())
    }
}

fn sealed_grant(entry: VaultEntry) -> Result<Sealed, GrantError> {
    match entry {
        VaultEntry::Grant(GrantEntry::Sealed(sealed)) => Ok(sealed),
        VaultEntry::Grant(GrantEntry::Failed(reason)) => {
            let words = "the scheduler could not open the secret with the keys that it has; save the secret again";
            Err(GrantError::unusable(reason, words))
        }
        VaultEntry::Secret(_) => Err(unseal_failed(&"what stands at the grant's key is no grant")),
    }
}

fn unseal_failed(error: &impl std::fmt::Display) -> GrantError {
    GrantError::unusable(ProviderFailure::UnsealFailed, error.to_string())
}
