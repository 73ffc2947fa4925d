//! Debian's docker-registry lets in whom it knows, as seen by skopeo.

use waybill_tests::canary::{Canary, Search};
use waybill_tests::docker_registry::DockerRegistry;
use waybill_tests::image::TinyImage;
use waybill_tests::login::Login;
use waybill_tests::require;
use waybill_tests::scratch::Scratch;
use waybill_tests::skopeo::Skopeo;

#[tokio::test]
async fn refuses_without_and_accepts_with_credentials() {
    let password = Canary::new("registry password");
    let (ada, stranger) = (Login::new("ada", password.value()), Login::new("ada", "wrong"));
    let skopeo = require!(Skopeo::find());
    let registry = require!(DockerRegistry::start(std::slice::from_ref(&ada)).await);
    let image = TinyImage::new("private").unwrap();
    let scratch = Scratch::new("pulled").unwrap();

    let reference = registry.push(&skopeo, &image, "team/app", "1.0", &ada).await.unwrap();
    for (login, name) in [(None, "nobody"), (Some(&stranger), "stranger")] {
        let refused = skopeo.pull(&reference, &scratch.path().join(name), login).await.unwrap_err();
        let refused = refused.to_string();
        assert!(["unauthorized", "authentication required"].iter().any(|word| refused.contains(word)), "{refused}");
        assert!(!refused.contains(password.value()));
    }

    let pulled = scratch.path().join("ada");
    skopeo.pull(&reference, &pulled, Some(&ada)).await.unwrap();
    let manifest = pulled.join("blobs/sha256").join(image.digest().trim_start_matches("sha256:"));
    assert_eq!(std::fs::read(manifest).unwrap(), image.manifest().as_ref());

    let search = Search::new([&password]);
    assert!(search.assert_absent_in_dir(registry.dir()).files > 5);
    assert!(search.assert_absent_in_dir(scratch.path()).files > 3);
}

#[tokio::test]
async fn two_registries_know_nothing_of_each_other() {
    let (ada, bob) = (Login::new("ada", "lovelace"), Login::new("bob", "builder"));
    let skopeo = require!(Skopeo::find());
    let first = require!(DockerRegistry::start(&[ada.clone(), bob.clone()]).await);
    let second = require!(DockerRegistry::start(std::slice::from_ref(&bob)).await);
    assert_ne!(first.host(), second.host());
    let image = TinyImage::new("shared").unwrap();
    first.push(&skopeo, &image, "app", "1", &ada).await.unwrap();
    first.push(&skopeo, &image, "other/app", "2", &bob).await.unwrap();
    second.push(&skopeo, &image, "app", "1", &bob).await.unwrap();
    second.push(&skopeo, &image, "app", "1", &ada).await.unwrap_err();
}
