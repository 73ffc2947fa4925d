//! Named secrets in versions: what the gateway says when one is saved, rotated, revoked or shredded.
//!
//! The credentials themselves are in the vault, sealed. An event says which version there is and what it is for.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ProviderFailure, PullFailure, quarantine::printable, words};
use crate::{ImageId, SecretName, Timestamp, WorkspaceId};

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

/// What one version of a secret is: everything about it but the credentials.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretVersion {
    /// Number of the version within its secret, from 1.
    pub version: u64,
    /// Host (with port, if any) that the credentials are bound to.
    pub registry: String,
    /// Kind of the credentials.
    pub cred_type: CredType,
    /// Keyed hash of the account's name (user name, client e-mail, client id, role): equal for two versions of one account.
    /// Absent where the keys change their identity at each issue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// When the credentials stop working, where they say so themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// Length of the credentials JSON in bytes.
    pub credentials_length: u64,
    /// Digest of the sealed bytes in the vault, `sha256:…`.
    pub digest: String,
    /// What was dropped from the values before they were saved, in words for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// What the registry said of the credentials before they were saved, where it was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified: Option<Verified>,
}

/// What a registry said of credentials. They work if there is a `digest`; if not, one of the failures says why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Verified {
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

/// A version of a secret is in the vault: the first one, or one that a build brought. Published by the gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CredentialSecretSaved {
    /// Owner of the secret.
    pub workspace: WorkspaceId,
    /// The secret.
    pub secret_name: SecretName,
    /// The image whose build brought the credentials, where a build did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_id: Option<ImageId>,
    /// The version.
    pub stored: SecretVersion,
}

/// A new version takes the place of a secret's earlier ones, for every image and container that uses it. Published by the
/// gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CredentialSecretRotated {
    /// Owner of the secret.
    pub workspace: WorkspaceId,
    /// The secret.
    pub secret_name: SecretName,
    /// The new version.
    pub stored: SecretVersion,
}

/// A secret is withdrawn: no container gets it any more, and those that have it lose it. Published by the gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CredentialSecretRevoked {
    /// Owner of the secret.
    pub workspace: WorkspaceId,
    /// The secret.
    pub secret_name: SecretName,
    /// Newest version; it and all before it are withdrawn.
    pub version: u64,
    /// Host that the credentials are bound to.
    pub registry: String,
    /// Keyed hash of the account's name, as in `SecretVersion`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// Why, in the words of whoever asked.
    #[serde(default, deserialize_with = "printable", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 200))]
    pub reason: Option<String>,
}

/// A secret is withdrawn, and every version and grant of it is erased from the vault. Published by the gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CredentialSecretShredded {
    /// Owner of the secret.
    pub workspace: WorkspaceId,
    /// The secret.
    pub secret_name: SecretName,
    /// Newest version; it and all before it are erased.
    pub version: u64,
    /// Host that the credentials were bound to.
    pub registry: String,
    /// Keyed hash of the account's name, as in `SecretVersion`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// Why, in the words of whoever asked.
    #[serde(default, deserialize_with = "printable", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 200))]
    pub reason: Option<String>,
}
