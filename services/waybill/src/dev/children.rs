//! Child processes that never outlive this one.

use std::{path::Path, process::Stdio, time::Duration};

use tokio::{
    process::{Child, Command},
    time::{Instant, sleep, timeout},
};

use super::{DevError, START_LIMIT, ready::Probe};
use crate::Failure;

/// How long a child may take to stop after it was asked to.
const STOP_LIMIT: Duration = Duration::from_secs(15);
/// Between two looks at a child.
const LOOK: Duration = Duration::from_millis(50);

/// The children, in the order in which they were started.
#[derive(Default)]
pub(super) struct Children {
    running: Vec<(String, Child)>,
}

impl Children {
    /// A nats-server that reads `nats-server.conf` in the home folder. It is in a process group of its own: Ctrl-C must
    /// not take the log away from services that are still finishing.
    pub(super) fn nats_server(&mut self, program: &Path, home: &Path) -> Result<(), Failure> {
        let mut command = Command::new(program);
        command.args(["--config", "nats-server.conf"]).current_dir(home).process_group(0);
        self.spawn("nats-server", command, program)
    }

    /// A service of this same binary.
    pub(super) fn waybill(&mut self, name: &str, home: &Path, arguments: &[&str]) -> Result<(), Failure> {
        let program = std::env::current_exe()?;
        let mut command = Command::new(&program);
        command.arg("--home").arg(home).args(arguments);
        self.spawn(name, command, &program)
    }

    fn spawn(&mut self, name: &str, mut command: Command, program: &Path) -> Result<(), Failure> {
        command.kill_on_drop(true).stdin(Stdio::null());
        die_with_parent(&mut command);
        let failed = |source| DevError::Spawn { name: name.to_owned(), program: program.to_owned(), source };
        self.running.push((name.to_owned(), command.spawn().map_err(failed)?));
        Ok(())
    }

    /// Waits for the probe to pass; fails when any child dies or the limit is over.
    pub(super) async fn until_ready(&mut self, name: &str, probe: Probe) -> Result<(), DevError> {
        let limit = Instant::now() + START_LIMIT;
        loop {
            let Err(reason) = probe.look().await else { return Ok(()) };
            self.stopped()?;
            if Instant::now() > limit {
                return Err(DevError::NotReady { name: name.to_owned(), reason });
            }
            sleep(LOOK).await;
        }
    }

    /// Returns when a child has ended by itself.
    pub(super) async fn first_to_stop(&mut self) -> DevError {
        loop {
            if let Err(stopped) = self.stopped() {
                return stopped;
            }
            sleep(LOOK).await;
        }
    }

    fn stopped(&mut self) -> Result<(), DevError> {
        for (name, child) in &mut self.running {
            match child.try_wait() {
                Ok(None) => {}
                Ok(Some(status)) => return Err(DevError::Stopped { name: name.clone(), status }),
                Err(source) => return Err(DevError::Wait { name: name.clone(), source }),
            }
        }
        Ok(())
    }

    /// Asks all to stop, waits until they have, and kills what does not: the services first, the nats-server last.
    pub(super) async fn stop(mut self) {
        let services = self.running.split_off(self.running.len().min(1));
        stop_all(services).await;
        stop_all(self.running).await;
    }
}

async fn stop_all(mut children: Vec<(String, Child)>) {
    for (_, child) in &children {
        ask_to_stop(child);
    }
    for (name, child) in &mut children {
        if timeout(STOP_LIMIT, child.wait()).await.is_err() {
            tracing::warn!(name, "did not stop in time, killing it");
            // An error means that it is gone already.
            let _ = child.kill().await;
        }
    }
}

#[expect(unsafe_code, reason = "kill(2) has no safe form in std; the child is not reaped, so the id is still its own")]
fn ask_to_stop(child: &Child) {
    let Some(pid) = child.id().and_then(|id| libc::pid_t::try_from(id).ok()) else { return };
    // SAFETY: kill takes two numbers and touches no memory.
    unsafe { libc::kill(pid, libc::SIGTERM) };
}

/// The kernel stops the child when the thread that made it ends, even by SIGKILL.
#[expect(unsafe_code, reason = "pre_exec is how a child sets its parent-death signal")]
fn die_with_parent(command: &mut Command) {
    let set = || {
        // SAFETY: prctl with PR_SET_PDEATHSIG takes a number and is async-signal-safe.
        match unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) } {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        }
    };
    // SAFETY: the closure only calls prctl, between fork and exec.
    unsafe { command.pre_exec(set) };
}
