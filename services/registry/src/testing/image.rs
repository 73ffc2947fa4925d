//! A tiny image: configuration, two layers, a manifest, and on request an index above it.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";

#[derive(Clone)]
pub(crate) struct Image {
    pub(crate) manifest: Vec<u8>,
    pub(crate) blobs: BTreeMap<String, Vec<u8>>,
    pub(crate) index: Option<Vec<u8>>,
}

pub(crate) fn digest_of(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({ "mediaType": media_type, "digest": digest_of(bytes), "size": bytes.len() })
}

impl Image {
    pub(crate) fn new() -> Self {
        Self::changed(|_| {})
    }

    /// One whose manifest was tampered with.
    pub(crate) fn changed(change: impl FnOnce(&mut Value)) -> Self {
        let contents = [b"{\"os\":\"linux\"}".to_vec(), b"layer one".to_vec(), b"layer two, longer".to_vec()];
        let layer = "application/vnd.oci.image.layer.v1.tar";
        // The first layer stands there twice, as empty layers do.
        let layers = [1, 2, 1].map(|at: usize| descriptor(layer, &contents[at]));
        let mut manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": descriptor("application/vnd.oci.image.config.v1+json", &contents[0]),
            "layers": layers,
        });
        change(&mut manifest);
        let blobs = contents.into_iter().map(|content| (digest_of(&content), content)).collect();
        Self { manifest: manifest.to_string().into_bytes(), blobs, index: None }
    }

    /// The same below an index, with this platform.
    pub(crate) fn indexed(mut self, os: &str, architecture: &str) -> Self {
        let mut entry = descriptor(MANIFEST, &self.manifest);
        entry["platform"] = json!({ "os": os, "architecture": architecture });
        let mut other = descriptor(MANIFEST, b"of another platform");
        other["platform"] = json!({ "os": "plan9", "architecture": "mips" });
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [other, entry] });
        self.index = Some(index.to_string().into_bytes());
        self
    }

    /// What a tag names.
    pub(crate) fn top(&self) -> &[u8] {
        self.index.as_deref().unwrap_or(&self.manifest)
    }

    pub(crate) fn digest(&self) -> String {
        digest_of(self.top())
    }
}
