//! What the issuer is told at start.

use std::{net::SocketAddr, path::PathBuf};

use waybill_platform::{
    config::{ConfigError, Reader, Settings},
    identity::CredentialsFile,
    log::{NatsConfig, hosts},
};

/// The issuer's configuration.
#[derive(Debug)]
pub struct IssuerConfig {
    /// The log.
    pub nats: NatsConfig,
    /// The servers' own account, where accounts are changed (`WAYBILL_ISSUER_CLAIMS_CREDS_FILE`).
    pub claims: NatsConfig,
    /// Folder of the signing keys (`WAYBILL_ISSUER_KEY_DIR`).
    pub keys: PathBuf,
    /// Folder of the accounts' tokens (`WAYBILL_ISSUER_ACCOUNT_DIR`).
    pub accounts: PathBuf,
    /// What `waybill init` made, looked at while the issuer runs (`WAYBILL_ISSUER_SEED_FILE`).
    pub seed: Option<PathBuf>,
    /// Addresses of the servers as nodes reach them (`WAYBILL_ISSUER_SERVERS`; the issuer's own if not given).
    pub servers: String,
    /// The cluster whose service accounts may join; none for no cluster.
    pub cluster: Option<Cluster>,
    /// Where `/healthz` and `/readyz` are served, if anywhere (`WAYBILL_ISSUER_HEALTH_LISTEN`).
    pub health: Option<SocketAddr>,
}

/// A Kubernetes cluster whose nodes may join.
#[derive(Debug, Clone)]
pub struct Cluster {
    /// Issuer of its tokens (`WAYBILL_ISSUER_CLUSTER_ISSUER`).
    pub issuer: String,
    /// What they are made for (`WAYBILL_ISSUER_CLUSTER_AUDIENCE`, `waybill` if not given).
    pub audience: String,
    /// The workers' service account (`WAYBILL_ISSUER_CLUSTER_SUBJECT`, such as `system:serviceaccount:waybill:worker`): any pod
    /// may have a token made for any audience, so that the audience alone says nothing.
    pub subject: String,
    /// File with the cluster's keys, read at each use (`WAYBILL_ISSUER_CLUSTER_JWKS_FILE`).
    pub keys: PathBuf,
}

fn read_cluster(reader: &mut Reader<'_>) -> Option<Cluster> {
    let text = |text: &str| Ok(text.to_owned());
    let issuer = reader.optional("WAYBILL_ISSUER_CLUSTER_ISSUER", text)?;
    Some(Cluster {
        issuer,
        audience: reader.or("WAYBILL_ISSUER_CLUSTER_AUDIENCE", text, || "waybill".to_owned()),
        subject: reader.required("WAYBILL_ISSUER_CLUSTER_SUBJECT", text),
        keys: reader.required_path("WAYBILL_ISSUER_CLUSTER_JWKS_FILE"),
    })
}

impl IssuerConfig {
    /// Reads the issuer's settings.
    ///
    /// # Errors
    /// [`ConfigError`] with everything that is wrong.
    pub fn read(settings: &Settings) -> Result<Self, ConfigError> {
        let mut reader = settings.reader();
        let nats = NatsConfig::read(&mut reader, "issuer");
        let opened = CredentialsFile::open(reader.required_path("WAYBILL_ISSUER_CLAIMS_CREDS_FILE"));
        let problem = |problem| reader.problem(format!("WAYBILL_ISSUER_CLAIMS_CREDS_FILE: {problem}"));
        let claims = NatsConfig {
            credentials: opened.map_err(problem).ok(),
            inbox_prefix: "_INBOX_claims".to_owned(),
            name: "waybill-issuer-claims".to_owned(),
            renews: None,
            ..nats.clone()
        };
        let keys = reader.required_path("WAYBILL_ISSUER_KEY_DIR");
        let accounts = reader.required_path("WAYBILL_ISSUER_ACCOUNT_DIR");
        let seed = reader.path("WAYBILL_ISSUER_SEED_FILE");
        let servers = reader.optional("WAYBILL_ISSUER_SERVERS", |url| hosts(url).map(|_| url.to_owned()));
        let health = reader.optional("WAYBILL_ISSUER_HEALTH_LISTEN", |text| {
            text.parse().map_err(|_| "an address and port, such as 127.0.0.1:8483")
        });
        let cluster = read_cluster(&mut reader);
        reader.finish()?;
        let servers = servers.unwrap_or_else(|| nats.url.clone());
        Ok(Self { nats: NatsConfig { renews: None, ..nats }, claims, keys, accounts, seed, servers, cluster, health })
    }
}
