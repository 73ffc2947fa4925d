//! `waybill worker join`: a node makes its keys, sends their public halves, and has what it needs to run.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    time::Instant,
};

use clap::Args;
use nkeys::KeyPair;
use reqwest::{Method, Url};
use serde_json::json;
use time::OffsetDateTime;
use waybill_domain::credentials::Secret;
use waybill_platform::{
    config::read_private,
    identity::{Admission, Credentials},
    sealing::PrivateKey,
};
use waybill_schemas::{IdError, WorkerId};

use super::Gateway;
use crate::{
    Failure,
    init::{self, Role},
    output, service,
};

/// Seed of a node's key until it has joined: an answer that was lost is asked for again with the same key.
const JOINING: &str = "keys/joining.nk";

#[derive(Debug, Args)]
pub(crate) struct JoinArguments {
    /// File with a join token, or with a service account's token of Kubernetes; - is standard input
    #[arg(long, env = "WAYBILL_JOIN_TOKEN_FILE", value_name = "FILE")]
    token_file: PathBuf,
    /// Address of a gateway
    #[arg(long, env = "WAYBILL_GATEWAY_URL", value_name = "URL")]
    gateway: Url,
    /// Certificate authority of the gateway, as PEM
    #[arg(long, value_name = "FILE")]
    gateway_ca_file: Option<PathBuf>,
    /// Which worker this node is to be; dots of a node's name become _ [default: its host name]
    #[arg(long, env = "WAYBILL_WORKER_ID", value_name = "ID", value_parser = id_of_node)]
    id: Option<WorkerId>,
    /// Port of its health checks on loopback
    #[arg(long, default_value = "8486", value_name = "PORT")]
    health_port: u16,
    /// Write the folder, and do not run
    #[arg(long)]
    only: bool,
}

/// `waybill worker join`: a folder that is complete already is run as it is.
pub(super) fn join(home: &Path, arguments: &JoinArguments) -> Result<(), Failure> {
    let began = Instant::now();
    let id = match &arguments.id {
        Some(id) => id.clone(),
        None => host_name().ok_or("the host's name is no id; give --id")?,
    };
    let id = match is_joined(home, &id) {
        true => id,
        false => {
            let id = join_now(home, arguments, &id)?;
            writeln!(output::stdout(), "joined as {id} after {:.2} s", began.elapsed().as_secs_f64())?;
            id
        }
    };
    if arguments.only { Ok(()) } else { service::worker(home, &id) }
}

fn read_token(file: &Path) -> Result<Secret, Failure> {
    let read = match file == Path::new("-") {
        true => std::io::read_to_string(std::io::stdin()),
        false => std::fs::read_to_string(file),
    };
    let text = read.map_err(|error| format!("the token in {} cannot be read: {error}", file.display()))?;
    Ok(Secret::new(text.trim()))
}

fn host_name() -> Option<WorkerId> {
    id_of_node(std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?.trim()).ok()
}

/// The worker's id of a node's name, as the issuer makes it of a service account's token.
fn id_of_node(name: &str) -> Result<WorkerId, IdError> {
    name.replace('.', "_").parse()
}

/// True if the folder has this worker's settings, and credentials that have not ended.
fn is_joined(home: &Path, id: &WorkerId) -> bool {
    let role = Role::Worker(id.clone());
    let text = read_private(&home.join(format!("keys/{role}.creds")));
    let end = text.ok().and_then(|text| Credentials::parse(&text).ok()?.claims().ok()?.exp);
    home.join(format!("{role}.env")).exists() && end.is_some_and(|end| end > OffsetDateTime::now_utc().unix_timestamp())
}

fn join_now(home: &Path, arguments: &JoinArguments, id: &WorkerId) -> Result<WorkerId, Failure> {
    let token = read_token(&arguments.token_file)?;
    init::make_folder(home)?;
    let joining = home.join(JOINING);
    if !joining.exists() {
        init::write_private(&joining, KeyPair::new_user().seed()?.as_bytes())?;
    }
    let seed = read_private(&joining)?;
    let user = KeyPair::from_seed(seed.expose())?;
    let gateway = Gateway { base: arguments.gateway.clone(), token, ca: arguments.gateway_ca_file.clone() };
    let body = json!({ "worker_id": id, "user_key": user.public_key() });
    let answer = gateway.ask(Method::POST, &["workers", "join"], Some(&body))?;
    let admission: Admission = serde_json::from_value(answer)?;
    let id = admission.worker_id.clone().ok_or("the gateway names no worker")?;
    write_node(home, &id, seed, admission, arguments.health_port)?;
    std::fs::remove_file(joining)?;
    Ok(id)
}

/// Writes what the worker runs with, its own settings last: with them the folder is complete.
fn write_node(home: &Path, id: &WorkerId, seed: Secret, admission: Admission, port: u16) -> Result<(), Failure> {
    let role = Role::Worker(id.clone());
    let sealing = home.join(format!("keys/{role}.xkey"));
    if !sealing.exists() {
        init::write_private(&sealing, PrivateKey::generate().seed()?.expose().as_bytes())?;
    }
    let mut shared = format!("WAYBILL_NATS_URL={}\n", admission.servers);
    if let Some(ca) = &admission.ca {
        init::write_private(&home.join("keys/nats-ca.pem"), ca.as_bytes())?;
        shared.push_str("WAYBILL_NATS_CA_FILE=keys/nats-ca.pem\n");
    }
    // What somebody wrote there stays: it may say how this node reaches the servers.
    let file = home.join("waybill.env");
    if !file.exists() {
        init::write_private(&file, shared.as_bytes())?;
    }
    let credentials = Credentials::new(admission.token, seed);
    init::write_private(&home.join(format!("keys/{role}.creds")), credentials.to_text().expose().as_bytes())?;
    let settings = init::worker_settings(&role, id.as_str(), port);
    init::write_private(&home.join(format!("{role}.env")), settings.as_bytes())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use waybill_platform::config::Settings;

    use super::*;

    #[test]
    fn a_node_that_has_joined_runs_with_what_was_written() {
        let home = tempfile::tempdir().unwrap();
        let id: WorkerId = "node-7".parse().unwrap();
        init::make_folder(home.path()).unwrap();
        assert!(!is_joined(home.path(), &id));
        let user = KeyPair::new_user();
        let token = waybill_platform::identity::user_claims("A", "node-7", &user.public_key(), i64::MAX);
        let admission = Admission {
            token: token.sign(&KeyPair::new_account()).unwrap(),
            ends_at: 1,
            worker_id: Some(id.clone()),
            servers: "nats://10.0.0.2:4222".to_owned(),
            ca: Some("-----BEGIN CERTIFICATE-----\n".to_owned()),
            scheduler_key: None,
        };
        write_node(home.path(), &id, Secret::new(user.seed().unwrap()), admission, 8486).unwrap();
        assert!(is_joined(home.path(), &id));
        let settings = Settings::files(home.path(), "worker-node-7").unwrap();
        let config = waybill_worker::WorkerConfig::read(&settings).unwrap();
        assert_eq!((config.worker_id.as_str(), config.nats.url.as_str()), ("node-7", "nats://10.0.0.2:4222"));
        assert!(config.nats.ca_file.is_some() && config.nats.credentials.is_some());
    }
}
