//! `waybill completions`: what a shell completes, and manual pages.

use std::path::PathBuf;

use clap::{Args, CommandFactory as _};

use crate::{Failure, cli::Cli, output};

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct CompletionsArguments {
    /// The shell.
    shell: Option<clap_complete::Shell>,
    /// Folder that gets a manual page of each command.
    #[arg(long, value_name = "DIR")]
    man: Option<PathBuf>,
}

pub(crate) fn completions(arguments: &CompletionsArguments) -> Result<(), Failure> {
    let mut command = Cli::command();
    if let Some(shell) = arguments.shell {
        clap_complete::generate(shell, &mut command, "waybill", &mut output::stdout());
    } else if let Some(folder) = &arguments.man {
        std::fs::create_dir_all(folder)?;
        clap_mangen::generate_to(command, folder)?;
    }
    Ok(())
}
