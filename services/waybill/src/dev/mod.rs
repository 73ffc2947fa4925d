//! `waybill dev`: a nats-server and all services as children of this process, with the security of production.

mod children;
mod ready;

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio_util::sync::CancellationToken;
use waybill_platform::{config::Settings, log::hosts, shutdown};

use crate::{
    Failure,
    cli::{DevArguments, InitArguments},
    output,
};
use children::Children;
use ready::Probe;

/// How long everything may take to come up.
const START_LIMIT: Duration = Duration::from_secs(60);

/// `waybill ready`: succeeds where the service at `address` (`host:port`) says that it is ready.
pub(crate) fn ask_readiness(address: String) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let client = reqwest::Client::builder().no_proxy().build()?;
    let at = address.clone();
    runtime.block_on(Probe::Http(client, address).look()).map_err(|problem| DevError::Unready { at, problem }.into())
}

/// Why the development set-up could not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DevError {
    /// Something listens there already, and would answer in the place of what is to be started.
    #[error("{address}, where {name} is to listen, is taken; does another `waybill dev` run in {}? Stop it, or use another --home with ports of its own (`waybill init --help`)", .home.display())]
    Taken {
        /// What is to listen there.
        name: String,
        /// The address.
        address: String,
        /// The folder.
        home: PathBuf,
        /// Why it cannot be had.
        source: std::io::Error,
    },
    /// The child could not be started.
    #[error("cannot start {name} ({}); install it, or give its place with --nats-server or WAYBILL_NATS_SERVER", .program.display())]
    Spawn {
        /// Name of the child.
        name: String,
        /// What was to be run.
        program: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A service says that it cannot work, or does not answer.
    #[error("the service at {at} is not ready: {problem}")]
    Unready {
        /// Where it was asked.
        at: String,
        /// What it or the connection says.
        problem: String,
    },
    /// A child ended by itself.
    #[error("{name} stopped by itself ({status}); its own last lines above say why")]
    Stopped {
        /// Name of the child.
        name: String,
        /// How it ended.
        status: std::process::ExitStatus,
    },
    /// A child is not ready in time.
    #[error("{name} is not ready after {} s: {reason}", START_LIMIT.as_secs())]
    NotReady {
        /// Name of the child.
        name: String,
        /// What it says.
        reason: String,
    },
    /// A setting that the set-up needs.
    #[error("{key} is missing in {file}; run `waybill init` in a new folder to see how it should look")]
    Setting {
        /// The setting.
        key: &'static str,
        /// Where it should be.
        file: String,
    },
    /// Waiting for a child failed.
    #[error("cannot wait for {name}")]
    Wait {
        /// Name of the child.
        name: String,
        /// Why.
        source: std::io::Error,
    },
}

/// `waybill dev`.
pub(crate) fn run(home: PathBuf, arguments: DevArguments) -> Result<(), Failure> {
    if home.join("nats-server.conf").exists() {
        // Everything may have been off for longer than credentials live, and the keys that sign them are here.
        crate::init::init(&crate::init::Plan::of(home.clone(), InitArguments::default())?)?;
    } else {
        crate::cli::init(home.clone(), InitArguments::default())?;
    }
    // Children die with the thread that made them, so they are made on this one, by a runtime that has no other.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(supervise(&fs::canonicalize(home)?, &arguments))
}

async fn supervise(home: &Path, arguments: &DevArguments) -> Result<(), Failure> {
    let stop = shutdown::signal();
    let mut children = Children::default();
    let outcome = start_and_wait(home, arguments, &mut children, &stop).await;
    children.stop().await;
    outcome
}

async fn start_and_wait(
    home: &Path,
    arguments: &DevArguments,
    children: &mut Children,
    stop: &CancellationToken,
) -> Result<(), Failure> {
    tokio::select! {
        () = stop.cancelled() => return Ok(()),
        started = start(home, arguments, children) => started?,
    }
    tokio::select! {
        () = stop.cancelled() => Ok(()),
        stopped = children.first_to_stop() => Err(stopped.into()),
    }
}

async fn start(home: &Path, arguments: &DevArguments, children: &mut Children) -> Result<(), Failure> {
    let places = Places::read(home)?;
    places.all_free(home)?;
    let client = reqwest::Client::new();
    let http = |address: &str| Probe::Http(client.clone(), address.to_owned());
    children.nats_server(&arguments.nats_server, home)?;
    children.until_ready("nats-server", Probe::Tcp(places.nats.clone())).await?;
    children.waybill("issuer", home, &["issuer"])?;
    children.waybill("scheduler", home, &["scheduler"])?;
    children.until_ready("scheduler", http(&places.scheduler_health)).await?;
    for worker in &places.workers {
        children.waybill(&worker.id, home, &["worker", "--id", &worker.id])?;
    }
    children.waybill("gateway", home, &["gateway"])?;
    for worker in &places.workers {
        children.until_ready(&worker.id, http(&worker.health)).await?;
    }
    children.until_ready("gateway", http(&places.gateway)).await?;
    Ok(places.print(home)?)
}

/// Where everything listens, as the settings files say.
struct Places {
    nats: String,
    gateway: String,
    scheduler_health: String,
    workers: Vec<WorkerPlace>,
}

struct WorkerPlace {
    id: String,
    health: String,
}

impl Places {
    fn read(home: &Path) -> Result<Self, Failure> {
        let settings = Settings::load(home, "gateway")?;
        let mut reader = settings.reader();
        let nats = reader.required("WAYBILL_NATS_URL", hosts);
        reader.finish()?;
        let mut workers = Vec::new();
        for entry in fs::read_dir(home)? {
            let name = entry?.file_name();
            let Some(role) = name.to_str().and_then(|name| name.strip_suffix(".env")) else { continue };
            let Some(id) = role.strip_prefix("worker-") else { continue };
            workers
                .push(WorkerPlace { id: id.to_owned(), health: setting(home, role, "WAYBILL_WORKER_HEALTH_LISTEN")? });
        }
        workers.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(Self {
            nats,
            gateway: setting(home, "gateway", "WAYBILL_GATEWAY_LISTEN")?,
            scheduler_health: setting(home, "scheduler", "WAYBILL_SCHEDULER_HEALTH_LISTEN")?,
            workers,
        })
    }

    /// Fails when something listens on any of the addresses: its answers would be taken for those of the children.
    fn all_free(&self, home: &Path) -> Result<(), DevError> {
        let own = [("nats-server", &self.nats), ("scheduler", &self.scheduler_health), ("gateway", &self.gateway)];
        let workers = self.workers.iter().map(|worker| (worker.id.as_str(), &worker.health));
        for (name, address) in own.into_iter().chain(workers) {
            std::net::TcpListener::bind(address).map_err(|source| DevError::Taken {
                name: name.to_owned(),
                address: address.clone(),
                home: home.to_owned(),
                source,
            })?;
        }
        Ok(())
    }

    fn print(&self, home: &Path) -> Result<(), std::io::Error> {
        let mut out = output::stdout();
        let workers: Vec<&str> = self.workers.iter().map(|worker| worker.id.as_str()).collect();
        writeln!(out, "waybill is ready")?;
        writeln!(out, "  console   http://{}/", self.gateway)?;
        writeln!(out, "  gateway   http://{}/v1/builds   docs: http://{}/docs", self.gateway, self.gateway)?;
        writeln!(out, "  nats      nats://{}   stream WAYBILL", self.nats)?;
        writeln!(out, "  workers   {}", workers.join(", "))?;
        writeln!(out, "  tokens    {}", home.join("tokens").display())?;
        writeln!(out, "  home      {}", home.display())?;
        writeln!(
            out,
            "Ctrl-C stops everything. In another terminal: waybill --home {} events --follow",
            home.display()
        )?;
        out.flush()
    }
}

fn setting(home: &Path, role: &str, key: &'static str) -> Result<String, Failure> {
    let value = Settings::load(home, role)?.get(key);
    Ok(value.ok_or_else(|| DevError::Setting { key, file: home.join(format!("{role}.env")).display().to_string() })?)
}
