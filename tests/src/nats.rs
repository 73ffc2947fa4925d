//! A real nats-server on a free loopback port that can be killed and brought back with its data.

mod binary;
mod greeting;

pub use binary::OLDEST;

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::StartError;
use crate::port::Port;
use crate::process::{Process, command};
use crate::ready;
use crate::scratch::Scratch;

/// How long a start may take; a store with many messages is read back first.
const START: Duration = Duration::from_secs(30);

/// A nats-server with JetStream on files. Killed on drop; its store goes with it.
#[derive(Debug)]
pub struct NatsServer {
    binary: PathBuf,
    config: PathBuf,
    store_dir: PathBuf,
    process: Process,
    port: Port,
    scratch: Scratch,
}

impl NatsServer {
    /// Starts one with JetStream, without accounts, every write synced as in production.
    pub async fn start() -> Result<Self, StartError> {
        let scratch = Scratch::new("nats")?;
        let store_dir = scratch.folder("store")?;
        let jetstream = format!("jetstream {{ store_dir: \"{}\", sync_interval: always }}\n", store_dir.display());
        let config = scratch.file("nats.conf", jetstream)?;
        Self::launch(scratch, config, store_dir).await
    }

    /// Starts one with the given configuration file, read in place; only its address and port are replaced.
    /// `store_dir` repeats where the file has JetStream's store; a relative path in the file is relative to the file.
    pub async fn with_config(config: &Path, store_dir: &Path) -> Result<Self, StartError> {
        Self::launch(Scratch::new("nats")?, config.to_owned(), store_dir.to_owned()).await
    }

    /// As [`with_config`](Self::with_config), on a port that was reserved before.
    pub async fn at(port: Port, config: &Path, store_dir: &Path) -> Result<Self, StartError> {
        Self::launch_at(port, Scratch::new("nats")?, config.to_owned(), store_dir.to_owned()).await
    }

    async fn launch(scratch: Scratch, config: PathBuf, store_dir: PathBuf) -> Result<Self, StartError> {
        let port = Port::reserve().map_err(StartError::setup("a free port for nats-server"))?;
        Self::launch_at(port, scratch, config, store_dir).await
    }

    async fn launch_at(port: Port, scratch: Scratch, config: PathBuf, store_dir: PathBuf) -> Result<Self, StartError> {
        let binary = binary::find()?;
        let process = spawn(&binary, &config, &port, scratch.path()).await?;
        Ok(Self { binary, config, store_dir, process, port, scratch })
    }

    /// `nats://127.0.0.1:<port>`, the same after a restart.
    pub fn url(&self) -> String {
        format!("nats://{}", self.port.host())
    }

    /// Its port, the same after a restart.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// Where JetStream keeps its files.
    pub fn store_dir(&self) -> &Path {
        &self.store_dir
    }

    /// The folder that holds its log and, unless a configuration file was given, its configuration and store.
    pub fn dir(&self) -> &Path {
        self.scratch.path()
    }

    /// The child process: its id, its output, signals.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Kills it as a power cut would, as far as a process goes.
    pub fn sigkill(&mut self) {
        self.process.sigkill();
    }

    /// Asks it to stop and waits until it has.
    pub async fn stop(&mut self) -> Result<(), StartError> {
        self.process.sigterm_and_wait(START).await?;
        Ok(())
    }

    /// Starts it again without waiting until it greets; one that still runs is killed first.
    pub fn restart_soon(&mut self) -> Result<(), StartError> {
        self.process.sigkill();
        self.process = start(&self.binary, &self.config, &self.port, self.scratch.path())?;
        Ok(())
    }

    /// Starts it again on the same port and store; one that still runs is killed first.
    pub async fn restart(&mut self) -> Result<(), StartError> {
        self.process.sigkill();
        self.process = spawn(&self.binary, &self.config, &self.port, self.scratch.path()).await?;
        Ok(())
    }
}

/// Starts a server and waits until it greets. Options on the command line win over the configuration file.
async fn spawn(binary: &Path, config: &Path, port: &Port, log_dir: &Path) -> Result<Process, StartError> {
    let mut process = start(binary, config, port, log_dir)?;
    ready::until(&mut process, START, async || greeting::heard(port.number()).await).await?;
    Ok(process)
}

fn start(binary: &Path, config: &Path, port: &Port, log_dir: &Path) -> Result<Process, StartError> {
    let mut command = command(binary);
    command.arg("--config").arg(config).current_dir(config.parent().unwrap_or(log_dir));
    command.args(["--addr", "127.0.0.1", "--port", &port.number().to_string()]);
    Ok(Process::spawn("nats-server", command, log_dir)?)
}
