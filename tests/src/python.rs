//! Runs Python, for clients in another language.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::error::{Missing, StartError};
use crate::find;
use crate::process::{Process, ProcessError, command};
use crate::scratch::Scratch;

/// An interpreter that has the modules asked for.
#[derive(Debug, Clone)]
pub struct Python(PathBuf);

/// A script did not work.
#[derive(Debug, thiserror::Error)]
pub enum PythonError {
    /// There was no place to run it.
    #[error(transparent)]
    Start(#[from] StartError),
    /// It did not run to its end.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// It ended with an error.
    #[error("the Python script {script} failed:\n{stderr}")]
    Failed {
        /// The script's file name.
        script: String,
        /// What it said.
        stderr: String,
    },
}

impl Python {
    /// The first interpreter of [`find::pythons`] that can import all of `modules`.
    pub fn with_modules(modules: &[&str]) -> Result<Self, StartError> {
        let found = find::pythons().into_iter().find(|python| has_modules(python, modules));
        Ok(found.map(Self).ok_or_else(|| {
            Missing::new(
                format!("a Python with {}", modules.join(", ")),
                "run `infra/justw test`, or point WAYBILL_TEST_PYTHON to one with infra/requirements-test.txt installed",
            )
        })?)
    }

    /// A command that starts the interpreter.
    pub fn command(&self) -> Command {
        command(&self.0)
    }

    /// Runs a script to its end and yields what it printed. Credentials belong in files or `env`, not in `arguments`.
    pub async fn run(
        &self,
        script: &Path,
        arguments: &[&str],
        env: &[(&str, &str)],
        timeout: Duration,
    ) -> Result<String, PythonError> {
        let scratch = Scratch::new("python")?;
        let mut command = self.command();
        command.arg(script).args(arguments).envs(env.iter().copied());
        let finished = Process::run("python", command, scratch.path(), timeout).await?;
        if finished.status.success() {
            return Ok(finished.stdout);
        }
        let script = script.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Err(PythonError::Failed { script, stderr: finished.stderr })
    }
}

/// Looks the modules up without importing them, which for some takes seconds.
fn has_modules(python: &Path, modules: &[&str]) -> bool {
    const FIND: &str = "import sys, importlib.util as u; sys.exit(not all(map(u.find_spec, sys.argv[1:])))";
    command(python).args(["-c", FIND]).args(modules).output().is_ok_and(|output| output.status.success())
}
