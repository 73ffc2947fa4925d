//! The command line.

mod questions;

use std::{io::Write as _, path::PathBuf};

use clap::{Args, Parser, Subcommand};
use waybill_schemas::{WorkerId, WorkspaceId};

pub(crate) use self::questions::{EventsArguments, ExplainArguments, Question};

use crate::{
    Failure,
    identities::{JoinTokenCommand, TokenCommand, WorkerCommand, WorkspaceCommand},
    init, output,
};

/// Carries private-registry pull credentials from an image's build to the container that runs it, and proves every hop.
#[derive(Debug, Parser)]
#[command(name = "waybill", version, max_term_width = 80, arg_required_else_help = true)]
pub(crate) struct Cli {
    /// Folder with configuration, keys and data, as `waybill init` makes it.
    #[arg(long, global = true, env = "WAYBILL_HOME", default_value = ".waybill", value_name = "DIR")]
    pub(crate) home: PathBuf,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Write configuration, keys, NATS accounts and gateway tokens.
    #[command(
        after_help = "Examples:\n  waybill init\n  waybill init --workspace acme --worker node-1 --worker node-2\n  \
        waybill init --server n1=nats-1.example.com:4222 \\\n    --server n2=nats-2.example.com:4222 \\\n    --server n3=nats-3.example.com:4222\n\n\
        Exit status: 0 done, 2 not done"
    )]
    Init(InitArguments),
    /// Sign credentials of a NATS user with the keys in the folder, in a file that any NATS client takes.
    #[command(
        after_help = "Examples:\n  waybill creds operator --out ops.creds\n  waybill creds log-admin --hours 1 --out admin.creds\n\n\
        Exit status: 0 written, 2 not written"
    )]
    Creds(crate::creds::CredsArguments),
    /// Run nats-server and all services here, until Ctrl-C.
    #[command(after_help = "Examples:\n  waybill dev\n  waybill --home /srv/waybill dev\n\n\
        Exit status: 0 stopped, 1 a part could not start or ended, 2 wrong usage")]
    Dev(DevArguments),
    /// Run the gateway: HTTP in, events out.
    #[command(after_help = "Examples:\n  waybill gateway\n  waybill --home /srv/waybill gateway\n\n\
        Exit status: 0 stopped, 1 it could not start or go on, 2 wrong usage")]
    Gateway,
    /// Run the scheduler: folds the log, decides container requests.
    #[command(after_help = "Examples:\n  waybill scheduler\n  waybill scheduler --rebuild\n\n\
        Exit status: 0 stopped, 1 it could not start or go on, 2 wrong usage")]
    Scheduler(SchedulerArguments),
    /// Run the issuer: signs NATS users, ends them, records who may do what.
    #[command(after_help = "Examples:\n  waybill issuer\n  waybill --home /srv/waybill issuer\n\n\
        Exit status: 0 stopped, 1 it could not start or go on, 2 wrong usage")]
    Issuer,
    /// Run the worker of this node: builds providers, pulls, reports. Or have a node join, or retire one.
    #[command(after_help = "Examples:\n  waybill worker\n  waybill worker --id node-2\n  \
        waybill worker join --token-file token --gateway http://10.0.0.2:8484\n  waybill worker retire node-2\n\n\
        Exit status: 0 stopped or done, 1 it could not start or go on, or was refused,\n2 wrong usage")]
    Worker(WorkerArguments),
    /// Make tokens by which workers join.
    #[command(after_help = "Examples:\n  waybill join-token create --ttl 1h --uses 20 --prefix node-\n\n\
        Exit status: 0 done, 2 not done")]
    JoinToken(JoinTokenArguments),
    /// Make, list and revoke tokens for the gateway's API, while everything runs.
    #[command(after_help = "Examples:\n  waybill token create ci --role builder --workspace acme\n  \
        waybill token list\n  waybill token revoke ci\n\nExit status: 0 done, 2 not done")]
    Token(TokenArguments),
    /// Add a workspace while everything runs.
    #[command(after_help = "Examples:\n  waybill workspace add acme\n\nExit status: 0 done, 2 not done")]
    Workspace(WorkspaceArguments),
    /// Read the log.
    #[command(after_help = "Examples:\n  waybill events --follow\n  waybill events --container c1 --json\n  \
        waybill events --type ImagePullFailed --from 2026-01-31T12:00:00Z\n  \
        waybill events --trace 4bf92f3577b34da6a3ce929d0e0e4736\n  \
        waybill events --subject 'waybill.events.worker.*'\n\n\
        Exit status: 0 told, 2 not told (usage, configuration, log away)")]
    Events(EventsArguments),
    /// Tell which hop broke, why, since when, and what to do. Works with every service down.
    #[command(
        after_help = "Examples:\n  waybill explain container c1\n  waybill explain image img-1 --workspace acme --json\n  \
        waybill explain secret oci-registry-ghcr-io\n  \
        waybill explain container c1 --at 2026-01-31T12:00:00Z\n  \
        waybill explain container c1 --diff 120\n  waybill explain --since 1h\n  waybill explain --case case.json\n\n\
        Exit status: 0 healthy, 1 broken, 2 not answered (usage, configuration,\n\
        log away), 3 in flight"
    )]
    Explain(ExplainArguments),
    /// Write everything that an explanation rests on as one file, which is explained anywhere. Holds no secret.
    #[command(after_help = "Examples:\n  waybill case container c1 > case.json\n  \
        waybill case container c1 --redact > case.json\n\n\
        Exit status: 0 written, 2 not written")]
    Case(crate::explain::case::CaseArguments),
    /// Tell what the gateway would make of credentials for an image, and whether the registry takes them. Needs no server.
    #[command(after_help = "Examples:\n  waybill check registry.example.com/team/app:1 --creds creds.json --live\n  \
        waybill check ghcr.io/team/app --docker-config ~/.docker/config.json\n  \
        pass show registry | waybill check ghcr.io/team/app --creds - --json\n\n\
        Exit status: 0 good, 1 not saved or not taken by the registry, 2 not asked\n\
        or not answered")]
    Check(crate::check::CheckArguments),
    /// Look at messages that cannot be read, have them read again, or give them up.
    #[command(
        after_help = "Examples:\n  waybill quarantine list\n  waybill quarantine show 17\n  waybill quarantine retry 17\n  \
        waybill quarantine discard 17 --reason 'published by hand'\n\n\
        Exit status: 0 done, 1 the message stays where it is, 2 not done"
    )]
    Quarantine(crate::quarantine::QuarantineArguments),
    /// List a workspace's secrets, make one, give it new credentials, withdraw it, or erase it. Never shows a value.
    #[command(after_help = "Examples:\n  waybill secrets list --workspace acme --json\n  \
        waybill secrets put team --registry ghcr.io --creds credentials.json\n  \
        waybill secrets rotate team --creds new-credentials.json --if-version 3\n  \
        waybill secrets revoke team --reason 'the account was closed'\n\n\
        Exit status: 0 done, 1 refused by the gateway, 2 not asked or not answered")]
    Secrets(crate::secrets::SecretsArguments),
    /// Watch what flows and what fails, by cause, in the terminal.
    #[command(after_help = "Examples:\n  waybill top\n  waybill top --all\n  waybill top --once\n\n\
        Keys: q, Esc or Ctrl-C end it\n\n\
        Exit status: 0 ended, 2 not asked or not answered")]
    Top(crate::top::TopArguments),
    /// Tell what will break and when, each with the command that prevents it.
    #[command(after_help = crate::forecast::HELP)]
    Forecast(crate::forecast::ForecastArguments),
    /// List a workspace's containers: where each runs, and how it stands.
    #[command(after_help = "Examples:\n  waybill containers --state broken\n  \
        waybill containers --worker node-2 --workspace acme --json\n\n\
        Exit status: 0 listed, 1 refused by the gateway, 2 not asked or not answered")]
    Containers(crate::containers::ContainersArguments),
    /// List the scheduler's sealing keys, add one, or destroy those that nothing needs.
    #[command(after_help = "Examples:\n  waybill keys list\n  waybill keys rotate\n  waybill keys retire\n\n\
        Exit status: 0 done, 1 an old key is still needed, 2 not done")]
    Keys(crate::keys::KeysArguments),
    /// Fold the log again: to a point in it, to verify what was decided, or to see what changed between two points.
    #[command(
        after_help = "Examples:\n  waybill replay --verify\n  waybill replay --until-time 2026-01-31T12:00:00Z --json\n  \
        waybill replay --diff 1200 1300\n  \
        waybill replay --until-sequence 1200 --out then.redb\n  \
        WAYBILL_SCHEDULER_PROJECTION=$PWD/then.redb waybill projection images\n\n\
         Exit status: 0 folded, 1 --verify found what the log does not lead to, 2 not\n\
         folded\n\
         (usage, configuration, log away)"
    )]
    Replay(crate::replay::ReplayArguments),
    /// Show what the scheduler knows now, or knew at a point of the log.
    #[command(
        after_help = "Examples:\n  waybill projection pending\n  waybill projection images --key default/img-1\n  \
        waybill projection placements --at 2026-01-31T12:00:00Z --json\n\n\
        Exit status: 0 shown, 2 not shown"
    )]
    Projection(crate::projection::ProjectionArguments),
    /// Check everything: settings, NATS, the stream, permissions, workers, clocks; say what to do.
    #[command(after_help = "Examples:\n  waybill doctor\n  waybill doctor --json\n\n\
        Exit status: 0 all well, 1 something needs attention, 2 not checked. What\n\
        cannot be checked is told, and is no reason for 1.")]
    Doctor(DoctorArguments),
    /// Ask a service for its readiness. For health checks where there is no shell.
    #[command(after_help = "Examples:\n  waybill ready 127.0.0.1:8485\n\n\
        Exit status: 0 ready, 1 not ready, or no answer")]
    Ready {
        /// Where the service's `/readyz` is.
        #[arg(value_name = "HOST:PORT")]
        address: String,
    },
    /// Back up the log or the vault while everything runs, checked, into a file.
    #[command(after_help = "Examples:\n  waybill backup log log.backup\n  waybill backup vault vault.backup\n\n\
        Exit status: 0 written, 2 not written")]
    Backup(crate::backup::BackupArguments),
    /// Restore the log or the vault from a backup, into servers that have none.
    #[command(after_help = "Examples:\n  waybill restore log log.backup\n  \
        waybill restore vault vault.backup --replicas 3\n\n\
        Exit status: 0 restored, 2 not restored")]
    Restore(crate::backup::RestoreArguments),
    /// Move events of placements that are over from the log into an archive: a folder, or an object store.
    #[command(after_help = "Examples:\n  waybill archive --older-than 90d --to /srv/archive --dry-run\n  \
        waybill archive --older-than 90d --to /srv/archive\n  \
        waybill archive --older-than 90d --to s3://bucket/waybill --json\n\n\
        Exit status: 0 archived, or nothing to archive, 1 the proof failed and\n\
        nothing left the log, 2 not done")]
    Archive(crate::archive::ArchiveArguments),
    /// Keep log and vault on more or fewer servers, while everything runs.
    #[command(after_help = "Examples:\n  waybill replicas 3\n\nExit status: 0 changed, 2 not changed")]
    Replicas(crate::backup::ReplicasArguments),
    /// Write a container's login as an auth.json of this user, for clients that read one; print its path.
    #[command(after_help = "Examples:\n  waybill login-file --container c1 --workspace acme --node-dir /run/wb\n  \
        WAYBILL_SOCKET=/run/wb/waybill.sock WAYBILL_ACCESS_FILE=/run/wb/acme/c1/access \\\n    waybill login-file\n\n\
        Exit status: 0 written, 2 not written")]
    LoginFile(crate::node::LoginFileArguments),
    /// Have this node's worker forget a container's logins, and remove its access key and login file.
    #[command(
        after_help = "Examples:\n  waybill container-ended --container c1 --workspace acme --node-dir /run/wb\n\n\
        Exit status: 0 forgotten, 2 not asked or not answered"
    )]
    ContainerEnded(crate::node::Whose),
    /// Print a shell's completions, or write the manual pages.
    #[command(
        after_help = "Examples:\n  waybill completions bash > /etc/bash_completion.d/waybill\n  waybill completions --man share/man/man1\n\n\
        Exit status: 0 written, 2 not written"
    )]
    Completions(crate::completions::CompletionsArguments),
}

impl Command {
    /// Whether it runs until it is stopped, and does not answer a question.
    pub(crate) fn runs(&self) -> bool {
        matches!(self, Self::Dev(_) | Self::Gateway | Self::Issuer | Self::Scheduler(_) | Self::Worker(_))
    }
}

#[derive(Debug, Default, Args)]
pub(crate) struct InitArguments {
    /// Workspace that gets a gateway token and a NATS user of its own; may be given several times [new folder: default]
    #[arg(long = "workspace", value_name = "NAME")]
    pub(crate) workspaces: Vec<WorkspaceId>,
    /// Worker that gets a NATS user and a sealing key; may be given several times [new folder: worker-1]
    #[arg(long = "worker", value_name = "ID")]
    pub(crate) workers: Vec<WorkerId>,
    /// Make the log's server a cluster of this many on this machine, to try it: 3 or 5
    #[arg(long, value_name = "N", conflicts_with = "server")]
    pub(crate) servers: Option<u16>,
    /// A server of the cluster, as clients and the other servers reach it; given for each. Beyond loopback all speak TLS
    #[arg(long, value_name = "NAME=HOST:PORT")]
    pub(crate) server: Vec<init::Server>,
    /// Where nats-server listens [new folder: 127.0.0.1:4222]
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) nats_listen: Option<String>,
    /// Where the gateway listens [new folder: 127.0.0.1:8484]
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) gateway_listen: Option<String>,
    /// Port of the scheduler's health checks on loopback; the workers' follow it [new folder: 8485]
    #[arg(long, value_name = "PORT")]
    pub(crate) health_port: Option<u16>,
}

#[derive(Debug, Args)]
pub(crate) struct DevArguments {
    /// The nats-server to start: a path, or a name in PATH.
    #[arg(long, env = "WAYBILL_NATS_SERVER", default_value = "nats-server", value_name = "FILE")]
    pub(crate) nats_server: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct SchedulerArguments {
    /// Fold the whole log into a new projection first, and swap it in.
    #[arg(long)]
    pub(crate) rebuild: bool,
}

#[derive(Debug, Args)]
pub(crate) struct JoinTokenArguments {
    #[command(subcommand)]
    pub(crate) command: JoinTokenCommand,
}

#[derive(Debug, Args)]
pub(crate) struct TokenArguments {
    #[command(subcommand)]
    pub(crate) command: TokenCommand,
}

#[derive(Debug, Args)]
pub(crate) struct WorkspaceArguments {
    #[command(subcommand)]
    pub(crate) command: WorkspaceCommand,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct WorkerArguments {
    #[command(subcommand)]
    pub(crate) command: Option<WorkerCommand>,
    /// Which worker this is: its settings are in `worker-<ID>.env`.
    #[arg(long, env = "WAYBILL_WORKER_ID", default_value = "worker-1")]
    pub(crate) id: WorkerId,
}

#[derive(Debug, Args)]
pub(crate) struct DoctorArguments {
    /// One JSON object: `status`, and `checks` with `check`, `status`, `says`, `remedy`.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `waybill init`.
pub(crate) fn init(home: PathBuf, arguments: InitArguments) -> Result<(), Failure> {
    let plan = init::Plan::of(home, arguments)?;
    let report = init::init(&plan)?;
    let mut out = output::stdout();
    for name in &report.written {
        writeln!(out, "wrote   {}", plan.home.join(name).display())?;
    }
    for name in &report.changed {
        writeln!(out, "changed {}", plan.home.join(name).display())?;
    }
    if report.kept > 0 {
        writeln!(out, "kept    {} files as they were", report.kept)?;
    }
    for step in init::steps(&plan, &report) {
        writeln!(out, "next: {step}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
