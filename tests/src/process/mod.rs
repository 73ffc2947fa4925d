//! Child processes that cannot outlive the test, with their output kept line by line.

mod error;
mod output;
mod spawner;
mod sys;

use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

pub use error::ProcessError;
pub use output::{Line, Output, Stream};
pub use sys::Signal;

use crate::wait::eventually;

/// A running (or ended) child. Killed on drop; the kernel kills it when this process dies.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    output: Output,
    log_file: PathBuf,
    ended: Option<ExitStatus>,
}

/// How a program ended that was run to its end, and what it printed.
#[derive(Debug)]
pub struct Finished {
    /// Its exit status.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

/// A command without the variables by which this machine's own set-up would change what a test sees.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    const FOREIGN: [&str; 5] = ["AWS_", "NATS_", "OTEL_", "WAYBILL_", "REGISTRY_"];
    let mut command = Command::new(program);
    for (key, _) in std::env::vars_os() {
        let name = key.to_string_lossy();
        if FOREIGN.iter().any(|prefix| name.starts_with(prefix)) || name.to_ascii_uppercase().ends_with("_PROXY") {
            command.env_remove(&key);
        }
    }
    command
}

impl Process {
    /// Starts `command` with no input. Its output is kept in memory and appended to `<name>.log` in `log_dir`.
    pub fn spawn(name: &str, mut command: Command, log_dir: &Path) -> Result<Self, ProcessError> {
        let failed = |source| ProcessError::Spawn { name: name.to_owned(), source };
        let log_file = log_dir.join(format!("{name}.log"));
        // Opened first: once there is a child, nothing may fail before it is owned.
        let log = OpenOptions::new().create(true).append(true).open(&log_file).map_err(failed)?;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = spawner::spawn(command).map_err(failed)?;
        let output = Output::read(child.stdout.take(), child.stderr.take(), log);
        Ok(Self { name: name.to_owned(), child, output, log_file, ended: None })
    }

    /// Runs `command` to its end; after `timeout` it is killed.
    pub async fn run(
        name: &str,
        command: Command,
        log_dir: &Path,
        timeout: Duration,
    ) -> Result<Finished, ProcessError> {
        let mut process = Self::spawn(name, command, log_dir)?;
        let status = process.wait(timeout).await?;
        process.output.closed(timeout).await;
        let text = |stream| process.output.text(stream);
        Ok(Finished { status, stdout: text(Stream::Stdout), stderr: text(Stream::Stderr) })
    }

    /// The name given to [`Process::spawn`].
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it printed so far.
    pub fn output(&self) -> &Output {
        &self.output
    }

    /// The file that holds everything it printed, also what earlier processes of this name printed.
    pub fn log_file(&self) -> &Path {
        &self.log_file
    }

    /// The end of its output, complete when it has ended, for error messages.
    pub async fn last_lines(&mut self) -> String {
        if self.exit_status().is_some() {
            self.output.closed(Duration::from_secs(1)).await;
        }
        self.output.last_lines()
    }

    /// Waits for a line of either stream that fulfils `wanted`; lines already printed count.
    pub async fn wait_for_line(&self, timeout: Duration, wanted: impl Fn(&str) -> bool) -> Result<Line, ProcessError> {
        let found = self.output.wait_for(timeout, wanted).await;
        found.ok_or_else(|| ProcessError::NoSuchLine {
            name: self.name.clone(),
            timeout,
            last_lines: self.output.last_lines(),
        })
    }

    /// How it ended, or `None` while it runs.
    pub fn exit_status(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().ok().flatten();
        }
        self.ended
    }

    /// Waits until it ends by itself; after `timeout` it is killed and that is an error.
    pub async fn wait(&mut self, timeout: Duration) -> Result<ExitStatus, ProcessError> {
        let what = format!("the end of {}", self.name);
        match eventually(timeout, &what, async || self.exit_status()).await {
            Ok(status) => Ok(status),
            Err(_) => {
                self.sigkill();
                let last_lines = self.output.last_lines();
                Err(ProcessError::StillRunning { name: self.name.clone(), timeout, last_lines })
            }
        }
    }

    /// Sends a signal; does nothing when the process has ended.
    pub fn signal(&mut self, signal: Signal) -> Result<(), ProcessError> {
        if self.exit_status().is_some() {
            return Ok(());
        }
        let sent = sys::send(self.child.id(), signal);
        sent.map_err(|source| ProcessError::Signal { name: self.name.clone(), signal, source })
    }

    /// Asks it to stop and waits until it has; after `timeout` it is killed and that is an error.
    pub async fn sigterm_and_wait(&mut self, timeout: Duration) -> Result<ExitStatus, ProcessError> {
        self.signal(Signal::Terminate)?;
        self.wait(timeout).await
    }

    /// Kills it with SIGKILL and waits until the kernel has taken it away.
    pub fn sigkill(&mut self) {
        if self.exit_status().is_none() {
            // Both fail only for a child that was waited for, which `exit_status` has ruled out.
            let _ = self.child.kill();
            self.ended = self.child.wait().ok();
        }
    }
}

impl Drop for Process {
    #[expect(clippy::print_stderr, reason = "shown by the test runner for a failed test only")]
    fn drop(&mut self) {
        self.sigkill();
        if std::thread::panicking() {
            eprintln!("--- the last lines of {}:\n{}", self.name, self.output.last_lines());
        }
    }
}
