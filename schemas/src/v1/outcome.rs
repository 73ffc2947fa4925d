//! What the worker reports: the provider it built and the pull it made.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{CredType, words};
use crate::{ContainerId, ImageId, SecretName, Timestamp, WorkerId, WorkspaceId};

/// `provider_name` when the scheduler attached no credentials.
pub const DEFAULT_CHAIN: &str = "default-chain";

words! {
    /// Why no provider could be built.
    ProviderFailure {
        /// The scheduler could not open the secret, or the worker its grant, with the keys that they have.
        UnsealFailed = "unseal_failed",
        /// The vault holds no grant of the secret for this worker.
        SecretMissing = "secret_missing",
        /// The opened credentials are not the JSON they should be.
        UnparsableCredentials = "unparsable_credentials",
        /// The cloud refused to exchange the credentials for a registry token.
        TokenExchangeFailed = "token_exchange_failed",
        /// The cloud could not be reached, or cannot answer at the moment. This says nothing of the credentials.
        TokenExchangeUnreachable = "token_exchange_unreachable",
        /// This kind of credentials has no provider yet.
        Unsupported = "unsupported",
        /// Credentials exist for the image, but the scheduler could not attach them; its event says why.
        CredentialsWithheld = "credentials_withheld",
        /// The credentials are bound to another registry than the image's.
        RegistryMismatch = "registry_mismatch",
    }
}

words! {
    /// Why a pull failed.
    PullFailure {
        /// The registry did not accept the credentials, or there were none (401).
        Unauthorized = "unauthorized",
        /// The registry knows who asks and refuses (403).
        Denied = "denied",
        /// The registry asks for a login in a way that cannot be given, so that none was sent (401).
        UnsupportedChallenge = "unsupported_challenge",
        /// No such repository, tag or digest (404).
        NotFound = "not_found",
        /// No connection, or none in time.
        Unreachable = "unreachable",
        /// The proxy on the way cannot be reached, refuses, wants a login, or is named by a malformed variable.
        Proxy = "proxy",
        /// The TLS handshake failed for another reason than those that follow.
        Tls = "tls",
        /// The registry's certificate is from an authority that the worker does not know.
        TlsUnknownAuthority = "tls_unknown_authority",
        /// The registry's certificate is for another host.
        TlsWrongHost = "tls_wrong_host",
        /// The registry's certificate has expired, or is not valid yet.
        TlsExpired = "tls_expired",
        /// The registry speaks plain HTTP, and TLS was tried.
        PlainHttp = "plain_http",
        /// The registry asks to come back later (429).
        RateLimited = "rate_limited",
        /// Any other answer of the registry; `detail` says which.
        RegistryError = "registry_error",
        /// What was received is not what its digest says.
        DigestMismatch = "digest_mismatch",
        /// No build recorded what to pull for this image.
        NoImageReference = "no_image_reference",
        /// The reference to pull is not valid.
        InvalidReference = "invalid_reference",
        /// The image could not be written on the node.
        Storage = "storage",
        /// No login could be had, or none that a request can carry: the registry was not asked.
        NoLogin = "no_login",
        /// The image has no variant for the node's platform.
        NoPlatform = "no_platform",
    }
}

/// A credential provider serves the container. Published by the worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CredentialProviderAttached {
    /// Owner of the container.
    pub workspace: WorkspaceId,
    /// The container it serves.
    pub container_id: ContainerId,
    /// Its placement: the stream sequence of the request.
    pub placement: u64,
    /// Its image, if the request named one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_id: Option<ImageId>,
    /// The worker that reports.
    pub worker_id: WorkerId,
    /// `creds-<registry>`, or `default-chain` when the scheduler attached none.
    pub provider_name: String,
    /// Kind of the credentials, where there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cred_type: Option<CredType>,
    /// Host they are bound to, where there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registry: Option<String>,
    /// The secret, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_name: Option<SecretName>,
    /// Its version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// When the token stops working, where there is one that does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_expires_at: Option<Timestamp>,
    /// Stream sequence of the decision that this follows.
    pub decided_by: u64,
}

/// No credential provider could be built; the image is not pulled. Published by the worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CredentialProviderFailed {
    /// Owner of the container.
    pub workspace: WorkspaceId,
    /// The container that has none.
    pub container_id: ContainerId,
    /// Its placement: the stream sequence of the request.
    pub placement: u64,
    /// Its image, if the request named one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_id: Option<ImageId>,
    /// The worker that reports.
    pub worker_id: WorkerId,
    /// Kind of the credentials, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cred_type: Option<CredType>,
    /// Host they are bound to, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registry: Option<String>,
    /// Why.
    pub reason: ProviderFailure,
    /// More words for people, without secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Stream sequence of the decision that this follows.
    pub decided_by: u64,
}

/// The image was pulled. Published by the worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ImagePullSucceeded {
    /// Owner of the container.
    pub workspace: WorkspaceId,
    /// The container that runs it.
    pub container_id: ContainerId,
    /// Its placement: the stream sequence of the request.
    pub placement: u64,
    /// The image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_id: Option<ImageId>,
    /// The worker that pulled.
    pub worker_id: WorkerId,
    /// Reference that was pulled.
    pub image_ref: String,
    /// Digest of its manifest, `sha256:…`.
    pub digest: String,
    /// Stream sequence of the decision that this follows.
    pub decided_by: u64,
}

/// The image could not be pulled. Published by the worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ImagePullFailed {
    /// Owner of the container.
    pub workspace: WorkspaceId,
    /// The container that wanted it.
    pub container_id: ContainerId,
    /// Its placement: the stream sequence of the request.
    pub placement: u64,
    /// The image, if the request named one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_id: Option<ImageId>,
    /// The worker that tried.
    pub worker_id: WorkerId,
    /// Reference that was tried, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_ref: Option<String>,
    /// Why.
    pub reason: PullFailure,
    /// More words for people, without secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Stream sequence of the decision that this follows.
    pub decided_by: u64,
}

/// A worker uses a new version of a secret, for every placement of it that has the secret. Published by the worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretRenewalApplied {
    /// Owner of the secret.
    pub workspace: WorkspaceId,
    /// The secret.
    pub secret_name: SecretName,
    /// The version.
    pub version: u64,
    /// The worker that reports.
    pub worker_id: WorkerId,
    /// Number of its placements that use the secret.
    pub placements: u64,
    /// Stream sequence of the decision that this follows.
    pub decided_by: u64,
}

/// A worker cannot use a new version of a secret; its placements have no login. Published by the worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretRenewalFailed {
    /// Owner of the secret.
    pub workspace: WorkspaceId,
    /// The secret.
    pub secret_name: SecretName,
    /// The version.
    pub version: u64,
    /// The worker that reports.
    pub worker_id: WorkerId,
    /// Why.
    pub reason: ProviderFailure,
    /// More words for people, without secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Stream sequence of the decision that this follows.
    pub decided_by: u64,
}
