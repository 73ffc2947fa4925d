//! Registries that ask for a login later than in their greeting, or once more.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::testing::{Answer, FakeRegistry, Image, answer};

fn asking_for(challenge: &str) -> Answer {
    (401, vec![("www-authenticate", challenge.to_owned())], Vec::new())
}

fn count(registry: &FakeRegistry, part: &str) -> usize {
    registry.asked().iter().filter(|asked| asked.path.contains(part)).count()
}

/// A registry that is open to the manifest and the greeting gets nobody to greet it again, nor to ask whom it names then.
#[tokio::test]
async fn an_open_registry_is_greeted_once() {
    let internal = FakeRegistry::start(Image::new(), |_| Some(answer(200, r#"{"token":"two\nlines"}"#))).await;
    let (realm, greeted) = (format!("Bearer realm=\"{}/token\"", internal.url()), AtomicUsize::new(0));
    let registry = FakeRegistry::start(Image::new(), move |asked| {
        let again = asked.path == "/v2/" && greeted.fetch_add(1, Ordering::Relaxed) > 0;
        again.then(|| asking_for(&realm))
    })
    .await;
    let images = tempfile::tempdir().unwrap();
    let config = PullConfig { image_dir: Some(images.path().to_owned()), ..config(&[registry.host()]) };
    let outcome = pull_as(&config, &registry.reference(), &RegistryLogin::Anonymous).await;
    assert_eq!((outcome, count(&registry, "/blobs/")), (Ok(Image::new().digest()), 3));
    let greetings = registry.asked().iter().filter(|asked| asked.path == "/v2/").count();
    assert_eq!((greetings, internal.asked()), (1, Vec::new()));
}
