//! An OCI image layout on disk (OCI image specification, image-layout).

use std::{
    io,
    path::{Path, PathBuf},
};

use serde_json::json;
use tokio::{fs, io::AsyncWriteExt as _};
use waybill_schemas::v1::PullFailure;

use super::{
    PullError, digest,
    manifest::{Descriptor, Document, Pulled},
    scratch::Scratch,
    session::Session,
};

/// Writes an image to its place, whole or not at all.
pub(super) async fn write_image(session: &mut Session<'_>, pulled: &Pulled, place: &Path) -> Result<(), PullError> {
    let failed = |error: io::Error| storage_error(place, &error);
    let scratch = Scratch::beside(place).map_err(failed)?;
    fill_folder(session, pulled, scratch.path()).await?;
    scratch.move_into_place().map_err(failed)
}

async fn fill_folder(session: &mut Session<'_>, pulled: &Pulled, root: &Path) -> Result<(), PullError> {
    let blobs = root.join("blobs");
    for Document { body, digest, .. } in &pulled.documents {
        save_file(&blob_path(&blobs, digest).await?, body).await?;
    }
    for descriptor in &pulled.blobs {
        fetch_blob(session, descriptor, &blobs).await?;
    }
    let tops = pulled
        .documents
        .first()
        .map(|top| json!({ "mediaType": pulled.media_type, "digest": top.digest, "size": top.body.len() }));
    let index = json!({ "schemaVersion": 2, "manifests": tops.into_iter().collect::<Vec<_>>() });
    save_file(&root.join("index.json"), index.to_string().as_bytes()).await?;
    save_file(&root.join("oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#).await
}

async fn fetch_blob(session: &mut Session<'_>, descriptor: &Descriptor, blobs: &Path) -> Result<(), PullError> {
    let path = blob_path(blobs, &descriptor.digest).await?;
    let size = descriptor.size.ok_or_else(|| mismatch_error("a layer without a size"))?;
    let failed = |error: io::Error| storage_error(&path, &error);
    let mut file = fs::File::create(&path).await.map_err(failed)?;
    session.fetch_blob(&descriptor.digest, size, &mut file).await?;
    file.sync_all().await.map_err(failed)
}

async fn save_file(path: &Path, content: &[u8]) -> Result<(), PullError> {
    let write = async {
        let mut file = fs::File::create(path).await?;
        file.write_all(content).await?;
        // Only flushing tells of a write that failed in the background.
        file.flush().await?;
        file.sync_all().await
    };
    write.await.map_err(|error| storage_error(path, &error))
}

/// Place of a blob, in a folder of its algorithm that is there then. A digest becomes a file name only if it is one: a
/// hostile manifest must not write elsewhere.
async fn blob_path(blobs: &Path, digest: &str) -> Result<PathBuf, PullError> {
    let (algorithm, hex) = digest::split_digest(digest).ok_or_else(|| mismatch_error("a digest that is none"))?;
    let folder = blobs.join(algorithm);
    fs::create_dir_all(&folder).await.map_err(|error| storage_error(&folder, &error))?;
    Ok(folder.join(hex))
}

fn mismatch_error(detail: &str) -> PullError {
    PullError::new(PullFailure::DigestMismatch, detail)
}

fn storage_error(path: &Path, error: &io::Error) -> PullError {
    PullError::new(PullFailure::Storage, format!("{} cannot be written: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_digest_is_a_file_name_only_if_it_is_one() {
        let dir = tempfile::tempdir().unwrap();
        let hex = "0f".repeat(32);
        let cases = [
            (format!("sha256:{hex}"), true),
            (format!("sha512:{hex}{hex}"), true),
            (format!("sha256:{}", hex.to_uppercase()), false),
            (format!("sha512:{hex}"), false),
            (format!("sha256:../../{}", "0".repeat(58)), false),
            (hex, false),
            ("sha256:".to_owned(), false),
        ];
        for (digest, expected) in cases {
            assert_eq!(blob_path(dir.path(), &digest).await.is_ok(), expected, "{digest}");
        }
    }
}
