//! `waybill init`: configuration, keys, NATS accounts and gateway tokens in one folder, secrets readable by their owner only.
//!
//! Run again, it keeps every key and setting there is and adds what is missing: that is how a worker or a workspace joins.

mod files;
mod nats_conf;
mod next;
mod plan;
mod role;
mod settings;

use std::path::{Path, PathBuf};

use nkeys::KeyPair;
use waybill_domain::credentials::Secret;
use waybill_platform::{config::ConfigError, sealing::PrivateKey};
use waybill_schemas::WorkspaceId;

pub(crate) use files::FileError;
use files::Home;
pub(crate) use next::steps;
pub(crate) use plan::Plan;
pub(crate) use role::Role;
use settings::Public;

/// Why the folder could not be set up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InitError {
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A key file does not hold a key.
    #[error("{} holds no valid key; restore it, or remove it to have a new one made", .path.display())]
    Key {
        /// The file.
        path: PathBuf,
    },
    /// Random numbers ran out.
    #[error("no key could be made: the system gave no random numbers")]
    Random,
    /// Too many workers for the ports that follow the first one.
    #[error("--health-port leaves no ports for that many workers; choose a lower one")]
    Ports,
    /// The folder has another value already.
    #[error("--{option} {given} differs from {present} in {}; edit the file, or leave the option out", .file.display())]
    Differs {
        /// The option.
        option: &'static str,
        /// What was given.
        given: String,
        /// What the folder has.
        present: String,
        /// Where.
        file: PathBuf,
    },
    /// The folder's settings cannot be read.
    #[error("the settings in the folder cannot be read")]
    Settings(#[from] ConfigError),
}

/// Files that `init` left, for the summary.
#[derive(Debug)]
pub(crate) struct Report {
    /// Files that are new, relative to the home folder.
    pub(crate) written: Vec<PathBuf>,
    /// Files that were there and say something else now.
    pub(crate) changed: Vec<PathBuf>,
    /// Files that were there and are kept.
    pub(crate) kept: usize,
}

/// Sets the folder up. Keys are written before the configuration that names them, each file whole or not at all.
///
/// # Errors
/// [`InitError`]; running it again goes on where it stopped.
pub(crate) fn init(plan: &Plan) -> Result<Report, InitError> {
    let mut home = Home::open(&plan.home)?;
    let gateway_key = sealing_key(&mut home, &Role::Gateway)?;
    let scheduler_key = sealing_key(&mut home, &Role::Scheduler)?;
    let public = Public { gateway: gateway_key, scheduler: scheduler_key };
    for worker in &plan.workers {
        sealing_key(&mut home, &Role::Worker(worker.clone()))?;
    }
    for workspace in &plan.workspaces {
        token(&mut home, workspace)?;
    }
    for role in roles(plan) {
        user_key(&mut home, &role)?;
    }
    home.replace(Path::new("tokens/gateway"), token_table(&home)?.as_bytes())?;
    let users = users(&home)?;
    home.replace(Path::new("nats-server.conf"), nats_conf::render(&plan.nats_listen, &users).as_bytes())?;
    for (name, text) in settings::files(plan, &public)? {
        home.keep_or_write(Path::new(&name), || Ok(text.into_bytes()))?;
    }
    Ok(home.report())
}

fn roles(plan: &Plan) -> Vec<Role> {
    let workers = plan.workers.iter().cloned().map(Role::Worker);
    let orchestrators = plan.workspaces.iter().cloned().map(Role::Orchestrator);
    [Role::Gateway, Role::Scheduler, Role::Operator].into_iter().chain(workers).chain(orchestrators).collect()
}

/// The private sealing key in `keys/<role>.xkey`, made if missing; returns the public one.
fn sealing_key(home: &mut Home, role: &Role) -> Result<String, InitError> {
    let path = PathBuf::from(format!("keys/{role}.xkey"));
    let seed = home.keep_or_write(&path, || {
        let seed = PrivateKey::generate().seed().map_err(|_| InitError::Random)?;
        Ok(seed.expose().as_bytes().to_vec())
    })?;
    let text = String::from_utf8(seed).map_err(|_| InitError::Key { path: path.clone() })?;
    let key = PrivateKey::from_seed(&Secret::new(text));
    let public = key.and_then(|key| key.public()).map_err(|_| InitError::Key { path })?;
    Ok(public.to_string())
}

fn user_key(home: &mut Home, role: &Role) -> Result<(), InitError> {
    let path = PathBuf::from(format!("keys/{role}.nkey"));
    home.keep_or_write(&path, || {
        let seed = KeyPair::new_user().seed().map_err(|_| InitError::Random)?;
        Ok(seed.into_bytes())
    })?;
    Ok(())
}

fn token(home: &mut Home, workspace: &WorkspaceId) -> Result<(), InitError> {
    home.keep_or_write(&PathBuf::from(format!("tokens/{workspace}.token")), || {
        Ok(format!("wb_{}{}", random_hex(), random_hex()).into_bytes())
    })?;
    Ok(())
}

/// 122 random bits.
fn random_hex() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

/// The gateway's side of the tokens: a hash for each, of every workspace that has one.
fn token_table(home: &Home) -> Result<String, InitError> {
    let mut table = String::from("# workspace and the SHA-256 of a bearer token for it\n");
    for (name, token) in home.list("tokens", ".token")? {
        let hash = waybill_gateway::tokens::hash(String::from_utf8_lossy(&token).trim());
        table.push_str(&format!("{name} {hash}\n"));
    }
    Ok(table)
}

/// Every role that has a key, those of earlier runs included.
fn users(home: &Home) -> Result<Vec<nats_conf::User>, InitError> {
    let mut users = Vec::new();
    for (name, seed) in home.list("keys", ".nkey")? {
        let invalid = || InitError::Key { path: PathBuf::from(format!("keys/{name}.nkey")) };
        let role = role_of(&name).ok_or_else(invalid)?;
        let pair = KeyPair::from_seed(String::from_utf8_lossy(&seed).trim()).map_err(|_| invalid())?;
        users.push((role, pair.public_key()));
    }
    users.sort();
    Ok(users)
}

/// The role that a file is named after: `gateway`, `worker-<id>`, `orchestrator-<workspace>`.
pub(crate) fn role_of(name: &str) -> Option<Role> {
    match name {
        "gateway" => Some(Role::Gateway),
        "scheduler" => Some(Role::Scheduler),
        "operator" => Some(Role::Operator),
        _ => name
            .strip_prefix("worker-")
            .and_then(|id| id.parse().ok())
            .map(Role::Worker)
            .or_else(|| name.strip_prefix("orchestrator-").and_then(|id| id.parse().ok()).map(Role::Orchestrator)),
    }
}
