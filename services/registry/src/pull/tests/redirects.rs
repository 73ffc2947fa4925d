//! Where a registry may send its callers; credentials stay with it wherever that is.

use axum::{Router, body::Body, response::Response};
use bytes::Bytes;
use futures_util::stream;

use super::*;
use crate::testing::{FakeRegistry, Image, PrivateCa, Server, basic_header};

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
        let config = config(&[registry.host(), storage.host()]);
        let config = PullConfig { image_dir: Some(images.path().to_owned()), ..config };
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
    let config = config(&[registry.host(), elsewhere.host()]);
    let error = pull_as(&config, &registry.reference(), &ada()).await.unwrap_err();
    assert_eq!(error.reason, PullFailure::RegistryError);
    assert!(error.detail.contains("sent us on to 127.0.0.1, which asks for credentials and gets none"), "{error}");
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

/// A registry over TLS that sends requests for what `part` names to this place; `{path}` stands for what was asked.
async fn sending_to(ca: &PrivateCa, part: &'static str, place: String) -> FakeRegistry {
    FakeRegistry::start_tls(ca, move |asked| {
        let location = vec![("location", place.replace("{path}", &asked.path))];
        asked.path.contains(part).then(|| (307, location, b"elsewhere".to_vec()))
    })
    .await
}

#[tokio::test]
async fn a_registry_sends_nobody_off_tls_or_into_a_private_network() {
    let ca = PrivateCa::new();
    let plain = FakeRegistry::start(Image::new(), |_| None).await;
    let storage = FakeRegistry::start_tls(&ca, |_| None).await;
    let port = storage.host().rsplit(':').next().unwrap();
    let cases = [
        ("127.0.0.1", format!("{}{{path}}", plain.url()), "without TLS"),
        ("localhost", format!("https://{}{{path}}", storage.host()), "WAYBILL_WORKER_INTERNAL_TOKEN_SERVICES"),
        ("localhost", format!("https://0x7f000001:{port}{{path}}"), "WAYBILL_WORKER_INTERNAL_TOKEN_SERVICES"),
        ("127.0.0.1", format!("https://LOCALHOST:{port}{{path}}"), "WAYBILL_WORKER_INTERNAL_TOKEN_SERVICES"),
        ("127.0.0.1", format!("https://u:p@127.0.0.1:{port}{{path}}"), "with a user"),
        ("127.0.0.1", format!("ftp://127.0.0.1:{port}{{path}}"), "not spoken to by HTTP"),
    ];
    for part in ["/manifests/", "/blobs/"] {
        for (host, place, words) in &cases {
            let registry = sending_to(&ca, part, place.clone()).await;
            let images = tempfile::tempdir().unwrap();
            let config = PullConfig { image_dir: Some(images.path().to_owned()), ..trusting(&ca, &[]) };
            let reference = registry.reference().replace("127.0.0.1", host);
            let error = pull_as(&config, &reference, &RegistryLogin::Anonymous).await.unwrap_err();
            assert_eq!(error.reason, PullFailure::RegistryError, "{part} {place}: {error}");
            assert!(error.detail.contains("sent us on to a place") && error.detail.contains(words), "{part}: {error}");
        }
    }
    assert_eq!((plain.asked(), storage.asked()), (Vec::new(), Vec::new()));
}

#[tokio::test]
async fn a_place_that_the_operator_names_may_be_private() {
    let ca = PrivateCa::new();
    let storage = FakeRegistry::start_tls(&ca, |_| None).await;
    let place = format!("https://localhost:{}{{path}}", storage.host().rsplit(':').next().unwrap());
    for part in ["/manifests/", "/blobs/"] {
        let registry = sending_to(&ca, part, place.clone()).await;
        let images = tempfile::tempdir().unwrap();
        let config = PullConfig { image_dir: Some(images.path().to_owned()), ..trusting(&ca, &["localhost"]) };
        let outcome = pull_as(&config, &registry.reference(), &RegistryLogin::Anonymous).await;
        assert_eq!(outcome, Ok(Image::new().digest()), "{part}");
        assert!(storage.asked().iter().any(|asked| asked.path.contains(part)), "{part}");
    }
}

#[tokio::test]
async fn a_registry_that_sends_its_callers_around_for_ever() {
    let registry = FakeRegistry::start(Image::new(), |asked| {
        asked.path.contains("/manifests/").then(|| (307, vec![("location", asked.path.clone())], Vec::new()))
    })
    .await;
    let error = pull_as(&config(&[registry.host()]), &registry.reference(), &ada()).await.unwrap_err();
    assert_eq!((error.reason, registry.asked().len()), (PullFailure::RegistryError, 7), "{error}");
}

/// Neither the words of an error nor a layer fill memory or disk.
#[tokio::test]
async fn a_body_without_end_is_not_read_to_its_end() {
    for (status, reason) in [(500, PullFailure::RegistryError), (200, PullFailure::DigestMismatch)] {
        let endless = move || async move {
            let body = stream::repeat(Ok::<_, std::convert::Infallible>(Bytes::from_static(&[b'x'; 4096])));
            Response::builder().status(status).body(Body::from_stream(body)).unwrap()
        };
        let storage = Server::start(Router::new().fallback(endless)).await;
        let location = format!("{}/", storage.url());
        let registry = FakeRegistry::start(Image::new(), move |asked| {
            asked.path.contains("/blobs/").then(|| (307, vec![("location", location.clone())], Vec::new()))
        })
        .await;
        let images = tempfile::tempdir().unwrap();
        let config = config(&[registry.host(), storage.host()]);
        let config = PullConfig { image_dir: Some(images.path().to_owned()), ..config };
        let error = pull_as(&config, &registry.reference(), &RegistryLogin::Anonymous).await.unwrap_err();
        assert_eq!(error.reason, reason, "{error}");
    }
}
