//! What the gateway says after a build: credentials saved, or not and why.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ProviderFailure, PullFailure, quarantine::printable, words};
use crate::{ImageId, Sealed, Timestamp, WorkspaceId};

words! {
    /// Kind of credentials, which decides how they become a login.
    CredType {
        /// AWS access keys, exchanged with ECR for a token.
        Aws = "aws",
        /// Google access token or service account.
        Gcp = "gcp",
        /// Azure service principal.
        Azure = "azure",
        /// Bearer or identity token, used as it is.
        Token = "token",
        /// User name and password.
        Basic = "basic",
        /// None needed.
        Public = "public",
        /// Keys that belong to no known kind.
        Unknown = "unknown",
    }
}

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
    /// Why a build's credentials were not saved.
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
        /// The credentials say that they are for another registry than the image's.
        RegistryMismatch = "registry_mismatch",
        /// The keys belong to no kind of credentials that Waybill knows.
        UnrecognizedCredentials = "unrecognized_credentials",
        /// The credentials had expired when they were handed over.
        ExpiredCredentials = "expired_credentials",
    }
}

/// A build's credentials are in the log, sealed to the scheduler. Published by the gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CredentialSecretSaved {
    /// Owner of the image.
    pub workspace: WorkspaceId,
    /// The image that was built.
    pub image_id: ImageId,
    /// Reference that containers pull, in canonical form, such as `registry.example.com/team/app:1`.
    pub image_ref: String,
    /// Host (with port, if any) that the credentials are bound to.
    pub registry: String,
    /// Label for people, `oci-registry-…`; never a key.
    pub secret_name: String,
    /// Kind of the credentials.
    pub cred_type: CredType,
    /// Which reference of the build request they came with.
    pub source: CredentialSource,
    /// When they stop working, where they say so themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// The credentials, sealed to the scheduler.
    pub credentials: Sealed,
}

/// A build's credentials were not saved. Published by the gateway.
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
    /// Label the secret would have had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_name: Option<String>,
    /// Kind of the credentials, as far as it was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cred_type: Option<CredType>,
    /// Which reference of the build request was looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<CredentialSource>,
    /// Why nothing was saved.
    pub reason: SaveSkipReason,
    /// With `incomplete_credentials`: the name of the missing key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing_key: Option<String>,
}

/// An image has new credentials, which take the place of saved ones: containers asked for later get these, and those that
/// use the old ones are given these too. Published by the gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CredentialSecretRotated {
    /// Stream sequence of the `CredentialSecretSaved` or `CredentialSecretRotated` whose credentials are replaced. If another
    /// reference was saved for the image after that, the rotation changes nothing.
    pub replaces: u64,
    /// What is saved in its place.
    pub secret: CredentialSecretSaved,
}

/// An image's saved credentials are withdrawn: no container gets them any more, and those that use them are told to drop
/// them. Published by the gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CredentialSecretRevoked {
    /// Owner of the image.
    pub workspace: WorkspaceId,
    /// The image.
    pub image_id: ImageId,
    /// Stream sequence of the `CredentialSecretSaved` or `CredentialSecretRotated` whose credentials are withdrawn, and
    /// all before it.
    pub revokes: u64,
    /// Reference that containers pull.
    pub image_ref: String,
    /// Host that they are bound to.
    pub registry: String,
    /// Their label.
    pub secret_name: String,
    /// Why, in the words of whoever asked.
    #[serde(default, deserialize_with = "printable", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 200))]
    pub reason: Option<String>,
}

/// The gateway asked the registry whether saved credentials work, once, when they were saved. Published by the gateway.
///
/// They do if there is a `digest`. If not, one of the failures says why; the credentials stay saved all the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CredentialSecretVerified {
    /// Owner of the image.
    pub workspace: WorkspaceId,
    /// The image.
    pub image_id: ImageId,
    /// Stream sequence of the `CredentialSecretSaved` that was asked about.
    pub saved_by: u64,
    /// Digest of the manifest that the registry has for the image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Why there was no login to ask with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_failure: Option<ProviderFailure>,
    /// What the registry answered instead of the manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pull_failure: Option<PullFailure>,
    /// More words for people, without secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}
