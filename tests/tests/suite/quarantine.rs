//! `waybill quarantine`: looked at, read again, put back in its place, or given up.

use std::{path::PathBuf, time::Duration};

use futures_util::StreamExt as _;
use serde_json::Value;
use uuid::Uuid;
use waybill_platform::{
    config::Settings,
    log::{EventLog, Log as _, NatsConfig},
};
use waybill_scheduler::projection::{Entry, Projection, Quarantined, Row};
use waybill_schemas::{Filter, Recorded};
use waybill_tests::{
    canary::{Canary, Search},
    process::{Finished, Process},
    require,
    stack::{Plan, Service, Stack, event_headers},
    wait::eventually,
};

use super::explain::readable;

const PATIENCE: Duration = Duration::from_secs(30);

const IMAGE: &str = "waybill.events.image.acme.torn.b-1";

/// Publishes what cannot be read in the name of the gateway.
async fn garbage(stack: &Stack, ce_type: &str, more: &[(&str, &str)], body: &str) -> u64 {
    let id = Uuid::new_v4().to_string();
    let headers: Vec<_> = event_headers(&id, ce_type).into_iter().chain(more.iter().copied()).collect();
    stack.user("gateway").await.publish(IMAGE, &headers, body).await.expect("it is stored")
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
    let torn = garbage(&stack, "waybill.v1.ImageSecretNamed", &[], &format!("{{\"{}\"", canary.value())).await;
    let newer = garbage(&stack, "waybill.v9.ImageSecretNamed", &[], "{}").await;
    // What foreign clients put into headers is not kept either.
    let header = Canary::new("quarantine header");
    let more = [("X-Registry-Auth", header.value())];
    let foreign = garbage(&stack, "waybill.v1.ImageSecretNamed", &more, "{").await;
    folded(&stack, foreign).await;
    let search = Search::new([&canary, &header]);
    for sequence in [torn, newer, foreign].map(|sequence| sequence.to_string()) {
        for arguments in [&["show", &sequence][..], &["show", &sequence, "--json"], &["list", "--json"]] {
            let said = quarantine(&stack, arguments).await.stdout;
            assert!(said.contains(&sequence), "{arguments:?}: {said}");
            search.assert_absent_in_bytes("what is said of quarantine", said.as_bytes());
        }
    }
    search.assert_absent_in_dir(&stack.home().join("data/scheduler"));
    let given_up = quarantine(&stack, &["discard", &foreign.to_string(), "--reason", "foreign"]).await;
    assert!(given_up.status.success(), "{}", given_up.stderr);

    let listed = quarantine(&stack, &["list"]).await.stdout;
    for part in [IMAGE, "does not follow schemas/json/v1.ImageSecretNamed.json", "upgrade it"] {
        assert!(listed.contains(part), "{part}: {listed}");
    }
    let shown = quarantine(&stack, &["show", &newer.to_string()]).await.stdout;
    assert!(shown.contains("2 bytes") && shown.contains("upgrade it"), "{shown}");

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
    search.assert_absent_in_bytes("the services' logs", stack.logs().as_bytes());
}

#[tokio::test]
async fn a_range_is_given_up_at_once() {
    let stack = require!(Plan::default().start().await);
    let mut sequences = Vec::new();
    for _ in 0..3 {
        sequences.push(garbage(&stack, "waybill.v1.ImageSecretNamed", &[], "{").await);
    }
    folded(&stack, sequences[2]).await;
    let [first, last] = [sequences[0], sequences[2]].map(|sequence| sequence.to_string());
    let range = ["discard", &first, "--through", &last, "--subject"];
    let elsewhere = quarantine(&stack, &[&range[..], &["waybill.events.container.>"]].concat()).await;
    assert_eq!(elsewhere.status.code(), Some(2), "{}", elsewhere.stdout);
    let given_up = quarantine(&stack, &[&range[..], &["waybill.events.image.acme.>"]].concat()).await;
    assert!(given_up.status.success() && given_up.stdout.contains("3 messages are given up"), "{}", given_up.stdout);
    assert!(quarantine(&stack, &["list"]).await.stdout.contains("nothing is in quarantine"));
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
    let mut messages = log.follow(&Filter::All, 1, None);
    loop {
        let message = messages.next().await.unwrap().unwrap();
        let (sequence, at) = (message.sequence, message.at);
        let entry = if unreadable.contains(&sequence) {
            let value = Quarantined::from_message(&message, "this version cannot read it".to_owned());
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

/// After an upgrade: builds and a request that an older version could not read come back to their places, unless something was
/// decided that they would have changed.
#[tokio::test]
async fn a_retry_after_an_upgrade_puts_events_back_in_their_places() {
    let mut stack = require!(Plan::default().start().await);
    let build = async |image: &str| stack.build("acme", image, "a.b/app:1", "u:p".into()).await.sequence();
    let (unused, used, late) = (build("unused").await, build("used").await, build("late").await);
    stack.stop(&Service::Worker("w1".to_owned())).await;
    stack.container("acme", "c-used", "used", "w1").await;
    stack.wait_for_event("ContainerCredentialsAttached", "c-used").await;
    stack.stop(&Service::Scheduler).await;
    let lost = stack.container("acme", "c-lost", "unused", "w1").await.placement();
    folded_by_an_older_version(&mut stack, &[unused, used, late, lost]).await;

    stack.spawn(&Service::Scheduler).unwrap();
    stack.until_ready(&Service::Scheduler).await.unwrap();
    let listed = quarantine(&stack, &["list", "--json"]).await.stdout;
    assert_eq!(listed.lines().count(), 4, "{listed}");
    // What a decision was made without stays out of the way, and says so.
    let without = stack.container("acme", "c-late", "late", "w1").await.placement();
    let skipped = stack.wait_for_event("ContainerCredentialsSkipped", "c-late").await;
    let held = quarantine(&stack, &["retry", &late.to_string()]).await;
    assert_eq!(held.status.code(), Some(1), "{}", held.stdout);
    let why = format!("the decision at sequence {} would have been another one", skipped.sequence);
    assert!(held.stdout.contains(&why), "{}", held.stdout);
    // The crash in the middle changes nothing: the retry is in the log.
    for (place, sequence) in [unused, used, lost].into_iter().enumerate() {
        let back = quarantine(&stack, &["retry", &sequence.to_string()]).await;
        assert!(back.status.success(), "{}{}\n{}", back.stdout, back.stderr, stack.logs());
        if place == 0 {
            stack.sigkill(&Service::Scheduler);
            stack.spawn(&Service::Scheduler).unwrap();
            stack.until_ready(&Service::Scheduler).await.unwrap();
        }
    }
    let decided = stack.wait_for_event("ContainerCredentialsAttached", "c-lost").await;
    let places = (decided.data["image_event"].as_u64(), decided.data["placement"].as_u64());
    assert_eq!(places, (Some(unused), Some(lost)), "decided at its place, from what stood before it");
    let given_up = quarantine(&stack, &["discard", &late.to_string()]).await;
    assert!(given_up.status.success(), "{}{}", given_up.stdout, given_up.stderr);

    folded(&stack, stack.events().await.last().unwrap().sequence).await;
    stack.stop(&Service::Scheduler).await;
    let live = rows(&stack);
    assert!(!live.iter().any(|row| row.table == "pending"), "everything is decided");
    // This version reads everything from the start: but for what was held, a rebuild comes to the same rows.
    stack.spawn_with(&Service::Scheduler, &["--rebuild"]).unwrap();
    stack.until_ready(&Service::Scheduler).await.unwrap();
    stack.stop(&Service::Scheduler).await;
    let placement = without.to_string();
    let about_late = |row: &Row| {
        let of_placement = row.key.split('/').next_back() == Some(&placement);
        ["quarantine", "discarded"].contains(&row.table) || row.key == "acme/late" || of_placement
    };
    let others = |rows: Vec<Row>| rows.into_iter().filter(|row| !about_late(row)).collect::<Vec<_>>();
    assert_eq!(others(rows(&stack)), others(live));
    // And says what was decided without the event that it can read.
    let verified = stack.run(&["replay", "--verify", "--json"]).await;
    assert_eq!(verified.status.code(), Some(1), "{}{}", verified.stdout, verified.stderr);
    let summary: Value = serde_json::from_str(&verified.stdout).unwrap();
    let divergences = summary["verified"]["divergences"].as_array().unwrap();
    let found: Vec<_> = divergences.iter().map(|one| one["sequence"].as_u64().unwrap()).collect();
    assert_eq!(found, [skipped.sequence], "{summary:#}");
}
