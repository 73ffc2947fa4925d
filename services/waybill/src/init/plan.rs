//! What to set up: what was asked for, and for the rest what the folder has, or the defaults of a new one.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    str::FromStr,
};

use waybill_platform::{
    config::{Settings, is_loopback},
    log::hosts,
};
use waybill_schemas::{WorkerId, WorkspaceId};

use super::{
    InitError, SERVERS,
    cluster::{Server, url},
};
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
    /// The servers of a cluster; none for one server.
    pub(crate) servers: Vec<Server>,
    /// Where the one server listens, `host:port`.
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
        let servers = servers(&given, present.servers)?;
        Ok(Self {
            workspaces: or_first(given.workspaces, fresh, "default"),
            workers: or_first(given.workers, fresh, "worker-1"),
            servers,
            nats_listen: settle(&home, "nats-listen", given.nats_listen, present.nats, "127.0.0.1:4222")?,
            gateway_listen: settle(&home, "gateway-listen", given.gateway_listen, present.gateway, "127.0.0.1:8484")?,
            health_port,
            worker_port: present.last_worker_port.unwrap_or(health_port).checked_add(1),
            home,
        })
    }

    /// What clients put into `WAYBILL_NATS_URL`.
    pub(super) fn nats_url(&self) -> String {
        match self.servers.as_slice() {
            [] => format!("{}://{}", if self.nats_tls() { "tls" } else { "nats" }, self.nats_listen),
            servers => url(servers, self.nats_tls()),
        }
    }

    /// True if the servers are reached from beyond loopback, and so by TLS.
    pub(super) fn nats_tls(&self) -> bool {
        match self.servers.as_slice() {
            [] => !is_loopback(self.nats_host()),
            servers => !servers.iter().all(|server| is_loopback(&server.host)),
        }
    }

    /// True if the gateway is reached from beyond loopback, and so by TLS.
    pub(super) fn gateway_tls(&self) -> bool {
        !is_loopback(self.gateway_host())
    }

    pub(super) fn nats_host(&self) -> &str {
        host(&self.nats_listen)
    }

    pub(super) fn gateway_host(&self) -> &str {
        host(&self.gateway_listen)
    }
}

fn host(address: &str) -> &str {
    address.rsplit_once(':').map_or(address, |(host, _)| host)
}

/// The servers that were asked for, or those that the folder has.
fn servers(given: &InitArguments, present: Vec<Server>) -> Result<Vec<Server>, InitError> {
    let servers = match given.servers {
        _ if !given.server.is_empty() => given.server.clone(),
        Some(count) if present.len() != usize::from(count) => Server::on_loopback(count),
        _ => present,
    };
    let names: BTreeSet<&str> = servers.iter().map(|server| server.name.as_str()).collect();
    match servers.len() {
        0 | 3 | 5 if names.len() == servers.len() => Ok(servers),
        _ => Err(InitError::Servers),
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
    servers: Vec<Server>,
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
        let list = std::fs::read_to_string(home.join(SERVERS)).unwrap_or_default();
        let servers = list.lines().filter_map(|line| line.parse().ok()).collect();
        let gateway = Settings::files(home, "gateway")?;
        let mut reader = gateway.reader();
        let nats = reader.optional("WAYBILL_NATS_URL", hosts);
        reader.finish()?;
        Ok(Self {
            servers,
            nats,
            gateway: gateway.get("WAYBILL_GATEWAY_LISTEN"),
            last_worker_port: workers.into_iter().max(),
        })
    }
}
