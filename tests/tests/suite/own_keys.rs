//! The keys of self-hosted Harbor and GitLab reach the token service under the user names that these give them.

use std::time::Duration;

use serde_json::json;
use waybill_tests::{
    canary::{Canary, Search},
    image::TinyImage,
    login::Login,
    registry::{Credential, Endpoint, Registry, Scheme, Seen},
    require,
    stack::Plan,
};

#[tokio::test]
async fn harbor_s_robots_and_gitlab_s_tokens_log_in_at_a_registry_of_one_s_own() {
    let registry = Registry::start(Scheme::Bearer(Duration::from_secs(300))).unwrap();
    let reference = registry.serve("team/app", "1", &TinyImage::new("own keys").unwrap());
    let host = registry.host();
    let stack = require!(Plan::default().plain_http(&[&host]).start().await);
    let secret = Canary::new("registry password");
    let password = secret.value();
    let cases = [
        ("harbor", "robot$team+ci", json!({ "HARBOR_USERNAME": "robot$team+ci", "HARBOR_PASSWORD": password })),
        ("deploy", "gitlab+1", json!({ "CI_DEPLOY_USER": "gitlab+1", "CI_DEPLOY_PASSWORD": password })),
        ("person", "ada", json!({ "GITLAB_USERNAME": "ada", "GITLAB_TOKEN": password })),
        ("runner", "gitlab-ci-token", json!({ "CI_JOB_TOKEN": password })),
        ("registry", "bob", json!({ "CI_REGISTRY_USER": "bob", "CI_REGISTRY_PASSWORD": password })),
    ];
    for (name, user, mut keys) in cases {
        if name != "harbor" {
            keys["CI_REGISTRY"] = json!(host);
        }
        let login = Login::new(user, password);
        registry.accounts().allow_only(&login, &["team/app"]);
        let before = registry.seen().len();
        let saved = stack.build("acme", name, &reference, keys).await;
        assert_eq!(saved.text("cred_type"), "basic", "{name}: {saved:?}");
        assert_eq!(stack.container("acme", name, name, "w1").await.status, 202);
        let pulled = stack.wait_for_outcome(name).await;
        assert_eq!(pulled.name, "ImagePullSucceeded", "{}", pulled.line);
        registry.accounts().revoke(&login);

        let seen = registry.seen().split_off(before);
        let asked = |endpoint: Endpoint, credential: Credential| {
            let by = |seen: &&Seen| seen.endpoint == endpoint && seen.credential == credential && seen.status == 200;
            seen.iter().filter(by).all(|seen| seen.account.as_deref() == Some(user)) && seen.iter().any(|one| by(&one))
        };
        assert!(asked(Endpoint::Token, Credential::Basic), "{name}: {seen:?}");
        assert!(asked(Endpoint::Manifest, Credential::Bearer), "{name}: {seen:?}");
    }
    Search::new([&secret]).assert_absent_in_dir(stack.dir());
}
