//! What lands on disk, and what does not.

use std::{fs, path::Path};

use serde_json::{Value, json};

use super::*;
use crate::testing::{FakeRegistry, Image, answer, digest_of};

fn in_dir(registry: &FakeRegistry, dir: &Path) -> PullConfig {
    PullConfig { image_dir: Some(dir.to_owned()), ..config(&[registry.host()]) }
}

fn files_below(dir: &Path) -> usize {
    let entries = fs::read_dir(dir).into_iter().flatten().map(Result::unwrap);
    entries.map(|entry| if entry.path().is_dir() { files_below(&entry.path()) } else { 1 }).sum()
}

/// The operating system and the architecture as OCI names them.
fn platform() -> (&'static str, &'static str) {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    (std::env::consts::OS, architecture)
}

#[tokio::test]
async fn a_layout_holds_every_blob() {
    let (os, architecture) = platform();
    for image in [Image::new(), Image::new().indexed(os, architecture)] {
        let registry = FakeRegistry::start(image.clone(), |_| None).await;
        let dir = tempfile::tempdir().unwrap();
        // Twice: the second takes the first one's place.
        for _ in 0..2 {
            let outcome =
                pull_as(&in_dir(&registry, dir.path()), &registry.reference(), &RegistryLogin::Anonymous).await;
            assert_eq!(outcome, Ok(image.digest()));
        }
        let layout = dir.path().join("acme/c-1");
        let blob = |digest: &str| fs::read(layout.join("blobs/sha256").join(digest.trim_start_matches("sha256:")));
        for (digest, content) in &image.blobs {
            assert_eq!(&blob(digest).unwrap(), content);
        }
        assert_eq!(blob(&digest_of(&image.manifest)).unwrap(), image.manifest);
        assert_eq!(blob(&image.digest()).unwrap(), image.top());
        let index: Value = serde_json::from_slice(&fs::read(layout.join("index.json")).unwrap()).unwrap();
        let media_type = if image.index.is_some() { "index" } else { "manifest" };
        let expected = json!([{
            "mediaType": format!("application/vnd.oci.image.{media_type}.v1+json"),
            "digest": image.digest(),
            "size": image.top().len(),
        }]);
        assert_eq!((index["manifests"].clone(), &index["schemaVersion"]), (expected, &json!(2)));
        assert_eq!(fs::read(layout.join("oci-layout")).unwrap(), br#"{"imageLayoutVersion":"1.0.0"}"#);
        assert_eq!(fs::read_dir(dir.path().join("acme")).unwrap().count(), 1, "nothing beside it");
    }
}

#[tokio::test]
async fn without_a_folder_every_blob_is_asked_for_and_none_is_fetched() {
    let (os, architecture) = platform();
    let image = Image::new().indexed(os, architecture);
    let registry = FakeRegistry::start(image.clone(), |_| None).await;
    let config = config(&[registry.host()]);
    let by_digest = format!("{}/team/app@{}", registry.host(), image.digest());
    for reference in [registry.reference(), by_digest] {
        assert_eq!(pull_as(&config, &reference, &RegistryLogin::Anonymous).await, Ok(image.digest()));
    }
    let blobs = |method: &str| {
        let asked = registry.asked();
        asked.iter().filter(|asked| asked.path.contains("/blobs/") && asked.method == method).count()
    };
    assert_eq!((blobs("HEAD"), blobs("GET")), (6, 0), "configuration and two layers, each time");
    let manifests = registry.asked().iter().filter(|asked| asked.path.contains("/manifests/")).count();
    assert_eq!(manifests, 4, "an index is followed to this platform's manifest");
    let other = Image::new().indexed("plan9", "mips");
    let registry = FakeRegistry::start(other, |_| None).await;
    let error = pull_as(&super::config(&[registry.host()]), &registry.reference(), &RegistryLogin::Anonymous).await;
    assert_eq!(error.unwrap_err().reason, PullFailure::NoPlatform);
}

#[tokio::test]
async fn what_is_not_what_it_says_is_not_kept() {
    use PullFailure as P;
    let spoilt = |body: &'static str| {
        move |asked: &crate::testing::Asked| asked.path.contains("/blobs/").then(|| answer(200, body))
    };
    let escaping = |digest: &str| {
        let digest = json!(digest);
        Image::changed(|manifest| manifest["layers"][0]["digest"] = digest)
    };
    let larger = |size: i64| Image::changed(|manifest| manifest["layers"][0]["size"] = json!(size));
    let cases = [
        ("another content", FakeRegistry::start(Image::new(), spoilt("layer twx")).await, P::DigestMismatch),
        ("a longer one", FakeRegistry::start(Image::new(), spoilt("layer one and much more")).await, P::DigestMismatch),
        ("a shorter one", FakeRegistry::start(Image::new(), spoilt("layer")).await, P::DigestMismatch),
        ("a size too large", FakeRegistry::start(larger(1000), |_| None).await, P::DigestMismatch),
        ("a size below nothing", FakeRegistry::start(larger(-1), |_| None).await, P::RegistryError),
        ("a path", FakeRegistry::start(escaping("sha256:../../../evil"), |_| None).await, P::RegistryError),
        ("no digest", FakeRegistry::start(escaping(""), |_| None).await, P::RegistryError),
        ("a blob that is not there", FakeRegistry::start(escaping(&digest_of(b"x")), |_| None).await, P::NotFound),
    ];
    for (name, registry, reason) in cases {
        let dir = tempfile::tempdir().unwrap();
        let config = in_dir(&registry, &dir.path().join("images"));
        let error = pull_as(&config, &registry.reference(), &RegistryLogin::Anonymous).await.unwrap_err();
        assert_eq!(error.reason, reason, "{name}: {error}");
        assert_eq!(files_below(dir.path()), 0, "{name}");
    }
}

#[tokio::test]
async fn a_disk_that_cannot_be_written() {
    let registry = FakeRegistry::start(Image::new(), |_| None).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "no folder").unwrap();
    let error = pull_as(&in_dir(&registry, &file), &registry.reference(), &RegistryLogin::Anonymous).await.unwrap_err();
    assert_eq!(error.reason, PullFailure::Storage, "{error}");
}
