//! What to set up: what was asked for, and for the rest what the folder has, or the defaults of a new one.

use std::{
    path::{Path, PathBuf},
    str::FromStr,
};

use waybill_platform::{config::Settings, log::hosts};
use waybill_schemas::{WorkerId, WorkspaceId};

use super::InitError;
use crate::cli::InitArguments;

/// What to set up.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// The folder.
    pub(crate) home: PathBuf,
    /// Workspaces that get a gateway token and an orchestrator user.
    pub(crate) workspaces: Vec<WorkspaceId>,
    /// Workers that get a user and a sealing key.
    pub(crate) workers: Vec<WorkerId>,
    /// Where nats-server listens, `host:port`.
    pub(crate) nats_listen: String,
    /// Where the gateway listens, `host:port`.
    pub(crate) gateway_listen: String,
    /// Where the scheduler serves health checks.
    pub(crate) health_port: u16,
    /// Where the first new worker does; the others follow.
    pub(crate) worker_port: Option<u16>,
}

impl Plan {
    /// The plan for a folder, new or not.
    ///
    /// # Errors
    /// [`InitError::Differs`] for an option that the folder's settings say otherwise.
    pub(crate) fn of(home: PathBuf, given: InitArguments) -> Result<Self, InitError> {
        let present = Present::read(&home)?;
        let fresh = present.nats.is_none();
        let health_port = given.health_port.unwrap_or(8485);
        Ok(Self {
            workspaces: or_first(given.workspaces, fresh, "default"),
            workers: or_first(given.workers, fresh, "worker-1"),
            nats_listen: settle(&home, "nats-listen", given.nats_listen, present.nats, "127.0.0.1:4222")?,
            gateway_listen: settle(&home, "gateway-listen", given.gateway_listen, present.gateway, "127.0.0.1:8484")?,
            health_port,
            worker_port: present.last_worker_port.unwrap_or(health_port).checked_add(1),
            home,
        })
    }
}

/// What was asked for; in a new folder, one with this name if nothing was.
fn or_first<T: FromStr>(given: Vec<T>, fresh: bool, name: &str) -> Vec<T> {
    if given.is_empty() && fresh { name.parse().ok().into_iter().collect() } else { given }
}

/// The value to use, if what was given and what is there agree.
fn settle(
    home: &Path,
    option: &'static str,
    given: Option<String>,
    present: Option<String>,
    default: &str,
) -> Result<String, InitError> {
    match (given, present) {
        (Some(given), Some(present)) if given != present => {
            Err(InitError::Differs { option, given, present, file: home.to_owned() })
        }
        (Some(value), _) | (None, Some(value)) => Ok(value),
        (None, None) => Ok(default.to_owned()),
    }
}

/// What an earlier run left.
struct Present {
    nats: Option<String>,
    gateway: Option<String>,
    last_worker_port: Option<u16>,
}

impl Present {
    fn read(home: &Path) -> Result<Self, InitError> {
        let mut workers = Vec::new();
        // No folder is an empty one.
        for entry in std::fs::read_dir(home).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let role =
                name.to_str().and_then(|name| name.strip_suffix(".env")).filter(|role| role.starts_with("worker-"));
            let Some(role) = role else { continue };
            let listen = Settings::files(home, role)?.get("WAYBILL_WORKER_HEALTH_LISTEN");
            workers.extend(listen.and_then(|listen| listen.rsplit(':').next()?.parse::<u16>().ok()));
        }
        let gateway = Settings::files(home, "gateway")?;
        let mut reader = gateway.reader();
        let nats = reader.optional("WAYBILL_NATS_URL", hosts);
        reader.finish()?;
        Ok(Self { nats, gateway: gateway.get("WAYBILL_GATEWAY_LISTEN"), last_worker_port: workers.into_iter().max() })
    }
}
