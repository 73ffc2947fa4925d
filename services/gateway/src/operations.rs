//! New credentials for a secret by its name: put there, or rotated.

use std::sync::Arc;

use uuid::Uuid;
use waybill_domain::{
    credentials::{CredentialInput, Credentials},
    reference::{ImageReference, RegistryHost},
    secret::{Naming, NewVersion, SecretHead, SecretRefusal, decide_new_version, new_version},
};
use waybill_platform::trace;
use waybill_schemas::{SecretName, WorkspaceId, v1::Verified};

use crate::{
    port::{Unverified, Verifies, refusal_code, verified_from},
    record::{RecordError, Recorder},
    versions::{Head, Origin, Saved, VersionRequest, read_head, save_version, secret_subject},
};

/// Credentials for a secret.
pub(crate) struct Operation {
    pub(crate) workspace: WorkspaceId,
    pub(crate) secret_name: SecretName,
    /// Registry that the secret is for; none where it must be there already.
    pub(crate) registry: Option<RegistryHost>,
    pub(crate) credentials: CredentialInput,
    pub(crate) if_version: Option<u64>,
    pub(crate) event_id: Uuid,
    /// The image to ask the registry for, and who asks.
    pub(crate) verify: Option<(ImageReference, Arc<dyn Verifies>)>,
}

/// Records a version, or finds that the secret has it already.
pub(crate) async fn record_operation(
    recorder: &Recorder,
    actor: &str,
    operation: &Operation,
) -> Result<Saved, RecordError> {
    let subject = secret_subject(&operation.workspace, &operation.secret_name);
    let head = read_head(&recorder.begin(actor), &subject).await?;
    if let Some(head) = head.as_ref().filter(|head| head.has_id(operation.event_id)) {
        // What was good when it was recorded may have expired since.
        return replay(operation, head);
    }
    let head = head.map(|head| head.head);
    let registry = find_registry(operation, head.as_ref())?;
    // The log compares again; a registry need not be asked for what cannot be saved.
    decide_new_version(head.as_ref(), registry.as_str(), operation.if_version)?;
    let new = read_credentials(operation, &registry)?;
    let verified = ask_registry(operation, &new).await;
    let request = VersionRequest {
        workspace: &operation.workspace,
        naming: &Naming::Given(operation.secret_name.clone()),
        new: &new,
        verified: verified.as_ref(),
        origin: Origin::Operation { event_id: operation.event_id, if_version: operation.if_version },
    };
    match save_version(&recorder.begin(actor), &request).await? {
        Saved::BoundElsewhere { bound_to, .. } => Err(SecretRefusal::RegistryMismatch { bound_to }.into()),
        Saved::Refused { .. } => {
            Err(RecordError::VerificationFailed(verified.and_then(|verified| verified.detail).unwrap_or_default()))
        }
        saved => Ok(saved),
    }
}

fn replay(operation: &Operation, head: &Head) -> Result<Saved, RecordError> {
    let stored = head.head.stored.clone().ok_or(RecordError::KeyReused)?;
    if operation.registry.as_ref().is_some_and(|registry| registry.as_str() != stored.registry) {
        return Err(RecordError::KeyReused);
    }
    Ok(Saved::New { secret_name: operation.secret_name.clone(), stored, receipt: head.receipt(true), named: None })
}

fn find_registry(operation: &Operation, head: Option<&SecretHead>) -> Result<RegistryHost, RecordError> {
    match (&operation.registry, head) {
        (Some(registry), _) => Ok(registry.clone()),
        (None, Some(head)) => {
            RegistryHost::parse(&head.registry).map_err(|error| RecordError::Unreadable(error.to_string()))
        }
        (None, None) => Err(SecretRefusal::Unknown.into()),
    }
}

fn read_credentials(operation: &Operation, registry: &RegistryHost) -> Result<NewVersion, RecordError> {
    let parsed = match &operation.verify {
        Some((image, _)) => Credentials::parse(&operation.credentials, image),
        None => Credentials::parse(&operation.credentials, registry),
    };
    let parsed = parsed.map_err(|error| RecordError::Credentials(waybill_platform::chain(&error)))?;
    match parsed.credentials.expires_at() {
        Some(expiry) if expiry <= trace::now() => {
            Err(RecordError::Credentials("the credentials have expired".to_owned()))
        }
        _ => Ok(new_version(&parsed, registry)),
    }
}

async fn ask_registry(operation: &Operation, new: &NewVersion) -> Option<Verified> {
    let (image, verifies) = operation.verify.as_ref()?;
    let (workspace, image) = (operation.workspace.clone(), image.clone());
    let asked = Unverified { workspace, image, credentials: new.credentials.clone() };
    let verified = verified_from(verifies.verify(&asked).await);
    tracing::info!(
        secret_name = %operation.secret_name,
        accepted = verified.digest.is_some(),
        reason = refusal_code(&verified),
        "credentials tried at the registry"
    );
    Some(verified)
}
