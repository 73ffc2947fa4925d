//! `waybill secrets`: which credentials a workspace has, for which images; and new ones in their place, or none.
//!
//! The list comes from the log. Changes go through the gateway, which alone may publish what it seals.

mod change;
mod list;

use std::{
    io::Read as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, Subcommand};
use waybill_schemas::{ImageId, WorkspaceId};
use zeroize::Zeroizing;

use waybill_registry::core_dumps;

use crate::{Failure, exit, operator, output};

#[derive(Debug, Args)]
pub(crate) struct SecretsArguments {
    #[command(subcommand)]
    command: Option<SecretsCommand>,
    /// Whose [default: WAYBILL_WORKSPACE]
    #[arg(long, global = true, value_name = "NAME")]
    workspace: Option<WorkspaceId>,
    /// JSON instead of text.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum SecretsCommand {
    /// One entry an image: kind, registry, version (the sequence that saved it), and until when.
    #[command(after_help = "Examples:\n  waybill secrets list --workspace acme --json")]
    List,
    /// Give an image new credentials. Containers that have the old ones get the new ones too.
    #[command(after_help = "Examples:\n  waybill secrets rotate img-1 --creds new-credentials.json")]
    Rotate {
        /// The image.
        image: ImageId,
        /// File with the new credentials, in any form that POST /v1/builds takes; `-` for standard input.
        #[arg(long, value_name = "FILE")]
        creds: PathBuf,
    },
    /// Withdraw an image's credentials. Workers drop them.
    #[command(after_help = "Examples:\n  waybill secrets revoke img-1 --reason 'the account was closed'")]
    Revoke {
        /// The image.
        image: ImageId,
        /// Why, for whoever reads the log later.
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
}

/// `waybill secrets`: 0 done, 1 refused, 2 not asked or not answered.
pub(crate) fn run(home: &Path, arguments: &SecretsArguments) -> ExitCode {
    match ask(home, arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(exit::BROKEN),
        Err(failure) => {
            output::error(failure.as_ref());
            ExitCode::from(exit::USAGE)
        }
    }
}

fn ask(home: &Path, arguments: &SecretsArguments) -> Result<bool, Failure> {
    let settings = operator::settings(home)?;
    let workspace = operator::workspace(&settings, arguments.workspace.as_ref())?;
    match &arguments.command {
        None | Some(SecretsCommand::List) => list::run(&settings, &workspace, arguments.json).map(|()| true),
        Some(SecretsCommand::Rotate { image, creds }) => {
            let credentials = read(creds)?;
            let body = change::rotation(&workspace, image, &credentials);
            change::send(home, &settings, (&workspace, "rotate"), &body, arguments.json)
        }
        Some(SecretsCommand::Revoke { image, reason }) => {
            let body = change::revocation(&workspace, image, reason.as_deref());
            change::send(home, &settings, (&workspace, "revoke"), &body, arguments.json)
        }
    }
}

/// Largest file of credentials that is read, in bytes; the gateway takes no more.
const MOST: u64 = 256 * 1024;

fn read(file: &Path) -> Result<Zeroizing<String>, Failure> {
    core_dumps::forbid()?;
    let unreadable = |error: std::io::Error| format!("--creds {}: {}", file.display(), error.kind());
    let mut text = Zeroizing::new(String::new());
    let most = MOST.saturating_add(1);
    let read = match file.as_os_str() == "-" {
        true => std::io::stdin().take(most).read_to_string(&mut text),
        false => std::fs::File::open(file).and_then(|file| file.take(most).read_to_string(&mut text)),
    };
    if u64::try_from(read.map_err(unreadable)?).unwrap_or(u64::MAX) > MOST {
        return Err(format!("--creds {}: credentials have at most {MOST} bytes", file.display()).into());
    }
    Ok(text)
}
