//! `waybill init`: configuration, keys, NATS accounts and gateway tokens in one folder, secrets readable by their owner only.
//!
//! Run again, it keeps every key and setting there is, adds what is missing, and signs credentials again that are in the
//! second half of their life.

mod accounts;
mod cluster;
mod files;
mod identities;
mod nats_conf;
mod next;
mod plan;
pub mod role;
mod settings;
mod tls;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use serde_json::json;
use time::OffsetDateTime;
use waybill_domain::credentials::Secret;
use waybill_platform::{
    config::ConfigError,
    identity::{Seed, proof, recorded_hash},
    sealing::{HashKey, KeyError, PrivateKey},
};
use waybill_schemas::v1::{TokenCreated, TokenRole};

pub(crate) use cluster::Server;
use files::Home;
pub(crate) use files::{FileError, write_private};
pub(crate) use identities::{SIGNING, Signers};
pub(crate) use next::steps;
pub(crate) use plan::Plan;
pub(crate) use role::Role;
pub(crate) use settings::worker as worker_settings;

/// The gateway's hash key: 32 random bytes in hexadecimal digits.
const HASH_KEY: &str = "keys/gateway.hash";
/// Folder of the scheduler's sealing keys, `<unix seconds>.xkey` each; the newest name is the present one.
const KEY_DIR: &str = "keys/scheduler";
/// By which the servers of a cluster know each other.
const ROUTE_PASSWORD: &str = "keys/signing/route";
/// The servers of a cluster, one a line.
const SERVERS: &str = "servers/list";
/// Opens every workspace at the gateway. It lies outside of `tokens`, where a workspace may have any name.
const OPERATOR_TOKEN: &str = "operator.token";
/// Name of the first token that may make others.
const ADMIN: &str = "admin";
/// Where it is.
pub(crate) const ADMIN_TOKEN: &str = "keys/admin.token";
/// What the issuer records.
const SEED: &str = "identities.json";

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
    /// A certificate could not be made.
    #[error("no certificate could be made")]
    Certificates(#[from] rcgen::Error),
    /// The authority is another one, and did not certify this.
    #[error(
        "{file} is missing: tls/ca.pem is of an authority whose key is not here; put its certificate and key there"
    )]
    Certificate {
        /// What is missing.
        file: String,
    },
    /// Another number of servers than a cluster has.
    #[error(
        "a cluster has 3 or 5 servers, each with a name of its own: --servers 3, or --server NAME=HOST:PORT for each"
    )]
    Servers,
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
    hash_key(&mut home)?;
    scheduler_key(&mut home)?;
    for worker in &plan.workers {
        sealing_key(&mut home, Path::new(&format!("keys/worker-{worker}.xkey")))?;
    }
    let operator = token(&mut home, OPERATOR_TOKEN)?;
    for workspace in &plan.workspaces {
        token(&mut home, &format!("tokens/{workspace}.token"))?;
    }
    token(&mut home, ADMIN_TOKEN)?;
    let (signers, tokens) = Signers::prepare(&mut home)?;
    let mut roles = roles(plan);
    roles.extend(home.list("keys", ".creds")?.iter().filter_map(|(name, _)| Role::from_name(name)));
    let mut keys = BTreeMap::new();
    for role in roles {
        let key = signers.keep_or_sign(&mut home, &role)?;
        context(&mut home, plan, &role)?;
        keys.insert(role, key);
    }
    home.replace(Path::new("tokens/gateway"), token_table(&home, &operator)?.as_bytes())?;
    let seed = serde_json::to_vec_pretty(&seed(&home, keys)?).map_err(|_| InitError::Random)?;
    home.replace(Path::new(SEED), &seed)?;
    cluster::write_certificates(&mut home, plan)?;
    cluster::write_servers(&mut home, plan, &tokens)?;
    for (name, text) in settings::files(plan)? {
        home.keep_or_write(Path::new(&name), || Ok(text.into_bytes()))?;
    }
    if !plan.servers.is_empty() {
        // One server becomes several: settings of old are kept but for these two.
        cluster::set_value(&mut home, "waybill.env", "WAYBILL_NATS_URL", &plan.nats_url())?;
        cluster::set_value(&mut home, "scheduler.env", "WAYBILL_STREAM_REPLICAS", "3")?;
    }
    Ok(home.report())
}

/// Makes the folders of a home.
///
/// # Errors
/// [`FileError`].
pub(crate) fn make_folder(home: &Path) -> Result<(), FileError> {
    Home::open(home).map(drop)
}

fn roles(plan: &Plan) -> BTreeSet<Role> {
    let workers = plan.workers.iter().cloned().map(Role::Worker);
    let orchestrators = plan.workspaces.iter().cloned().map(Role::Orchestrator);
    let single = [Role::Gateway, Role::Scheduler, Role::Operator, Role::Issuer, Role::Claims, Role::System];
    single.into_iter().chain(workers).chain(orchestrators).collect()
}

/// What the `nats` command needs to be one of the roles that people use: `XDG_CONFIG_HOME=<home> nats --context <role>`.
fn context(home: &mut Home, plan: &Plan, role: &Role) -> Result<(), InitError> {
    if !matches!(role, Role::Operator | Role::System | Role::Orchestrator(_)) {
        return Ok(());
    }
    let folder = std::path::absolute(&plan.home).unwrap_or_else(|_| plan.home.clone());
    let context = json!({
        "description": format!("Waybill: {role}"), "url": plan.nats_url(),
        "creds": folder.join(format!("keys/{role}.creds")), "inbox_prefix": role.inbox(),
    });
    let name = format!("nats/context/{role}.json");
    home.keep_or_write(Path::new(&name), || Ok(format!("{context:#}\n").into_bytes()))?;
    Ok(())
}

/// A private sealing key, made if the file is missing, and checked if it is there.
fn sealing_key(home: &mut Home, path: &Path) -> Result<(), InitError> {
    let seed = home.keep_or_write(path, || new_seed().map_err(|_| InitError::Random))?;
    let invalid = || InitError::Key { path: path.to_owned() };
    let text = String::from_utf8(seed).map_err(|_| invalid())?;
    PrivateKey::from_seed(&Secret::new(text)).map(drop).map_err(|_| invalid())
}

/// The seed of a new sealing key, as its file holds it.
pub(crate) fn new_seed() -> Result<Vec<u8>, KeyError> {
    PrivateKey::generate().seed().map(|seed| seed.expose().as_bytes().to_vec())
}

/// The scheduler's first sealing key. A folder that holds one stays as it is: `waybill keys` looks after it.
fn scheduler_key(home: &mut Home) -> Result<(), InitError> {
    if home.list(KEY_DIR, ".xkey")?.is_empty() {
        let name = format!("{KEY_DIR}/{}.xkey", OffsetDateTime::now_utc().unix_timestamp());
        sealing_key(home, Path::new(&name))?;
    }
    Ok(())
}

fn hash_key(home: &mut Home) -> Result<(), InitError> {
    let text = home.keep_or_write(Path::new(HASH_KEY), || {
        let key = HashKey::generate().map_err(|_| InitError::Random)?;
        Ok(key.expose().as_bytes().to_vec())
    })?;
    let invalid = || InitError::Key { path: HASH_KEY.into() };
    let text = String::from_utf8(text).map_err(|_| invalid())?;
    HashKey::from_hex(&Secret::new(text)).map(drop).map_err(|_| invalid())
}

fn token(home: &mut Home, name: &str) -> Result<Vec<u8>, InitError> {
    home.keep_or_write(Path::new(name), || Ok(format!("wb_{}{}", random_hex(), random_hex()).into_bytes()))
}

/// 122 random bits.
fn random_hex() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

/// The gateway's side of the tokens: a hash for the operator's, and one for each workspace that has one.
fn token_table(home: &Home, operator: &[u8]) -> Result<String, InitError> {
    let mut table = String::from("# workspace (* for the operator) and the SHA-256 of a bearer token for it\n");
    let workspaces = home.list("tokens", ".token")?;
    for (name, token) in [("*".to_owned(), operator.to_vec())].into_iter().chain(workspaces) {
        let hash = waybill_gateway::tokens::hash(String::from_utf8_lossy(&token).trim());
        table.push_str(&format!("{name} {hash}\n"));
    }
    Ok(table)
}

/// What the issuer records of this folder: public keys of workers, workspaces, and a hash of the first token.
fn seed(home: &Home, keys: BTreeMap<Role, String>) -> Result<Seed, InitError> {
    let mut seed = Seed::default();
    for (role, key) in keys {
        match role {
            Role::Worker(worker_id) => _ = seed.workers.insert(worker_id, key),
            Role::Orchestrator(workspace) => _ = seed.workspaces.insert(workspace),
            _ => {}
        }
    }
    if let Some(text) = home.read(Path::new(ADMIN_TOKEN))? {
        let invalid = || InitError::Key { path: ADMIN_TOKEN.into() };
        let text = Secret::new(String::from_utf8(text).map_err(|_| invalid())?);
        let (token_id, roles) = (ADMIN.parse().map_err(|_| invalid())?, vec![TokenRole::Admin]);
        let (hash, workspaces) = (recorded_hash(&proof(&text)), Vec::new());
        seed.tokens.push(TokenCreated {
            token_id,
            roles,
            hash,
            workspaces,
            ends_at: None,
            uses: None,
            worker_prefix: None,
        });
    }
    Ok(seed)
}
