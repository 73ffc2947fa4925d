//! What somebody wrote in another's name, or in a form that nobody can read, is told as such and believed by nobody.

use serde_json::{Value, json};
use waybill_schemas::{Derivation, derived_id};
use waybill_tests::{
    require,
    stack::{Plan, Recorded, Service, Stack, event_headers},
};

use super::{asked, expect};
use crate::forge::publish;

/// Asks for a container while no scheduler runs, and returns the request.
async fn request(stack: &Stack, container: &str) -> Recorded {
    stack.container("acme", container, "img", "w1").await;
    stack.wait_for_event("ContainerRequested", container).await
}

#[tokio::test]
async fn decisions_that_cannot_be_read_or_that_the_log_does_not_lead_to() {
    let mut stack = require!(Plan::default().start().await);
    stack.build("acme", "img", "a.b/app:1", json!("u:p")).await;
    stack.container("acme", "c-real", "img", "w1").await;
    let real = stack.wait_for_event("ContainerCredentialsAttached", "c-real").await;
    stack.wait_for_outcome("c-real").await;
    for service in [Service::Scheduler, Service::Worker("w1".to_owned())] {
        stack.stop(&service).await;
    }

    let placement = request(&stack, "c-torn").await.sequence;
    let subject = format!("waybill.events.decision.w1.container.acme.c-torn.{placement}");
    publish(&stack, "scheduler", &subject, "ContainerCredentialsAttached", "{").await;
    expect(&stack, ["container", "c-torn"], (1, "attached", "quarantined", "cannot be read and is in quarantine"))
        .await;

    let asked_for = request(&stack, "c-other").await;
    let mut body = real.data.clone();
    body["container_id"] = json!("c-other");
    body["placement"] = json!(asked_for.sequence);
    body["image_ref"] = json!("a.b/other:1");
    let cause = asked_for.line["id"].as_str().unwrap();
    let id = derived_id(cause.parse().unwrap(), &Derivation::Decision).to_string();
    let subject = format!("waybill.events.decision.w1.container.acme.c-other.{}", asked_for.sequence);
    let headers = event_headers(&id, "waybill.v1.ContainerCredentialsAttached");
    let headers: Vec<_> = headers.into_iter().chain([("ce-causationid", cause)]).collect();
    stack.user("scheduler").await.publish(&subject, &headers, body.to_string()).await.expect("it is stored");
    expect(&stack, ["container", "c-other"], (1, "attached", "decision_differs", "the log leads to another decision"))
        .await;

    // Under an id that follows from no request, it is no decision at all.
    let placement = request(&stack, "c-made-up").await.sequence;
    body["container_id"] = json!("c-made-up");
    body["placement"] = json!(placement);
    let subject = format!("waybill.events.decision.w1.container.acme.c-made-up.{placement}");
    let made_up = publish(&stack, "scheduler", &subject, "ContainerCredentialsAttached", body.to_string()).await;
    expect(&stack, ["container", "c-made-up"], (3, "attached", "awaiting_decision", "the scheduler's turn")).await;
    not_believed(&stack, "c-made-up", made_up, "the log leads to no such decision").await;
}

#[tokio::test]
async fn outcomes_that_cannot_be_read_or_are_not_the_worker_s_to_tell() {
    let mut stack = require!(Plan::default().workers(&["w1", "w2"]).start().await);
    stack.build("acme", "img", "a.b/app:1", json!("u:p")).await;
    stack.stop(&Service::Worker("w1".to_owned())).await;
    let mut attached = Vec::new();
    for container in ["c-torn", "c-withheld", "c-foreign"] {
        stack.container("acme", container, "img", "w1").await;
        attached.push(stack.wait_for_event("ContainerCredentialsAttached", container).await);
    }
    let subject = |worker: &str, decided: &Recorded| {
        format!("waybill.events.outcome.{worker}.acme.{}.{}", decided.text("container_id"), decided.data["placement"])
    };
    publish(&stack, "worker-w1", &subject("w1", &attached[0]), "CredentialProviderAttached", "{").await;
    expect(&stack, ["container", "c-torn"], (1, "provider", "quarantined", "cannot be read and is in quarantine"))
        .await;

    let outcome = |worker: &str, decided: &Recorded, more: Value| {
        let mut body = json!({
            "workspace": "acme", "container_id": decided.data["container_id"], "placement": decided.data["placement"],
            "worker_id": worker, "decided_by": decided.sequence,
        });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body.to_string()
    };
    let withheld = outcome("w1", &attached[1], json!({ "reason": "credentials_withheld" }));
    publish(&stack, "worker-w1", &subject("w1", &attached[1]), "CredentialProviderFailed", withheld).await;
    let expected = (1, "provider", "credentials_withheld", "says that it was given no credentials");
    expect(&stack, ["container", "c-withheld"], expected).await;

    let pulled = json!({ "image_ref": "a.b/app:1", "digest": format!("sha256:{}", "0".repeat(64)) });
    let foreign = outcome("w2", &attached[2], pulled);
    let told = publish(&stack, "worker-w2", &subject("w2", &attached[2]), "ImagePullSucceeded", foreign).await;
    expect(&stack, ["container", "c-foreign"], (3, "provider", "awaiting_provider", "worker w1's turn")).await;
    not_believed(&stack, "c-foreign", told, "worker w2 reports it, and the placement is on w1").await;
    // The log's own check finds both: nobody but the placement's worker may tell.
    let verified = stack.run(&["replay", "--verify", "--json"]).await;
    assert_eq!(verified.status.code(), Some(1), "{}", verified.stderr);
    let summary: Value = serde_json::from_str(&verified.stdout).unwrap();
    let found = summary["verified"]["divergences"].as_array().unwrap();
    let found: Vec<_> = found.iter().map(|one| (one["sequence"].as_u64().unwrap(), one["problem"].clone())).collect();
    assert_eq!(found, [(told, json!({ "foreign_outcome": { "placed_on": "w1" } }))], "{summary:#}");
}

/// A note says that an event is not believed, and why; the timeline has it as ignored.
async fn not_believed(stack: &Stack, container: &str, sequence: u64, why: &str) {
    let (_, answer) = asked(stack, &["container", container]).await;
    let notes = answer["notes"].as_array().unwrap();
    let told = |note: &Value| {
        let note = note.as_str().unwrap();
        note.contains(&format!("at sequence {sequence} is not believed")) && note.contains(why)
    };
    assert!(notes.iter().any(told), "{answer:#}");
    let step = answer["timeline"].as_array().unwrap().iter().find(|step| step["sequence"] == sequence);
    assert_eq!(step.unwrap()["outcome"], "ignored", "{answer:#}");
}
