//! What a worker is told at start.

use std::{net::SocketAddr, time::Duration};

use waybill_domain::reference::RegistryHost;
use waybill_platform::{
    config::{ConfigError, Settings},
    log::NatsConfig,
    sealing::{PrivateKey, PublicKey},
};
use waybill_schemas::WorkerId;

use crate::pull::PullConfig;

/// A worker's configuration.
#[derive(Debug)]
pub struct WorkerConfig {
    /// The log.
    pub nats: NatsConfig,
    /// Which worker this is (`WAYBILL_WORKER_ID`).
    pub worker_id: WorkerId,
    /// Its sealing key (file `WAYBILL_WORKER_SEALING_KEY_FILE`).
    pub sealing_key: PrivateKey,
    /// The only sealer whose credentials are accepted (`WAYBILL_SCHEDULER_SEALING_KEY`).
    pub scheduler_key: PublicKey,
    /// How images are pulled.
    pub pull: PullConfig,
    /// ECR endpoint instead of AWS's own (`WAYBILL_AWS_ECR_ENDPOINT`).
    pub ecr_endpoint: Option<String>,
    /// Most containers served at once (`WAYBILL_WORKER_CONCURRENCY`).
    pub concurrency: usize,
    /// Where `/healthz` and `/readyz` are served, if anywhere (`WAYBILL_WORKER_HEALTH_LISTEN`).
    pub health: Option<SocketAddr>,
}

impl WorkerConfig {
    /// Reads a worker's settings.
    ///
    /// # Errors
    /// [`ConfigError`] with everything that is wrong.
    pub fn read(settings: &Settings) -> Result<Self, ConfigError> {
        let mut reader = settings.reader();
        let worker_id: Option<WorkerId> =
            reader.needed("WAYBILL_WORKER_ID", |text| text.parse().map_err(|_| "1 to 128 of A-Z a-z 0-9 _ -"));
        let role = worker_id.as_ref().map_or_else(String::new, |id| format!("worker-{id}"));
        let nats = NatsConfig::read(&mut reader, &role);
        let sealing_key = PrivateKey::from_seed(&reader.secret_file("WAYBILL_WORKER_SEALING_KEY_FILE"));
        let scheduler_key = reader.needed("WAYBILL_SCHEDULER_SEALING_KEY", |text| {
            text.parse().map_err(|_| "the scheduler's public sealing key (X…), as `waybill init` writes it")
        });
        let pull = PullConfig {
            plain_http: reader.or("WAYBILL_WORKER_PLAIN_HTTP_REGISTRIES", hosts, Vec::new),
            ca_file: reader.path("WAYBILL_WORKER_CA_FILE"),
            image_dir: reader.path("WAYBILL_WORKER_IMAGE_DIR"),
            limit: reader.or("WAYBILL_WORKER_PULL_SECONDS", seconds, || Duration::from_secs(300)),
        };
        let ecr_endpoint = reader.optional("WAYBILL_AWS_ECR_ENDPOINT", url);
        let concurrency = reader.or("WAYBILL_WORKER_CONCURRENCY", concurrency, || 16);
        let health = reader.optional("WAYBILL_WORKER_HEALTH_LISTEN", |text| {
            text.parse().map_err(|_| "an address and port, such as 127.0.0.1:8486")
        });
        if let Err(error) = &sealing_key {
            reader.problem(format!("WAYBILL_WORKER_SEALING_KEY_FILE: {error}"));
        }
        reader.finish()?;
        match (worker_id, sealing_key, scheduler_key) {
            (Some(worker_id), Ok(sealing_key), Some(scheduler_key)) => {
                Ok(Self { nats, worker_id, sealing_key, scheduler_key, pull, ecr_endpoint, concurrency, health })
            }
            _ => Err(ConfigError { problems: vec!["the worker's id or keys are missing".to_owned()] }),
        }
    }
}

fn hosts(text: &str) -> Result<Vec<RegistryHost>, &'static str> {
    let host = |part: &str| RegistryHost::parse(part).map_err(|_| "hosts like localhost:5000, with commas between");
    text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(host).collect()
}

fn seconds(text: &str) -> Result<Duration, &'static str> {
    let seconds: Option<u64> = text.parse().ok().filter(|seconds| (1..=86_400).contains(seconds));
    seconds.map(Duration::from_secs).ok_or("a number of seconds from 1 to 86400")
}

fn concurrency(text: &str) -> Result<usize, &'static str> {
    text.parse().ok().filter(|count| (1..=256).contains(count)).ok_or("a number from 1 to 256")
}

fn url(text: &str) -> Result<String, &'static str> {
    let valid = text.starts_with("http://") || text.starts_with("https://");
    if valid { Ok(text.to_owned()) } else { Err("an http:// or https:// address") }
}
