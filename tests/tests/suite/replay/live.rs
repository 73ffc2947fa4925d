//! `waybill projection` beside a scheduler at work: it disturbs nothing and shows no secret.

use serde_json::{Value, json};
use uuid::Uuid;
use waybill_scheduler::projection::ReadProjection;
use waybill_tests::{
    canary::{Canary, Search},
    require,
    stack::{Plan, Service, Stack, event_headers},
    wait::eventually,
};

use super::{SOON, text};

const BURST: u64 = 1500;
const LOOKS: u32 = 20;

/// Requests at once, more than the scheduler folds in one go.
async fn burst(stack: &Stack, round: u64) {
    let orchestrator = stack.user("orchestrator-acme").await;
    for number in 0..BURST {
        let id = Uuid::new_v4().to_string();
        let mut headers = async_nats::HeaderMap::new();
        event_headers(&id, "waybill.v1.ContainerRequested")
            .iter()
            .for_each(|(name, value)| headers.insert(*name, *value));
        // As long as ids may be, so that lines must be broken.
        let container = format!("c-{round}-{number}-{}", "x".repeat(100));
        let body = json!({ "workspace": "acme", "container_id": container, "image_id": "img", "worker_id": "ghost" });
        let subject = format!("waybill.events.container.acme.{container}.{id}");
        orchestrator.client.publish_with_headers(subject, headers, body.to_string().into()).await.unwrap();
    }
    orchestrator.client.flush().await.unwrap();
}

/// Waits until the live projection holds this many placements whose decision is recorded.
async fn folded(stack: &Stack, count: u64) {
    let file = stack.home().join("data/scheduler/projection.redb");
    let all = eventually(SOON, "every request's decision", async || {
        let mut decided = 0;
        let live = ReadProjection::open(&file).unwrap().snapshot().unwrap();
        let counted = live.each("placements", |row| -> Result<(), waybill_scheduler::projection::ProjectionError> {
            let value: Value = serde_json::from_slice(&row.value).unwrap();
            decided += u64::from(!value["state"]["decided"].is_null());
            Ok(())
        });
        counted.unwrap();
        (decided >= count).then_some(())
    });
    all.await.unwrap();
}

#[tokio::test]
async fn reading_disturbs_nothing_and_shows_no_secret() {
    let canary = Canary::new("live");
    let search = Search::new([&canary]);
    let mut stack = require!(Plan::default().setting("WAYBILL_LOG", "info").start().await);
    let image = stack.build("acme", "img", "a.b/team/app:1", json!(format!("user:{}", canary.value()))).await;
    assert_eq!(image.status, 201);
    let version = "$JS.API.DIRECT.GET.KV_WAYBILL_VAULT.$KV.WAYBILL_VAULT.secret.acme.oci-registry-a-b.1";
    let kept = stack.user("operator").await.ask(version, Default::default(), "").await.expect("a version in the vault");
    let ciphertext = kept["sealed"]["ciphertext"].as_str().unwrap()[..40].to_owned();
    let pid = stack.process(&Service::Scheduler).pid();

    burst(&stack, 0).await;
    let mut pending = 0;
    for look in 0..LOOKS {
        let arguments: &[&str] = match look % 4 {
            0 => &["projection"],
            1 => &["projection", "--json"],
            2 => &["projection", "pending", "--json"],
            _ => &["projection", "placements"],
        };
        let finished = text_or_json(&stack, arguments).await;
        assert!(!finished.contains(&ciphertext), "{arguments:?} shows ciphertext");
        search.assert_absent_in_bytes("an answer", finished.as_bytes());
        pending += usize::from(finished.contains("\"table\":\"pending\""));
    }
    let all = text_or_json(&stack, &["projection"]).await;
    assert!(all.contains("sha256:"), "a version is known by the digest of what is in the vault: {all:.2000}");
    println!("saw pending decisions {pending} times");
    assert_eq!(stack.readiness(&Service::Scheduler).await.unwrap().status, 200);

    // A reader that holds on to what it sees keeps no scheduler from dying, starting and going on.
    let file = stack.home().join("data/scheduler/projection.redb");
    let held = ReadProjection::open(&file).unwrap();
    let before = held.snapshot().unwrap();
    let rows = before.rows().unwrap();
    stack.sigkill(&Service::Scheduler);
    stack.spawn(&Service::Scheduler).unwrap();
    // Opening goes on while it starts.
    ReadProjection::open(&file).expect("a starting scheduler is waited for");
    burst(&stack, 1).await;
    stack.until_ready(&Service::Scheduler).await.unwrap();
    folded(&stack, 2 * BURST).await;
    assert_eq!(before.rows().unwrap(), rows, "what is held does not change");
    assert_ne!(held.position().unwrap(), before.position().unwrap(), "and what is read anew is new");
    assert_ne!(stack.process(&Service::Scheduler).pid(), pid);
    assert!(!stack.logs().contains("panicked") && !stack.logs().contains("\"level\":\"ERROR\""), "{}", stack.logs());
}

async fn text_or_json(stack: &Stack, arguments: &[&str]) -> String {
    let json = arguments.contains(&"--json");
    let finished = if json { stack.run(arguments).await } else { text(stack, arguments).await };
    assert!(finished.status.success(), "{arguments:?}: {}", finished.stderr);
    finished.stdout
}

#[tokio::test]
async fn a_file_that_cannot_be_read_is_told() {
    let mut stack = require!(Plan::default().start().await);
    stack.build("acme", "img", "a.b/team/app:1", json!("user:secret")).await;
    stack.container("acme", "c-1", "img", "w1").await;
    stack.wait_for_event("ContainerCredentialsAttached", "c-1").await;
    stack.sigkill(&Service::Scheduler);
    let killed = text(&stack, &["projection"]).await;
    assert_eq!(killed.status.code(), Some(2));
    assert!(killed.stderr.contains("start the scheduler, which repairs it"), "{}", killed.stderr);
    stack.spawn(&Service::Scheduler).unwrap();
    stack.until_ready(&Service::Scheduler).await.unwrap();
    stack.stop(&Service::Scheduler).await;
    let at_rest = text(&stack, &["projection", "images", "--key", "acme/img"]).await;
    assert!(at_rest.stdout.contains("images acme/img"), "without a scheduler: {} {}", at_rest.stdout, at_rest.stderr);
    let file = stack.home().join("data/scheduler/projection.redb");
    let cases: [(&str, Option<&[u8]>, &str); 3] = [
        ("absent", None, "no scheduler has run with these settings on this machine"),
        ("empty", Some(b""), "just being made"),
        ("garbage", Some(b"garbage"), "no projection that this version"),
    ];
    for (name, content, says) in cases {
        std::fs::remove_file(&file).unwrap();
        if let Some(content) = content {
            std::fs::write(&file, content).unwrap();
        }
        let told = text(&stack, &["projection"]).await;
        assert_eq!(told.status.code(), Some(2), "{name}");
        assert!(told.stderr.contains(says) && told.stderr.contains("--at"), "{name}: {}", told.stderr);
        let asked = text(&stack, &["projection", "images", "--at", "2999-01-01T00:00:00Z"]).await;
        assert!(asked.stdout.contains("images acme/img"), "{name}: {} {}", asked.stdout, asked.stderr);
        std::fs::write(&file, "").unwrap();
    }
}
