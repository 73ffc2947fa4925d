//! `--verify`: clean after crashes, and not after somebody put other decisions into the log.

use serde_json::{Value, json};
use uuid::Uuid;
use waybill_tests::{
    require,
    stack::{Plan, Recorded, Service, Stack, event_headers},
};

use super::{decided, json, text};
use crate::crash::{Dice, VICTIMS, kill_and_restart, request};

const CONTAINERS: usize = 30;

#[tokio::test]
async fn what_was_decided_between_crashes_is_decided_again() {
    let mut dice = Dice(20_261_124);
    let mut stack = require!(Plan::default().start().await);
    assert_eq!(stack.build("acme", "img", "127.0.0.1:1/team/app:1", json!("user:secret")).await.status, 201);
    for number in 0..CONTAINERS {
        request(&stack, number).await;
        if number % 5 == 4 {
            kill_and_restart(&mut stack, VICTIMS[usize::try_from(dice.below(4)).unwrap()]).await;
        }
    }
    decided(&stack, CONTAINERS).await;
    let summary = json(&stack, &["replay", "--verify"]).await.remove(0);
    assert_eq!(summary["requests"], CONTAINERS, "{summary}");
    let verified = json!({ "requests": CONTAINERS, "agreed": CONTAINERS, "unsealed": 0, "divergences": [] });
    assert_eq!((&summary["open"], &summary["verified"]), (&json!(0), &verified), "{summary}");
    assert_eq!(summary["decisions"], json!({ "attached": CONTAINERS }));
    let people = text(&stack, &["replay", "--verify"]).await;
    assert!(people.status.success() && people.stdout.contains("30 decisions agree, 0 differ"), "{}", people.stdout);
}

/// Publishes a decision with the scheduler's user, as the answer to the request about a container.
async fn publish(stack: &Stack, container: &str, event: &str, mut body: Value) -> u64 {
    let request = stack.wait_for_event("ContainerRequested", container).await;
    let request_id = request.line["id"].as_str().unwrap();
    body["container_id"] = json!(container);
    body["requested_by"] = json!(request.sequence);
    let id = Uuid::new_v5(&request_id.parse().unwrap(), b"decision").to_string();
    let ce_type = format!("waybill.v1.{event}");
    // Without a message id, which would make a second decision a duplicate of the first.
    let headers = event_headers(&id, &ce_type).into_iter().filter(|(name, _)| *name != "Nats-Msg-Id");
    let headers: Vec<_> = headers.chain([("ce-causationid", request_id)]).collect();
    let subject = format!("waybill.events.worker.w1.acme.{container}.{event}");
    stack.user("scheduler").await.publish(&subject, &headers, body.to_string()).await.expect("it is stored")
}

fn skipped(attached: &Recorded, reason: &str) -> Value {
    json!({
        "workspace": "acme", "image_id": "img", "worker_id": "w1", "reason": reason,
        "image_ref": attached.data["image_ref"], "registry": attached.data["registry"],
        "image_event": attached.data["saved_by"],
    })
}

#[tokio::test]
async fn other_decisions_are_found_with_their_place() {
    const ATTACHED: &str = "ContainerCredentialsAttached";
    const SKIPPED: &str = "ContainerCredentialsSkipped";
    let mut stack = require!(Plan::default().start().await);
    assert_eq!(stack.build("acme", "img", "127.0.0.1:1/team/app:1", json!("user:secret")).await.status, 201);
    stack.container("acme", "c-real", "img", "w1").await;
    let real = stack.wait_for_event(ATTACHED, "c-real").await;
    stack.wait_for_outcome("c-real").await;
    stack.stop(&Service::Scheduler).await;
    let other = |field: &str, value: Value| {
        let mut body = real.data.clone();
        body[field] = value;
        body
    };

    stack.container("acme", "c-unsealed", "img", "w1").await;
    publish(&stack, "c-unsealed", SKIPPED, skipped(&real, "unseal_failed")).await;
    stack.container("acme", "c-open", "img", "w1").await;
    let open = stack.wait_for_event("ContainerRequested", "c-open").await.sequence;
    let summary = json(&stack, &["replay", "--verify"]).await.remove(0);
    let verified = json!({ "requests": 3, "agreed": 2, "unsealed": 1, "divergences": [] });
    assert_eq!((&summary["verified"], &summary["open"]), (&verified, &json!(1)), "{summary}");

    let outcome = json!(["outcome", "reason", "secret_name", "cred_type", "sealed_to"]);
    let cases = [
        ("c-reason", SKIPPED, skipped(&real, "secret_expired"), json!({ "differs": outcome })),
        ("c-saved-by", ATTACHED, other("saved_by", json!(1)), json!({ "differs": ["saved_by"] })),
        ("c-secret", ATTACHED, other("secret_name", json!("other")), json!({ "differs": ["secret_name"] })),
        ("c-real", ATTACHED, real.data.clone(), json!({ "second": real.sequence })),
    ];
    let mut expected = Vec::new();
    let mut missing = (0, Value::Null);
    for (container, event, body, problem) in cases {
        if container != "c-real" {
            stack.container("acme", container, "img", "w1").await;
        }
        let sequence = publish(&stack, container, event, body).await;
        if container != "c-real" {
            // The scheduler has not decided about it, and somebody decided about what came later.
            missing = (open, json!({ "missing": sequence }));
        }
        expected.push((sequence, problem));
        let finished = stack.run(&["replay", "--verify", "--json"]).await;
        assert_eq!(finished.status.code(), Some(1), "{container}: {}", finished.stdout);
        let says = format!("the first one is at sequence {open}");
        assert!(finished.stderr.contains(&says), "{container}: {}", finished.stderr);
        let summary: Value = serde_json::from_str(&finished.stdout).unwrap();
        let found = summary["verified"]["divergences"].as_array().unwrap();
        let found: Vec<_> =
            found.iter().map(|one| (one["sequence"].as_u64().unwrap(), one["problem"].clone())).collect();
        assert_eq!(found, [vec![missing.clone()], expected.clone()].concat(), "{container}");
    }
    let people = text(&stack, &["replay", "--verify"]).await;
    assert_eq!(people.status.code(), Some(1));
    for part in [
        "the decision about acme/c-saved-by differs in saved_by",
        "the decision about acme/c-open is missing",
        "decided again",
        "the first one",
        "oci-registry-",
        "5 differ",
    ] {
        assert!(people.stdout.contains(part), "{part}: {}", people.stdout);
    }
    // Up to the event before it there is nothing to find: what is not decided yet may wait for its turn.
    let before = (expected[0].0 - 1).to_string();
    json(&stack, &["replay", "--verify", "--until-sequence", &before]).await;
}
