//! The manifest: read in one way only, and for an index the one of this platform.

use bytes::Bytes;
use serde::{Deserialize, de::IgnoredAny};
use std::collections::BTreeMap;
use waybill_schemas::v1::PullFailure;

use super::{
    PullError, digest,
    platform::{Machine, Platform},
    session::Session,
};
use crate::words;

const IMAGE_TYPES: [&str; 2] =
    ["application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json"];
const INDEX_TYPES: [&str; 2] =
    ["application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json"];
/// Indexes within each other that are followed.
const DEEPEST: usize = 4;
/// Most platforms that an error names.
const MOST_TOLD: usize = 8;

/// A manifest as the registry sent it, verified against its digest.
pub(super) struct Document {
    pub(super) body: Bytes,
    pub(super) digest: String,
    /// `Content-Type` of the answer, without its parameters.
    pub(super) content_type: Option<String>,
}

/// An image's manifest and, where the reference names an index, the indexes above it.
pub(super) struct Pulled {
    /// What the reference names, then what leads from there to the image's own manifest.
    pub(super) documents: Vec<Document>,
    /// Media type of the first one.
    pub(super) media_type: String,
    /// Configuration and layers, each once.
    pub(super) blobs: Vec<Descriptor>,
}

/// What a manifest says of a blob.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Descriptor {
    pub(super) digest: String,
    pub(super) size: Option<u64>,
}

/// An entry of an index.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    digest: String,
    #[serde(default)]
    platform: Option<Platform>,
    #[serde(default)]
    annotations: Option<BTreeMap<String, serde_json::Value>>,
}

/// All members that say what a document is. One that is given twice is refused, as parsers differ on which they take.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    schema_version: u64,
    #[serde(default)]
    media_type: Option<String>,
    #[serde(default)]
    manifests: Option<Vec<Entry>>,
    #[serde(default)]
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Option<Vec<Descriptor>>,
    #[serde(default)]
    fs_layers: Option<IgnoredAny>,
}

enum Content {
    Image(Vec<Descriptor>),
    Index(Vec<Entry>),
}

/// Gets the manifests.
pub(super) async fn fetch_manifests(session: &mut Session<'_>) -> Result<Pulled, PullError> {
    let machine = Machine::this();
    let mut documents = vec![session.fetch_manifest(None).await?];
    let mut first_type = None;
    loop {
        let Some(document) = documents.last() else { return Err(malformed_error("there is no manifest")) };
        let (content, media_type) = read_document(&document.body, document.content_type.as_deref())?;
        let media_type = first_type.get_or_insert(media_type);
        match content {
            Content::Image(blobs) => return Ok(Pulled { media_type: media_type.clone(), documents, blobs }),
            Content::Index(_) if documents.len() > DEEPEST => {
                return Err(malformed_error("the image is an index in an index in an index, and so on"));
            }
            Content::Index(entries) => {
                let digest = choose_entry(&entries, &machine)?;
                documents.push(session.fetch_manifest(Some(&digest)).await?);
            }
        }
    }
}

/// The entry that fits best. One without a platform is taken when there is nothing better, and attestations never are.
fn choose_entry(entries: &[Entry], machine: &Machine) -> Result<String, PullError> {
    let images = || entries.iter().filter(|entry| !entry.is_attestation());
    let ranked = images().filter_map(|entry| Some((machine.rank(entry.platform.as_ref()?)?, entry)));
    // Of equals the first one, as every client has it.
    let best = ranked.reduce(|best, next| if next.0 > best.0 { next } else { best }).map(|(_, entry)| entry);
    let entry = best.or_else(|| images().find(|entry| entry.has_no_platform())).ok_or_else(|| {
        let offered = images().filter_map(Entry::platform_name).take(MOST_TOLD).collect::<Vec<_>>().join(", ");
        let words = "the image has no variant that this node can run";
        let detail = if offered.is_empty() { words.to_owned() } else { format!("{words}; it has {offered}") };
        PullError::new(PullFailure::NoPlatform, detail)
    })?;
    // It becomes part of an address, and is the choice of whoever made the image.
    match digest::split_digest(&entry.digest) {
        Some(_) => Ok(entry.digest.clone()),
        None => Err(malformed_error("the index names a manifest by something that is no digest")),
    }
}

impl Entry {
    /// What BuildKit attaches to an image is no image.
    fn is_attestation(&self) -> bool {
        let annotated = |name: &str| self.annotations.as_ref().is_some_and(|all| all.contains_key(name));
        let unknown = self.platform.as_ref().is_some_and(|platform| platform.os == "unknown");
        unknown || annotated("vnd.docker.reference.type")
    }

    fn has_no_platform(&self) -> bool {
        self.platform.as_ref().is_none_or(|platform| platform.os.is_empty() && platform.architecture.is_empty())
    }

    /// As people write it, if it is made of words.
    fn platform_name(&self) -> Option<String> {
        let Platform { os, architecture, variant } = self.platform.as_ref()?;
        let parts = [Some(os), Some(architecture), variant.as_ref()].into_iter().flatten();
        let parts: Option<Vec<&str>> = parts.map(|part| words::read_code(part)).collect();
        Some(parts?.join("/"))
    }
}

/// True if a document can be read.
#[cfg(fuzzing)]
pub(super) fn can_read(body: &[u8]) -> bool {
    read_document(body, None).is_ok()
}

/// What a document is, and its media type. A page that says "200 OK" to everything is no registry.
fn read_document(body: &[u8], content_type: Option<&str>) -> Result<(Content, String), PullError> {
    let no_manifest = || {
        malformed_error(match content_type {
            Some("text/html") => "what was sent is a web page; is this the address of a registry?",
            _ => "what the registry sent is no image manifest",
        })
    };
    let raw: Raw = serde_json::from_slice(body).map_err(|_| no_manifest())?;
    if raw.schema_version != 2 {
        return Err(malformed_error(
            "the manifest is of another version than 2; push the image again with a newer tool",
        ));
    }
    let (is_index, is_image) = (raw.manifests.is_some(), raw.config.is_some() || raw.layers.is_some());
    // CVE-2021-41190: clients that read such a document differently run different images of one digest.
    let said = [raw.media_type.as_deref(), content_type].into_iter().flatten();
    let says = |types: [&str; 2]| said.clone().any(|said| types.contains(&said));
    if is_index && (is_image || says(IMAGE_TYPES)) || is_image && says(INDEX_TYPES) || raw.fs_layers.is_some() {
        return Err(malformed_error(
            "the manifest can be read in two ways, as an index and as an image; it is refused",
        ));
    }
    let known = |text: &&str| IMAGE_TYPES.contains(text) || INDEX_TYPES.contains(text);
    let media_type = said.clone().find(known);
    match (raw.manifests, raw.config) {
        (Some(entries), _) => {
            let [usual, _] = INDEX_TYPES;
            Ok((Content::Index(entries), media_type.unwrap_or(usual).to_owned()))
        }
        (None, Some(config)) => {
            let [usual, _] = IMAGE_TYPES;
            let mut blobs = vec![config];
            for layer in raw.layers.unwrap_or_default() {
                // Empty layers repeat.
                if blobs.iter().all(|blob| blob.digest != layer.digest) {
                    blobs.push(layer);
                }
            }
            if blobs.iter().any(|blob| digest::split_digest(&blob.digest).is_none()) {
                return Err(malformed_error("the manifest names a layer by something that is no digest"));
            }
            Ok((Content::Image(blobs), media_type.unwrap_or(usual).to_owned()))
        }
        (None, None) => Err(no_manifest()),
    }
}

fn malformed_error(detail: &str) -> PullError {
    PullError::new(PullFailure::RegistryError, detail)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn digest(letter: char) -> String {
        format!("sha256:{}", letter.to_string().repeat(64))
    }

    fn entry(letter: char, platform: Value) -> Value {
        json!({ "digest": digest(letter), "size": 2, "platform": platform })
    }

    fn linux(architecture: &str) -> Value {
        json!({ "os": "linux", "architecture": architecture })
    }

    /// The letter of the entry that is chosen, or the reason.
    fn chosen(entries: &Value) -> String {
        let entries: Vec<Entry> = serde_json::from_value(entries.clone()).unwrap();
        match choose_entry(&entries, &Machine::this()) {
            Ok(digest) => digest[7..8].to_owned(),
            Err(error) => format!("{}: {}", error.reason, error.detail),
        }
    }

    #[test]
    fn entries_of_an_index() {
        let own = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        let unknown = json!({ "os": "unknown", "architecture": "unknown" });
        let attested =
            json!({ "digest": digest('f'), "annotations": { "vnd.docker.reference.type": "attestation-manifest" } });
        let cases = [
            (json!([entry('a', linux("mips")), entry('b', linux(own))]), "b"),
            (json!([entry('a', linux(own)), entry('b', linux(own))]), "a"),
            (json!([entry('a', Value::Null), entry('b', linux(own))]), "b"),
            (json!([entry('a', Value::Null)]), "a"),
            (json!([{ "digest": digest('a') }, { "digest": digest('b') }]), "a"),
            (json!([entry('a', json!({})), entry('b', linux("mips"))]), "a"),
            (json!([entry('a', json!({ "architecture": own }))]), "a"),
            (json!([entry('f', unknown.clone()), entry('a', linux(own))]), "a"),
            (json!([attested.clone(), entry('a', Value::Null)]), "a"),
            (json!([attested]), "no_platform: the image has no variant that this node can run"),
            (json!([entry('f', unknown)]), "no_platform: the image has no variant that this node can run"),
            (json!([]), "no_platform: the image has no variant that this node can run"),
            (
                json!([entry('a', linux("mips")), entry('b', json!({ "os": "windows", "architecture": own }))]),
                "it has linux/mips, windows/",
            ),
            (json!([{ "digest": "sha256:../../x" }]), "registry_error: the index names a manifest by something"),
            (json!([{ "digest": "md5:00" }]), "registry_error: the index names a manifest by something"),
        ];
        for (entries, expected) in cases {
            let found = chosen(&entries);
            assert!(found == expected || expected.len() > 1 && found.contains(expected), "{entries}: {found}");
        }
    }

    /// `index <type>`, `image <type> <blobs>`, or the words of the refusal.
    fn said(body: &str, content_type: Option<&str>) -> String {
        match read_document(body.as_bytes(), content_type) {
            Ok((Content::Index(_), media_type)) => format!("index {media_type}"),
            Ok((Content::Image(blobs), media_type)) => format!("image {media_type} {}", blobs.len()),
            Err(error) => error.detail,
        }
    }

    #[test]
    fn documents_are_read_in_one_way() {
        let blob = |letter: char| json!({ "digest": digest(letter), "size": 1 });
        let image = json!({ "schemaVersion": 2, "config": blob('c'), "layers": [blob('a'), blob('b'), blob('a')] });
        let index = json!({ "schemaVersion": 2, "manifests": [blob('a')] });
        let with = |document: &Value, name: &str, value: Value| {
            let mut document = document.clone();
            document[name] = value;
            document.to_string()
        };
        let [oci_image, docker_image] = IMAGE_TYPES;
        let [oci_index, docker_index] = INDEX_TYPES;
        let two_ways = "can be read in two ways";
        let cases = [
            (image.to_string(), None, format!("image {oci_image} 3")),
            (image.to_string(), Some(docker_image), format!("image {docker_image} 3")),
            (image.to_string(), Some("application/json"), format!("image {oci_image} 3")),
            (with(&image, "mediaType", docker_image.into()), Some(oci_image), format!("image {docker_image} 3")),
            (with(&image, "layers", Value::Null), None, format!("image {oci_image} 1")),
            (with(&image, "layers", json!([])), None, format!("image {oci_image} 1")),
            (index.to_string(), None, format!("index {oci_index}")),
            (index.to_string(), Some(docker_index), format!("index {docker_index}")),
            (with(&index, "manifests", json!([])), None, format!("index {oci_index}")),
            (with(&index, "config", blob('c')), Some(oci_index), two_ways.to_owned()),
            (with(&index, "layers", json!([])), None, two_ways.to_owned()),
            (with(&index, "mediaType", oci_image.into()), None, two_ways.to_owned()),
            (index.to_string(), Some(oci_image), two_ways.to_owned()),
            (image.to_string(), Some(oci_index), two_ways.to_owned()),
            (with(&image, "mediaType", docker_index.into()), None, two_ways.to_owned()),
            (with(&image, "fsLayers", json!([])), None, two_ways.to_owned()),
            (with(&index, "layers", Value::Null), None, format!("index {oci_index}")),
            (with(&image, "schemaVersion", json!(1)), None, "another version than 2".to_owned()),
            (with(&image, "config", json!({ "digest": "md5:00", "size": 1 })), None, "no digest".to_owned()),
            (r#"{"schemaVersion":2}"#.to_owned(), None, "no image manifest".to_owned()),
            (r#"{"schemaVersion":2,"manifests":[],"manifests":[]}"#.to_owned(), None, "no image manifest".to_owned()),
            (r#"{"errors":[]}"#.to_owned(), None, "no image manifest".to_owned()),
            ("<html>".to_owned(), None, "no image manifest".to_owned()),
            (String::new(), None, "no image manifest".to_owned()),
        ];
        for (body, content_type, expected) in cases {
            let found = said(&body, content_type);
            assert!(found.contains(&expected), "{body} {content_type:?}: {found}");
        }
    }
}
