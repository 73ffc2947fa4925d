//! Placements: a container is about to start on a worker, or that placement has ended.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use crate::{ContainerId, ImageId, WorkerId, WorkspaceId};

/// A container was placed on a worker and needs its image. The event's stream sequence is the placement's number; a newer
/// request for the same container supersedes it. Published by the gateway or by any orchestrator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ContainerRequested {
    /// Owner of the container.
    pub workspace: WorkspaceId,
    /// The container that will run.
    pub container_id: ContainerId,
    /// The image it runs; absent or empty when the container has none of its own.
    #[serde(default, deserialize_with = "empty_is_none", skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = "^[A-Za-z0-9_-]{0,128}$"))]
    pub image_id: Option<ImageId>,
    /// The worker it was placed on.
    pub worker_id: WorkerId,
    /// True for a container that builds an image: it brings its own credentials and gets none.
    #[serde(default)]
    pub build_container: bool,
}

/// A placement has ended. The end of a superseded placement is recorded and changes nothing. Published by the worker on the
/// outcome subject of the placement, by the gateway or an orchestrator on the subject of its request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ContainerEnded {
    /// Owner of the container.
    pub workspace: WorkspaceId,
    /// The container.
    pub container_id: ContainerId,
    /// Stream sequence of the `ContainerRequested` that made the placement.
    pub placement: u64,
}

/// Languages without optional values write "" for "none", others `null`.
fn empty_is_none<'de, D: Deserializer<'de>>(input: D) -> Result<Option<ImageId>, D::Error> {
    match Option::<String>::deserialize(input)? {
        None => Ok(None),
        Some(text) if text.is_empty() => Ok(None),
        Some(text) => ImageId::try_from(text).map(Some).map_err(serde::de::Error::custom),
    }
}
