//! Named secrets: rotation, revocation and shredding reach every placement that has one, and nobody else.

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

/// The decisions about a container, as `attached 1` (the version), `superseded` or the reason of a skip.
fn decisions(events: &[Recorded], container: &str) -> Vec<String> {
    let in_words = |event: &Recorded| match event.name.as_str() {
        "ContainerCredentialsAttached" => Some(format!("attached {}", event.data["version"])),
        "ContainerCredentialsSkipped" | "ContainerCredentialsWithdrawn" => Some(event.text("reason").to_owned()),
        _ => None,
    };
    events.iter().filter(|event| event.data["container_id"] == container).filter_map(in_words).collect()
}

/// The renewals of a secret, as `w1 2 rotation`.
fn renewals(events: &[Recorded], secret: &str) -> Vec<String> {
    let renewed = events.iter().filter(|event| event.name == "WorkerCredentialsRenewed");
    let mine = renewed.filter(|event| event.text("secret_name") == secret);
    mine.map(|event| format!("{} {} {}", event.text("worker_id"), event.data["version"], event.text("cause"))).collect()
}

/// Waits until a worker uses a version of a secret.
async fn applied(stack: &Stack, secret: &str, version: u64) -> Recorded {
    let found = |events: &[Recorded]| {
        let applied = events.iter().filter(|event| event.name == "SecretRenewalApplied");
        applied
            .filter(|event| event.text("secret_name") == secret)
            .find(|event| event.data["version"] == version)
            .cloned()
    };
    stack.wait_for(&format!("version {version} of {secret}"), found).await
}

async fn run_json(stack: &Stack, arguments: &[&str]) -> Value {
    let finished = stack.run(&[arguments, &["--json"]].concat()).await;
    assert!(finished.status.success(), "{}{}", finished.stdout, finished.stderr);
    serde_json::from_str(&finished.stdout).unwrap()
}

async fn code(stack: &Stack, arguments: [&str; 2]) -> (Option<i32>, String) {
    let finished = stack.run(&["explain", arguments[0], arguments[1], "--json"]).await;
    let answer: Value = serde_json::from_str(&finished.stdout).unwrap_or_else(|_| panic!("{}", finished.stderr));
    (finished.status.code(), answer["verdict"]["code"].as_str().unwrap().to_owned())
}

/// Two images of one account share a secret: one rotation by its name reaches the containers of both.
#[tokio::test]
async fn new_credentials_reach_running_containers_and_revoked_ones_leave_them() {
    let (old, new) = (Canary::new("old"), Canary::new("new"));
    let registry = Registry::start(Scheme::Basic).unwrap();
    registry.accounts().allow(&Login::new("puller", old.value()));
    let reference = registry.serve("team/app", "1", &TinyImage::new("rotated").unwrap());
    let plan = Plan::default().workspaces(&["acme", "umbrella"]).plain_http(&[&registry.host()]);
    let mut stack = require!(plan.start().await);
    let login = json!(format!("puller:{}", old.value()));
    let first = stack.build("acme", "img", &reference, login.clone()).await;
    let second = stack.build("acme", "img-2", &reference, login.clone()).await;
    stack.build("umbrella", "img", &reference, login).await;
    assert_eq!((&first.body["version"], &first.body["unchanged"]), (&json!(1), &json!(false)), "{first:?}");
    assert_eq!((&second.body["version"], &second.body["unchanged"]), (&json!(1), &json!(true)), "{second:?}");
    let secret = first.text("secret_name").to_owned();
    assert_eq!(second.text("secret_name"), secret);
    for (workspace, container, image) in
        [("acme", "c-1", "img"), ("acme", "c-2", "img-2"), ("umbrella", "c-umbrella", "img")]
    {
        stack.container(workspace, container, image, "w1").await;
        stack.wait_for_event("ImagePullSucceeded", container).await;
    }

    // The registry takes the new password only.
    registry.accounts().allow(&Login::new("puller", new.value()));
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("puller:{}\n", new.value())).unwrap();
    let file = file.path().to_str().unwrap().to_owned();
    let rotated = run_json(&stack, &["secrets", "rotate", &secret, "--creds", &file, "--if-version", "1"]).await;
    let conflict = stack.run(&["secrets", "rotate", &secret, "--creds", &file, "--if-version", "1"]).await;
    assert_eq!(conflict.status.code(), Some(1), "{}{}", conflict.stdout, conflict.stderr);
    std::fs::write(&file, "").unwrap();
    assert_eq!((&rotated["outcome"], &rotated["version"]), (&json!("rotated"), &json!(2)), "{rotated}");
    assert_eq!(applied(&stack, &secret, 2).await.data["placements"], 2);
    stack.container("acme", "c-later", "img", "w1").await;
    assert_eq!(stack.wait_for_outcome("c-later").await.name, "ImagePullSucceeded");
    let events = stack.events().await;
    assert_eq!(renewals(&events, &secret), ["w1 2 rotation"], "one event for the worker");
    assert_eq!(decisions(&events, "c-1"), ["attached 1"]);
    assert_eq!(decisions(&events, "c-later"), ["attached 2"]);
    assert_eq!(events.iter().filter(|event| event.is("ImagePullSucceeded", "c-1")).count(), 1);
    assert_eq!(code(&stack, ["container", "c-1"]).await, (Some(0), "pulled".to_owned()));

    revoke_and_check(&stack, &secret).await;
    let shown = stack.run(&["secrets", "list"]).await.stdout;
    assert!(shown.contains(&secret) && shown.contains("revoked"), "{shown}");
    Search::new([&old, &new]).assert_absent_in_bytes("what the commands print", format!("{rotated}{shown}").as_bytes());
    same_when_read_again(&mut stack).await;
    let (findings, _) = Search::new([&old, &new]).in_dir(stack.dir()).unwrap();
    assert!(findings.is_empty(), "{findings:?}");
}

/// Whoever is gone hears of that, and of nothing else; a revocation takes the login from the others.
async fn revoke_and_check(stack: &Stack, secret: &str) {
    let later = stack.wait_for_event("ContainerRequested", "c-later").await.sequence;
    let ended = stack.end("acme", "c-later", later).await;
    assert_eq!(ended.status, 202, "{ended:?}");
    stack.wait_for_event("ContainerCredentialsWithdrawn", "c-later").await;
    let revoked = run_json(stack, &["secrets", "revoke", secret, "--reason", "the account was closed"]).await;
    assert_eq!((&revoked["outcome"], &revoked["version"]), (&json!("revoked"), &json!(2)), "{revoked}");
    for container in ["c-1", "c-2"] {
        stack.wait_for_event("ContainerCredentialsWithdrawn", container).await;
    }
    stack.container("acme", "c-never", "img", "w1").await;
    let failed = stack.wait_for_outcome("c-never").await;
    assert_eq!((failed.name.as_str(), failed.text("reason")), ("CredentialProviderFailed", "credentials_withheld"));
    let events = stack.events().await;
    assert_eq!(decisions(&events, "c-1"), ["attached 1", "secret_revoked"]);
    assert_eq!(decisions(&events, "c-later"), ["attached 2", "ended"]);
    assert_eq!(decisions(&events, "c-never"), ["secret_revoked"]);
    assert_eq!(decisions(&events, "c-umbrella"), ["attached 1"], "another workspace's secret of the same name");
    assert_eq!(code(stack, ["container", "c-1"]).await, (Some(1), "secret_revoked".to_owned()));
    assert_eq!(code(stack, ["image", "img"]).await, (Some(1), "secret_revoked".to_owned()));
    let again = stack.run(&["secrets", "revoke", secret]).await;
    assert_eq!(again.status.code(), Some(1), "{}{}", again.stdout, again.stderr);
}

/// Folded again, the log leads to the same rows and decisions, and nobody is told anything again.
async fn same_when_read_again(stack: &mut Stack) {
    let verified = stack.run(&["replay", "--verify"]).await;
    assert!(verified.status.success(), "{}{}", verified.stdout, verified.stderr);
    let (live, events) = (rows(stack).await, stack.events().await.len());
    assert!(live.iter().any(|row| row.contains("\"revoked\"")), "{live:?}");
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

/// A secret that somebody puts by name, builds that only name it, and a shredding that leaves nothing of it anywhere.
#[tokio::test]
async fn a_shredded_secret_is_nowhere() {
    let value = Canary::new("shredded");
    let registry = Registry::start(Scheme::Basic).unwrap();
    registry.accounts().allow(&Login::new("puller", value.value()));
    let reference = registry.serve("team/app", "1", &TinyImage::new("shred").unwrap());
    let mut stack = require!(Plan::default().plain_http(&[&registry.host()]).start().await);
    let body = json!({ "registry": registry.host(), "credentials": format!("puller:{}", value.value()) });
    let put = stack.put_secret("acme", "team.pull", &body).await;
    assert_eq!((put.status.as_u16(), &put.body["version"]), (201, &json!(1)), "{put:?}");
    let named = json!({
        "workspace": "acme", "image_id": "img", "existing_image_uri": reference, "existing_image_secret": "team.pull",
    });
    let named = stack.post("/v1/builds", &named).await;
    assert_eq!((named.status.as_u16(), named.text("outcome")), (200, "named"), "{named:?}");
    stack.container("acme", "c-1", "img", "w1").await;
    assert_eq!(stack.wait_for_outcome("c-1").await.name, "ImagePullSucceeded");
    let sealed = vault_entries(&stack).await;
    assert_eq!(sealed.len(), 2, "the version and a grant: {sealed:?}");

    let shredded = stack.change_secret("acme", "team.pull", "shred", &json!({ "if_version": 1 })).await;
    assert!(shredded.status.is_success(), "{shredded:?}");
    stack.wait_for_event("ContainerCredentialsWithdrawn", "c-1").await;
    let gone = eventually(PATIENCE, "an empty vault", async || vault_entries(&stack).await.is_empty().then_some(()));
    gone.await.unwrap();
    let verified = stack.run(&["replay", "--verify"]).await;
    assert!(verified.status.success(), "{}{}", verified.stdout, verified.stderr);
    for service in [Service::Gateway, Service::Scheduler, Service::Worker("w1".to_owned())] {
        stack.stop(&service).await;
    }
    stack.nats().stop().await.unwrap();
    // With every key file at hand there is nothing left to open: the sealed bytes are in no file of the servers.
    let files = all_bytes(stack.dir());
    for ciphertext in &sealed {
        let found = memchr::memmem::find(&files, ciphertext.as_bytes());
        assert_eq!(found, None, "a sealed value is still on the disk");
    }
    assert!(memchr::memmem::find(&files, b"CredentialSecretShredded").is_some(), "the log was searched");
    Search::new([&value]).assert_absent_in_dir(stack.dir());
}

/// Ciphertext of every entry of the vault, as the scheduler may read it.
async fn vault_entries(stack: &Stack) -> Vec<String> {
    let user = stack.user("scheduler").await;
    let inbox = user.client.new_inbox();
    let mut answers = user.client.subscribe(inbox.clone()).await.unwrap();
    let ask = json!({ "multi_last": ["$KV.WAYBILL_VAULT.>"] }).to_string();
    let subject = "$JS.API.DIRECT.GET.KV_WAYBILL_VAULT";
    user.client.publish_with_reply(subject, inbox, ask.into()).await.unwrap();
    let mut found = Vec::new();
    loop {
        let next = tokio::time::timeout(PATIENCE, futures_util::StreamExt::next(&mut answers)).await;
        let message = next.unwrap().unwrap();
        if message.payload.is_empty() {
            return found;
        }
        let entry: Value = serde_json::from_slice(&message.payload).unwrap();
        found.push(entry["sealed"]["ciphertext"].as_str().unwrap().to_owned());
    }
}

fn all_bytes(folder: &std::path::Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            bytes.extend(all_bytes(&path));
        } else {
            bytes.extend(std::fs::read(&path).unwrap_or_default());
        }
    }
    bytes
}

/// A rotation that nobody folds at once, and a scheduler that dies while it tells: one renewal for each worker.
#[tokio::test]
async fn each_worker_is_told_once_whatever_dies() {
    const CONTAINERS: usize = 40;
    let registry = Registry::start(Scheme::Basic).unwrap();
    registry.accounts().allow(&Login::new("u", "p"));
    let reference = registry.serve("team/app", "1", &TinyImage::new("told").unwrap());
    let plan = Plan::default().workers(&["w1", "w2"]).plain_http(&[&registry.host()]);
    let mut stack = require!(plan.start().await);
    let secret = stack.build("acme", "img", &reference, json!("u:p")).await.text("secret_name").to_owned();
    let names: Vec<String> = (0..CONTAINERS).map(|number| format!("c-{number}")).collect();
    for (number, name) in names.iter().enumerate() {
        stack.container("acme", name, "img", ["w1", "w2"][number % 2]).await;
    }
    for name in &names {
        stack.wait_for_outcome(name).await;
    }
    for version in 2..=4 {
        stack.sigkill(&Service::Scheduler);
        // Equal credentials would make no version.
        let credentials = json!({ "credentials": format!("u:p{version}") });
        let rotated = stack.change_secret("acme", &secret, "rotate", &credentials).await;
        assert_eq!(rotated.body["version"], version, "{rotated:?}");
        stack.spawn(&Service::Scheduler).unwrap();
        let told = |events: &[Recorded]| {
            let version = format!(" {version} rotation");
            renewals(events, &secret).iter().filter(|renewal| renewal.ends_with(&version)).count()
        };
        // As soon as one is told it dies again, in the middle of the others or after them.
        stack.wait_for("a renewal", |events| (told(events) >= 1).then_some(())).await;
        stack.sigkill(&Service::Scheduler);
        stack.start_all().await.unwrap();
        stack.wait_for("both renewals", |events| (told(events) >= 2).then_some(())).await;
        assert_eq!(told(&stack.events().await), 2);
    }
    let verified = stack.run(&["replay", "--verify"]).await;
    assert!(verified.status.success(), "{}{}", verified.stdout, verified.stderr);
}
