//! `waybill creds`: credentials of one NATS user, in a file that any NATS client takes.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use waybill_platform::identity::lifetime;

use crate::{Failure, init, output};

#[derive(Debug, Args)]
pub(crate) struct CredsArguments {
    /// Whose: gateway, scheduler, operator, system, log-admin, worker-<ID> or orchestrator-<WORKSPACE>.
    #[arg(value_parser = |name: &str| init::Role::from_name(name).ok_or("no such role"))]
    pub(crate) role: init::Role,
    /// How long they are good [log-admin: 24, worker: 168, others: 8760]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=87600))]
    pub(crate) hours: Option<u32>,
    /// The file; it must not be there.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
}

/// Signs a user with a key of its own, bound to the role as every other user of it is.
pub(crate) fn creds(home: &Path, arguments: &CredsArguments) -> Result<(), Failure> {
    if !home.join(init::SIGNING).is_dir() {
        let folder = home.join(init::SIGNING);
        return Err(format!("there is no folder {}; run this where `waybill init` ran", folder.display()).into());
    }
    if arguments.out.exists() {
        return Err(format!("{} is there already; choose another --out", arguments.out.display()).into());
    }
    let hours = arguments.hours.map(|hours| Duration::from_secs(u64::from(hours).saturating_mul(3600)));
    let lifetime = hours.unwrap_or_else(|| lifetime(arguments.role.kind()));
    let credentials = init::Signers::read(home)?.sign(&arguments.role, &nkeys::KeyPair::new_user(), lifetime)?;
    init::write_private(&arguments.out, credentials.to_text().expose().as_bytes())?;
    let inbox = arguments.role.inbox();
    writeln!(output::stdout(), "wrote {}; its inbox prefix is {inbox}", arguments.out.display())?;
    Ok(())
}
