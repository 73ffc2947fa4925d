//! What the orchestrator says: a container is about to start, or has ended.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use crate::{ContainerId, ImageId, WorkerId, WorkspaceId};

/// A container was placed on a worker and needs its image. Published by the gateway or by any NATS client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ContainerRequested {
    /// Owner of the container.
    pub workspace: WorkspaceId,
    /// The container that will run.
    pub container_id: ContainerId,
    /// The image it runs; absent, null or empty when the container has none of its own.
    #[serde(default, deserialize_with = "empty_is_none", skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = "^[A-Za-z0-9_-]{0,128}$"))]
    pub image_id: Option<ImageId>,
    /// The worker it was placed on.
    pub worker_id: WorkerId,
    /// True for a container that builds an image: it brings its own credentials and gets none.
    #[serde(default)]
    pub build_container: bool,
}

/// A container is gone: it needs no credentials any more, hears of no rotation, and its worker drops what it holds for it.
/// Published by its worker, by the gateway or by any NATS client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ContainerEnded {
    /// Owner of the container.
    pub workspace: WorkspaceId,
    /// The container.
    pub container_id: ContainerId,
}

/// Languages without optional values write "" for "none".
fn empty_is_none<'de, D: Deserializer<'de>>(input: D) -> Result<Option<ImageId>, D::Error> {
    match Option::<String>::deserialize(input)? {
        None => Ok(None),
        Some(text) if text.is_empty() => Ok(None),
        Some(text) => ImageId::try_from(text).map(Some).map_err(serde::de::Error::custom),
    }
}
