//! What the scheduler decides, addressed to a worker.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{CredType, words};
use crate::{ContainerId, ImageId, SecretName, Timestamp, WorkerId, WorkspaceId};

words! {
    /// Why a placement got no credentials.
    AttachSkipReason {
        /// The request names no image.
        NoImageId = "no_image_id",
        /// A build container brings its own credentials.
        BuildContainer = "build_container",
        /// The newest build of the image names no secret, or there was no build before the request.
        NoSecretForImage = "no_secret_for_image",
        /// The newest build supplied credentials that cannot be used, so that none were saved.
        CredentialsUnusable = "credentials_unusable",
        /// The secret that the image's build named did not exist when the request came.
        SecretNotFound = "secret_not_found",
        /// The secret that the image's build named is bound to another registry than the image's.
        RegistryMismatch = "registry_mismatch",
        /// The worker had not registered before the request.
        UnknownWorker = "unknown_worker",
        /// The secret's newest version had expired when the request came.
        SecretExpired = "secret_expired",
        /// The secret was revoked before the request.
        SecretRevoked = "secret_revoked",
        /// The secret was shredded before the request.
        SecretShredded = "secret_shredded",
    }
}

impl AttachSkipReason {
    /// True where credentials were supplied but could not be handed over: the worker must then not pull as somebody else.
    pub fn withholds_credentials(self) -> bool {
        match self {
            Self::NoImageId | Self::BuildContainer | Self::NoSecretForImage => false,
            Self::CredentialsUnusable
            | Self::SecretNotFound
            | Self::RegistryMismatch
            | Self::UnknownWorker
            | Self::SecretExpired
            | Self::SecretRevoked
            | Self::SecretShredded => true,
        }
    }
}

words! {
    /// Why a placement's credentials are withdrawn.
    WithdrawReason {
        /// A newer request placed the container again.
        Superseded = "superseded",
        /// The placement has ended.
        Ended = "ended",
        /// The secret was revoked.
        SecretRevoked = "secret_revoked",
        /// The secret was shredded.
        SecretShredded = "secret_shredded",
        /// The worker is no more.
        WorkerRetired = "worker_retired",
    }
}

words! {
    /// What a grant was renewed for.
    RenewCause {
        /// The secret has a newer version.
        Rotation = "rotation",
        /// The worker registered another sealing key.
        KeyChange = "key_change",
    }
}

/// A placement has credentials; the worker's grant of the secret is in the vault. Published by the scheduler.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ContainerCredentialsAttached {
    /// Owner of the container.
    pub workspace: WorkspaceId,
    /// The container that asked.
    pub container_id: ContainerId,
    /// Stream sequence of the `ContainerRequested` that this answers.
    pub placement: u64,
    /// Its image.
    pub image_id: ImageId,
    /// The worker it was placed on.
    pub worker_id: WorkerId,
    /// Reference to pull.
    pub image_ref: String,
    /// The secret.
    pub secret_name: SecretName,
    /// Its version at the time of the request.
    pub version: u64,
    /// Host the credentials are bound to.
    pub registry: String,
    /// Kind of the credentials.
    pub cred_type: CredType,
    /// Length of the credentials JSON in bytes.
    pub credentials_length: u64,
    /// When they stop working, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// Stream sequence of the `CredentialSecretSaved` or `CredentialSecretRotated` of that version.
    pub saved_by: u64,
    /// Stream sequence of the `ImageSecretNamed` that named the secret.
    pub image_event: u64,
}

/// A placement gets no credentials, and why. Published by the scheduler.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ContainerCredentialsSkipped {
    /// Owner of the container.
    pub workspace: WorkspaceId,
    /// The container that asked.
    pub container_id: ContainerId,
    /// Stream sequence of the `ContainerRequested` that this answers.
    pub placement: u64,
    /// Its image, if the request named one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_id: Option<ImageId>,
    /// The worker it was placed on.
    pub worker_id: WorkerId,
    /// Reference to pull, where a build recorded one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_ref: Option<String>,
    /// Registry host of that reference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registry: Option<String>,
    /// The secret that the build named, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_name: Option<SecretName>,
    /// Why nothing was attached.
    pub reason: AttachSkipReason,
    /// Stream sequence of the build event that was found for the image, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_event: Option<u64>,
}

/// A placement's credentials are taken away: its worker drops what it holds for it. Published by the scheduler.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ContainerCredentialsWithdrawn {
    /// Owner of the container.
    pub workspace: WorkspaceId,
    /// The container.
    pub container_id: ContainerId,
    /// Stream sequence of the `ContainerRequested` that made the placement.
    pub placement: u64,
    /// The worker it was placed on.
    pub worker_id: WorkerId,
    /// The secret that it had, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_name: Option<SecretName>,
    /// Why.
    pub reason: WithdrawReason,
    /// Stream sequence of the newer request, the end, the revocation or the shredding that this follows from.
    pub caused_by: u64,
}

/// A worker has a new grant of a secret, for every placement of it that uses the secret. Published by the scheduler.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WorkerCredentialsRenewed {
    /// Owner of the secret.
    pub workspace: WorkspaceId,
    /// The secret.
    pub secret_name: SecretName,
    /// The version that the grant holds.
    pub version: u64,
    /// The worker.
    pub worker_id: WorkerId,
    /// Host the credentials are bound to.
    pub registry: String,
    /// Kind of the credentials.
    pub cred_type: CredType,
    /// Length of the credentials JSON in bytes.
    pub credentials_length: u64,
    /// When they stop working, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// What it was renewed for.
    pub cause: RenewCause,
    /// Stream sequence of the version's event or of the worker's registration that this follows from.
    pub caused_by: u64,
    /// Stream sequence of the `CredentialSecretSaved` or `CredentialSecretRotated` of that version.
    pub saved_by: u64,
}
