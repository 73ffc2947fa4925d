//! What the registry answers, and what answers in its place.

use serde_json::json;
use waybill_tests::{
    image::TinyImage,
    login::Login,
    port::Port,
    registry::{Endpoint, Fault, Registry, Scheme},
    require,
    stack::Plan,
};

use super::{build_and_run, expect};

#[tokio::test]
async fn each_refusal_is_told_apart() {
    let registry = Registry::start(Scheme::Basic).unwrap();
    let closed = Port::reserve().unwrap();
    let login = Login::new("u", "p");
    registry.accounts().allow(&login);
    let image = TinyImage::new("pulls").unwrap();
    let reference = registry.serve("team/app", "1", &image);
    let stack = require!(Plan::default().plain_http(&[&registry.host(), &closed.host()]).start().await);
    let gone = format!("{}/team/app:2", registry.host());
    let away = format!("{}/team/app:1", closed.host());
    let foreign = registry.serve("team/app", "foreign", &image.clone().for_another_platform());
    let revoked = Login::new("gone", "p");
    registry.accounts().allow(&revoked);
    registry.accounts().revoke(&revoked);
    let cases = [
        ("denied", &reference, "u:p", Some(403), (1, "pull", "denied", "answered 403")),
        ("limited", &reference, "u:p", Some(429), (1, "pull", "rate_limited", "answered 429")),
        ("broken", &reference, "u:p", Some(500), (1, "pull", "registry_error", "failed a pull")),
        ("absent", &gone, "u:p", None, (1, "pull", "not_found", "answered 404")),
        ("revoked", &reference, "gone:p", None, (1, "pull", "unauthorized", "wanted another login")),
        ("away", &away, "u:p", None, (1, "pull", "unreachable", "did not answer")),
        ("foreign", &foreign, "u:p", None, (1, "pull", "no_platform", "not for the platform")),
        ("fine", &reference, "u:p", None, (0, "pull", "pulled", "was pulled with creds-")),
    ];
    for (name, reference, credentials, status, expected) in cases {
        if let Some(status) = status {
            registry.inject(Fault::status(status).on(Endpoint::Manifest));
        }
        build_and_run(&stack, name, reference, json!(credentials)).await;
        registry.heal();
        expect(&stack, ["container", name], expected).await;
    }
}
