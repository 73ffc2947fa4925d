//! An OCI image layout on disk (OCI image specification, image-layout), written beside its place and moved there.

use std::{
    io,
    path::{Path, PathBuf},
};

use oci_client::{
    Client, Reference,
    errors::OciDistributionError,
    manifest::{OciDescriptor, OciImageIndex, OciImageManifest, OciManifest},
    secrets::RegistryAuth,
};
use serde_json::json;
use tokio::{fs, io::AsyncWriteExt as _};
use waybill_schemas::v1::PullFailure;

use super::{MANIFEST_TYPES, PullError};

/// Writes the image with this manifest; an index gives the image for this platform.
pub(super) async fn write(
    client: &Client,
    reference: &Reference,
    auth: &RegistryAuth,
    place: &Path,
    (manifest, digest): (&[u8], &str),
    classified: impl Fn(OciDistributionError) -> PullError,
) -> Result<(), PullError> {
    // Neither id can hold a dot, and a container's pulls come one after the other.
    let scratch = place.with_extension("part");
    remove(&scratch).await.map_err(|error| storage(&scratch, &error))?;
    let layout = Layout { client, reference, auth, root: scratch.clone() };
    let written = layout.fill(manifest, digest, &classified).await;
    let outcome = match written {
        Ok(()) => swap(&scratch, place).await.map_err(|error| storage(place, &error)),
        Err(error) => Err(error),
    };
    if outcome.is_err() {
        // What cannot be removed now is removed by the next pull.
        let _ = remove(&scratch).await;
    }
    outcome
}

async fn swap(scratch: &Path, place: &Path) -> io::Result<()> {
    remove(place).await?;
    fs::rename(scratch, place).await
}

/// What an earlier pull left, if anything.
async fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder).await {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn storage(path: &Path, error: &io::Error) -> PullError {
    PullError::new(PullFailure::Storage, format!("{} cannot be written: {error}", path.display()))
}

struct Layout<'p> {
    client: &'p Client,
    reference: &'p Reference,
    auth: &'p RegistryAuth,
    root: PathBuf,
}

impl Layout<'_> {
    async fn fill(
        &self,
        manifest: &[u8],
        digest: &str,
        classified: &impl Fn(OciDistributionError) -> PullError,
    ) -> Result<(), PullError> {
        let failed = |error: io::Error| storage(&self.root, &error);
        fs::create_dir_all(self.root.join("blobs/sha256")).await.map_err(failed)?;
        self.blob(digest, manifest).await?;
        let image = match parse(manifest)? {
            OciManifest::Image(image) => image,
            OciManifest::ImageIndex(index) => self.platform(&index, classified).await?,
        };
        for descriptor in image.layers.iter().chain([&image.config]) {
            self.pull_blob(descriptor, classified).await?;
        }
        let media_type = serde_json::from_slice::<serde_json::Value>(manifest).ok();
        let media_type = media_type.and_then(|json| json.get("mediaType")?.as_str().map(str::to_owned));
        let media_type = media_type.unwrap_or_else(|| MANIFEST_TYPES.first().copied().unwrap_or_default().to_owned());
        let descriptor = json!({ "mediaType": media_type, "digest": digest, "size": manifest.len() });
        let index = json!({ "schemaVersion": 2, "manifests": [descriptor] });
        self.file("index.json", index.to_string().as_bytes()).await?;
        self.file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#).await
    }

    async fn platform(
        &self,
        index: &OciImageIndex,
        classified: &impl Fn(OciDistributionError) -> PullError,
    ) -> Result<OciImageManifest, PullError> {
        let digest = oci_client::client::current_platform_resolver(&index.manifests)
            .ok_or_else(|| PullError::new(PullFailure::NotFound, "the image has no variant for this platform"))?;
        let reference = self.reference.clone_with_digest(digest.clone());
        let pulled = self.client.pull_manifest_raw(&reference, self.auth, MANIFEST_TYPES).await;
        let (manifest, _) = pulled.map_err(classified)?;
        self.blob(&digest, &manifest).await?;
        match parse(&manifest)? {
            OciManifest::Image(image) => Ok(image),
            OciManifest::ImageIndex(_) => {
                Err(PullError::new(PullFailure::RegistryError, "an index within an index is no image"))
            }
        }
    }

    async fn pull_blob(
        &self,
        descriptor: &OciDescriptor,
        classified: &impl Fn(OciDistributionError) -> PullError,
    ) -> Result<(), PullError> {
        let path = self.blob_path(&descriptor.digest)?;
        let mut file = fs::File::create(&path).await.map_err(|error| storage(&path, &error))?;
        self.client.pull_blob(self.reference, descriptor, &mut file).await.map_err(classified)?;
        file.flush().await.map_err(|error| storage(&path, &error))?;
        file.sync_all().await.map_err(|error| storage(&path, &error))
    }

    async fn blob(&self, digest: &str, content: &[u8]) -> Result<(), PullError> {
        let path = self.blob_path(digest)?;
        fs::write(&path, content).await.map_err(|error| storage(&path, &error))
    }

    async fn file(&self, name: &str, content: &[u8]) -> Result<(), PullError> {
        let path = self.root.join(name);
        fs::write(&path, content).await.map_err(|error| storage(&path, &error))
    }

    /// A digest becomes a file name only if it is one: a hostile manifest must not write elsewhere.
    fn blob_path(&self, digest: &str) -> Result<PathBuf, PullError> {
        let hex =
            digest.strip_prefix("sha256:").filter(|hex| hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit()));
        let hex = hex.ok_or_else(|| PullError::new(PullFailure::DigestMismatch, "a digest that is not sha256"))?;
        Ok(self.root.join("blobs/sha256").join(hex))
    }
}

fn parse(manifest: &[u8]) -> Result<OciManifest, PullError> {
    serde_json::from_slice(manifest)
        .map_err(|_| PullError::new(PullFailure::RegistryError, "the manifest is not one of an image"))
}
