//! What the scheduler decides about a container request, addressed to its worker.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{CredType, words};
use crate::{ContainerId, ImageId, Sealed, Timestamp, WorkerId, WorkspaceId};

words! {
    /// Why a container got no credentials.
    AttachSkipReason {
        /// The request names no image.
        NoImageId = "no_image_id",
        /// A build container brings its own credentials.
        BuildContainer = "build_container",
        /// Nothing was saved for this workspace and image before the request.
        NoSecretForImage = "no_secret_for_image",
        /// The newest build supplied credentials that cannot be used, so that none were saved.
        CredentialsUnusable = "credentials_unusable",
        /// The worker had not registered a sealing key before the request.
        UnknownWorker = "unknown_worker",
        /// The saved credentials had expired when the request came.
        SecretExpired = "secret_expired",
        /// The saved credentials could not be opened with the scheduler's key.
        UnsealFailed = "unseal_failed",
        /// The saved credentials were revoked, before the request or while the container used them.
        SecretRevoked = "secret_revoked",
        /// The container has ended: its worker is to drop what it holds for it.
        ContainerEnded = "container_ended",
    }
}

impl AttachSkipReason {
    /// True where credentials were supplied but could not be handed over: the worker must then not pull as somebody else.
    pub fn withholds_credentials(self) -> bool {
        match self {
            Self::NoImageId | Self::BuildContainer | Self::NoSecretForImage => false,
            Self::UnknownWorker
            | Self::SecretExpired
            | Self::UnsealFailed
            | Self::SecretRevoked
            | Self::ContainerEnded
            | Self::CredentialsUnusable => true,
        }
    }
}

/// Credentials for a container, sealed to its worker. Published by the scheduler.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ContainerCredentialsAttached {
    /// Owner of the container.
    pub workspace: WorkspaceId,
    /// The container that asked.
    pub container_id: ContainerId,
    /// Its image.
    pub image_id: ImageId,
    /// The worker that may read the credentials.
    pub worker_id: WorkerId,
    /// Reference to pull.
    pub image_ref: String,
    /// Label of the secret.
    pub secret_name: String,
    /// Host the credentials are bound to.
    pub registry: String,
    /// Kind of the credentials.
    pub cred_type: CredType,
    /// Length of the credentials JSON in bytes.
    pub credentials_length: u64,
    /// Stream sequence of the `CredentialSecretSaved` or `CredentialSecretRotated` they come from. One that is greater than
    /// `requested_by` renews what the container got before: there is nothing to pull.
    pub saved_by: u64,
    /// Stream sequence of the `ContainerRequested` that this answers.
    pub requested_by: u64,
    /// When they stop working, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// The credentials, sealed to the worker.
    pub credentials: Sealed,
}

/// A container gets no credentials, and why. Published by the scheduler.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ContainerCredentialsSkipped {
    /// Owner of the container.
    pub workspace: WorkspaceId,
    /// The container that asked.
    pub container_id: ContainerId,
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
    /// Why nothing was attached.
    pub reason: AttachSkipReason,
    /// Stream sequence of the event that was found for the image (saved, skipped, rotated or revoked), or of the container's
    /// end, if any. A revocation or an end that is greater than `requested_by` takes away what the container got before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_event: Option<u64>,
    /// Stream sequence of the `ContainerRequested` that this answers.
    pub requested_by: u64,
}
