//! `--verify`: clean after crashes, and not after somebody put other decisions or outcomes into the log.

use serde_json::{Value, json};
use waybill_schemas::{Derivation, derived_id};
use waybill_tests::{
    require,
    stack::{Plan, Recorded, Service, Stack, event_headers},
};

use super::{json, text};
use crate::{
    crash::{Dice, VICTIMS, kill_and_restart, request},
    forge,
};

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
    let pulled = |events: &[Recorded]| {
        (events.iter().filter(|event| event.name == "ImagePullFailed").count() >= CONTAINERS).then_some(())
    };
    stack.wait_for("the outcome of every container", pulled).await;
    let summary = json(&stack, &["replay", "--verify"]).await.remove(0);
    assert_eq!(summary["requests"], CONTAINERS, "{summary}");
    let verified = json!({
        "requests": CONTAINERS, "agreed": CONTAINERS, "outcomes": 2 * CONTAINERS, "open": 0, "divergences": [],
    });
    assert_eq!((&summary["open"], &summary["verified"]), (&json!({}), &verified), "{summary}");
    assert_eq!(summary["decisions"], json!({ "attached": CONTAINERS }));
    let people = text(&stack, &["replay", "--verify"]).await;
    let says = "30 decisions and 60 outcomes agree, 0 do not";
    assert!(people.status.success() && people.stdout.contains(says), "{}", people.stdout);
}

/// Publishes a decision with the scheduler's user, as the answer to the request about a container.
async fn publish(stack: &Stack, container: &str, event: &str, mut body: Value) -> u64 {
    let request = stack.wait_for_event("ContainerRequested", container).await;
    let request_id = request.line["id"].as_str().unwrap();
    body["container_id"] = json!(container);
    body["placement"] = json!(request.sequence);
    let id = derived_id(request_id.parse().unwrap(), &Derivation::Decision).to_string();
    let ce_type = format!("waybill.v1.{event}");
    // Without a message id, which would make a second decision a duplicate of the first.
    let headers = event_headers(&id, &ce_type).into_iter().filter(|(name, _)| *name != "Nats-Msg-Id");
    let headers: Vec<_> = headers.chain([("ce-causationid", request_id)]).collect();
    let subject = format!("waybill.events.decision.w1.container.acme.{container}.{}", request.sequence);
    stack.user("scheduler").await.publish(&subject, &headers, body.to_string()).await.expect("it is stored")
}

fn skipped(attached: &Recorded, reason: &str) -> Value {
    let mut body = json!({ "workspace": "acme", "worker_id": "w1", "reason": reason });
    for field in ["image_id", "image_ref", "registry", "secret_name", "image_event"] {
        body[field] = attached.data[field].clone();
    }
    body
}

#[tokio::test]
async fn what_the_log_does_not_lead_to_is_found_with_its_place() {
    const ATTACHED: &str = "ContainerCredentialsAttached";
    const SKIPPED: &str = "ContainerCredentialsSkipped";
    let mut stack = require!(Plan::default().workers(&["w1", "w2"]).start().await);
    assert_eq!(stack.build("acme", "img", "127.0.0.1:1/team/app:1", json!("user:secret")).await.status, 201);
    stack.container("acme", "c-real", "img", "w1").await;
    let real = stack.wait_for_event(ATTACHED, "c-real").await;
    let pulled = stack.wait_for_outcome("c-real").await;
    for service in [Service::Scheduler, Service::Worker("w1".to_owned()), Service::Worker("w2".to_owned())] {
        stack.stop(&service).await;
    }
    let other = |field: &str, value: Value| {
        let mut body = real.data.clone();
        body[field] = value;
        body
    };

    stack.container("acme", "c-open", "img", "w1").await;
    let summary = json(&stack, &["replay", "--verify"]).await.remove(0);
    let verified = json!({ "requests": 2, "agreed": 1, "outcomes": 2, "open": 1, "divergences": [] });
    assert_eq!((&summary["verified"], &summary["open"]), (&verified, &json!({ "requests": 1 })), "{summary}");

    let cases = [
        ("c-reason", SKIPPED, skipped(&real, "secret_expired"), Some("outcome")),
        ("c-saved-by", ATTACHED, other("saved_by", json!(1)), Some("saved_by")),
        ("c-secret", ATTACHED, other("secret_name", json!("other")), Some("secret_name")),
        ("c-real", ATTACHED, real.data.clone(), None),
    ];
    let mut expected = Vec::new();
    for (container, event, body, differs) in cases {
        if container != "c-real" {
            stack.container("acme", container, "img", "w1").await;
        }
        expected.push((publish(&stack, container, event, body).await, differs));
        let found = found(&stack, expected[0].0).await;
        assert_eq!(found.len(), expected.len(), "{container}: {found:?}");
        for ((sequence, problem), (place, differs)) in found.iter().zip(&expected) {
            assert_eq!(sequence, place, "{container}: {found:?}");
            match differs {
                Some(field) => assert!(problem["differs"].as_array().unwrap().contains(&json!(field)), "{problem}"),
                None => assert_eq!(*problem, "unexpected"),
            }
        }
    }

    // Outcomes: one that was told before, and one of a worker that the placement is not on.
    let repeated = repeat_outcome(&stack, "w1", &pulled).await;
    let foreign = repeat_outcome(&stack, "w2", &pulled).await;
    let all = found(&stack, expected[0].0).await;
    let of_worker = json!({ "foreign_outcome": { "placed_on": "w1" } });
    assert_eq!(all[4..], [(repeated, json!("repeated_outcome")), (foreign, of_worker)], "{all:?}");

    let people = text(&stack, &["replay", "--verify"]).await;
    assert_eq!(people.status.code(), Some(1));
    for part in [
        "the decision about acme/c-saved-by on w1 differs in",
        "answers nothing that is open",
        "decided again",
        "the outcome was reported before",
        "the outcome is reported by another worker than w1",
        "oci-registry-",
        "6 do not",
    ] {
        assert!(people.stdout.contains(part), "{part}: {}", people.stdout);
    }
    // Up to the event before it there is nothing to find: what is not decided yet may wait for its turn.
    let before = (expected[0].0 - 1).to_string();
    json(&stack, &["replay", "--verify", "--until-sequence", &before]).await;
}

/// The places and problems that are found, of which the first is known.
async fn found(stack: &Stack, first: u64) -> Vec<(u64, Value)> {
    let finished = stack.run(&["replay", "--verify", "--json"]).await;
    assert_eq!(finished.status.code(), Some(1), "{}", finished.stdout);
    let says = format!("the first one is at sequence {first}");
    assert!(finished.stderr.contains(&says), "{}", finished.stderr);
    let summary: Value = serde_json::from_str(&finished.stdout).unwrap();
    let found = summary["verified"]["divergences"].as_array().unwrap();
    found.iter().map(|one| (one["sequence"].as_u64().unwrap(), one["problem"].clone())).collect()
}

/// Says the outcome again, in the name of a worker.
async fn repeat_outcome(stack: &Stack, worker: &str, outcome: &Recorded) -> u64 {
    let mut body = outcome.data.clone();
    body["worker_id"] = json!(worker);
    let subject = format!("waybill.events.outcome.{worker}.acme.c-real.{}", outcome.data["placement"]);
    forge::publish(stack, &format!("worker-{worker}"), &subject, &outcome.name, body.to_string()).await
}
