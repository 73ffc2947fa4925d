//! What the scheduler is told at start.

use std::{net::SocketAddr, path::PathBuf};

use waybill_platform::{
    chain,
    config::{ConfigError, Settings},
    log::NatsConfig,
    sealing::KeyRing,
};

use crate::keys::read_keys;

/// The scheduler's configuration.
#[derive(Debug)]
pub struct SchedulerConfig {
    /// The log.
    pub nats: NatsConfig,
    /// The projection's file (`WAYBILL_SCHEDULER_PROJECTION`).
    pub projection: PathBuf,
    /// Folder of the sealing keys, looked at while the scheduler runs (`WAYBILL_SCHEDULER_KEY_DIR`).
    pub key_folder: PathBuf,
    /// The keys in it.
    pub keys: KeyRing,
    /// Copies of log and vault when this scheduler creates them (`WAYBILL_STREAM_REPLICAS`: 1, 3 or 5).
    pub replicas: usize,
    /// Where `/healthz` and `/readyz` are served, if anywhere (`WAYBILL_SCHEDULER_HEALTH_LISTEN`).
    pub health: Option<SocketAddr>,
}

impl SchedulerConfig {
    /// Reads the scheduler's settings.
    ///
    /// # Errors
    /// [`ConfigError`] with everything that is wrong.
    pub fn read(settings: &Settings) -> Result<Self, ConfigError> {
        let mut reader = settings.reader();
        let nats = NatsConfig::read(&mut reader, "scheduler");
        let projection = reader.required_path("WAYBILL_SCHEDULER_PROJECTION");
        let key_folder = reader.required_path("WAYBILL_SCHEDULER_KEY_DIR");
        let replicas = reader.or("WAYBILL_STREAM_REPLICAS", replicas, || 1);
        let health = reader.optional("WAYBILL_SCHEDULER_HEALTH_LISTEN", |text| {
            text.parse().map_err(|_| "an address and port, such as 127.0.0.1:8485")
        });
        let keys = read_keys(&key_folder);
        if let Err(error) = &keys {
            reader.problem(format!("WAYBILL_SCHEDULER_KEY_DIR: {}", chain(error)));
        }
        reader.finish()?;
        let keys = keys.map_err(|error| ConfigError { problems: vec![chain(&error)] })?;
        Ok(Self { nats, projection, key_folder, keys, replicas, health })
    }
}

fn replicas(text: &str) -> Result<usize, &'static str> {
    text.parse().ok().filter(|replicas| [1, 3, 5].contains(replicas)).ok_or("1, 3 or 5")
}
