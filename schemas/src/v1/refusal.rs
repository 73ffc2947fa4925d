//! An HTTP request that the gateway refused.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::words;
use crate::{ContainerId, ImageId, SecretName, WorkspaceId};

words! {
    /// What a refused request asked for.
    RefusedOperation {
        /// `POST /v1/builds`
        RecordBuild = "record_build",
        /// `POST /v1/containers`
        RequestContainer = "request_container",
        /// `POST /v1/containers/ended`
        EndContainer = "end_container",
        /// `PUT /v1/secrets/{workspace}/{name}`
        PutSecret = "put_secret",
        /// `POST /v1/secrets/{workspace}/{name}/rotate`
        RotateSecret = "rotate_secret",
        /// `POST /v1/secrets/{workspace}/{name}/revoke`
        RevokeSecret = "revoke_secret",
        /// `POST /v1/secrets/{workspace}/{name}/shred`
        ShredSecret = "shred_secret",
    }
}

words! {
    /// Why a request was refused: the code of the problem that it was answered with.
    RefusalCode {
        /// The body is no JSON object.
        MalformedJson = "malformed_json",
        /// The body ended too early.
        BodyUnreadable = "body_unreadable",
        /// A header cannot be used.
        InvalidHeader = "invalid_header",
        /// The request has no valid bearer token.
        Unauthenticated = "unauthenticated",
        /// The token is not for the workspace.
        AnotherWorkspace = "another_workspace",
        /// The token is not for this use.
        WrongRole = "wrong_role",
        /// There is no such secret, or no such placement.
        NotFound = "not_found",
        /// The body did not arrive in time.
        BodyTimeout = "body_timeout",
        /// The secret is for another registry.
        RegistryMismatch = "registry_mismatch",
        /// The secret is at another version than the request expects.
        VersionConflict = "version_conflict",
        /// Every default name of the registry's secret is taken.
        NoFreeName = "no_free_name",
        /// The registry refuses the credentials, and took the version that is saved.
        VerificationFailed = "verification_failed",
        /// The body is too large.
        BodyTooLarge = "body_too_large",
        /// The event would be too large.
        EventTooLarge = "event_too_large",
        /// The credentials are too large.
        CredentialsTooLarge = "credentials_too_large",
        /// The body is not of the media type that it must be.
        MediaType = "media_type",
        /// A field cannot be used.
        InvalidField = "invalid_field",
        /// The idempotency key was used for another request.
        IdempotencyKeyReused = "idempotency_key_reused",
    }
}

/// The gateway refused a request. Published by the gateway, at most once for the same thing and answer until either changes, and
/// never more than a budget: many refusals leave no event. Nothing of the request is repeated but the valid id of the one thing
/// that it is about, and that in no workspace but the token's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RequestRefused {
    /// What was asked for.
    pub operation: RefusedOperation,
    /// The workspace that the token is for, or that an operator's request names; none without a valid token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace: Option<WorkspaceId>,
    /// The container that the request is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_id: Option<ContainerId>,
    /// The image that the request is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_id: Option<ImageId>,
    /// The secret that the request is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_name: Option<SecretName>,
    /// HTTP status of the answer.
    #[schemars(range(min = 400, max = 499))]
    pub status: u16,
    /// Code of the answer.
    pub code: RefusalCode,
    /// Field or header of the contract that is wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// What is wrong, in words of the gateway alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// What to do, as the client was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
    /// How often the same was refused since the last such event, where it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repeated: Option<u64>,
}
