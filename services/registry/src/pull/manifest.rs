//! The manifest: parsed, and for an index the one of this platform.

use bytes::Bytes;
use oci_client::manifest::{OciImageIndex, OciImageManifest, OciManifest};
use serde::Deserialize;
use waybill_schemas::v1::PullFailure;

use super::{PullError, session::Session};

/// A manifest as the registry sent it, verified against its digest.
pub(super) struct Document {
    pub(super) body: Bytes,
    pub(super) digest: String,
}

/// An image's manifest and, where the reference names an index, the index above it.
pub(super) struct Pulled {
    /// What the reference names.
    pub(super) top: Document,
    /// Media type of it.
    pub(super) media_type: String,
    /// This platform's manifest below an index.
    pub(super) platform: Option<Document>,
    /// The manifest that names configuration and layers.
    pub(super) image: OciImageManifest,
}

/// Gets the manifests.
pub(super) async fn fetch(session: &mut Session<'_>) -> Result<Pulled, PullError> {
    let top = session.manifest(None).await?;
    let manifest = parse(&top.body)?;
    let media_type = manifest.content_type().to_owned();
    let index = match manifest {
        OciManifest::Image(image) => return Ok(Pulled { top, media_type, platform: None, image }),
        OciManifest::ImageIndex(index) => index,
    };
    let platform = session.manifest(Some(&of_this_platform(&index)?)).await?;
    match parse(&platform.body)? {
        OciManifest::Image(image) => Ok(Pulled { top, media_type, platform: Some(platform), image }),
        OciManifest::ImageIndex(_) => Err(malformed("an index within an index is no image")),
    }
}

fn of_this_platform(index: &OciImageIndex) -> Result<String, PullError> {
    let digest = oci_client::client::current_platform_resolver(&index.manifests)
        .ok_or_else(|| PullError::new(PullFailure::NoPlatform, "the image has no variant for this node's platform"))?;
    // It becomes part of an address, and is the choice of whoever made the image.
    if is_digest(&digest) {
        Ok(digest)
    } else {
        Err(malformed("the index names a manifest by something that is no digest"))
    }
}

/// `algorithm:hex`, nothing else (OCI image specification, "Digests").
fn is_digest(text: &str) -> bool {
    text.split_once(':').is_some_and(|(algorithm, hex)| {
        !hex.is_empty()
            && hex.bytes().all(|byte| byte.is_ascii_hexdigit())
            && matches!(algorithm, "sha256" | "sha384" | "sha512")
    })
}

/// What every manifest says of itself.
#[derive(Deserialize)]
struct Version {
    #[serde(rename = "schemaVersion")]
    schema_version: u64,
}

/// A page that says "200 OK" to everything is no registry.
fn parse(body: &[u8]) -> Result<OciManifest, PullError> {
    let no_manifest = || malformed("what the registry sent is no image manifest");
    let Version { schema_version } = serde_json::from_slice(body).map_err(|_| no_manifest())?;
    if schema_version != 2 {
        return Err(malformed("the manifest is of another version than 2; push the image again with a newer tool"));
    }
    serde_json::from_slice(body).map_err(|_| no_manifest())
}

fn malformed(detail: &str) -> PullError {
    PullError::new(PullFailure::RegistryError, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_a_digest() {
        for (text, expected) in [
            ("sha256:44136fa355b3678a", true),
            ("sha512:00", true),
            ("sha256:", false),
            ("sha256:x/../../../api?q=", false),
            ("md5:00", false),
            ("latest", false),
        ] {
            assert_eq!(is_digest(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_manifest() {
        let config = r#"{"mediaType":"m","digest":"sha256:00","size":1}"#;
        let image = format!(r#"{{"schemaVersion":2,"config":{config},"layers":[]}}"#);
        let cases = [
            (image.as_str(), true),
            (r#"{"schemaVersion":2,"manifests":[]}"#, true),
            (r#"{"schemaVersion":1,"fsLayers":[]}"#, false),
            (r#"{"schemaVersion":2}"#, false),
            ("{}", false),
            ("<html>Welcome</html>", false),
            ("", false),
        ];
        for (body, expected) in cases {
            assert_eq!(parse(body.as_bytes()).is_ok(), expected, "{body}");
        }
    }
}
