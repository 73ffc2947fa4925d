//! Credentials stay with their registry wherever it sends its callers.

use super::*;
use crate::testing::{FakeRegistry, Image, basic_header};

/// A registry with a password that sends requests for what `part` names to another one.
async fn sending_away(part: &'static str, to: &FakeRegistry) -> FakeRegistry {
    let (expected, base) = (basic_header("ada", PASSWORD), to.url());
    FakeRegistry::start(Image::new(), move |asked| {
        if asked.path.contains(part) && (part == "/v2/" || asked.authorization.is_some()) {
            return Some((307, vec![("location", format!("{base}{}", asked.path))], Vec::new()));
        }
        let challenge = vec![("www-authenticate", "Basic realm=\"r\"".to_owned())];
        (asked.authorization.as_ref() != Some(&expected)).then(|| (401, challenge, Vec::new()))
    })
    .await
}

#[tokio::test]
async fn a_redirect_to_another_host_takes_no_credentials_along() {
    for part in ["/blobs/", "/manifests/"] {
        let storage = FakeRegistry::start(Image::new(), |_| None).await;
        let registry = sending_away(part, &storage).await;
        let images = tempfile::tempdir().unwrap();
        let config = PullConfig { image_dir: Some(images.path().to_owned()), ..config(&[registry.host()]) };
        assert_eq!(pull_as(&config, &registry.reference(), &ada()).await, Ok(Image::new().digest()), "{part}");
        let asked = storage.asked();
        assert!(!asked.is_empty() && asked.iter().all(|asked| asked.authorization.is_none()), "{part}: {asked:?}");
        let own = registry.asked();
        assert!(own.iter().any(|asked| asked.authorization == Some(basic_header("ada", PASSWORD))), "{part}");
    }
}

/// Who is greeted is who was meant: the challenge of another host is not answered.
#[tokio::test]
async fn a_greeting_that_is_sent_away_gives_nothing_away() {
    let elsewhere = FakeRegistry::basic(Image::new(), "ada", PASSWORD).await;
    let registry = sending_away("/v2/", &elsewhere).await;
    let outcome = pull_as(&config(&[registry.host()]), &registry.reference(), &ada()).await;
    assert_eq!(outcome.unwrap_err().reason, PullFailure::Unauthorized);
    let asked = [registry.asked(), elsewhere.asked()].concat();
    assert!(asked.iter().all(|asked| asked.authorization.is_none()), "{asked:?}");
}

/// Manifests may name other addresses for a layer; whoever made the image chose them.
#[tokio::test]
async fn foreign_addresses_of_layers_are_not_asked() {
    let elsewhere = FakeRegistry::start(Image::new(), |_| None).await;
    let url = format!("{}/v2/team/app/blobs/x", elsewhere.url());
    let image = Image::changed(|manifest| manifest["layers"][0]["urls"] = serde_json::json!([url]));
    let registry = FakeRegistry::start(image, |asked| {
        asked.path.contains("/blobs/").then(|| crate::testing::envelope(404, "BLOB_UNKNOWN", "it is elsewhere"))
    })
    .await;
    let images = tempfile::tempdir().unwrap();
    let config = PullConfig { image_dir: Some(images.path().to_owned()), ..config(&[registry.host()]) };
    let error = pull_as(&config, &registry.reference(), &RegistryLogin::Anonymous).await.unwrap_err();
    assert_eq!(error.reason, PullFailure::NotFound);
    assert!(elsewhere.asked().is_empty(), "{:?}", elsewhere.asked());
}
