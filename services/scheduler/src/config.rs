//! What the scheduler is told at start.

use std::{net::SocketAddr, path::PathBuf};

use waybill_platform::{
    config::{ConfigError, Settings},
    log::NatsConfig,
    sealing::{PrivateKey, PublicKey},
};

use crate::announce::Keys;

/// The scheduler's configuration.
#[derive(Debug)]
pub struct SchedulerConfig {
    /// The log.
    pub nats: NatsConfig,
    /// The projection's file (`WAYBILL_SCHEDULER_PROJECTION`).
    pub projection: PathBuf,
    /// Keys to open and seal with.
    pub keys: Keys,
    /// Copies of the stream when this scheduler creates it (`WAYBILL_STREAM_REPLICAS`, 1 to 5).
    pub replicas: usize,
    /// Where `/healthz` and `/readyz` are served, if anywhere (`WAYBILL_SCHEDULER_HEALTH_LISTEN`).
    pub health: Option<SocketAddr>,
}
