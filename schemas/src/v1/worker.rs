//! What a worker says of itself.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{PublicSealingKey, WorkerId};

/// A worker is there, and this key seals credentials to it. Published by the worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WorkerRegistered {
    /// The worker.
    pub worker_id: WorkerId,
    /// Its public xkey (`X…`, NATS nkeys encoding).
    pub sealing_key: PublicSealingKey,
}
