//! `waybill quarantine`: looked at, read again, put back in its place, or given up.

use std::{path::PathBuf, pin::pin, time::Duration};

use futures_util::StreamExt as _;
use serde_json::Value;
use uuid::Uuid;
use waybill_platform::{
    config::Settings,
    log::{EventLog, NatsConfig},
};
use waybill_scheduler::projection::{Entry, Projection, Quarantined, Row};
use waybill_schemas::{ALL_SUBJECTS, Recorded};
use waybill_tests::{
    canary::{Canary, Search},
    process::{Finished, Process},
    require,
    stack::{Plan, Service, Stack, event_headers},
    wait::eventually,
};

use super::explain::readable;

const PATIENCE: Duration = Duration::from_secs(30);

async fn garbage(stack: &Stack, subject: &str, ce_type: &str, body: &str) -> u64 {
    let id = Uuid::new_v4().to_string();
    let gateway = stack.user("gateway").await;
    gateway.publish(subject, &event_headers(&id, ce_type), body).await.expect("it is stored")
}

/// What is said, with lines that were broken for a terminal joined again.
async fn quarantine(stack: &Stack, arguments: &[&str]) -> Finished {
    let mut finished = stack.run(&[&["quarantine"], arguments].concat()).await;
    if !arguments.contains(&"--json") {
        readable(&finished);
        finished.stdout = finished.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    }
    finished
}

/// Waits until the scheduler has read a message.
async fn folded(stack: &Stack, sequence: u64) {
    let read = eventually(PATIENCE, "the fold", async || {
        let finished = stack.run(&["projection", "meta", "--json"]).await;
        let row: Value = serde_json::from_str(finished.stdout.lines().next()?).ok()?;
        (row["value"]["sequence"].as_u64()? >= sequence).then_some(())
    });
    read.await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_read_is_shown_held_and_given_up() {
    let canary = Canary::new("quarantine");
    let stack = require!(Plan::default().start().await);
    assert!(quarantine(&stack, &["list"]).await.stdout.contains("nothing is in quarantine"));
    let image = "waybill.events.image.acme.torn.CredentialSecretSaved";
    let torn = garbage(&stack, image, "waybill.v1.CredentialSecretSaved", &format!("{{\"{}\"", canary.value())).await;
    let newer = garbage(&stack, image, "waybill.v9.CredentialSecretSaved", "{}").await;
    // What foreign clients put into headers is not shown either.
    let header = Canary::new("quarantine header");
    let id = Uuid::new_v4().to_string();
    let headers = event_headers(&id, "waybill.v1.CredentialSecretSaved");
    let headers: Vec<_> = headers.into_iter().chain([("X-Registry-Auth", header.value())]).collect();
    let foreign = stack.user("gateway").await.publish(image, &headers, "{").await.expect("it is stored");
    folded(&stack, foreign).await;
    for arguments in
        [&["show", &foreign.to_string()][..], &["show", &foreign.to_string(), "--json"], &["list", "--json"]]
    {
        let said = quarantine(&stack, arguments).await.stdout;
        assert!(said.contains(&foreign.to_string()) && !said.contains(header.value()), "{arguments:?}: {said}");
    }
    let whole = quarantine(&stack, &["show", &foreign.to_string(), "--json", "--payload"]).await.stdout;
    assert!(whole.contains(header.value()), "{whole}");
    let given_up = quarantine(&stack, &["discard", &foreign.to_string(), "--reason", "foreign"]).await;
    assert!(given_up.status.success(), "{}", given_up.stderr);

    let listed = quarantine(&stack, &["list"]).await.stdout;
    assert!(
        listed.contains(image)
            && listed.contains("does not follow schemas/json/v1.CredentialSecretSaved.json")
            && listed.contains("upgrade it"),
        "{listed}"
    );
    let shown = quarantine(&stack, &["show", &newer.to_string()]).await.stdout;
    assert!(shown.contains("waybill.v9.CredentialSecretSaved") && shown.contains("2 bytes"), "{shown}");
    let with_body = quarantine(&stack, &["show", &newer.to_string(), "--payload"]).await.stdout;
    assert!(with_body.trim_end().ends_with("e30="), "{with_body}");
    let plain = quarantine(&stack, &["show", &torn.to_string(), "--json"]).await.stdout;
    assert!(!plain.contains(canary.value()) && !shown.contains("e30="), "the body is shown only when asked for");

    let held = quarantine(&stack, &["retry", &newer.to_string()]).await;
    assert_eq!(held.status.code(), Some(1), "{}{}", held.stdout, held.stderr);
    assert!(held.stdout.contains("stays in quarantine") && held.stdout.contains("upgrade it"), "{}", held.stdout);
    let listed = quarantine(&stack, &["list"]).await.stdout;
    assert!(listed.contains("retried"), "{listed}");
    // A collector that is away costs the spans, not the answer.
    let mut child = stack.waybill();
    child.args(["quarantine", "retry", &newer.to_string()]).env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9");
    let held = Process::run("waybill", child, stack.dir(), PATIENCE).await.unwrap();
    assert_eq!(held.status.code(), Some(1), "{}{}", held.stdout, held.stderr);
    assert!(held.stdout.contains("stays in quarantine"), "{}{}", held.stdout, held.stderr);
    assert!(held.stderr.contains("the last spans could not be delivered"), "{}", held.stderr);

    let given_up = quarantine(&stack, &["discard", &torn.to_string(), "--reason", "a test wrote it"]).await;
    assert!(given_up.status.success(), "{}{}", given_up.stdout, given_up.stderr);
    let listed = quarantine(&stack, &["list", "--json"]).await.stdout;
    assert_eq!(listed.lines().count(), 1, "{listed}");
    let all = quarantine(&stack, &["list", "--all"]).await.stdout;
    assert!(all.contains("a test wrote it"), "{all}");
    for (arguments, words) in [
        (["retry", &torn.to_string()], "was given up"),
        (["discard", &torn.to_string()], "was given up"),
        (["retry", "1"], "no message at sequence 1"),
        (["show", "999"], "no message at sequence 999"),
    ] {
        let refused = quarantine(&stack, &arguments).await;
        assert_eq!(refused.status.code(), Some(2), "{arguments:?}: {}", refused.stdout);
        assert!(refused.stderr.contains(words), "{arguments:?}: {}", refused.stderr);
    }
    let events = stack.events().await;
    let discarded = events.iter().rfind(|event| event.name == "QuarantineDiscarded").unwrap();
    assert_eq!((discarded.data["sequence"].as_u64(), discarded.text("reason")), (Some(torn), "a test wrote it"));
    Search::new([&canary, &header]).assert_absent_in_bytes("the services' logs", stack.logs().as_bytes());
}

/// Folds the log as a version would that cannot read these sequences, and leaves its projection in the scheduler's place.
async fn folded_by_an_older_version(stack: &mut Stack, unreadable: &[u64]) {
    let settings = Settings::load(stack.home(), "operator").unwrap();
    let mut reader = settings.reader();
    let mut nats = NatsConfig::read(&mut reader, "operator");
    reader.finish().unwrap();
    nats.url = stack.nats().url();
    let log = EventLog::connect(nats).await.unwrap();
    let state = log.stream_state().await.unwrap().unwrap();
    let file = projection(stack);
    std::fs::remove_file(&file).unwrap();
    let older = Projection::open(&file).unwrap();
    let mut messages = pin!(log.read(ALL_SUBJECTS, 1));
    loop {
        let message = messages.next().await.unwrap().unwrap();
        let (sequence, at) = (message.sequence, message.at);
        let entry = if unreadable.contains(&sequence) {
            let value = Quarantined::of(&message, "this version cannot read it".to_owned());
            Entry::Poison(Box::new(Recorded { sequence, at, value }))
        } else {
            Entry::of(&message)
        };
        older.fold(state.created, &[entry]).unwrap();
        if sequence == state.last_sequence {
            return;
        }
    }
}

fn projection(stack: &Stack) -> PathBuf {
    stack.home().join("data/scheduler/projection.redb")
}

fn rows(stack: &Stack) -> Vec<Row> {
    Projection::open(&projection(stack)).unwrap().rows().unwrap()
}

/// After an upgrade: builds, a registration and a request that an older version could not read come back to their places.
#[tokio::test]
async fn a_retry_after_an_upgrade_puts_events_back_in_their_places() {
    let mut stack = require!(Plan::default().workers(&["w1", "w2"]).start().await);
    let unused = stack.build("acme", "unused", "a.b/app:1", "u:p".into()).await.sequence();
    let used = stack.build("acme", "used", "a.b/app:1", "u:p".into()).await.sequence();
    let w2 = Service::Worker("w2".to_owned());
    stack.stop(&w2).await;
    stack.stop(&Service::Worker("w1".to_owned())).await;
    stack.container("acme", "c-used", "used", "w1").await;
    stack.wait_for_event("ContainerCredentialsAttached", "c-used").await;
    stack.stop(&Service::Scheduler).await;
    let lost = stack.container("acme", "c-lost", "unused", "w1").await.sequence();
    folded_by_an_older_version(&mut stack, &[unused, used, lost]).await;

    stack.spawn(&Service::Scheduler).unwrap();
    stack.until_ready(&Service::Scheduler).await.unwrap();
    let listed = quarantine(&stack, &["list", "--json"]).await.stdout;
    assert_eq!(listed.lines().count(), 3, "{listed}");
    // What a decision was made without stays out of the way, and says so.
    let held = quarantine(&stack, &["retry", &used.to_string()]).await;
    assert_eq!(held.status.code(), Some(1), "{}", held.stdout);
    assert!(held.stdout.contains("was decided without this event"), "{}", held.stdout);
    // The crash in the middle changes nothing: the retry is in the log.
    let back = quarantine(&stack, &["retry", &unused.to_string()]).await;
    assert!(back.status.success(), "{}{}", back.stdout, back.stderr);
    stack.sigkill(&Service::Scheduler);
    stack.spawn(&Service::Scheduler).unwrap();
    stack.until_ready(&Service::Scheduler).await.unwrap();
    let back = quarantine(&stack, &["retry", &lost.to_string()]).await;
    assert!(back.status.success(), "{}{}", back.stdout, back.stderr);
    let decided = stack.wait_for_event("ContainerCredentialsAttached", "c-lost").await;
    assert_eq!(decided.data["saved_by"].as_u64(), Some(unused), "decided at its place, from what stood before it");
    assert_eq!(decided.data["requested_by"].as_u64(), Some(lost));
    let given_up = quarantine(&stack, &["discard", &used.to_string()]).await;
    assert!(given_up.status.success(), "{}{}", given_up.stdout, given_up.stderr);

    folded(&stack, decided.sequence).await;
    stack.stop(&Service::Scheduler).await;
    let live = rows(&stack);
    assert!(!live.iter().any(|row| row.table == "pending"), "everything is decided");
    // This version reads everything from the start: but for what was held, a rebuild comes to the same rows.
    stack.spawn_with(&Service::Scheduler, &["--rebuild"]).unwrap();
    stack.until_ready(&Service::Scheduler).await.unwrap();
    stack.stop(&Service::Scheduler).await;
    let held = ["acme/used", "acme/used/c-used", "acme/c-used"];
    let about_held = |row: &Row| row.table == "discarded" || held.contains(&row.key.as_str());
    let without_held = |rows: Vec<Row>| rows.into_iter().filter(|row| !about_held(row)).collect::<Vec<_>>();
    assert_eq!(without_held(rows(&stack)), without_held(live));
    let verified = stack.run(&["replay", "--verify"]).await;
    assert!(verified.status.success(), "{}{}", verified.stdout, verified.stderr);
}
