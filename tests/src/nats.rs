//! A real nats-server on a free loopback port that can be killed and brought back with its data.

mod binary;
mod ready;

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::StartError;
use crate::port::Port;
use crate::process::{Process, command};
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
        let config = scratch.file("nats.conf", "jetstream { sync_interval: always }\n")?;
        Self::launch(scratch, config).await
    }

    /// Starts one with the given configuration file, read in place; its address, port and store folder are replaced.
    pub async fn with_config(config: &Path) -> Result<Self, StartError> {
        Self::launch(Scratch::new("nats")?, config.to_owned()).await
    }

    async fn launch(scratch: Scratch, config: PathBuf) -> Result<Self, StartError> {
        let binary = binary::find()?;
        let store_dir = scratch.folder("store")?;
        let port = Port::reserve().map_err(StartError::setup("a free port for nats-server"))?;
        let process = spawn(&binary, &config, &store_dir, &port, scratch.path())?;
        let server = Self { binary, config, store_dir, process, port, scratch };
        server.wait_ready().await?;
        Ok(server)
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

    /// The folder that holds the store, the log and (by default) the configuration.
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

    /// Starts it again on the same port and store; one that still runs is killed first.
    pub async fn restart(&mut self) -> Result<(), StartError> {
        self.process.sigkill();
        self.process = spawn(&self.binary, &self.config, &self.store_dir, &self.port, self.scratch.path())?;
        self.wait_ready().await
    }

    async fn wait_ready(&self) -> Result<(), StartError> {
        ready::wait(self.port.number(), START).await.map_err(|_| StartError::NotReady {
            part: "nats-server",
            timeout: START,
            last_lines: self.process.output().last_lines(),
        })
    }
}

/// Options on the command line win over the configuration file.
fn spawn(binary: &Path, config: &Path, store: &Path, port: &Port, log_dir: &Path) -> Result<Process, StartError> {
    let mut command = command(binary);
    command.arg("--config").arg(config).arg("--store_dir").arg(store);
    command.args(["--addr", "127.0.0.1", "--port", &port.number().to_string()]);
    Ok(Process::spawn("nats-server", command, log_dir)?)
}
