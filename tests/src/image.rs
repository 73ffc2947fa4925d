//! A tiny OCI image: one layer with one file, small enough to write by hand.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;
use sha2::{Digest as _, Sha256};

/// The manifest's media type (OCI image specification 1.1).
const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX_TYPE: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";
const LAYER_TYPE: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// An image whose only file holds its label; another label makes other digests.
#[derive(Debug, Clone)]
pub struct TinyImage {
    media_type: &'static str,
    digest: String,
    manifest: Bytes,
    blobs: BTreeMap<String, Bytes>,
}

impl TinyImage {
    /// Builds the image; fails only when memory does.
    pub fn new(label: &str) -> io::Result<Self> {
        let tar = tar("label.txt", label.as_bytes())?;
        let layer = gzip(&tar)?;
        let config = json!({
            "architecture": "amd64", "os": "linux", "config": {},
            "rootfs": { "type": "layers", "diff_ids": [sha256(&tar)] },
        });
        let config = config.to_string().into_bytes();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST_TYPE,
            "config": descriptor(CONFIG_TYPE, &config),
            "layers": [descriptor(LAYER_TYPE, &layer)],
        });
        let manifest = Bytes::from(manifest.to_string());
        let blobs = [config, layer].map(|blob| (sha256(&blob), Bytes::from(blob)));
        Ok(Self { media_type: MANIFEST_TYPE, digest: sha256(&manifest), manifest, blobs: blobs.into() })
    }

    /// An index that has the image for one other platform than any node's.
    #[must_use]
    pub fn for_another_platform(self) -> Self {
        let only = json!({
            "mediaType": MANIFEST_TYPE, "digest": self.digest, "size": self.manifest.len(),
            "platform": { "os": "plan9", "architecture": "mips" },
        });
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [only] });
        let manifest = Bytes::from(index.to_string());
        Self { media_type: INDEX_TYPE, digest: sha256(&manifest), manifest, blobs: self.blobs }
    }

    /// What the manifest is: an image's, or an index.
    pub fn media_type(&self) -> &'static str {
        self.media_type
    }

    /// The manifest's digest, `sha256:…`: what a pull reports.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The manifest as served.
    pub fn manifest(&self) -> &Bytes {
        &self.manifest
    }

    /// The configuration and the layer, by digest.
    pub fn blobs(&self) -> &BTreeMap<String, Bytes> {
        &self.blobs
    }

    /// Writes an OCI image layout with this one image into the existing folder `to`.
    pub fn write_layout(&self, to: &Path) -> io::Result<()> {
        let blobs = to.join("blobs/sha256");
        std::fs::create_dir_all(&blobs)?;
        let manifest = (&self.digest, &self.manifest);
        for (digest, content) in self.blobs.iter().chain([manifest]) {
            std::fs::write(blobs.join(digest.trim_start_matches("sha256:")), content)?;
        }
        let index = json!({ "schemaVersion": 2, "manifests": [descriptor(MANIFEST_TYPE, &self.manifest)] });
        std::fs::write(to.join("index.json"), index.to_string())?;
        std::fs::write(to.join("oci-layout"), json!({ "imageLayoutVersion": "1.0.0" }).to_string())
    }
}

fn descriptor(media_type: &str, content: &[u8]) -> serde_json::Value {
    json!({ "mediaType": media_type, "digest": sha256(content), "size": content.len() })
}

fn sha256(content: &[u8]) -> String {
    Sha256::digest(content).iter().fold(String::from("sha256:"), |text, byte| format!("{text}{byte:02x}"))
}

fn gzip(content: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(content)?;
    encoder.finish()
}

/// A tar archive (POSIX ustar) with one file.
fn tar(name: &str, content: &[u8]) -> io::Result<Vec<u8>> {
    let mut header = Vec::with_capacity(512);
    write!(header, "{name:\0<100}{:07o}\0{:07o}\0{:07o}\0{:011o}\0{:011o}\0", 0o644, 0, 0, content.len(), 0)?;
    // The checksum is the sum of the header's bytes, its own eight taken as blanks.
    write!(header, "{:8}0{:\0<100}ustar\x0000", "", "")?;
    header.resize(512, 0);
    let sum: u64 = header.iter().copied().map(u64::from).sum();
    let mut archive = header;
    archive.splice(148..156, format!("{sum:06o}\0 ").into_bytes());
    archive.extend_from_slice(content);
    // Padding to a whole block, then two empty blocks.
    archive.resize(archive.len().next_multiple_of(512) + 1024, 0);
    Ok(archive)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tar_header_fields_are_where_ustar_has_them() {
        let archive = tar("a.txt", b"hello").unwrap();
        assert_eq!(archive.len(), 512 + 512 + 1024);
        assert_eq!(&archive[..6], b"a.txt\0");
        assert_eq!(&archive[124..136], b"00000000005\0");
        assert_eq!(&archive[156..157], b"0");
        assert_eq!(&archive[257..265], b"ustar\x0000");
        assert_eq!(&archive[512..517], b"hello");
    }

    #[test]
    fn labels_make_digests() {
        let digest = |label| TinyImage::new(label).unwrap().digest().to_owned();
        assert_eq!(digest("a"), digest("a"));
        assert_ne!(digest("a"), digest("b"));
    }
}
