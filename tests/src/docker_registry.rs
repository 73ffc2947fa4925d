//! Debian's docker-registry (the reference implementation) with htpasswd accounts, over plain HTTP or TLS on loopback.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::StatusCode;

use crate::authority::PrivateCa;
use crate::error::StartError;
use crate::find;
use crate::http;
use crate::image::TinyImage;
use crate::login::Login;
use crate::port::Port;
use crate::process::{Process, command};
use crate::ready;
use crate::scratch::Scratch;
use crate::skopeo::{Skopeo, SkopeoError};

const START: Duration = Duration::from_secs(30);

/// bcrypt's lowest cost: these passwords guard nothing.
const BCRYPT_COST: u32 = 4;

/// A running docker-registry. Killed on drop; its storage goes with it.
#[derive(Debug)]
pub struct DockerRegistry {
    process: Process,
    port: Port,
    scratch: Scratch,
}

impl DockerRegistry {
    /// Starts an empty registry that these accounts, and nobody else, may read and write.
    pub async fn start(accounts: &[Login]) -> Result<Self, StartError> {
        Self::start_with(accounts, None).await
    }

    /// The same over TLS, with a private authority's certificate.
    pub async fn start_tls(accounts: &[Login], authority: &PrivateCa) -> Result<Self, StartError> {
        Self::start_with(accounts, Some(authority)).await
    }

    async fn start_with(accounts: &[Login], tls: Option<&PrivateCa>) -> Result<Self, StartError> {
        let binary =
            find::program("docker-registry", "run `infra/justw test` (Debian: apt-get install docker-registry)")?;
        let scratch = Scratch::new("registry")?;
        let port = Port::reserve().map_err(StartError::setup("a free port for docker-registry"))?;
        let config = write_config(&scratch, &port, accounts, tls)?;
        let mut command = command(binary);
        command.arg("serve").arg(config);
        let mut process = Process::spawn("docker-registry", command, scratch.path())?;
        let (scheme, client) = match tls {
            Some(authority) => ("https", authority.client()?),
            None => ("http", http::client().map_err(io::Error::other).map_err(StartError::setup("an HTTP client"))?),
        };
        let url = format!("{scheme}://{}/v2/", port.host());
        // It is ready when it refuses those who do not log in.
        let refuses = async || http::status(&client, &url).await == Some(StatusCode::UNAUTHORIZED);
        ready::until(&mut process, START, refuses).await?;
        Ok(Self { process, port, scratch })
    }

    /// `127.0.0.1:<port>`: the registry host of its images.
    pub fn host(&self) -> String {
        self.port.host()
    }

    /// `host/repository:tag`.
    pub fn reference(&self, repository: &str, tag: &str) -> String {
        format!("{}/{repository}:{tag}", self.host())
    }

    /// The folder that holds its configuration, storage and log.
    pub fn dir(&self) -> &Path {
        self.scratch.path()
    }

    /// The child process: its id, its output, signals.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Pushes an image with skopeo and yields its reference.
    pub async fn push(
        &self,
        skopeo: &Skopeo,
        image: &TinyImage,
        repository: &str,
        tag: &str,
        login: &Login,
    ) -> Result<String, SkopeoError> {
        let layout = Scratch::new("layout")?;
        image.write_layout(layout.path()).map_err(StartError::setup("an OCI layout"))?;
        let reference = self.reference(repository, tag);
        skopeo.push(layout.path(), &reference, Some(login)).await?;
        Ok(reference)
    }
}

/// Writes `config.yml` and `htpasswd`; the former is JSON, which is YAML too.
fn write_config(
    scratch: &Scratch,
    port: &Port,
    accounts: &[Login],
    tls: Option<&PrivateCa>,
) -> Result<PathBuf, StartError> {
    let htpasswd = scratch.file("htpasswd", htpasswd(accounts)?)?;
    let storage = scratch.folder("storage")?;
    let tls = tls.map_or_else(
        || serde_json::json!({}),
        |authority| serde_json::json!({ "certificate": authority.certificate(), "key": authority.key() }),
    );
    let config = serde_json::json!({
        "version": "0.1",
        "storage": { "filesystem": { "rootdirectory": storage } },
        "http": { "addr": port.host(), "secret": uuid::Uuid::new_v4(), "tls": tls },
        "auth": { "htpasswd": { "realm": "waybill-tests", "path": htpasswd } },
    });
    scratch.file("config.yml", config.to_string())
}

/// A line per account, as Apache's htpasswd -B writes it.
fn htpasswd(accounts: &[Login]) -> Result<String, StartError> {
    let line = |login: &Login| {
        let hash = bcrypt::hash(login.password(), BCRYPT_COST).map_err(std::io::Error::other);
        hash.map(|hash| format!("{}:{hash}\n", login.user())).map_err(StartError::setup("an htpasswd line"))
    };
    accounts.iter().map(line).collect()
}
