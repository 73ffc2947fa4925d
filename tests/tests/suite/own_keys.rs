//! The keys of each registry service reach it under the user names that it gives them.

use std::time::Duration;

use serde_json::json;
use waybill_tests::{
    authority::PrivateCa,
    canary::{Canary, Search},
    docker_registry::DockerRegistry,
    image::TinyImage,
    login::Login,
    proxy::Proxy,
    registry::{Credential, Endpoint, Registry, Scheme, Seen},
    require,
    skopeo::Skopeo,
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

/// The hosts of the services themselves, played by a docker-registry with a certificate for them behind a proxy.
#[tokio::test]
async fn the_keys_of_a_service_log_in_at_its_host_and_nowhere_else() {
    let secret = Canary::new("service token");
    let password = secret.value();
    let cases = [
        ("ghcr.io", "ghcr.io", "octo", json!({ "GITHUB_USERNAME": "octo", "GITHUB_TOKEN": password })),
        ("nvcr.io", "nvcr.io", "$oauthtoken", json!({ "NGC_API_KEY": password })),
        ("docker.io", "index.docker.io", "moby", json!({ "DOCKERHUB_USERNAME": "moby", "DOCKERHUB_TOKEN": password })),
        ("quay.io", "quay.io", "team+ci", json!({ "QUAY_USERNAME": "team+ci", "QUAY_PASSWORD": password })),
        (
            "registry.gitlab.com",
            "registry.gitlab.com",
            "tanuki",
            json!({ "GITLAB_USERNAME": "tanuki", "GITLAB_TOKEN": password }),
        ),
    ];
    let skopeo = require!(Skopeo::find());
    let authority = require!(PrivateCa::for_hosts(&cases.each_ref().map(|case| case.1)));
    let image = TinyImage::new("services").unwrap();
    for (host, served_by, user, keys) in cases {
        // An account of its own each time: a login with another service's user would be refused.
        let login = Login::new(user, password);
        let registry = require!(DockerRegistry::start_tls(std::slice::from_ref(&login), &authority).await);
        registry.push(&skopeo, &image, "team/app", "1", &login).await.unwrap();
        let proxy = require!(Proxy::start(&registry.host()).await);
        let plan = Plan::default().setting("HTTPS_PROXY", proxy.url());
        let ca = authority.file().display().to_string();
        let stack = require!(plan.setting("WAYBILL_WORKER_CA_FILE", ca).start().await);
        let saved = stack.build("acme", "img", &format!("{host}/team/app:1"), keys).await;
        assert_eq!(saved.text("outcome"), "saved", "{host}: {saved:?}");
        stack.container("acme", "c-1", "img", "w1").await;
        let pulled = stack.wait_for_outcome("c-1").await;
        assert_eq!(pulled.name, "ImagePullSucceeded", "{host}: {}", pulled.line);
        assert_eq!(pulled.text("digest"), image.digest(), "{host}");
        let asked = proxy.hosts();
        assert!(!asked.is_empty() && asked.iter().all(|one| *one == format!("{served_by}:443")), "{host}: {asked:?}");
        Search::new([&secret]).assert_absent_in_dir(stack.dir());
    }
}
