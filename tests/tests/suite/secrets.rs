//! Rotation and revocation: who gets the new credentials, and who none any more.

use std::time::Duration;

use serde_json::{Value, json};
use waybill_tests::{
    canary::{Canary, Search},
    image::TinyImage,
    login::Login,
    registry::{Registry, Scheme},
    require,
    stack::{Plan, Recorded, Service, Stack},
    wait::eventually,
};

const PATIENCE: Duration = Duration::from_secs(30);

/// The decisions about a container, as `attached 3` or `secret_revoked 9`: what each rests on.
fn decisions(events: &[Recorded], container: &str) -> Vec<String> {
    let told = |event: &Recorded| match event.name.as_str() {
        "ContainerCredentialsAttached" => Some(format!("attached {}", event.data["saved_by"])),
        "ContainerCredentialsSkipped" => Some(format!("{} {}", event.text("reason"), event.data["image_event"])),
        _ => None,
    };
    events.iter().filter(|event| event.data["container_id"] == container).filter_map(told).collect()
}

/// Waits until the worker has said as often what it made of a decision.
async fn provided(stack: &Stack, container: &str, times: usize) -> Vec<Recorded> {
    let outcome = |event: &&Recorded| {
        event.is("CredentialProviderAttached", container) || event.is("CredentialProviderFailed", container)
    };
    stack
        .wait_for("providers", |events| {
            let found: Vec<Recorded> = events.iter().filter(outcome).cloned().collect();
            (found.len() >= times).then_some(found)
        })
        .await
}

async fn changed(stack: &Stack, arguments: &[&str]) -> Value {
    let finished = stack.run(&[&["secrets"], arguments, &["--json"]].concat()).await;
    assert!(finished.status.success(), "{}{}", finished.stdout, finished.stderr);
    serde_json::from_str(&finished.stdout).unwrap()
}

async fn code(stack: &Stack, arguments: [&str; 2]) -> (Option<i32>, String) {
    let finished = stack.run(&["explain", arguments[0], arguments[1], "--json"]).await;
    let answer: Value = serde_json::from_str(&finished.stdout).unwrap();
    (finished.status.code(), answer["verdict"]["code"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn new_credentials_reach_running_containers_and_revoked_ones_leave_them() {
    let (old, new) = (Canary::new("old"), Canary::new("new"));
    let registry = Registry::start(Scheme::Basic).unwrap();
    registry.accounts().allow(&Login::new("puller", old.value()));
    let reference = registry.serve("team/app", "1", &TinyImage::new("rotated").unwrap());
    let plan = Plan::default().workspaces(&["acme", "umbrella"]).plain_http(&[&registry.host()]);
    let mut stack = require!(plan.start().await);
    for workspace in ["acme", "umbrella"] {
        stack.build(workspace, "img", &reference, json!(format!("puller:{}", old.value()))).await;
        stack.container(workspace, &format!("c-{workspace}"), "img", "w1").await;
        stack.wait_for_event("ImagePullSucceeded", &format!("c-{workspace}")).await;
    }
    let saved = stack.wait_for_event("ContainerCredentialsAttached", "c-acme").await.data["saved_by"].as_u64().unwrap();

    // The registry takes the new password only.
    registry.accounts().allow(&Login::new("puller", new.value()));
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("puller:{}\n", new.value())).unwrap();
    let rotated = changed(&stack, &["rotate", "img", "--creds", file.path().to_str().unwrap()]).await;
    std::fs::write(file.path(), "").unwrap();
    assert_eq!((&rotated["outcome"], rotated["before"].as_u64()), (&json!("rotated"), Some(saved)), "{rotated}");
    let version = rotated["sequence"].as_u64().unwrap();
    provided(&stack, "c-acme", 2).await;
    stack.container("acme", "c-later", "img", "w1").await;
    assert_eq!(stack.wait_for_outcome("c-later").await.name, "ImagePullSucceeded");
    let events = stack.events().await;
    assert_eq!(decisions(&events, "c-acme"), [format!("attached {saved}"), format!("attached {version}")]);
    assert_eq!(decisions(&events, "c-later"), [format!("attached {version}")]);
    assert_eq!(decisions(&events, "c-umbrella").len(), 1, "another workspace's image of the same name");
    assert_eq!(events.iter().filter(|event| event.is("ImagePullSucceeded", "c-acme")).count(), 1);
    assert_eq!(code(&stack, ["container", "c-acme"]).await, (Some(0), "pulled".to_owned()));
    let listed = changed(&stack, &["list"]).await;
    let expected = json!({
        "image_id": "img", "state": "in_use", "image_ref": reference, "registry": registry.host(),
        "secret_name": rotated["secret_name"], "cred_type": "basic", "version": version, "versions": 2,
        "saved_at": listed["saved_at"], "expires_at": null, "revoked_by": null,
    });
    assert_eq!(listed, expected);

    // Whoever is gone hears of that, and of nothing else.
    let ended = stack.post("/v1/containers/ended", &json!({"workspace": "acme", "container_id": "c-later"})).await;
    assert_eq!(ended.status, 202, "{ended:?}");
    let revoked = changed(&stack, &["revoke", "img", "--reason", "the account was closed"]).await;
    let revocation = revoked["sequence"].as_u64().unwrap();
    let last = provided(&stack, "c-acme", 3).await.pop().unwrap();
    assert_eq!((last.name.as_str(), last.text("reason")), ("CredentialProviderFailed", "credentials_withheld"));
    let expected = (1, "attached", "secret_revoked", "the credentials were revoked");
    super::explain::expect(&stack, ["container", "c-acme"], expected).await;
    stack.container("acme", "c-never", "img", "w1").await;
    provided(&stack, "c-never", 1).await;
    let events = stack.events().await;
    assert_eq!(decisions(&events, "c-never"), [format!("secret_revoked {revocation}")]);
    let end = &ended.body["sequence"];
    assert_eq!(decisions(&events, "c-later"), [format!("attached {version}"), format!("container_ended {end}")]);
    assert_eq!(code(&stack, ["container", "c-later"]).await, (Some(0), "pulled".to_owned()));
    assert!(
        !events.iter().any(|event| event.is("ImagePullSucceeded", "c-never") || event.is("ImagePullFailed", "c-never"))
    );
    assert_eq!(code(&stack, ["image", "img"]).await, (Some(1), "secret_revoked".to_owned()));
    assert_eq!(changed(&stack, &["list"]).await["state"], "revoked");
    let refused = stack.run(&["secrets", "revoke", "img"]).await;
    assert_eq!(refused.status.code(), Some(1), "{}", refused.stdout);
    assert!(refused.stdout.contains("image_id") && refused.stdout.contains("POST /v1/builds"), "{}", refused.stdout);
    let shown = stack.run(&["secrets"]).await.stdout;
    assert!(shown.lines().all(|line| line.chars().count() <= 80) && shown.contains("revoked"), "{shown}");
    Search::new([&old, &new]).assert_absent_in_bytes("what the commands print", format!("{rotated}{shown}").as_bytes());

    same_when_read_again(&mut stack, [saved, version, revocation]).await;
    let (findings, _) = Search::new([&old, &new]).in_dir(stack.dir()).unwrap();
    assert!(findings.is_empty(), "{findings:?}");
}

/// A rotation and a revocation in a log that is folded again, in all or up to before each.
async fn same_when_read_again(stack: &mut Stack, [saved, version, revocation]: [u64; 3]) {
    let verified = stack.run(&["replay", "--verify"]).await;
    assert!(verified.status.success(), "{}{}", verified.stdout, verified.stderr);
    let then = [(version - 1, saved, 0, "pulled"), (version, version, 3, "awaiting_decision")];
    for (at, in_use, status, told) in then.into_iter().chain([(revocation - 1, version, 0, "pulled")]) {
        let at = at.to_string();
        let image = stack.run(&["explain", "image", "img", "--json", "--at", &at]).await;
        let image: Value = serde_json::from_str(&image.stdout).unwrap();
        assert_eq!(
            (&image["verdict"]["code"], image["verdict"]["sequence"].as_u64()),
            (&json!("saved"), Some(in_use)),
            "{at}"
        );
        let container = stack.run(&["explain", "container", "c-acme", "--json", "--at", &at]).await;
        let answer: Value = serde_json::from_str(&container.stdout).unwrap();
        assert_eq!((container.status.code(), &answer["verdict"]["code"]), (Some(status), &json!(told)), "{at}");
    }
    let (live, events) = (rows(stack).await, stack.events().await.len());
    assert!(live.iter().any(|row| row.contains("\"revoked\"") && row.contains("\"rotated\"")), "{live:?}");
    stack.stop(&Service::Scheduler).await;
    stack.spawn_with(&Service::Scheduler, &["--rebuild"]).unwrap();
    stack.until_ready(&Service::Scheduler).await.unwrap();
    let rebuilt = eventually(PATIENCE, "the same rows", async || (rows(stack).await == live).then_some(()));
    rebuilt.await.unwrap();
    assert_eq!(stack.events().await.len(), events, "nobody is told again");
}

/// What the projection says, but for how far it has come.
async fn rows(stack: &Stack) -> Vec<String> {
    let shown = stack.run(&["projection", "--json"]).await.stdout;
    shown.lines().filter(|line| !line.contains("\"table\":\"meta\"")).map(str::to_owned).collect()
}

/// A rotation that nobody folds at once, and a scheduler that dies while it tells: one further decision for each.
#[tokio::test]
async fn each_container_is_told_once_whatever_dies() {
    const CONTAINERS: usize = 40;
    let registry = Registry::start(Scheme::Basic).unwrap();
    registry.accounts().allow(&Login::new("u", "p"));
    let reference = registry.serve("team/app", "1", &TinyImage::new("told").unwrap());
    let mut stack = require!(Plan::default().plain_http(&[&registry.host()]).start().await);
    stack.build("acme", "img", &reference, json!("u:p")).await;
    let names: Vec<String> = (0..CONTAINERS).map(|number| format!("c-{number}")).collect();
    for name in &names {
        stack.container("acme", name, "img", "w1").await;
    }
    for name in &names {
        stack.wait_for_outcome(name).await;
    }
    for round in 1..=3 {
        stack.sigkill(&Service::Scheduler);
        let rotation = json!({"workspace": "acme", "image_id": "img", "credentials": "u:p"});
        assert_eq!(stack.post("/v1/secrets/rotate", &rotation).await.status, 201);
        stack.spawn(&Service::Scheduler).unwrap();
        let decided = |events: &[Recorded]| names.iter().map(|name| decisions(events, name).len()).collect::<Vec<_>>();
        // As soon as one is told it dies again, in the middle of the others or after them.
        stack.wait_for("a renewal", |events| decided(events).iter().any(|count| *count > round).then_some(())).await;
        stack.sigkill(&Service::Scheduler);
        stack.start_all().await.unwrap();
        let all = vec![round + 1; CONTAINERS];
        stack.wait_for("all renewals", |events| (decided(events) >= all).then_some(())).await;
        assert_eq!(decided(&stack.events().await), all);
    }
    let verified = stack.run(&["replay", "--verify"]).await;
    assert!(verified.status.success(), "{}{}", verified.stdout, verified.stderr);
}
