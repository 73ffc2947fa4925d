//! The one binary: `waybill <subcommand>`, and the only place that names concrete wiring.

mod check;
mod cli;
mod dev;
mod doctor;
mod events;
mod explain;
mod init;
mod node;
mod operator;
mod output;
mod place;
mod projection;
mod quarantine;
mod replay;
mod secrets;
mod service;
mod text;
mod verify;

use std::process::ExitCode;

use clap::Parser as _;

use cli::{Cli, Command};

/// Events are many small pieces that one thread makes and another drops, which the C library's allocator is slow at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

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

fn main() -> ExitCode {
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

/// Whether it is the answer itself that is bad, and not the asking that failed.
fn is_finding(failure: &Failure) -> bool {
    failure.is::<doctor::NeedsAttention>()
        || matches!(failure.downcast_ref(), Some(replay::ReplayError::Diverges { .. }))
}

fn run(cli: Cli) -> Result<ExitCode, Failure> {
    let home = cli.home;
    match cli.command {
        Command::Explain(arguments) => return Ok(explain::run(&home, &arguments)),
        Command::Check(arguments) => return Ok(check::run(&home, &arguments)),
        Command::Init(arguments) => cli::init(home, arguments),
        Command::Dev(arguments) => dev::run(home, arguments),
        Command::Gateway => service::gateway(&home),
        Command::Scheduler(arguments) => service::scheduler(&home, arguments.rebuild),
        Command::Worker(arguments) => service::worker(&home, &arguments.id),
        Command::Events(arguments) => events::run(&home, &arguments),
        Command::Secrets(arguments) => return Ok(secrets::run(&home, &arguments)),
        Command::Quarantine(arguments) => return Ok(quarantine::run(&home, &arguments)),
        Command::Replay(arguments) => replay::run(&home, &arguments),
        Command::Projection(arguments) => projection::run(&home, &arguments),
        Command::LoginFile(arguments) => node::login_file(&home, &arguments),
        Command::ContainerEnded(whose) => node::container_ended(&home, &whose),
        Command::Doctor(arguments) => doctor::run(&home, &arguments),
    }
    .map(|()| ExitCode::SUCCESS)
}
