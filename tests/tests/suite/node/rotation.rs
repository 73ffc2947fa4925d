//! Rotation under the eyes of a node's programs: logins switch without a failed pull, and a revoked one is gone.

use super::*;
use waybill_tests::{
    image::TinyImage,
    registry::{Registry, Scheme},
    require,
    stack::Recorded,
};

/// What the registry answers who pulls with a login.
async fn manifest(registry: &Registry, login: &Login) -> u16 {
    let url = format!("{}/v2/team/app/manifests/1", registry.url());
    let asked = reqwest::Client::new().get(url).basic_auth(login.user(), Some(login.password()));
    asked.send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn a_provider_in_use_switches_without_a_failed_pull() {
    let (old, new) = (Login::new("puller", "old-password"), Login::new("puller-2", "new-password"));
    let registry = Registry::start(Scheme::Basic).unwrap();
    // As with a key that is rotated: both are good for a while, then the old one is not.
    registry.accounts().allow(&old);
    registry.accounts().allow(&new);
    let reference = registry.serve("team/app", "1", &TinyImage::new("rotated").unwrap());
    let node = require!(Node::start(Plan::default().plain_http(&[&registry.host()])).await);
    let placed = node.attach("acme", "c1", &reference, &old).await;
    let login = || {
        let said = node.docker("acme/c1", "get", &registry.host());
        assert_eq!(said.code, 0, "a program asks in vain: {}{}", said.stdout, said.stderr);
        let login: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
        let word = |name: &str| login[name].as_str().unwrap().to_owned();
        Login::new(word("Username"), word("Secret"))
    };
    assert_eq!(login().user(), old.user());

    let rotation = json!({ "credentials": format!("{}:{}", new.user(), new.password()), "if_version": 1 });
    let rotated = node.stack.change_secret("acme", &placed.secret, "rotate", &rotation).await;
    assert_eq!((rotated.status.as_u16(), &rotated.body["version"]), (201, &json!(2)), "{rotated:?}");
    // However often a program asks meanwhile, it gets one or the other, and each is good when it is given.
    let switched = eventually(Duration::from_secs(30), "the new login", async || {
        let given = login();
        assert_eq!(manifest(&registry, &given).await, 200, "{} is not accepted", given.user());
        (given.user() == new.user()).then_some(())
    });
    switched.await.unwrap();
    registry.accounts().revoke(&old);
    assert_eq!((manifest(&registry, &old).await, manifest(&registry, &login()).await), (401, 200));
    // A container that asks now never sees the old one.
    assert_eq!(node.stack.container("acme", "c2", "img-c1", "w1").await.status, 202);
    assert_eq!(node.stack.wait_for_outcome("c2").await.name, "ImagePullSucceeded");

    // One that has ended hears of nothing more; the other is told to drop its login.
    let ended = node.waybill("container-ended", "acme", "c2");
    assert_eq!(ended.code, 0, "{}{}", ended.stdout, ended.stderr);
    let recorded = |event: &Recorded| event.is("ContainerEnded", "c2");
    node.stack.wait_for("the end", |events| events.iter().any(recorded).then_some(())).await;
    let revoked = node.stack.change_secret("acme", &placed.secret, "revoke", &json!({})).await;
    assert_eq!(revoked.status, 200, "{revoked:?}");
    let gone =
        eventually(Duration::from_secs(30), "the key to go", async || (!node.access("acme/c1").exists()).then_some(()));
    gone.await.unwrap();
    let refused = node.docker("acme/c1", "get", &registry.host());
    assert_eq!(refused.code, 1, "{}", refused.stdout);
    let events = node.stack.events().await;
    let told = |container: &str| -> Vec<String> {
        let decided = events.iter().filter(|event| event.name.starts_with("ContainerCredentials"));
        let about = decided.filter(|event| event.data["container_id"] == container);
        about.map(|event| format!("{} {}", event.name, event.text("reason"))).collect()
    };
    let attached = "ContainerCredentialsAttached ";
    assert_eq!(told("c1"), [attached, "ContainerCredentialsWithdrawn secret_revoked"]);
    // The worker that says an end has dropped the login already: it is told of nothing.
    assert_eq!(told("c2"), [attached]);
    let renewed = events.iter().filter(|event| event.name == "WorkerCredentialsRenewed").count();
    assert_eq!(renewed, 1, "one renewal for the worker, whatever it runs");
    let mut explain = node.stack.waybill();
    explain.args(["explain", "container", "c2", "--workspace", "acme"]);
    let said = run(explain, "");
    assert!(said.code == 0 && said.stdout.contains("the placement ended"), "{}{}", said.stdout, said.stderr);
}
