//! All of Waybill as its users run it: `waybill init`, a nats-server with the configuration it wrote, and each service as
//! a process that can be killed and started again.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test whose fixture fails has failed"
)]

mod client;
mod clock;
mod events;
mod service;
mod user;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    cluster::{Cluster, Places},
    error::StartError,
    find, http,
    nats::NatsServer,
    otlp::Collector,
    port::Port,
    process::{Process, command},
    ready,
    scratch::Scratch,
};

pub use client::Answer;
pub use events::Recorded;
pub use service::Service;
pub use user::{User, event_headers};

const START: Duration = Duration::from_secs(120);
const STOP: Duration = Duration::from_secs(30);

/// What to set up.
#[derive(Debug, Clone)]
pub struct Plan {
    workspaces: Vec<String>,
    workers: Vec<String>,
    environment: BTreeMap<String, String>,
    /// Three servers, and two of each service.
    clustered: bool,
    /// What gives services clocks of their own.
    clocks: Option<PathBuf>,
}

impl Default for Plan {
    /// Workspace `acme`, worker `w1`, JSON logs with everything that Waybill says.
    fn default() -> Self {
        let pairs = [("WAYBILL_LOG", "debug"), ("WAYBILL_LOG_FORMAT", "json")];
        let environment = pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        let (workspaces, workers) = (vec!["acme".to_owned()], vec!["w1".to_owned()]);
        Self { workspaces, workers, environment, clustered: false, clocks: None }
    }
}

impl Plan {
    /// These workspaces instead.
    pub fn workspaces(mut self, names: &[&str]) -> Self {
        self.workspaces = names.iter().map(|name| (*name).to_owned()).collect();
        self
    }

    /// These workers instead.
    pub fn workers(mut self, ids: &[&str]) -> Self {
        self.workers = ids.iter().map(|id| (*id).to_owned()).collect();
        self
    }

    /// Three nats-servers, two gateways and two schedulers.
    pub fn clustered(mut self) -> Self {
        self.clustered = true;
        self
    }

    /// A setting in the environment of every service.
    pub fn setting(mut self, key: &str, value: impl Into<String>) -> Self {
        self.environment.insert(key.to_owned(), value.into());
        self
    }

    /// Registries that workers speak to without TLS.
    pub fn plain_http(self, hosts: &[&str]) -> Self {
        self.setting("WAYBILL_WORKER_PLAIN_HTTP_REGISTRIES", hosts.join(","))
    }

    /// Where workers reach registries that have no server here, such as a cloud's: pairs of a registry's host and that of
    /// the server that plays it, which is spoken to without TLS.
    pub fn played_by(self, pairs: &[(&str, &str)]) -> Self {
        let players: Vec<&str> = pairs.iter().map(|(_, player)| *player).collect();
        let endpoints: Vec<String> = pairs.iter().map(|(host, player)| format!("{host}=http://{player}")).collect();
        self.plain_http(&players).setting("WAYBILL_WORKER_REGISTRY_ENDPOINTS", endpoints.join(","))
    }

    /// Where spans go.
    pub fn otlp(self, collector: &Collector) -> Self {
        self.setting("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint()).setting("OTEL_BSP_SCHEDULE_DELAY", "200")
    }

    /// Starts everything, and waits until it is ready.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(self) -> Result<Stack, StartError> {
        Stack::start(self).await
    }
}

/// A running stack. Everything dies with it.
#[derive(Debug)]
pub struct Stack {
    plan: Plan,
    binary: PathBuf,
    scratch: Scratch,
    home: PathBuf,
    nats: Option<NatsServer>,
    cluster: Option<Cluster>,
    ports: BTreeMap<Service, Port>,
    running: BTreeMap<Service, Process>,
    starts: u32,
    client: reqwest::Client,
}

impl Stack {
    async fn start(plan: Plan) -> Result<Self, StartError> {
        let binary = find::workspace_binary("waybill")?;
        let scratch = Scratch::new("stack")?;
        let home = scratch.path().join("home");
        let places = plan.clustered.then(Places::reserve).transpose()?;
        let servers = places.as_ref().map(Places::arguments).unwrap_or_default();
        init(&binary, &home, &plan, &servers, scratch.path()).await?;
        let (nats, cluster) = match places {
            Some(places) => (None, Some(Cluster::start(&home, places).await?)),
            None => {
                let config = home.join("nats-server.conf");
                (Some(NatsServer::with_config(&config, &home.join("data/nats")).await?), None)
            }
        };
        let client = http::client().map_err(|error| StartError::Setup {
            what: "an HTTP client".to_owned(),
            source: std::io::Error::other(error),
        })?;
        let mut ports = BTreeMap::new();
        let workers = plan.workers.iter().cloned().map(Service::Worker);
        let second = [Service::SecondScheduler, Service::SecondGateway].into_iter().filter(|_| plan.clustered);
        let single = [Service::Scheduler, Service::Issuer, Service::Gateway];
        for service in single.into_iter().chain(second).chain(workers) {
            ports.insert(service, Port::reserve().map_err(StartError::setup("a free port"))?);
        }
        let running = BTreeMap::new();
        let mut stack = Self { plan, binary, scratch, home, nats, cluster, ports, running, starts: 0, client };
        stack.start_all().await?;
        Ok(stack)
    }

    /// Starts every service that does not run, and waits until all are ready.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start_all(&mut self) -> Result<(), StartError> {
        let services: Vec<Service> = self.ports.keys().cloned().collect();
        for service in &services {
            if !self.running.contains_key(service) {
                self.spawn(service)?;
            }
        }
        for service in &services {
            // The one that is waited for may be waiting for another.
            if let Err(mut error) = self.until_ready(service).await {
                let nats = self.nats.as_mut().map(NatsServer::process);
                error.add_last_lines(self.running.values_mut().chain(nats)).await;
                return Err(error);
            }
        }
        Ok(())
    }

    /// Starts a service without waiting for it.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn spawn(&mut self, service: &Service) -> Result<(), StartError> {
        self.spawn_with(service, &[])
    }

    /// Starts a service with further arguments, without waiting for it.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn spawn_with(&mut self, service: &Service, arguments: &[&str]) -> Result<(), StartError> {
        self.starts += 1;
        let mut child = self.waybill();
        child.args(service.arguments()).args(arguments);
        let place = self.ports[service].host();
        match service {
            Service::Worker(_) => {
                child.env("WAYBILL_WORKER_HEALTH_LISTEN", place);
            }
            Service::SecondGateway => {
                child.env("WAYBILL_GATEWAY_LISTEN", place);
            }
            Service::SecondScheduler => {
                child.env("WAYBILL_SCHEDULER_HEALTH_LISTEN", place);
                child.env("WAYBILL_SCHEDULER_PROJECTION", self.second_projection());
            }
            Service::Gateway | Service::Scheduler | Service::Issuer => {}
        }
        self.give_clock(service, &mut child)?;
        let log_dir = self.scratch.folder(&format!("logs/{:03}-{}", self.starts, service.name()))?;
        let process = Process::spawn(&service.name(), child, &log_dir)?;
        self.running.insert(service.clone(), process);
        Ok(())
    }

    /// The binary with this stack's home and settings, ready for a subcommand.
    pub fn waybill(&self) -> std::process::Command {
        self.waybill_in(&self.home)
    }

    /// As [`waybill`](Self::waybill), with another home.
    pub fn waybill_in(&self, home: &Path) -> std::process::Command {
        let mut child = command(&self.binary);
        child.arg("--home").arg(home).envs(&self.plan.environment).env("WAYBILL_NATS_URL", self.nats_url());
        for (service, port) in &self.ports {
            let key = match service {
                Service::Gateway => "WAYBILL_GATEWAY_LISTEN",
                Service::Issuer => "WAYBILL_ISSUER_HEALTH_LISTEN",
                Service::Scheduler => "WAYBILL_SCHEDULER_HEALTH_LISTEN",
                Service::Worker(_) | Service::SecondGateway | Service::SecondScheduler => continue,
            };
            child.env(key, port.host());
        }
        child.env("WAYBILL_GATEWAY_URL", self.gateway_url());
        child
    }

    /// All servers of the log.
    pub fn nats_url(&self) -> String {
        match (&self.cluster, &self.nats) {
            (Some(cluster), _) => cluster.url(),
            (None, Some(nats)) => nats.url(),
            (None, None) => String::new(),
        }
    }

    /// The servers of a stack that was [clustered](Plan::clustered).
    pub fn cluster(&mut self) -> &mut Cluster {
        self.cluster.as_mut().expect("a plan with servers")
    }

    /// Makes the stack's log the one of a cluster, whose servers run.
    pub fn move_to(&mut self, cluster: Cluster) {
        self.nats = None;
        self.cluster = Some(cluster);
    }

    /// The projection of the second scheduler.
    pub fn second_projection(&self) -> PathBuf {
        self.home.join("data/scheduler/second.redb")
    }

    /// Every service that was planned.
    pub fn services(&self) -> Vec<Service> {
        self.ports.keys().cloned().collect()
    }

    /// True while a service's process runs.
    pub fn is_running(&mut self, service: &Service) -> bool {
        self.running.get_mut(service).is_some_and(|process| process.exit_status().is_none())
    }

    /// Waits until a service says that it is ready.
    ///
    /// # Errors
    /// [`StartError::Ended`] or [`StartError::NotReady`], with its last lines.
    pub async fn until_ready(&mut self, service: &Service) -> Result<(), StartError> {
        let url = self.health_url(service);
        let client = self.client.clone();
        let process = self.running.get_mut(service).expect("a service that was started");
        ready::until(process, START, async || {
            http::status(&client, &url).await.is_some_and(|status| status.is_success())
        })
        .await
    }

    /// Where a service says whether it is ready.
    pub fn health_url(&self, service: &Service) -> String {
        format!("http://{}/readyz", self.ports[service].host())
    }

    /// Kills a service as a power cut would.
    pub fn sigkill(&mut self, service: &Service) {
        if let Some(mut process) = self.running.remove(service) {
            process.sigkill();
        }
    }

    /// Stops a service in good order.
    pub async fn stop(&mut self, service: &Service) {
        if let Some(mut process) = self.running.remove(service) {
            process.sigterm_and_wait(STOP).await.expect("the service stops in time");
        }
    }

    /// A running service's process.
    pub fn process(&mut self, service: &Service) -> &mut Process {
        self.running.get_mut(service).expect("a service that was started")
    }

    /// Ids of all processes that run now, the nats-server's included.
    pub fn pids(&mut self) -> Vec<u32> {
        let nats = self.nats.as_mut().map(|nats| nats.process().pid());
        self.running.values().map(Process::pid).chain(nats).collect()
    }

    /// The log's server, where it is one.
    pub fn nats(&mut self) -> &mut NatsServer {
        self.nats.as_mut().expect("a plan with one server")
    }

    /// The folder that `waybill init` made.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// Everything the stack has written: home, data, logs.
    pub fn dir(&self) -> &Path {
        self.scratch.path()
    }

    /// All log lines of all services so far, those of earlier runs included.
    pub fn logs(&self) -> String {
        let mut files: Vec<PathBuf> = Vec::new();
        collect(&self.scratch.path().join("logs"), &mut files);
        files.sort();
        files.iter().map(|file| std::fs::read_to_string(file).unwrap_or_default()).collect()
    }
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() { collect(&path, files) } else { files.push(path) }
    }
}

async fn init(binary: &Path, home: &Path, plan: &Plan, servers: &[String], log_dir: &Path) -> Result<(), StartError> {
    let mut child = command(binary);
    child.arg("--home").arg(home).arg("init").args(servers);
    child.args(plan.workspaces.iter().flat_map(|name| ["--workspace", name]));
    child.args(plan.workers.iter().flat_map(|id| ["--worker", id]));
    let finished = Process::run("init", child, log_dir, START).await?;
    if finished.status.success() {
        return Ok(());
    }
    Err(StartError::Ended { part: "waybill init".to_owned(), last_lines: finished.stderr })
}
