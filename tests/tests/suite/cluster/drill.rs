//! Backups: one server becomes three, and a log that was lost comes back.

use std::path::PathBuf;

use waybill_tests::{
    canary::{Canary, Search},
    cluster::{Cluster, Places, SERVERS},
    require,
    stack::{Plan, Service, Stack},
    wait::eventually,
};

use super::{PATIENCE, REFERENCE, request_until_decided, until_whole};

async fn run(stack: &Stack, line: &str) -> String {
    let arguments: Vec<&str> = line.split_whitespace().collect();
    let finished = stack.run(&arguments).await;
    assert!(finished.status.success(), "{line}: {}{}", finished.stdout, finished.stderr);
    finished.stdout
}

async fn refuse(stack: &Stack, line: &str, words: &str) {
    let arguments: Vec<&str> = line.split_whitespace().collect();
    let finished = stack.run(&arguments).await;
    let said = finished.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(finished.status.code() == Some(2) && said.contains(words), "{line}: {}{said}", finished.stdout);
}

async fn stop_services(stack: &mut Stack) {
    for service in stack.services() {
        stack.stop(&service).await;
    }
}

fn file(stack: &Stack, name: &str) -> PathBuf {
    stack.dir().join(name)
}

pub(super) async fn back_up(stack: &Stack, which: &str) -> [String; 2] {
    let mut files = Vec::new();
    for part in ["log", "vault"] {
        let file = file(stack, &format!("{which}-{part}.backup")).display().to_string();
        run(stack, &format!("backup {part} {file}")).await;
        files.push(file);
    }
    files.try_into().unwrap()
}

pub(super) async fn restore(stack: &Stack, [log, vault]: &[String; 2], more: &str) {
    run(stack, &format!("restore vault {vault} {more}")).await;
    run(stack, &format!("restore log {log} {more}")).await;
}

/// The worker is given what it needs to open the login: decision, grant and key fit together.
async fn until_provided(stack: &Stack, container: &str) {
    request_until_decided(stack, container).await;
    stack.wait_for_event("CredentialProviderAttached", container).await;
}

#[tokio::test]
async fn one_server_becomes_three_and_a_lost_log_comes_back() {
    let canary = Canary::new("backup");
    let mut stack = require!(Plan::default().setting("WAYBILL_LOG", "info").start().await);
    let login = serde_json::json!({ "USERNAME": "puller", "PASSWORD": canary.value() });
    assert_eq!(stack.build("acme", "img", REFERENCE, login).await.status, 201);
    until_provided(&stack, "c-one").await;

    // Everything but the server stops, so that the backup is the whole log: nothing is folded anew afterwards.
    stop_services(&mut stack).await;
    let exact = back_up(&stack, "exact").await;
    refuse(&stack, &format!("backup log {}", exact[0]), "exists").await;
    refuse(&stack, &format!("restore log {}", exact[0]), "exists, up to sequence").await;
    refuse(&stack, &format!("restore vault {}", exact[0]), "not of KV_WAYBILL_VAULT").await;
    let search = Search::new([&canary]);
    for file in &exact {
        search.assert_absent_in_bytes("a backup", &std::fs::read(file).unwrap());
    }
    let damaged = file(&stack, "damaged.backup");
    let mut bytes = std::fs::read(&exact[0]).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&damaged, bytes).unwrap();
    refuse(&stack, &format!("restore log {}", damaged.display()), "cannot be used").await;

    let places = Places::reserve().unwrap();
    run(&stack, &format!("init {}", places.arguments().join(" "))).await;
    let cluster = Cluster::start(stack.home(), places).await.unwrap();
    stack.move_to(cluster);
    restore(&stack, &exact, "--replicas 1").await;
    stack.start_all().await.unwrap();
    until_provided(&stack, "c-three").await;
    assert!(run(&stack, "replicas 3").await.contains("WAYBILL is kept on 3"), "while everything runs");
    until_whole(&stack).await;
    until_provided(&stack, "c-replicated").await;

    // All data is lost. What was written after the backup is gone for good, and everybody is told.
    let older = back_up(&stack, "older").await;
    request_until_decided(&stack, "c-lost").await;
    for number in 0..SERVERS {
        stack.cluster().server(number).sigkill();
        let data = stack.home().join(format!("servers/n{}/data", number + 1));
        std::fs::remove_dir_all(&data).unwrap();
    }
    for number in 0..SERVERS {
        stack.cluster().server(number).restart().await.unwrap();
    }
    let restored = eventually(PATIENCE, "a restored log", async || {
        let finished = stack.run(&["restore", "log", &older[0], "--replicas", "3"]).await;
        (finished.status.success() || finished.stderr.contains("exists, up to")).then_some(())
    });
    restored.await.unwrap_or_else(|error| panic!("{error}\n{}", stack.logs()));
    run(&stack, &format!("restore vault {} --replicas 3", older[1])).await;
    let refused = eventually(PATIENCE, "a scheduler that refuses the older log", async || {
        let process = stack.process(&Service::Scheduler);
        if process.exit_status().is_some() { Some(process.last_lines().await) } else { None }
    });
    let words = refused.await.unwrap_or_else(|error| panic!("{error}\n{}", stack.logs()));
    let told = ["messages were lost", "older copy", "created anew"].iter().any(|told| words.contains(told));
    assert!(told, "{words}");
    stop_services_that_run(&mut stack).await;
    stack.spawn_with(&Service::Scheduler, &["--rebuild"]).unwrap();
    stack.start_all().await.unwrap();
    until_provided(&stack, "c-after").await;
    until_whole(&stack).await;
    let verified = stack.run(&["replay", "--verify"]).await;
    assert!(verified.status.success(), "{}{}", verified.stdout, verified.stderr);
    let events = stack.events().await;
    assert!(events.iter().any(|event| event.is("ContainerRequested", "c-replicated")));
    assert!(!events.iter().any(|event| event.is("ContainerRequested", "c-lost")));
    search.assert_absent_in_bytes("the services' logs", stack.logs().as_bytes());
}

async fn stop_services_that_run(stack: &mut Stack) {
    for service in stack.services() {
        stack.sigkill(&service);
    }
}
