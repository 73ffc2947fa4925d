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

impl SchedulerConfig {
    /// Reads the scheduler's settings.
    ///
    /// # Errors
    /// [`ConfigError`] with everything that is wrong.
    pub fn read(settings: &Settings) -> Result<Self, ConfigError> {
        let mut reader = settings.reader();
        let nats = NatsConfig::read(&mut reader, "scheduler");
        let projection = reader.required_path("WAYBILL_SCHEDULER_PROJECTION");
        let seed = reader.secret_file("WAYBILL_SCHEDULER_SEALING_KEY_FILE");
        let gateway = reader.needed("WAYBILL_GATEWAY_SEALING_KEY", |text| {
            text.parse::<PublicKey>().map_err(|_| "the gateway's public sealing key (X…), as `waybill init` writes it")
        });
        let replicas = reader.or("WAYBILL_STREAM_REPLICAS", replicas, || 1);
        let health = reader.optional("WAYBILL_SCHEDULER_HEALTH_LISTEN", |text| {
            text.parse().map_err(|_| "an address and port, such as 127.0.0.1:8485")
        });
        let own = PrivateKey::from_seed(&seed);
        if let (Err(error), false) = (&own, seed.expose().is_empty()) {
            reader.problem(format!("WAYBILL_SCHEDULER_SEALING_KEY_FILE: {error}"));
        }
        reader.finish()?;
        match (own, gateway) {
            (Ok(own), Some(gateway)) => Ok(Self { nats, projection, keys: Keys { own, gateway }, replicas, health }),
            _ => Err(ConfigError { problems: vec!["WAYBILL_SCHEDULER_SEALING_KEY_FILE is an empty file".to_owned()] }),
        }
    }
}

fn replicas(text: &str) -> Result<usize, &'static str> {
    text.parse().ok().filter(|replicas| [1, 3, 5].contains(replicas)).ok_or("1, 3 or 5")
}
