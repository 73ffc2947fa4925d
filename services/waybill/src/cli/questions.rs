//! What is asked of the log: events, and explanations.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use waybill_platform::events::{Place, TraceId};
use waybill_schemas::{ContainerId, EventType, ImageId, SecretName, WorkerId, WorkspaceId};

#[derive(Debug, Clone, Args)]
pub(crate) struct EventsArguments {
    /// Go on with new events as they come.
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// Only builds of this image.
    #[arg(long, value_name = "ID")]
    pub(crate) image: Option<ImageId>,
    /// Only what concerns this container: requests, decisions, outcomes, ends.
    #[arg(long, value_name = "ID")]
    pub(crate) container: Option<ContainerId>,
    /// Only what concerns this secret: versions, withdrawals, renewals and their outcomes.
    #[arg(long, value_name = "NAME")]
    pub(crate) secret: Option<SecretName>,
    /// Only registrations of this worker, decisions for it, and what it reports.
    #[arg(long, value_name = "ID")]
    pub(crate) worker: Option<WorkerId>,
    /// Only events of this workspace [with --image, --container or --secret:
    /// WAYBILL_WORKSPACE]
    #[arg(long, value_name = "NAME")]
    pub(crate) workspace: Option<WorkspaceId>,
    /// Only events that were published in this trace.
    #[arg(long, value_name = "TRACE_ID")]
    pub(crate) trace: Option<TraceId>,
    /// Only events of this type; may be given several times.
    #[arg(long = "type", value_name = "EVENT")]
    pub(crate) types: Vec<EventType>,
    /// Only events on this subject; `*` and `>` as in NATS.
    #[arg(long, value_name = "SUBJECT",
        conflicts_with_all = ["image", "container", "secret", "worker", "workspace"])]
    pub(crate) subject: Option<String>,
    /// Start at this sequence or time (RFC 3339).
    #[arg(long, default_value = "1", value_name = "SEQUENCE|TIME")]
    pub(crate) from: Place,
    /// End with this sequence or time.
    #[arg(long, value_name = "SEQUENCE|TIME", conflicts_with = "follow")]
    pub(crate) until: Option<Place>,
    /// Read what left the log from this archive, too.
    #[arg(long, env = "WAYBILL_ARCHIVE", value_name = "DIR|URL")]
    pub(crate) archive: Option<String>,
    /// One CloudEvents JSON object a line.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ExplainArguments {
    #[command(subcommand)]
    pub(crate) question: Option<Question>,
    /// What failed since then, by root cause: 30m, 1h, 2d, a sequence or a time.
    #[arg(long, value_name = "SPAN")]
    pub(crate) since: Option<String>,
    /// With --since: of every workspace.
    #[arg(long, requires = "since", conflicts_with = "workspace")]
    pub(crate) all: bool,
    /// What a file of `waybill case` leads to. Needs no log.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["since", "all"])]
    pub(crate) case: Option<PathBuf>,
    /// Whose image, container or secret it is [env: WAYBILL_WORKSPACE]
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) workspace: Option<WorkspaceId>,
    /// As it was at this sequence or time (RFC 3339).
    #[arg(long, global = true, value_name = "SEQUENCE|TIME")]
    pub(crate) at: Option<Place>,
    /// What changed since this sequence or time.
    #[arg(long, global = true, value_name = "SEQUENCE|TIME")]
    pub(crate) diff: Option<Place>,
    /// Read what left the log from this archive, too.
    #[arg(long, global = true, env = "WAYBILL_ARCHIVE", value_name = "DIR|URL")]
    pub(crate) archive: Option<String>,
    /// Fold the log with what the remedy would bring, and show what follows.
    #[arg(long, global = true, conflicts_with_all = ["short", "diff"])]
    pub(crate) prove: bool,
    /// The verdict and one line a hop: what fits on one screen.
    #[arg(long, global = true, conflicts_with_all = ["json", "diff"])]
    pub(crate) short: bool,
    /// One JSON object.
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Question {
    /// What a container that asks for the image would find.
    #[command(after_help = "Examples:\n  waybill explain image img-1 --workspace acme")]
    Image {
        /// The image.
        id: ImageId,
    },
    /// What became of the container's newest placement.
    #[command(after_help = "Examples:\n  waybill explain container c1 --at 2026-01-31T12:00:00Z")]
    Container {
        /// The container.
        id: ContainerId,
    },
    /// Whether a secret may be used, and whether its workers took the newest version.
    #[command(after_help = "Examples:\n  waybill explain secret oci-registry-ghcr-io --workspace acme")]
    Secret {
        /// Its name.
        name: SecretName,
    },
}
