//! moto: AWS's ECR token endpoint, as AWS's own clients are tested against it.

use std::time::Duration;

use crate::error::StartError;
use crate::login::Login;
use crate::port::Port;
use crate::process::Process;
use crate::python::Python;
use crate::ready;
use crate::scratch::Scratch;

/// Importing moto takes seconds on a slow machine.
const START: Duration = Duration::from_secs(60);

/// The account that moto has when it is asked with any access key.
pub const ACCOUNT: &str = "123456789012";

/// A running moto server. It verifies no signature, and its tokens' `expiresAt` lies in 2015.
#[derive(Debug)]
pub struct Moto {
    process: Process,
    port: Port,
    _scratch: Scratch,
}

impl Moto {
    /// Starts one with nothing in it.
    pub async fn start() -> Result<Self, StartError> {
        let python = Python::with_modules(&["moto", "flask"])?;
        let scratch = Scratch::new("moto")?;
        let port = Port::reserve().map_err(StartError::setup("a free port for moto"))?;
        let mut command = python.command();
        command.args(["-m", "moto.server", "--host", "127.0.0.1", "--port", &port.number().to_string()]);
        let mut process = Process::spawn("moto", command, scratch.path())?;
        let url = format!("http://{}/moto-api/", port.host());
        ready::until_http(&mut process, START, &url, |status| status.is_success()).await?;
        Ok(Self { process, port, _scratch: scratch })
    }

    /// The endpoint to configure in place of `https://api.ecr.<region>.amazonaws.com`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.port.host())
    }

    /// What moto's GetAuthorizationToken issues, for a registry that is to accept it.
    pub fn login(&self) -> Login {
        Login::new("AWS", format!("{ACCOUNT}-auth-token"))
    }

    /// The child process: its id, its output (a line per request), signals.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}
