//! The home folder: settings of each role that has a file, users that have a key, and who may read the secrets.

use std::{
    collections::BTreeMap,
    fs, io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use waybill_gateway::GatewayConfig;
use waybill_issuer::IssuerConfig;
use waybill_platform::{
    config::{ConfigError, Settings, is_private},
    log::NatsConfig,
    sealing::{PrivateKey, PublicKey},
    telemetry::{Otlp, TelemetryConfig},
};
use waybill_scheduler::SchedulerConfig;
use waybill_schemas::WorkerId;
use waybill_worker::WorkerConfig;

use super::{finding::Finding, health::Signal};
use crate::{
    init::{Role, SIGNING},
    operator,
};

/// What the folder holds.
pub(super) struct Home {
    /// Roles with a settings file, by name.
    pub(super) roles: BTreeMap<String, RoleSettings>,
    /// Users with a key, and how they log in.
    pub(super) users: Vec<(Role, Result<NatsConfig, ConfigError>)>,
    /// Secret files that others may read, relative to the folder; or why nobody can tell.
    open_files: Result<Vec<String>, String>,
    /// How the doctor asks the servers about themselves.
    pub(super) system: Option<Result<NatsConfig, ConfigError>>,
    /// The generated configuration of nats-server, if it is here.
    pub(super) nats_conf: Option<String>,
    /// Where that server keeps its data, if it is here.
    pub(super) nats_data: Option<PathBuf>,
}

/// What one role is told, as far as it can be read.
pub(super) struct RoleSettings {
    /// What the service itself says of its settings.
    problems: Vec<String>,
    /// How it logs in.
    pub(super) nats: Result<NatsConfig, ConfigError>,
    /// Where it answers health checks from this machine, as `http://address`.
    pub(super) health: Option<String>,
    /// Where its spans and metrics go.
    pub(super) collectors: Vec<(Signal, Otlp)>,
    /// The scheduler's projection.
    pub(super) projection: Option<PathBuf>,
    /// The folder of the scheduler's sealing keys.
    pub(super) key_folder: Option<PathBuf>,
    /// The worker that it is, and the public half of its sealing key.
    pub(super) worker: Option<(WorkerId, Option<PublicKey>)>,
}

impl Home {
    /// Reads the folder.
    pub(super) fn read(home: &Path) -> Self {
        let mut roles = BTreeMap::new();
        for role in names(home, ".env").unwrap_or_default() {
            if !matches!(Role::from_name(&role), None | Some(Role::Orchestrator(_))) {
                let settings = RoleSettings::read(home, &role);
                roles.insert(role, settings);
            }
        }
        let keys = names(&home.join("keys"), ".creds").unwrap_or_default();
        let users = keys.iter().filter_map(|name| Role::from_name(name)).filter(Role::uses_the_log);
        let users = users.map(|role| {
            let nats = login(home, &role.to_string(), &roles);
            (role, nats)
        });
        let users = users.collect();
        let nats_conf = fs::read_to_string(home.join("nats-server.conf")).ok();
        let nats_data = Some(home.join("data/nats")).filter(|folder| folder.is_dir());
        let system = Settings::load(home, "operator").ok().and_then(|settings| operator::system(home, &settings));
        Self { users, system, open_files: open_files(home), nats_conf, nats_data, roles }
    }

    /// How the operator logs in.
    pub(super) fn operator(&self) -> Option<&Result<NatsConfig, ConfigError>> {
        self.roles.get("operator").map(|role| &role.nats)
    }

    /// Workers with a settings file.
    pub(super) fn workers(&self) -> impl Iterator<Item = (&WorkerId, Option<&PublicKey>)> {
        self.roles.values().filter_map(|role| role.worker.as_ref()).map(|(id, key)| (id, key.as_ref()))
    }

    /// Whether settings can be read and secrets are the owner's alone.
    pub(super) fn findings(&self) -> Vec<Finding> {
        if self.roles.is_empty() {
            let remedy = "name the folder with --home, or make one: waybill init";
            return vec![Finding::attention("settings", "the home folder holds no role's settings", remedy)];
        }
        let settings = self.roles.iter().map(|(role, settings)| judge_settings(role, &settings.problems));
        settings.chain([judge_files(&self.open_files)]).collect()
    }
}

impl RoleSettings {
    fn read(home: &Path, role: &str) -> Self {
        let settings = match Settings::load(home, role) {
            Ok(settings) => settings,
            Err(error) => return Self::unreadable(error),
        };
        let telemetry = TelemetryConfig::read(&settings, "info");
        let worker = role.strip_prefix("worker-").and_then(|id| id.parse().ok());
        Self {
            problems: problems(&settings, role, telemetry.as_ref().err()),
            nats: nats(&settings, role),
            health: health(&settings, role),
            collectors: telemetry.map(collectors).unwrap_or_default(),
            projection: settings.reader().path("WAYBILL_SCHEDULER_PROJECTION"),
            key_folder: settings.reader().path("WAYBILL_SCHEDULER_KEY_DIR"),
            worker: worker.map(|id| (id, public_key(&settings))),
        }
    }

    fn unreadable(error: ConfigError) -> Self {
        let problems = error.problems.clone();
        Self {
            problems,
            nats: Err(error),
            health: None,
            collectors: Vec::new(),
            projection: None,
            key_folder: None,
            worker: None,
        }
    }
}

fn collectors(telemetry: TelemetryConfig) -> Vec<(Signal, Otlp)> {
    let spans = telemetry.otlp.map(|otlp| (Signal::Spans, otlp));
    spans.into_iter().chain(telemetry.metrics.map(|otlp| (Signal::Metrics, otlp))).collect()
}

/// What the service itself says of its settings.
fn problems(settings: &Settings, role: &str, telemetry: Option<&ConfigError>) -> Vec<String> {
    let own = match role {
        "gateway" => GatewayConfig::read(settings).err(),
        "scheduler" => SchedulerConfig::read(settings).err(),
        "issuer" => IssuerConfig::read(settings).err(),
        "operator" => nats(settings, role).err(),
        _ => WorkerConfig::read(settings).err(),
    };
    own.iter().chain(telemetry).flat_map(|error| error.problems.clone()).collect()
}

fn health_key(role: &str) -> Option<&'static str> {
    match role {
        "gateway" => Some("WAYBILL_GATEWAY_LISTEN"),
        "scheduler" => Some("WAYBILL_SCHEDULER_HEALTH_LISTEN"),
        "issuer" => Some("WAYBILL_ISSUER_HEALTH_LISTEN"),
        "operator" => None,
        _ => Some("WAYBILL_WORKER_HEALTH_LISTEN"),
    }
}

/// Where a role answers health checks; the gateway does with the certificate that its clients see.
fn health(settings: &Settings, role: &str) -> Option<String> {
    let address = local(settings.get(health_key(role)?)?.parse().ok()?);
    let is_off = settings.get("WAYBILL_GATEWAY_TLS").as_deref() == Some("off");
    let scheme = match settings.get("WAYBILL_GATEWAY_TLS_CERT") {
        Some(_) if role == "gateway" && !is_off => "https",
        _ => "http",
    };
    Some(format!("{scheme}://{address}"))
}

/// A service that listens on every address answers on loopback.
fn local(address: SocketAddr) -> SocketAddr {
    let ip = if address.ip().is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { address.ip() };
    SocketAddr::new(ip, address.port())
}

fn public_key(settings: &Settings) -> Option<PublicKey> {
    let mut reader = settings.reader();
    let seed = reader.secret_file("WAYBILL_WORKER_SEALING_KEY_FILE");
    reader.finish().ok()?;
    PrivateKey::from_seed(&seed).ok()?.public().ok()
}

fn nats(settings: &Settings, role: &str) -> Result<NatsConfig, ConfigError> {
    let mut reader = settings.reader();
    let nats = NatsConfig::read(&mut reader, role);
    reader.finish().map(|()| nats)
}

/// A role's own settings, or for one without a file the shared ones and its key.
fn login(home: &Path, role: &str, roles: &BTreeMap<String, RoleSettings>) -> Result<NatsConfig, ConfigError> {
    if let Some(settings) = roles.get(role) {
        return settings.nats.clone();
    }
    let shared = Settings::load(home, role)?;
    let mut pairs = vec![("WAYBILL_NATS_CREDS_FILE", format!("keys/{role}.creds"))];
    for key in ["WAYBILL_NATS_URL", "WAYBILL_NATS_CA_FILE"] {
        pairs.extend(shared.get(key).map(|value| (key, value)));
    }
    nats(&Settings::from_pairs(home, pairs.iter().map(|(key, value)| (*key, value.as_str()))), role)
}

/// Names of the files with an ending, without it, in order.
fn names(folder: &Path, ending: &str) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        names.extend(entry?.file_name().to_str().and_then(|name| name.strip_suffix(ending)).map(str::to_owned));
    }
    names.sort();
    Ok(names)
}

fn open_files(home: &Path) -> Result<Vec<String>, String> {
    let mut open = Vec::new();
    for folder in ["keys", "keys/scheduler", SIGNING, "tokens"] {
        let failed = |error: io::Error| format!("{folder} cannot be listed: {error}");
        // A node's folder has the keys of its worker only.
        let path = home.join(folder);
        let names = if path.is_dir() || folder == "keys" { names(&path, "") } else { Ok(Vec::new()) };
        for name in names.map_err(failed)? {
            let file = format!("{folder}/{name}");
            let metadata = fs::metadata(home.join(&file)).map_err(failed)?;
            if !is_private(metadata.mode(), metadata.uid(), rustix::process::geteuid().as_raw()) {
                open.push(file);
            }
        }
    }
    Ok(open)
}

fn judge_settings(role: &str, problems: &[String]) -> Finding {
    let check = format!("settings {role}");
    match problems {
        [] => Finding::ok(check, "can be used"),
        problems => {
            let remedy = format!("put it right in {role}.env, waybill.env or the environment, then restart it");
            Finding::attention(check, problems.join("; "), remedy)
        }
    }
}

fn judge_files(open: &Result<Vec<String>, String>) -> Finding {
    let check = "secret files";
    match open {
        Ok(open) if open.is_empty() => Finding::ok(check, "are readable by their owner only"),
        Ok(open) => {
            let files = open.join(" ");
            let says = format!("others can read {files}");
            Finding::attention(check, says, format!("in the home folder, run: chmod 600 {files}"))
        }
        Err(error) => Finding::unknown(check, error.clone(), "run the doctor as the user that owns the home folder"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Status;

    #[test]
    fn problems_and_open_files_need_attention() {
        let problem = "WAYBILL_X is missing".to_owned();
        let cases = [
            (judge_settings("gateway", &[]), Status::Ok, "can be used"),
            (judge_settings("gateway", &[problem]), Status::Attention, "WAYBILL_X is missing"),
            (judge_files(&Ok(vec![])), Status::Ok, "owner only"),
            (judge_files(&Ok(vec!["keys/a.xkey".to_owned()])), Status::Attention, "keys/a.xkey"),
            (judge_files(&Err("keys cannot be listed".to_owned())), Status::Unknown, "cannot be listed"),
        ];
        for (finding, status, says) in cases {
            assert_eq!(finding.status, status, "{finding:?}");
            assert!(finding.says.contains(says), "{finding:?}");
            assert_eq!(finding.remedy.is_none(), status == Status::Ok);
        }
    }

    #[test]
    fn a_folder_without_settings_says_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let findings = Home::read(&folder.path().join("none")).findings();
        assert_eq!(findings.len(), 1);
        assert!(findings[0].remedy.as_ref().unwrap().contains("waybill init"));
    }

    #[test]
    fn who_listens_everywhere_answers_here() {
        for (listens, asked) in
            [("0.0.0.0:80", "127.0.0.1:80"), ("[::]:80", "127.0.0.1:80"), ("10.0.0.1:80", "10.0.0.1:80")]
        {
            assert_eq!(local(listens.parse().unwrap()).to_string(), asked);
        }
    }
}
