//! Hostile input at both edges: a named error or a quarantined event, and the chain goes on.

use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;
use waybill_tests::{
    canary::{Canary, Search},
    require,
    stack::{Answer, Plan, Service, Stack, event_headers},
    wait::eventually,
};

use super::forge::{Forged, publish, scheduler_key, write_grant};

const REQUESTED: &str = "waybill.v1.ContainerRequested";
const PATIENCE: Duration = Duration::from_secs(30);

fn subject(container: &str) -> String {
    format!("waybill.events.container.acme.{container}.r-1")
}

fn body(container: &str) -> Value {
    json!({ "workspace": "acme", "container_id": container, "image_id": "img", "worker_id": "w1" })
}

/// Whatever came before, a proper request is still decided.
async fn the_chain_goes_on(stack: &Stack, container: &str) {
    assert_eq!(stack.container("acme", container, "img", "w1").await.status, 202);
    stack.wait_for_outcome(container).await;
}

async fn post(stack: &Stack, path: &str, body: impl Into<reqwest::Body>) -> Answer {
    stack.post_raw(path, &stack.token("acme"), &[], body).await.unwrap()
}

#[tokio::test]
async fn http_names_what_is_wrong_and_publishes_nothing() {
    let canary = Canary::new("hostile");
    let secret = canary.value();
    let stack = require!(Plan::default().workspaces(&["acme", "umbrella"]).start().await);
    let before = stack.events().await.len();
    let build = |extra: Value| {
        let mut body = json!({ "workspace": "acme", "image_id": "img", "existing_image_uri": "a.b/app:1" });
        body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        body.to_string()
    };
    let long = "x".repeat(129);
    let deep = format!("{}{}", "[".repeat(2000), "]".repeat(2000));
    let cases: Vec<(&str, &str, Vec<u8>, u16, Option<&str>)> = vec![
        ("oversized", "/v1/builds", vec![b' '; 300_000], 413, None),
        ("not UTF-8", "/v1/builds", b"{\"workspace\":\"\xff\"}".to_vec(), 400, None),
        ("not JSON", "/v1/builds", secret.into(), 400, None),
        ("cut short", "/v1/builds", b"{\"workspace\":".to_vec(), 400, None),
        ("deep", "/v1/builds", format!("{{\"workspace\":{deep}}}").into_bytes(), 422, Some("workspace")),
        ("unknown field", "/v1/builds", build(json!({ "colour": secret })).into_bytes(), 422, Some("colour")),
        ("missing field", "/v1/builds", br#"{"workspace":"acme"}"#.to_vec(), 422, Some("image_id")),
        ("wrong type", "/v1/builds", build(json!({ "modified": secret })).into_bytes(), 422, Some("modified")),
        ("dot", "/v1/builds", build(json!({ "image_id": "a.b" })).into_bytes(), 422, Some("image_id")),
        ("star", "/v1/builds", build(json!({ "image_id": "*" })).into_bytes(), 422, Some("image_id")),
        ("greater", "/v1/builds", build(json!({ "image_id": ">" })).into_bytes(), 422, Some("image_id")),
        ("empty id", "/v1/builds", build(json!({ "image_id": "" })).into_bytes(), 422, Some("image_id")),
        ("long id", "/v1/builds", build(json!({ "image_id": long })).into_bytes(), 422, Some("image_id")),
        ("letter", "/v1/containers", body("ü").to_string().into_bytes(), 422, Some("container_id")),
        ("worker", "/v1/containers", body("c").to_string().replace("w1", "w 1").into_bytes(), 422, Some("worker_id")),
        (
            "reference",
            "/v1/builds",
            build(json!({ "existing_image_uri": "a.b/UPPER" })).into_bytes(),
            422,
            Some("existing_image_uri"),
        ),
        (
            "no form",
            "/v1/builds",
            build(json!({ "existing_image_creds": secret })).into_bytes(),
            422,
            Some("existing_image_creds"),
        ),
        (
            "number",
            "/v1/builds",
            build(json!({ "existing_image_creds": 5 })).into_bytes(),
            422,
            Some("existing_image_creds"),
        ),
        (
            "another's",
            "/v1/containers",
            body("c").to_string().replace("acme", "umbrella").into_bytes(),
            403,
            Some("workspace"),
        ),
        ("no route", "/v1/nothing", b"{}".to_vec(), 404, None),
    ];
    for (name, path, body, status, field) in cases {
        let answer = post(&stack, path, body).await;
        assert_eq!(answer.status.as_u16(), status, "{name}: {answer:?}");
        assert_eq!(answer.headers["content-type"], "application/problem+json", "{name}");
        assert_eq!(answer.body["field"].as_str(), field.or(answer.body["field"].as_str()), "{name}: {}", answer.body);
        if field.is_some() {
            assert!(!answer.body["field"].is_null(), "{name}: {}", answer.body);
        }
        Search::new([&canary]).assert_absent_in_bytes(name, answer.body.to_string().as_bytes());
    }
    for (name, token, status) in [("none", "", 401), ("wrong", secret, 401)] {
        let answer = stack.post_raw("/v1/containers", token, &[], body("c").to_string()).await.unwrap();
        assert_eq!(answer.status.as_u16(), status, "{name} token");
        assert!(answer.headers.contains_key("www-authenticate"), "{name} token");
    }
    for (headers, status) in [([("content-type", "text/plain")], 415), ([("idempotency-key", "a b")], 400)] {
        let answer =
            stack.post_raw("/v1/containers", &stack.token("acme"), &headers, body("c").to_string()).await.unwrap();
        assert_eq!(answer.status.as_u16(), status, "{headers:?}");
    }
    let events = stack.events().await;
    let others = events.iter().filter(|event| event.line["type"] != "waybill.v1.RequestRefused").count();
    assert_eq!(others, before, "nothing of this was published, but that it was refused");
    Search::new([&canary]).assert_absent_in_dir(stack.dir());
    the_chain_goes_on(&stack, "c-after").await;
}

/// Closing the connection while the client still sends would lose the answer.
#[tokio::test]
async fn a_client_that_sends_too_much_sees_why_it_was_refused() {
    let stack = require!(Plan::default().start().await);
    for _ in 0..20 {
        let answer = post(&stack, "/v1/builds", vec![b' '; 6_000_000]).await;
        assert_eq!(answer.status.as_u16(), 413);
    }
}

#[tokio::test]
async fn a_key_is_one_event() {
    let stack = require!(Plan::default().start().await);
    let token = stack.token("acme");
    let keyed = async |container: &str, worker: &str| {
        let body = json!({ "workspace": "acme", "container_id": container, "worker_id": worker }).to_string();
        stack.post_raw("/v1/containers", &token, &[("idempotency-key", "key-1")], body).await.unwrap()
    };
    let first = keyed("c-1", "w1").await;
    let again = keyed("c-1", "w1").await;
    assert_eq!((again.text("event_id"), again.sequence()), (first.text("event_id"), first.sequence()));
    assert_eq!(again.headers["idempotent-replayed"], "true");
    let other = keyed("c-1", "w9").await;
    assert_eq!((other.status.as_u16(), other.text("field")), (422, "Idempotency-Key"), "{other:?}");
    let at_once = futures_util::future::join_all((0..10).map(|_| keyed("c-2", "w1"))).await;
    let sequences: std::collections::BTreeSet<u64> = at_once.iter().map(Answer::sequence).collect();
    assert_eq!(sequences.len(), 1, "{at_once:?}");
    for container in ["c-1", "c-2"] {
        stack.wait_for_event("ContainerCredentialsSkipped", container).await;
        let events = stack.events().await;
        assert_eq!(events.iter().filter(|event| event.is("ContainerRequested", container)).count(), 1, "{container}");
    }
}

#[tokio::test]
async fn without_nats_the_gateway_says_so_and_comes_back() {
    let plan = Plan::default().setting("WAYBILL_GATEWAY_APPEND_SECONDS", "1");
    let mut stack = require!(plan.start().await);
    stack.nats().sigkill();
    let ready = async |service: &Service| stack.readiness(service).await;
    for service in [Service::Gateway, Service::Scheduler, Service::Worker("w1".to_owned())] {
        let told =
            eventually(PATIENCE, "readiness that tells", async || (ready(&service).await?.status == 503).then_some(()));
        told.await.unwrap_or_else(|error| panic!("{service:?}: {error}"));
    }
    let answer = post(&stack, "/v1/containers", body("c-lost").to_string()).await;
    assert_eq!(answer.status.as_u16(), 503, "{answer:?}");
    assert!(answer.headers.contains_key("retry-after"), "{answer:?}");
    assert_eq!(answer.headers["content-type"], "application/problem+json");
    stack.nats().restart().await.unwrap();
    let accepted = eventually(PATIENCE, "an accepted request", async || {
        (post(&stack, "/v1/containers", body("c-1").to_string()).await.status == 202).then_some(())
    });
    accepted.await.unwrap();
    stack.wait_for_outcome("c-1").await;
    for service in [Service::Gateway, Service::Scheduler, Service::Worker("w1".to_owned())] {
        stack.until_ready(&service).await.unwrap();
    }
    assert!(!stack.logs().contains("panicked"));
}

#[tokio::test]
async fn poison_is_quarantined_and_the_fold_goes_on() {
    let stack = require!(Plan::default().start().await);
    let orchestrator = stack.user("orchestrator-acme").await;
    let id = Uuid::new_v4().to_string();
    let good = event_headers(&id, REQUESTED);
    let without = |name: &str| good.iter().copied().filter(|(header, _)| *header != name).collect::<Vec<_>>();
    let cases: Vec<(&str, Vec<(&str, &str)>, Vec<u8>)> = vec![
        ("no headers", vec![], body("p").to_string().into_bytes()),
        ("no id", without("ce-id"), body("p").to_string().into_bytes()),
        ("no source", without("ce-source"), body("p").to_string().into_bytes()),
        ("no specversion", without("ce-specversion"), body("p").to_string().into_bytes()),
        ("no type", without("ce-type"), body("p").to_string().into_bytes()),
        (
            "wrong version",
            event_headers(&id, "waybill.v9.ContainerRequested").to_vec(),
            body("p").to_string().into_bytes(),
        ),
        ("not JSON", good.to_vec(), b"garbage".to_vec()),
        ("not UTF-8", good.to_vec(), vec![0xff; 40]),
        ("unknown field", good.to_vec(), body("p").to_string().replace('}', ",\"x\":1}").into_bytes()),
        ("another's id", good.to_vec(), body("q").to_string().into_bytes()),
        (
            "another's event",
            event_headers(&id, "waybill.v1.ContainerCredentialsSkipped").to_vec(),
            json!({
                "workspace": "acme", "container_id": "p", "placement": 1, "worker_id": "w1", "reason": "no_image_id",
            })
            .to_string()
            .into_bytes(),
        ),
        ("bad id", good.to_vec(), body("p").to_string().replace("img", "i.*").into_bytes()),
        ("oversized", good.to_vec(), vec![b'x'; 300 * 1024]),
    ];
    let mut poison = Vec::new();
    for (name, headers, body) in &cases {
        // A message id would make the second one a duplicate of the first.
        let headers: Vec<_> = headers.iter().copied().filter(|(header, _)| *header != "Nats-Msg-Id").collect();
        let stored = orchestrator.publish(&subject("p"), &headers, body.clone()).await;
        poison.push((name, stored.unwrap_or_else(|| panic!("{name} was not stored"))));
    }
    let quarantined = eventually(PATIENCE, "all of it in quarantine", async || {
        let listed = stack.run(&["quarantine", "list", "--json"]).await.stdout;
        let rows: Vec<Value> = listed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        (rows.len() == poison.len()).then_some(rows)
    });
    for ((name, sequence), row) in poison.iter().zip(quarantined.await.unwrap()) {
        assert_eq!(row["sequence"], *sequence, "{name}: {row}");
        assert!(!row["error"].as_str().unwrap().is_empty(), "{name}: {row}");
    }
    the_chain_goes_on(&stack, "c-after").await;
    let shown = stack.run(&["events"]).await;
    assert!(shown.stdout.contains("(not an event)"), "{}", shown.stdout);
    let requested = stack.events().await.iter().filter(|event| event.name == "ContainerCredentialsSkipped").count();
    assert_eq!(requested, 1, "poison is not decided about");
}

#[tokio::test]
async fn garbage_in_the_vault_is_told_and_withheld() {
    let mut stack = require!(Plan::default().start().await);
    let saved = stack.build("acme", "img", "a.b/app:1", json!("user:password")).await;
    stack.container("acme", "c-good", "img", "w1").await;
    let attached = stack.wait_for_event("ContainerCredentialsAttached", "c-good").await;

    // The box of another secret, moved to a place of its own.
    let secret = saved.text("secret_name");
    let key = |name: &str| format!("$KV.WAYBILL_VAULT.secret.acme.{name}.1");
    let read = format!("$JS.API.DIRECT.GET.KV_WAYBILL_VAULT.{}", key(secret));
    let kept = stack.user("operator").await.ask(&read, Default::default(), "").await.expect("the version is there");
    let moved = stack.user("gateway").await.publish(&key("moved"), &[], kept.to_string()).await;
    assert!(moved.is_some(), "a box of another secret is stored");
    let events = stack.events().await;
    let version = events.iter().find(|event| event.name == "CredentialSecretSaved").unwrap();
    Forged::new(&stack, "moved", "{}").write_events(&stack, version.data["stored"]["digest"].as_str().unwrap()).await;
    stack.container("acme", "c-moved", "moved", "w1").await;
    let failed = stack.wait_for_event("CredentialProviderFailed", "c-moved").await;
    assert_eq!(failed.text("reason"), "unseal_failed");

    // Decisions and a grant of somebody who has the scheduler's user, and none of its keys.
    const PLACEMENT: u64 = 999_999;
    let mut sealed = kept["sealed"].clone();
    sealed["sender"] = json!(scheduler_key(&stack).to_string());
    sealed["recipient"] = worker_key(&stack).await;
    sealed["ciphertext"] = json!("AAAA");
    write_grant(&stack, "w1", "forged", &json!({ "sealed": sealed })).await;
    let mut decision = attached.data.clone();
    decision["container_id"] = json!("c-forged");
    decision["placement"] = json!(PLACEMENT);
    decision["secret_name"] = json!("forged");
    let subject = format!("waybill.events.decision.w1.container.acme.c-forged.{PLACEMENT}");
    // The scheduler would take such a decision back before the worker is done with it.
    stack.stop(&Service::Scheduler).await;
    for body in ["{".to_owned(), decision.to_string()] {
        publish(&stack, "scheduler", &subject, "ContainerCredentialsAttached", body).await;
    }
    let failed = stack.wait_for_event("CredentialProviderFailed", "c-forged").await;
    assert_eq!(failed.text("reason"), "unseal_failed");
    assert!(stack.logs().contains("decision cannot be decoded, passing over it"));
    stack.start_all().await.unwrap();
    stack.wait_for_event("ContainerCredentialsWithdrawn", "c-forged").await;
    the_chain_goes_on(&stack, "c-after").await;
}

async fn worker_key(stack: &Stack) -> Value {
    let events = stack.events().await;
    events.iter().find(|event| event.name == "WorkerRegistered").unwrap().data["sealing_key"].clone()
}

/// A gateway of somebody else's making seals what is not the credentials JSON: the worker says so and pulls nothing.
#[tokio::test]
async fn credentials_that_are_no_json_are_told() {
    let canary = Canary::new("not JSON");
    let stack = require!(Plan::default().start().await);
    Forged::new(&stack, "odd", canary.value()).save(&stack).await;
    stack.container("acme", "c-odd", "odd", "w1").await;
    let failed = stack.wait_for_event("CredentialProviderFailed", "c-odd").await;
    assert_eq!(failed.text("reason"), "unparsable_credentials", "{}", failed.line);
    assert!(!stack.events().await.iter().any(|event| event.is("ImagePullFailed", "c-odd")));
    let lines: Vec<Value> = stack.logs().lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let told = lines.iter().find(|line| line["message"] == "failed to parse image credentials JSON").unwrap();
    assert_eq!((&told["level"], &told["service"]), (&json!("WARN"), &json!("waybill-worker")));
    Search::new([&canary]).assert_absent_in_dir(stack.dir());
}
