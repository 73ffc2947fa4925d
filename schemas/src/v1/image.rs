//! What a build says of its image: which secret containers pull it with, or that there is none and why.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{CredType, words};
use crate::{ImageId, SecretName, WorkspaceId};

words! {
    /// Which image reference of the build the credentials belong to.
    CredentialSource {
        /// The build took an existing image as it is (`existing_image_uri`).
        FromRegistry = "from_registry",
        /// The build started from a base image (`base_image`).
        BaseImage = "base_image",
    }
}

words! {
    /// Why a build has no secret.
    SaveSkipReason {
        /// The build request carried no credentials.
        NoCredentialsProvided = "no_credentials_provided",
        /// The build request named no image that credentials could belong to.
        NoImageReference = "no_image_reference",
        /// The build changed the image, so containers pull the result and not the private original.
        ImageModified = "image_modified",
        /// The registry serves the image to everyone.
        PublicRegistry = "public_registry",
        /// A part of the credentials is missing; `missing_key` names it.
        IncompleteCredentials = "incomplete_credentials",
        /// The credentials, or the secret that the build names, are for another registry than the image's.
        RegistryMismatch = "registry_mismatch",
        /// The keys belong to no kind of credentials that Waybill knows.
        UnrecognizedCredentials = "unrecognized_credentials",
        /// The credentials had expired when they were handed over.
        ExpiredCredentials = "expired_credentials",
        /// The registry refused the credentials, and it took the version that is saved.
        VerificationFailed = "verification_failed",
    }
}

/// An image is pulled with a secret. Published by the gateway, after a build that brought credentials or named a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ImageSecretNamed {
    /// Owner of the image.
    pub workspace: WorkspaceId,
    /// The image that was built.
    pub image_id: ImageId,
    /// Reference that containers pull, in canonical form, such as `registry.example.com/team/app:1`.
    pub image_ref: String,
    /// Registry host of that reference.
    pub registry: String,
    /// The secret.
    pub secret_name: SecretName,
    /// Which reference of the build request it is for.
    pub source: CredentialSource,
    /// The version that the build's credentials are, where it brought some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// Kind of the credentials, where the build brought some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cred_type: Option<CredType>,
}

/// An image has no secret. Published by the gateway, after a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CredentialSecretSkipped {
    /// Owner of the image.
    pub workspace: WorkspaceId,
    /// The image that was built.
    pub image_id: ImageId,
    /// Reference that containers pull, where the build named one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_ref: Option<String>,
    /// Registry host of that reference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registry: Option<String>,
    /// The secret that the build named, or that its credentials would have become.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_name: Option<SecretName>,
    /// Kind of the credentials, as far as it was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cred_type: Option<CredType>,
    /// Which reference of the build request was looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<CredentialSource>,
    /// Why there is none.
    pub reason: SaveSkipReason,
    /// With `incomplete_credentials`: the name of the missing key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing_key: Option<String>,
    /// More words for people, without secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}
