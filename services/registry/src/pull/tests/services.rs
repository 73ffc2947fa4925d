//! Token services that a registry has no business to name, over TLS as they would be.

use serde_json::json;

use super::*;
use crate::testing::{FakeRegistry, Image, PrivateCa, answer};

const TOKEN: &str = "token-of-ada";

/// A registry that sends its callers to this realm for a token; `{port}` stands for its own.
async fn naming(ca: &PrivateCa, realm: String) -> FakeRegistry {
    FakeRegistry::start_tls(ca, move |asked| {
        if asked.path == "/token" {
            return Some(answer(200, json!({ "token": TOKEN }).to_string()));
        }
        let port = asked.host.rsplit(':').next().unwrap_or_default();
        let challenge = format!("Bearer realm=\"{}\"", realm.replace("{port}", port));
        let welcome = asked.authorization == Some(format!("Bearer {TOKEN}"));
        (!welcome).then(|| (401, vec![("www-authenticate", challenge)], Vec::new()))
    })
    .await
}

/// A token service, and its port.
async fn service(ca: &PrivateCa) -> (FakeRegistry, String) {
    let service = FakeRegistry::start_tls(ca, |_| Some(answer(200, json!({ "token": TOKEN }).to_string()))).await;
    let port = service.host().rsplit(':').next().unwrap().to_owned();
    (service, port)
}

fn as_localhost(registry: &FakeRegistry) -> String {
    registry.reference().replace("127.0.0.1", "localhost")
}

#[tokio::test]
async fn a_registry_s_own_host_gives_tokens_wherever_it_is() {
    let ca = PrivateCa::new();
    let registry = naming(&ca, "https://127.0.0.1:{port}/token".to_owned()).await;
    let outcome = pull_as(&trusting(&ca, &[]), &registry.reference(), &ada()).await;
    assert_eq!(outcome, Ok(Image::new().digest()));
}

#[tokio::test]
async fn a_service_in_a_private_network_is_not_asked() {
    let ca = PrivateCa::new();
    let (service, port) = service(&ca).await;
    let by_name = [("localhost", false), ("LocalHost", false)];
    let by_address =
        ["127.0.0.1", "127.1", "2130706433", "0x7f000001", "[::ffff:127.0.0.1]", "[::1]", "169.254.169.254"];
    for (host, as_name) in by_name.into_iter().chain(by_address.map(|address| (address, true))) {
        let registry = naming(&ca, format!("https://{host}:{port}/token")).await;
        let reference = if as_name { as_localhost(&registry) } else { registry.reference() };
        let error = pull_as(&trusting(&ca, &[]), &reference, &ada()).await.unwrap_err();
        assert_eq!(error.reason, PullFailure::RegistryError, "{host}: {error}");
        assert!(error.detail.contains("WAYBILL_WORKER_INTERNAL_TOKEN_SERVICES"), "{host}: {error}");
        assert!(!error.may_be_stale(), "{host}");
    }
    assert!(service.asked().is_empty(), "{:?}", service.asked());
}

#[tokio::test]
async fn a_service_that_the_operator_names_is_asked() {
    let ca = PrivateCa::new();
    let (service, port) = service(&ca).await;
    for (number, internal) in ["localhost".to_owned(), format!("localhost:{port}")].iter().enumerate() {
        let registry = naming(&ca, format!("https://localhost:{port}/token")).await;
        let outcome = pull_as(&trusting(&ca, &[internal]), &registry.reference(), &ada()).await;
        assert_eq!((outcome, service.asked().len()), (Ok(Image::new().digest()), number + 1), "{internal}");
    }
    let registry = naming(&ca, format!("https://localhost:{port}/token")).await;
    let error = pull_as(&trusting(&ca, &["localhost:1"]), &registry.reference(), &ada()).await.unwrap_err();
    assert_eq!(error.reason, PullFailure::RegistryError, "another port is another service: {error}");
}

#[tokio::test]
async fn a_private_authority_is_trusted_where_it_is_configured() {
    let (ca, other) = (PrivateCa::new(), PrivateCa::new());
    let registry = FakeRegistry::start_tls(&ca, |_| None).await;
    let pulled = pull_as(&trusting(&ca, &[]), &registry.reference(), &ada()).await;
    assert_eq!(pulled, Ok(Image::new().digest()));
    for config in [config(&[]), trusting(&other, &[])] {
        let error = pull_as(&config, &registry.reference(), &ada()).await.unwrap_err();
        assert_eq!(error.reason, PullFailure::TlsUnknownAuthority, "{error}");
    }
    let asked = registry.asked().len();
    // A registry that is spoken to without TLS is not spoken to with it.
    assert!(pull_as(&super::config(&[registry.host()]), &registry.reference(), &ada()).await.is_err());
    assert_eq!(registry.asked().len(), asked);
}
