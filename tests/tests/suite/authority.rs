//! A registry with a certificate of a private authority: pulled from where the worker trusts it, and refused where not.

use serde_json::json;
use waybill_tests::{
    authority::PrivateCa, docker_registry::DockerRegistry, image::TinyImage, login::Login, require, skopeo::Skopeo,
    stack::Plan,
};

#[tokio::test]
async fn a_private_authority_is_trusted_where_the_worker_is_told() {
    let skopeo = require!(Skopeo::find());
    let (authority, ada) = (require!(PrivateCa::new()), Login::new("ada", "a password"));
    let registry = require!(DockerRegistry::start_tls(std::slice::from_ref(&ada), &authority).await);
    let image = TinyImage::new("private").unwrap();
    let reference = registry.push(&skopeo, &image, "team/app", "1", &ada).await.unwrap();
    let keys = || json!({ "USERNAME": ada.user(), "PASSWORD": ada.password() });
    let trusting = Plan::default().setting("WAYBILL_WORKER_CA_FILE", authority.file().display().to_string());
    for (plan, name, reason) in
        [(trusting, "ImagePullSucceeded", ""), (Plan::default(), "ImagePullFailed", "tls_unknown_authority")]
    {
        let stack = require!(plan.start().await);
        stack.build("acme", "img", &reference, keys()).await;
        assert_eq!(stack.container("acme", "c-1", "img", "w1").await.status, 202);
        let event = stack.wait_for_outcome("c-1").await;
        assert_eq!((event.name.as_str(), event.text("reason")), (name, reason), "{}", event.line);
    }
}
