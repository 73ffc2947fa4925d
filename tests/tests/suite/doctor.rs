//! `waybill doctor`: all is well, or what is not is named with what to do.

use std::{os::unix::fs::PermissionsExt as _, time::Duration};

use serde_json::{Value, json};
use waybill_platform::testing::credentials_text;
use waybill_tests::{
    nats::NatsServer,
    otlp::Collector,
    process::Process,
    require,
    stack::{Plan, Service, Stack},
    wait::eventually,
};

use super::{accounts::change_account, explain::readable, forge::publish_torn};

const PATIENCE: Duration = Duration::from_secs(60);

/// What the doctor says, with its exit status: by check, the status and what is said with the remedy.
async fn examined(stack: &Stack) -> (i32, Vec<(String, String, String)>) {
    let finished = stack.run(&["doctor", "--json"]).await;
    let report: Value = serde_json::from_str(&finished.stdout).unwrap_or_else(|_| panic!("{}", finished.stderr));
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let checks = report["checks"].as_array().unwrap().iter().map(|check| {
        let says = format!("{} → {}", text(&check["says"]), text(&check["remedy"]));
        (text(&check["check"]), text(&check["status"]), says)
    });
    (finished.status.code().unwrap(), checks.collect())
}

/// Waits until a check says this and needs attention; the person's answer says the same within 80 columns.
async fn told(stack: &Stack, check: &str, words: &str) {
    let mut last = Vec::new();
    let found = eventually(PATIENCE, words, async || {
        let (status, checks) = examined(stack).await;
        last = checks;
        let told = last.iter().any(|(name, state, says)| name == check && state == "attention" && says.contains(words));
        (told && status == 1).then_some(())
    });
    if let Err(error) = found.await {
        panic!("{error}: {check} in {last:#?}");
    }
    let people = stack.run(&["doctor"]).await;
    assert_eq!(people.status.code(), Some(1));
    readable(&people);
    assert!(people.stdout.contains("ATTENTION") && people.stdout.contains("→"), "{}", people.stdout);
}

async fn all_well(stack: &Stack) {
    let mut last = Vec::new();
    let well = eventually(PATIENCE, "a good report", async || {
        let (status, checks) = examined(stack).await;
        last = checks;
        (status == 0).then_some(())
    });
    if let Err(error) = well.await {
        panic!("{error}: {last:#?}");
    }
    assert!(last.iter().all(|(_, status, _)| status == "ok"), "{last:#?}");
}

#[tokio::test]
async fn a_running_stack_is_well_and_each_thing_that_is_not_is_named() {
    let collector = Collector::start().unwrap();
    let mut stack = require!(Plan::default().otlp(&collector).start().await);
    write_worker_health(&stack);
    stack.container("acme", "c-1", "img", "w1").await;
    stack.wait_for_outcome("c-1").await;
    all_well(&stack).await;
    let people = stack.run(&["doctor"]).await;
    assert!(people.status.success(), "{}", people.stderr);
    readable(&people);
    for part in
        ["nats", "stream", "vault", "permissions", "scheduler", "keys", "quarantine", "worker w1", "clock", "otlp"]
    {
        assert!(people.stdout.contains(part), "{part} is not looked at:\n{}", people.stdout);
    }

    // Something that cannot be read.
    let sequence = publish_torn(&stack).await;
    told(&stack, "quarantine", "waybill quarantine list").await;
    let given_up = stack.run(&["quarantine", "discard", &sequence.to_string()]).await;
    assert!(given_up.status.success(), "{}", given_up.stderr);
    all_well(&stack).await;

    // A key that others can read.
    let key = stack.home().join("keys/operator.creds");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let open = stack.run(&["doctor"]).await;
    assert_eq!(open.status.code(), Some(1));
    assert!(open.stdout.contains("chmod 600"), "{}", open.stdout);
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();

    // A worker that is gone, a scheduler that is gone with a backlog, and everything gone.
    let worker = Service::Worker("w1".to_owned());
    stack.stop(&worker).await;
    told(&stack, "consumer worker-w1", "worker w1 is not pulling").await;
    stack.stop(&Service::Scheduler).await;
    stack.container("acme", "c-2", "img", "w1").await;
    told(&stack, "scheduler", "stands still").await;
    drop(collector);
    told(&stack, "otlp", "does not answer").await;
    stack.nats().stop().await.unwrap();
    told(&stack, "nats", "no server can be reached").await;
}

/// The harness gives workers their ports by the environment; the doctor reads the settings files.
fn write_worker_health(stack: &Stack) {
    let worker = Service::Worker("w1".to_owned());
    let address = stack.health_url(&worker).trim_start_matches("http://").trim_end_matches("/readyz").to_owned();
    let file = stack.home().join("worker-w1.env");
    let text = std::fs::read_to_string(&file).unwrap();
    let lines = text.lines().map(|line| match line.split_once('=') {
        Some(("WAYBILL_WORKER_HEALTH_LISTEN", _)) => format!("WAYBILL_WORKER_HEALTH_LISTEN={address}\n"),
        _ => format!("{line}\n"),
    });
    std::fs::write(&file, lines.collect::<String>()).unwrap();
}

#[tokio::test]
async fn keys_and_permissions_that_are_not_those_of_init() {
    let mut stack = require!(Plan::default().workers(&["w1", "w2"]).start().await);
    write_worker_health(&stack);
    // A key file that was replaced without starting the worker again.
    let new = waybill_platform::sealing::PrivateKey::generate().seed().unwrap();
    let file = stack.home().join("keys/worker-w1.xkey");
    let old = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, new.expose()).unwrap();
    told(&stack, "worker w1", "another key").await;
    std::fs::write(&file, old).unwrap();

    // Accounts whose template grants a worker more than it needs.
    let own = "$JS.API.CONSUMER.INFO.WAYBILL.worker-{{name()}}";
    change_account(&mut stack, "WORKERS", |nats| {
        let more = nats.to_string().replace(own, "$JS.API.CONSUMER.INFO.WAYBILL.*");
        *nats = serde_json::from_str(&more).unwrap();
    })
    .await;
    told(&stack, "permissions worker-w1", "may publish on $JS.API.CONSUMER.INFO.WAYBILL.").await;

    // In which a request for a history has one answer: nothing is explained.
    change_account(&mut stack, "LOG", |nats| {
        let exports = nats["exports"].as_array_mut().unwrap();
        let many = exports.iter_mut().find(|export| export["subject"] == "$JS.API.DIRECT.GET.WAYBILL").unwrap();
        many["response_type"] = json!("Singleton");
    })
    .await;
    told(&stack, "permissions gateway", "may not publish on $JS.API.DIRECT.GET.WAYBILL, and must").await;

    // An operator that the server does not know.
    std::fs::write(stack.home().join("keys/operator.creds"), credentials_text()).unwrap();
    told(&stack, "nats", "the server refuses the operator's credentials").await;
}

/// On another machine than the scheduler's, the log's server tells how far the scheduler is.
#[tokio::test]
async fn a_scheduler_elsewhere_is_told_by_its_reader() {
    let mut stack = require!(Plan::default().start().await);
    write_worker_health(&stack);
    std::fs::rename(stack.home().join("scheduler.env"), stack.home().join("scheduler.elsewhere")).unwrap();
    all_well(&stack).await;
    let (_, checks) = examined(&stack).await;
    let scheduler = checks.iter().find(|(check, ..)| check == "scheduler").expect("it is looked at");
    assert!(scheduler.2.contains("reads the log elsewhere"), "{checks:#?}");
    assert!(checks.iter().all(|(check, ..)| check != "quarantine"), "that is on the scheduler's machine: {checks:#?}");
    stack.sigkill(&Service::Scheduler);
    stack.container("acme", "c-1", "img", "w1").await;
    told(&stack, "scheduler", "1 events behind the log, and stands still").await;
}

/// A stream that somebody made by hand, on a server that syncs when it likes.
#[tokio::test]
async fn a_stream_with_other_settings_is_told_setting_by_setting() {
    let stack = require!(Plan::default().start().await);
    let server = require!(NatsServer::start().await);
    let client = async_nats::connect(server.url()).await.unwrap();
    let config = json!({
        "name": "WAYBILL", "subjects": ["waybill.events.>"], "storage": "memory", "retention": "limits",
        "discard": "old", "num_replicas": 1, "max_age": 3_600_000_000_000_u64, "duplicate_window": 60_000_000_000_u64,
    });
    client.request("$JS.API.STREAM.CREATE.WAYBILL", config.to_string().into()).await.unwrap();
    let mut child = stack.waybill();
    child.args(["doctor", "--json"]).env("WAYBILL_NATS_URL", server.url());
    let finished = Process::run("waybill", child, stack.dir(), PATIENCE).await.unwrap();
    assert_eq!(finished.status.code(), Some(1), "{}", finished.stderr);
    for part in ["storage", "discard", "max_age", "duplicate_window", "deny_purge", "allow_direct", "allow_atomic"] {
        assert!(finished.stdout.contains(part), "{part} is not told: {}", finished.stdout);
    }
    assert!(
        finished.stdout.contains("--deny-purge") || finished.stdout.contains("nats stream edit"),
        "{}",
        finished.stdout
    );
}
