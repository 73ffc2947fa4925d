//! skopeo, as a registry client that knows nothing of Waybill. Credentials go through a 0600 authfile, never in argv.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::StartError;
use crate::find;
use crate::login::Login;
use crate::process::{Process, ProcessError, command};
use crate::scratch::Scratch;

const TIMEOUT: Duration = Duration::from_secs(60);

/// The skopeo of this machine.
#[derive(Debug, Clone)]
pub struct Skopeo(PathBuf);

/// A copy did not work.
#[derive(Debug, thiserror::Error)]
pub enum SkopeoError {
    /// The authfile or the folder for it could not be written.
    #[error(transparent)]
    Start(#[from] StartError),
    /// skopeo did not run to its end.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// skopeo ended with an error.
    #[error("skopeo could not copy {source_image} to {destination}: {stderr}")]
    Copy {
        /// Where from.
        source_image: String,
        /// Where to.
        destination: String,
        /// What it said.
        stderr: String,
    },
}

impl Skopeo {
    /// Finds it.
    pub fn find() -> Result<Self, StartError> {
        Ok(Self(find::program("skopeo", "Debian: apt-get install skopeo")?))
    }

    /// The program, for a test that says itself where credentials come from.
    pub fn program(&self) -> &Path {
        &self.0
    }

    /// Pushes the OCI layout in `layout` to `reference` (`host/repository:tag`), keeping its digests.
    pub async fn push(&self, layout: &Path, reference: &str, login: Option<&Login>) -> Result<(), SkopeoError> {
        let source = format!("oci:{}", layout.display());
        self.copy(&source, &format!("docker://{reference}"), reference, login).await
    }

    /// Pulls `reference` (`host/repository:tag`) into the new OCI layout `layout`, keeping its digests.
    pub async fn pull(&self, reference: &str, layout: &Path, login: Option<&Login>) -> Result<(), SkopeoError> {
        let destination = format!("oci:{}", layout.display());
        self.copy(&format!("docker://{reference}"), &destination, reference, login).await
    }

    async fn copy(
        &self,
        source: &str,
        destination: &str,
        reference: &str,
        login: Option<&Login>,
    ) -> Result<(), SkopeoError> {
        let scratch = Scratch::new("skopeo")?;
        let host = reference.split('/').next().unwrap_or_default();
        // Without a login an empty authfile, lest the machine's own accounts be tried.
        let auth = login.map_or_else(|| r#"{"auths":{}}"#.to_owned(), |login| login.authfile(host));
        let authfile = scratch.file("auth.json", auth)?;

        let mut command = command(&self.0);
        command.args(["--insecure-policy", "copy", "--quiet", "--preserve-digests"]);
        command.args(["--src-tls-verify=false", "--dest-tls-verify=false"]);
        command.arg("--authfile").arg(&authfile).args([source, destination]);
        let finished = Process::run("skopeo", command, scratch.path(), TIMEOUT).await?;
        if finished.status.success() {
            return Ok(());
        }
        let (source_image, destination) = (source.to_owned(), destination.to_owned());
        Err(SkopeoError::Copy { source_image, destination, stderr: finished.stderr })
    }
}
