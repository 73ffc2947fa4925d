//! `waybill <subcommand>` as a library, and the only place that names concrete wiring.

mod archive;
mod backup;
mod check;
mod cli;
mod completions;
mod containers;
mod creds;
mod dev;
mod doctor;
mod events;
mod explain;
mod forecast;
mod gateway;
mod identities;
pub mod init;
mod keys;
mod node;
mod operator;
mod output;
mod projection;
mod quarantine;
mod replay;
mod secrets;
mod service;
mod text;
mod top;
mod verify;

use std::process::ExitCode;

use clap::Parser as _;

use cli::{Cli, Command};

/// A command's failure: printed once, with everything that led to it.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Ends of the process, as `--help` lists them.
mod exit {
    /// Something failed, or is broken.
    pub(crate) const BROKEN: u8 = 1;
    /// The question cannot be asked or answered.
    pub(crate) const USAGE: u8 = 2;
    /// Not ended yet.
    pub(crate) const IN_FLIGHT: u8 = 3;
}

/// Runs the command that the process was started with, and prints what it comes to.
pub fn run_command_line() -> ExitCode {
    let cli = Cli::parse();
    let runs = cli.command.runs();
    // Everything that speaks TLS uses this one; a second installation is refused and means the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match run(cli) {
        Ok(code) => code,
        Err(failure) => {
            output::error(failure.as_ref());
            ExitCode::from(if runs || is_finding(&failure) { exit::BROKEN } else { exit::USAGE })
        }
    }
}

/// True if the answer itself is bad, and asking did not fail.
fn is_finding(failure: &Failure) -> bool {
    failure.is::<doctor::NeedsAttention>()
        || failure.is::<keys::StillNeeded>()
        || failure.is::<explain::case::CasesChanged>()
        || matches!(failure.downcast_ref(), Some(archive::ArchiveError::Differs(_) | archive::ArchiveError::Unlike(_)))
        || matches!(failure.downcast_ref(), Some(replay::ReplayError::Diverges { .. }))
        || matches!(failure.downcast_ref(), Some(dev::DevError::Unready { .. }))
}

/// The exit code of a command that is done (true) or was refused (false); a failure is printed here.
fn done_or_refused(outcome: Result<bool, Failure>) -> ExitCode {
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(exit::BROKEN),
        Err(failure) => {
            output::error(failure.as_ref());
            ExitCode::from(exit::USAGE)
        }
    }
}

fn run(cli: Cli) -> Result<ExitCode, Failure> {
    let home = cli.home;
    match cli.command {
        Command::Explain(arguments) => return Ok(explain::run(&home, &arguments)),
        Command::Case(arguments) => explain::case::write(&home, &arguments),
        Command::Check(arguments) => return Ok(check::run(&home, &arguments)),
        Command::Init(arguments) => cli::init(home, arguments),
        Command::Creds(arguments) => creds::creds(&home, &arguments),
        Command::Dev(arguments) => dev::run(home, arguments),
        Command::Gateway => service::gateway(&home),
        Command::Scheduler(arguments) => service::scheduler(&home, arguments.rebuild),
        Command::Issuer => service::issuer(&home),
        Command::Worker(arguments) => match &arguments.command {
            Some(command) => identities::worker(&home, command),
            None => service::worker(&home, &arguments.id),
        },
        Command::Token(arguments) => identities::token(&home, &arguments.command),
        Command::JoinToken(arguments) => identities::join_token(&home, &arguments.command),
        Command::Workspace(arguments) => identities::workspace(&home, &arguments.command),
        Command::Events(arguments) => events::run(&home, &arguments),
        Command::Top(arguments) => top::run(&home, &arguments),
        Command::Forecast(arguments) => return Ok(forecast::run(&home, &arguments)),
        Command::Containers(arguments) => return Ok(containers::run(&home, &arguments)),
        Command::Secrets(arguments) => return Ok(secrets::run(&home, &arguments)),
        Command::Keys(arguments) => keys::run(&home, &arguments),
        Command::Quarantine(arguments) => return Ok(quarantine::run(&home, &arguments)),
        Command::Archive(arguments) => archive::run(&home, &arguments),
        Command::Backup(arguments) => backup::back_up(&home, &arguments),
        Command::Restore(arguments) => backup::restore(&home, &arguments),
        Command::Replicas(arguments) => backup::set_replicas(&home, &arguments),
        Command::Replay(arguments) => replay::run(&home, &arguments),
        Command::Projection(arguments) => projection::run(&home, &arguments),
        Command::LoginFile(arguments) => node::login_file(&home, &arguments),
        Command::ContainerEnded(whose) => node::container_ended(&home, &whose),
        Command::Doctor(arguments) => doctor::run(&home, &arguments),
        Command::Completions(arguments) => completions::completions(&arguments),
        Command::Ready { address } => dev::ask_readiness(address),
    }
    .map(|()| ExitCode::SUCCESS)
}
