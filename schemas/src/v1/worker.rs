//! Who takes part: a worker's running instance and its sealing key, and the scheduler's keys.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{PublicSealingKey, Uuid, WorkerId};

/// A worker has started, and this key seals grants to it. The newest registration owns the worker id. Published by the worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WorkerRegistered {
    /// The worker.
    pub worker_id: WorkerId,
    /// The process: a fresh UUID for each start.
    #[schemars(with = "String", extend("format" = "uuid"))]
    pub instance: Uuid,
    /// Its public xkey (`X…`, NATS nkeys encoding).
    pub sealing_key: PublicSealingKey,
}

/// The scheduler's public keys. Published by the scheduler.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SchedulerKeyPublished {
    /// The key to seal to, and that new grants are sealed with (`X…`).
    pub sealing_key: PublicSealingKey,
    /// Earlier keys whose grants are still good, newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier_keys: Vec<PublicSealingKey>,
}
