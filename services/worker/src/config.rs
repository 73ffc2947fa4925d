//! What a worker is told at start.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, time::Duration};

use bytes::Bytes;
use waybill_domain::reference::RegistryHost;
use waybill_platform::{
    config::{ConfigError, Reader, Settings},
    log::NatsConfig,
    sealing::PrivateKey,
};
use waybill_registry::{
    default_chain,
    provider::CloudConfig,
    pull::{PullConfig, read_ca_file},
    trial::Trial,
};
use waybill_schemas::WorkerId;

use crate::node::PodIdentities;

/// A worker's configuration.
#[derive(Debug)]
pub struct WorkerConfig {
    /// The log.
    pub nats: NatsConfig,
    /// Which worker this is (`WAYBILL_WORKER_ID`).
    pub worker_id: WorkerId,
    /// Its sealing key (file `WAYBILL_WORKER_SEALING_KEY_FILE`).
    pub sealing_key: PrivateKey,
    /// How images are pulled.
    pub pull: PullConfig,
    /// Where clouds are asked: `WAYBILL_AWS_ECR_ENDPOINT` and `WAYBILL_AWS_STS_ENDPOINT` instead of AWS's own,
    /// `WAYBILL_GOOGLE_TOKEN_ENDPOINT` instead of the endpoint that a key names, `WAYBILL_GOOGLE_IAM_ENDPOINT` instead of
    /// Google's service account credentials, `WAYBILL_AZURE_LOGIN_ENDPOINT` instead of a cloud's identity service.
    pub clouds: CloudConfig,
    /// Most containers served at once (`WAYBILL_WORKER_CONCURRENCY`).
    pub concurrency: usize,
    /// Where `/healthz` and `/readyz` are served, if anywhere (`WAYBILL_WORKER_HEALTH_LISTEN`).
    pub health: Option<SocketAddr>,
    /// Folder where programs of the node find their containers' logins (`WAYBILL_WORKER_NODE_DIR`); off if not given.
    pub node_dir: Option<PathBuf>,
    /// Group that may use them beside the worker's user, as a gid (`WAYBILL_WORKER_SOCKET_GROUP`).
    pub node_group: Option<u32>,
    /// Which pods have whose logins (file `WAYBILL_WORKER_POD_IDENTITIES`); pods are refused if not given.
    pub identities: Option<PodIdentities>,
}

impl WorkerConfig {
    /// Reads a worker's settings.
    ///
    /// # Errors
    /// [`ConfigError`] with everything that is wrong.
    pub fn read(settings: &Settings) -> Result<Self, ConfigError> {
        let mut reader = settings.reader();
        let worker_id: Option<WorkerId> =
            reader.needed("WAYBILL_WORKER_ID", |text| text.parse().map_err(|_| "1 to 128 of A-Z a-z 0-9 _ -"));
        let role = worker_id.as_ref().map_or_else(String::new, |id| format!("worker-{id}"));
        let nats = NatsConfig::read(&mut reader, &role);
        let sealing_key = PrivateKey::from_seed(&reader.secret_file("WAYBILL_WORKER_SEALING_KEY_FILE"));
        let (pull, clouds) = registries(&mut reader, None);
        let concurrency = reader.or("WAYBILL_WORKER_CONCURRENCY", concurrency, || 16);
        let health = reader.optional("WAYBILL_WORKER_HEALTH_LISTEN", |text| {
            text.parse().map_err(|_| "an address and port, such as 127.0.0.1:8486")
        });
        let node_dir = reader.path("WAYBILL_WORKER_NODE_DIR");
        let node_group = reader.optional("WAYBILL_WORKER_SOCKET_GROUP", gid);
        let identities = reader.path("WAYBILL_WORKER_POD_IDENTITIES").and_then(|file| {
            let read = PodIdentities::read(&file);
            read.map_err(|problem| reader.problem(format!("WAYBILL_WORKER_POD_IDENTITIES: {problem}"))).ok()
        });
        if let Err(error) = &sealing_key {
            reader.problem(format!("WAYBILL_WORKER_SEALING_KEY_FILE: {error}"));
        }
        reader.finish()?;
        match (worker_id, sealing_key) {
            (Some(worker_id), Ok(sealing_key)) => Ok(Self {
                nats,
                worker_id,
                sealing_key,
                pull,
                clouds,
                concurrency,
                health,
                node_dir,
                node_group,
                identities,
            }),
            _ => Err(ConfigError { problems: vec!["the worker's id or key is missing".to_owned()] }),
        }
    }
}

/// Reads a worker's settings of how registries are asked into a trial, with further hosts that are spoken to without TLS and
/// another certificate authority.
pub fn read_trial(
    reader: &mut Reader<'_>,
    plain_http: impl IntoIterator<Item = RegistryHost>,
    ca_file: Option<PathBuf>,
) -> Trial {
    let (mut pull, clouds) = registries(reader, ca_file);
    pull.plain_http.extend(plain_http);
    Trial::new(pull, clouds)
}

/// How registries and clouds are asked. A certificate authority that is given goes before the setting.
fn registries(reader: &mut Reader<'_>, ca_file: Option<PathBuf>) -> (PullConfig, CloudConfig) {
    let key = if ca_file.is_some() { "--ca-file" } else { "WAYBILL_WORKER_CA_FILE" };
    let pull = PullConfig {
        plain_http: reader.or("WAYBILL_WORKER_PLAIN_HTTP_REGISTRIES", hosts, Vec::new),
        endpoints: reader.or("WAYBILL_WORKER_REGISTRY_ENDPOINTS", endpoints, BTreeMap::new),
        internal_token_services: reader.or("WAYBILL_WORKER_INTERNAL_TOKEN_SERVICES", hosts, Vec::new),
        ca_file: ca_file.or_else(|| reader.path(key)),
        image_dir: reader.path("WAYBILL_WORKER_IMAGE_DIR"),
        docker_config: docker_config(reader),
        limit: reader.or("WAYBILL_WORKER_PULL_SECONDS", seconds, || Duration::from_secs(300)),
    };
    let clouds = CloudConfig {
        ecr_endpoint: reader.optional("WAYBILL_AWS_ECR_ENDPOINT", url),
        sts_endpoint: reader.optional("WAYBILL_AWS_STS_ENDPOINT", url),
        google_endpoint: reader.optional("WAYBILL_GOOGLE_TOKEN_ENDPOINT", url),
        google_iam_endpoint: reader.optional("WAYBILL_GOOGLE_IAM_ENDPOINT", url),
        azure_endpoint: reader.optional("WAYBILL_AZURE_LOGIN_ENDPOINT", url),
        plain_http: pull.plain_http.clone(),
        endpoints: pull.endpoints.clone(),
        ca: ca(reader, key, &pull),
        limit: None,
    };
    (pull, clouds)
}

/// The node's own logins. Without them an image that came without credentials is asked for without any.
fn docker_config(reader: &mut Reader<'_>) -> Option<PathBuf> {
    let file = reader.path("WAYBILL_WORKER_DOCKER_CONFIG")?;
    if let Err(error) = default_chain::read(&file) {
        reader.problem(format!("WAYBILL_WORKER_DOCKER_CONFIG: {}: {error}", file.display()));
    }
    Some(file)
}

/// The further certificate authorities, which AWS's clients trust as well.
fn ca(reader: &mut Reader<'_>, key: &str, pull: &PullConfig) -> Option<Bytes> {
    let file = pull.ca_file.as_ref()?;
    match read_ca_file(file) {
        Ok(pem) => Some(pem.into()),
        Err(error) => {
            let file = file.display();
            reader.problem(format!("{key}: {file}: {error}; name a PEM file of certificates"));
            None
        }
    }
}

fn hosts(text: &str) -> Result<Vec<RegistryHost>, &'static str> {
    let host = |part: &str| RegistryHost::parse(part).map_err(|_| "hosts like localhost:5000, with commas between");
    text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(host).collect()
}

/// `host=address` pairs: where registries are reached instead of at their own host.
fn endpoints(text: &str) -> Result<BTreeMap<RegistryHost, String>, &'static str> {
    const EXPECTED: &str = "pairs like registry.example.com=https://mirror.example.com, with commas between";
    let pair = |part: &str| {
        let (host, address) = part.split_once('=').ok_or(EXPECTED)?;
        Ok((RegistryHost::parse(host.trim()).map_err(|_| EXPECTED)?, url(address.trim()).map_err(|_| EXPECTED)?))
    };
    text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(pair).collect()
}

fn seconds(text: &str) -> Result<Duration, &'static str> {
    let seconds: Option<u64> = text.parse().ok().filter(|seconds| (1..=86_400).contains(seconds));
    seconds.map(Duration::from_secs).ok_or("a number of seconds from 1 to 86400")
}

fn concurrency(text: &str) -> Result<usize, &'static str> {
    text.parse().ok().filter(|count| (1..=256).contains(count)).ok_or("a number from 1 to 256")
}

fn gid(text: &str) -> Result<u32, &'static str> {
    text.parse().map_err(|_| "a group's number, as `getent group NAME` shows it")
}

fn url(text: &str) -> Result<String, &'static str> {
    let valid = text.starts_with("http://") || text.starts_with("https://");
    if valid { Ok(text.to_owned()) } else { Err("an http:// or https:// address") }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

    use super::*;
    use crate::testing::{PrivateCa, assert_absent};
    use waybill_platform::testing;

    /// A home with the worker's secret files, and the settings that name them.
    fn home(dir: &Path) -> Vec<(&'static str, String)> {
        let key = PrivateKey::generate();
        let seed = key.seed().unwrap().expose().to_owned();
        for (name, text) in [("user.creds", testing::credentials_text()), ("worker.xkey", seed)] {
            fs::write(dir.join(name), text).unwrap();
            fs::set_permissions(dir.join(name), fs::Permissions::from_mode(0o600)).unwrap();
        }
        vec![
            ("WAYBILL_NATS_URL", "nats://127.0.0.1:4222".to_owned()),
            ("WAYBILL_NATS_CREDS_FILE", "user.creds".to_owned()),
            ("WAYBILL_WORKER_ID", "node-1".to_owned()),
            ("WAYBILL_WORKER_SEALING_KEY_FILE", "worker.xkey".to_owned()),
        ]
    }

    fn read(dir: &Path, pairs: &[(&'static str, String)]) -> Result<WorkerConfig, ConfigError> {
        let pairs = pairs.iter().map(|(key, value)| (*key, value.as_str()));
        WorkerConfig::read(&Settings::from_pairs(dir, pairs))
    }

    #[test]
    fn what_is_not_said_has_a_default() {
        let dir = tempfile::tempdir().unwrap();
        let config = read(dir.path(), &home(dir.path())).unwrap();
        assert_eq!((config.worker_id.to_string().as_str(), config.concurrency), ("node-1", 16));
        assert_eq!((config.pull.limit, config.pull.image_dir), (Duration::from_secs(300), None));
        assert!(config.pull.plain_http.is_empty() && config.health.is_none() && config.clouds.ecr_endpoint.is_none());
        assert_eq!(config.nats.inbox_prefix, "_INBOX_worker-node-1");
    }

    #[test]
    fn everything_can_be_said() {
        let dir = tempfile::tempdir().unwrap();
        fs::copy(PrivateCa::new().file(), dir.path().join("ca.pem")).unwrap();
        let mut pairs = home(dir.path());
        let more = [
            ("WAYBILL_WORKER_IMAGE_DIR", "images"),
            ("WAYBILL_WORKER_NODE_DIR", "node"),
            ("WAYBILL_WORKER_SOCKET_GROUP", "1000"),
            ("WAYBILL_WORKER_CONCURRENCY", "3"),
            ("WAYBILL_WORKER_PULL_SECONDS", "7"),
            ("WAYBILL_WORKER_PLAIN_HTTP_REGISTRIES", " localhost:5000, [::1]:5000,,A.B "),
            ("WAYBILL_WORKER_INTERNAL_TOKEN_SERVICES", "auth.internal, gitlab.internal:8443"),
            ("WAYBILL_WORKER_CA_FILE", "ca.pem"),
            ("WAYBILL_AWS_ECR_ENDPOINT", "http://127.0.0.1:5555"),
            ("WAYBILL_GOOGLE_TOKEN_ENDPOINT", "http://127.0.0.1:5557/token"),
            ("WAYBILL_GOOGLE_IAM_ENDPOINT", "http://127.0.0.1:5559"),
            ("WAYBILL_AZURE_LOGIN_ENDPOINT", "http://127.0.0.1:5558"),
            ("WAYBILL_AWS_STS_ENDPOINT", "http://127.0.0.1:5556"),
            ("WAYBILL_WORKER_HEALTH_LISTEN", "127.0.0.1:0"),
        ];
        pairs.extend(more.map(|(key, value)| (key, value.to_owned())));
        let config = read(dir.path(), &pairs).unwrap();
        let hosts: Vec<&str> = config.pull.plain_http.iter().map(RegistryHost::as_str).collect();
        assert_eq!(hosts, ["localhost:5000", "[::1]:5000", "a.b"]);
        let hosts: Vec<&str> = config.pull.internal_token_services.iter().map(RegistryHost::as_str).collect();
        assert_eq!(hosts, ["auth.internal", "gitlab.internal:8443"]);
        assert_eq!((config.concurrency, config.pull.limit), (3, Duration::from_secs(7)));
        assert_eq!(config.pull.image_dir, Some(dir.path().join("images")));
        assert_eq!((config.node_dir, config.node_group), (Some(dir.path().join("node")), Some(1000)));
        assert!(config.pull.ca_file.is_some() && config.health.is_some());
        assert!(
            config.clouds.ecr_endpoint.is_some() && config.clouds.sts_endpoint.is_some() && config.clouds.ca.is_some()
        );
        assert!(config.clouds.google_endpoint.is_some() && config.clouds.azure_endpoint.is_some());
        assert!(config.clouds.google_iam_endpoint.is_some());
        assert_eq!(config.clouds.plain_http, config.pull.plain_http);
    }

    #[test]
    fn all_that_is_wrong_is_told_at_once_and_without_secrets() {
        let dir = tempfile::tempdir().unwrap();
        let mut pairs = home(dir.path());
        fs::write(dir.path().join("worker.xkey"), "s3cr3t-but-no-seed").unwrap();
        pairs.retain(|(key, _)| *key != "WAYBILL_WORKER_ID");
        let wrong = [
            ("WAYBILL_WORKER_CONCURRENCY", "0"),
            ("WAYBILL_WORKER_PULL_SECONDS", "soon"),
            ("WAYBILL_WORKER_PLAIN_HTTP_REGISTRIES", "http://localhost"),
            ("WAYBILL_WORKER_CA_FILE", "none.pem"),
            ("WAYBILL_WORKER_DOCKER_CONFIG", "none.json"),
            ("WAYBILL_AWS_ECR_ENDPOINT", "ftp://x"),
            ("WAYBILL_GOOGLE_TOKEN_ENDPOINT", "oauth2.googleapis.com"),
            ("WAYBILL_GOOGLE_IAM_ENDPOINT", "iamcredentials.googleapis.com"),
            ("WAYBILL_AZURE_LOGIN_ENDPOINT", "login.microsoftonline.com"),
            ("WAYBILL_WORKER_HEALTH_LISTEN", "8486"),
            ("WAYBILL_WORKER_SOCKET_GROUP", "docker"),
            ("WAYBILL_WORKER_POD_IDENTITIES", "none.json"),
        ];
        pairs.extend(wrong.map(|(key, value)| (key, value.to_owned())));
        let error = read(dir.path(), &pairs).unwrap_err().to_string();
        let keys = wrong.iter().map(|(key, _)| *key);
        for key in keys.chain(["WAYBILL_WORKER_ID", "WAYBILL_WORKER_SEALING_KEY_FILE"]) {
            assert!(error.contains(key), "{key} is not in: {error}");
        }
        assert_absent("s3cr3t-but-no-seed", "the error", &error);
    }
}
