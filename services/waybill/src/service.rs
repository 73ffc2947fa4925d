//! One service in this process: settings, telemetry, run, flush.

use std::{fmt::Display, fs, future::Future, path::Path};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio_util::sync::CancellationToken;
use waybill_gateway::GatewayConfig;
use waybill_issuer::IssuerConfig;
use waybill_platform::{
    config::Settings,
    shutdown,
    telemetry::{self, TelemetryConfig},
};
use waybill_registry::core_dumps;
use waybill_scheduler::SchedulerConfig;
use waybill_schemas::WorkerId;
use waybill_worker::WorkerConfig;

use crate::{Failure, verify};

/// `waybill gateway`.
pub(crate) fn gateway(home: &Path) -> Result<(), Failure> {
    let settings = Settings::load(home, "gateway")?;
    let config = GatewayConfig::read(&settings)?;
    let verifies = config.verify.then(|| verify::read(&settings)).transpose()?;
    let instance = instance(Some(&config.listen));
    serve("waybill-gateway", &instance, &settings, |shutdown| async {
        Ok(waybill_gateway::run(config, verifies, shutdown).await?)
    })
}

/// `waybill issuer`.
pub(crate) fn issuer(home: &Path) -> Result<(), Failure> {
    let settings = Settings::load(home, "issuer")?;
    let config = IssuerConfig::read(&settings)?;
    let instance = instance(config.health);
    serve("waybill-issuer", &instance, &settings, |shutdown| async { Ok(waybill_issuer::run(config, shutdown).await?) })
}

/// `waybill scheduler`.
pub(crate) fn scheduler(home: &Path, rebuild: bool) -> Result<(), Failure> {
    let settings = Settings::load(home, "scheduler")?;
    let config = SchedulerConfig::read(&settings)?;
    let instance = instance(config.health);
    serve("waybill-scheduler", &instance, &settings, |shutdown| async move {
        if rebuild {
            waybill_scheduler::rebuild(&config, &shutdown).await?;
        }
        Ok(waybill_scheduler::run(config, shutdown).await?)
    })
}

/// `waybill worker`.
pub(crate) fn worker(home: &Path, id: &WorkerId) -> Result<(), Failure> {
    let settings = Settings::load(home, &format!("worker-{id}"))?;
    let config = WorkerConfig::read(&settings)?;
    // Of two processes with one worker id the older stops, so that the id tells instances apart.
    serve("waybill-worker", id.as_str(), &settings, |shutdown| async {
        Ok(waybill_worker::run(config, shutdown).await?)
    })
}

/// Raises the soft limit of open files to the hard one. Each idle connection holds a file, and the usual soft limit of 1,024 is
/// there for programs that use select(2).
fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    // A process that may not raise it works within what it has.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

/// What tells this process from others of its service: host and port, or a random id where it listens nowhere.
fn instance(listen: Option<impl Display>) -> String {
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_else(|_| "localhost".to_owned());
    let own = listen.map_or_else(|| uuid::Uuid::new_v4().to_string(), |address| address.to_string());
    let (_, port) = own.rsplit_once(':').unwrap_or(("", &own));
    format!("{}:{port}", host.trim())
}

fn serve<F>(
    name: &'static str,
    instance: &str,
    settings: &Settings,
    run: impl FnOnce(CancellationToken) -> F,
) -> Result<(), Failure>
where
    F: Future<Output = Result<(), Failure>>,
{
    core_dumps::forbid()?;
    raise_open_files();
    let telemetry = telemetry::init(name, instance, &TelemetryConfig::read(settings, "info")?)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(async { run(shutdown::signal()).await });
    drop(runtime);
    if let Err(error) = telemetry.shutdown() {
        tracing::warn!(error = %error, "the last spans could not be delivered");
    }
    outcome
}
