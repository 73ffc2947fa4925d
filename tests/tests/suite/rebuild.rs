//! Folding the log again gives the rows of the live projection, byte for byte; and a foreign log is refused.

use std::{path::Path, time::Duration};

use async_nats::{Client, ConnectOptions, HeaderMap};
use serde_json::{Value, json};
use uuid::Uuid;
use waybill_scheduler::projection::{Projection, Row};
use waybill_tests::{
    image::TinyImage,
    registry::{Registry, Scheme},
    require,
    stack::{Plan, Service, Stack},
    wait::eventually,
};

const GHOSTS: usize = 5_000;
const PULLS: usize = 60;
const BUILDS: usize = 60;
const PATIENCE: Duration = Duration::from_secs(180);

#[tokio::test]
async fn a_rebuilt_projection_equals_the_live_one() {
    let registry = Registry::start(Scheme::Open).unwrap();
    let reference = registry.serve("team/app", "1", &TinyImage::new("rebuild").unwrap());
    let mut stack = require!(Plan::default().plain_http(&[&registry.host()]).start().await);
    fill(&mut stack, &reference).await;
    let events = stack.events().await.len();
    assert!(events >= 10_000, "only {events} events");

    let file = stack.home().join("data/scheduler/projection.redb");
    let second = stack.run(&["scheduler", "--rebuild"]).await;
    assert_eq!(second.status.code(), Some(1), "{}", second.stderr);
    assert!(second.stderr.contains("another scheduler is using the projection"), "{}", second.stderr);
    stack.stop(&Service::Scheduler).await;
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let live = rows(&file);
    for table in ["images", "secrets", "workers", "placements", "quarantine", "meta"] {
        assert!(live.iter().any(|row| row.table == table), "no rows in {table}");
    }
    assert!(!live.iter().any(|row| row.table == "pending"), "everything was decided");

    stack.spawn_with(&Service::Scheduler, &["--rebuild"]).unwrap();
    stack.until_ready(&Service::Scheduler).await.unwrap();
    stack.stop(&Service::Scheduler).await;
    assert!(stack.logs().contains("projection rebuilt"));
    assert_eq!(stack.events().await.len(), events, "a rebuild publishes nothing");
    let rebuilt = rows(&file);
    assert_eq!(rebuilt.len(), live.len());
    for (rebuilt, live) in rebuilt.iter().zip(&live) {
        assert_eq!(rebuilt, live, "{} {}", live.table, live.key);
    }
}

#[tokio::test]
async fn a_foreign_log_is_refused_until_told_to_rebuild() {
    let mut stack = require!(Plan::default().start().await);
    stack.container("acme", "c-1", "img", "w1").await;
    stack.wait_for_outcome("c-1").await;
    stack.stop(&Service::Worker("w1".to_owned())).await;
    stack.stop(&Service::Scheduler).await;
    let projection = stack.home().join("data/scheduler/projection.redb");
    let old = rows(&projection);

    stack.nats().stop().await.unwrap();
    std::fs::remove_dir_all(stack.home().join("data/nats")).unwrap();
    stack.nats().restart().await.unwrap();
    for (arguments, words) in [
        (&["scheduler"][..], ["the stream does not exist", "--rebuild"]),
        (&["scheduler", "--rebuild"], ["there is no event log to rebuild the projection from", "restore the stream"]),
    ] {
        let refused = stack.run(arguments).await;
        assert_eq!(refused.status.code(), Some(1), "{arguments:?}");
        assert!(words.iter().all(|word| refused.stderr.contains(word)), "{arguments:?}: {}", refused.stderr);
        assert_eq!(rows(&projection), old, "refusing changes nothing");
    }

    // Somebody made the log anew; the old projection is not of it.
    let aside = projection.with_extension("aside");
    std::fs::rename(&projection, &aside).unwrap();
    stack.spawn(&Service::Scheduler).unwrap();
    stack.until_ready(&Service::Scheduler).await.unwrap();
    stack.stop(&Service::Scheduler).await;
    std::fs::rename(&aside, &projection).unwrap();
    let refused = stack.run(&["scheduler"]).await;
    assert_eq!(refused.status.code(), Some(1));
    for words in ["the stream was created at", "--rebuild"] {
        assert!(refused.stderr.contains(words), "{}", refused.stderr);
    }
    assert_eq!(rows(&projection), old, "refusing changes nothing");
    stack.spawn_with(&Service::Scheduler, &["--rebuild"]).unwrap();
    stack.until_ready(&Service::Scheduler).await.unwrap();
    stack.stop(&Service::Scheduler).await;
    assert!(!rows(&projection).iter().any(|row| row.table == "placements"), "the new log has no requests");
}

fn rows(file: &Path) -> Vec<Row> {
    Projection::open(file).unwrap().rows().unwrap()
}

/// Builds of every kind, requests that get credentials, requests for a worker that never came, requests published twice
/// without expecting anything, and poison; with the scheduler killed in the middle.
async fn fill(stack: &mut Stack, reference: &str) {
    for number in 0..BUILDS {
        let credentials = if number % 3 == 0 { Value::Null } else { Value::String(format!("user:secret-{number}")) };
        let answer = stack.build("acme", &format!("img-{}", number % 40), reference, credentials).await;
        assert!(answer.status.is_success(), "{answer:?}");
    }
    let client = orchestrator(stack).await;
    for number in 0..GHOSTS {
        let image = format!("img-{}", number % 50);
        let id = Uuid::new_v4();
        publish(&client, id, &request(&format!("ghost-{number}"), &image, "nobody")).await;
        if number % 500 == 0 {
            client.publish("waybill.events.container.acme.poison.r", "{".into()).await.unwrap();
            publish(&client, id, &request(&format!("ghost-{number}"), &image, "nobody")).await;
        }
        if number == GHOSTS / 2 {
            client.flush().await.unwrap();
            stack.sigkill(&Service::Scheduler);
            stack.spawn(&Service::Scheduler).unwrap();
        }
    }
    for number in 0..PULLS {
        publish(&client, Uuid::new_v4(), &request(&format!("c-{number}"), &format!("img-{}", number % 40), "w1")).await;
    }
    client.flush().await.unwrap();
    let done = eventually(PATIENCE, "every request's decision", async || {
        let events = stack.events().await;
        let decided = events.iter().filter(|event| event.name.starts_with("ContainerCredentials")).count();
        let pulled = events.iter().filter(|event| event.name.starts_with("ImagePull")).count();
        let requested = events.iter().filter(|event| event.name == "ContainerRequested").count();
        let all = requested >= GHOSTS + PULLS && decided >= requested;
        (all && pulled >= PULLS).then_some(())
    });
    done.await.unwrap();
}

fn request(container: &str, image: &str, worker: &str) -> Value {
    json!({ "workspace": "acme", "container_id": container, "image_id": image, "worker_id": worker })
}

async fn orchestrator(stack: &mut Stack) -> Client {
    let file = stack.home().join("keys/orchestrator-acme.creds");
    let options = ConnectOptions::with_credentials_file(file).await.unwrap();
    options.custom_inbox_prefix("_INBOX_orchestrator-acme").connect(stack.nats().url()).await.unwrap()
}

async fn publish(client: &Client, id: Uuid, body: &Value) {
    let mut headers = HeaderMap::new();
    let id = id.to_string();
    for (name, value) in [
        ("ce-id", id.as_str()),
        ("ce-source", "/test/orchestrator"),
        ("ce-specversion", "1.0"),
        ("ce-type", "waybill.v1.ContainerRequested"),
    ] {
        headers.insert(name, value);
    }
    let subject = format!("waybill.events.container.acme.{}.{id}", body["container_id"].as_str().unwrap());
    client.publish_with_headers(subject, headers, body.to_string().into()).await.unwrap();
}
