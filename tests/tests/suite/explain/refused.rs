//! Requests that the gateway refuses: what was asked, which field, and the remedy, for people, programs and the console, and
//! nothing of the request itself in the log.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use waybill_tests::{
    require,
    stack::{Plan, Stack},
    wait::eventually,
};

use super::{expect, read_page};

const CANARY: &str = "canary-5up3r-s3cr3t";
const SOON: Duration = Duration::from_secs(30);

async fn wait_for_refusals(stack: &Stack, most: usize, subject: &str) {
    let subject = format!("waybill.events.refused.{subject}");
    stack
        .wait_for(&format!("a refusal on {subject}"), |events| {
            let told = events.iter().filter(|event| event.line["natssubject"] == subject.as_str()).count();
            (1..=most).contains(&told).then_some(())
        })
        .await;
}

#[tokio::test]
async fn a_refused_request_is_explained_by_its_own_answer() {
    let stack = require!(Plan::default().start().await);
    // The field is misspelt, another one is missing, and credentials stand where they should not.
    let body = json!({"workspace": "acme", "container_id": "c-1", "image_id": CANARY.repeat(9), "worker_id": "w1"});
    assert_eq!(stack.post("/v1/containers", &body).await.status, 422);
    wait_for_refusals(&stack, 1, "container.acme.c-1").await;
    expect(
        &stack,
        ["container", "c-1"],
        (1, "requested", "request_refused", "sent POST /v1/containers for container c-1"),
    )
    .await;
    let person = stack.run(&["explain", "container", "c-1"]).await.stdout;
    let words = person.split_whitespace().collect::<Vec<_>>().join(" ");
    for part in
        ["422 invalid_field, field image_id", "→ In field image_id of POST /v1/containers: give 1 to 128 characters"]
    {
        assert!(words.contains(part), "{part}: {person}");
    }
    let page = read_page(&stack, "/containers/acme/c-1").await;
    assert!(page.contains("request_refused") && page.contains("field image_id"), "{page}");

    let body = json!({
        "workspace": "acme", "image_id": "img", "existing_image_url": "registry.invalid/app:1",
        "existing_image_creds": {"USERNAME": CANARY, "PASSWORD": CANARY}, (CANARY): CANARY
    });
    assert_eq!(stack.post("/v1/builds", &body).await.status, 422);
    wait_for_refusals(&stack, 1, "image.acme.img").await;
    expect(&stack, ["image", "img"], (1, "saved", "request_refused", "POST /v1/builds for image img")).await;

    // One cause for each answer, by the gateway and without it.
    let causes = eventually(SOON, "both causes are grouped", async || {
        let answer = stack.send(Method::GET, "acme", "/v1/failures?since=1h", None).await;
        let causes = answer.body["causes"].as_array().cloned().unwrap_or_default();
        let refused = causes.iter().filter(|cause| cause["code"] == "request_refused").count();
        (refused == 2).then_some(causes)
    });
    for cause in causes.await.unwrap() {
        assert!(cause["remedy"].as_str().unwrap().contains("send the request again"), "{cause}");
    }
    let since = stack.run(&["explain", "--since", "1h"]).await;
    assert_eq!(since.status.code(), Some(1), "{}", since.stderr);
    for part in ["request_refused at saved", "1 image; from", "see: waybill explain image img --workspace acme"] {
        assert!(since.stdout.contains(part), "{part}: {}", since.stdout);
    }
    let now = read_page(&stack, "/").await;
    assert!(now.contains("request_refused") && now.contains("/images/acme/img"), "{now}");

    // What is accepted makes the refusal history.
    assert_eq!(stack.container("acme", "c-1", "img", "w1").await.status, 202);
    stack.wait_for_outcome("c-1").await;
    let (_, told) = super::asked(&stack, &["container", "c-1"]).await;
    assert!(told["placement"].is_number(), "{told:#}");
    assert!(told["notes"].as_array().unwrap().iter().all(|note| !note.to_string().contains("image_id")), "{told:#}");
    let events: Vec<Value> = stack.events().await.into_iter().map(|event| event.line).collect();
    for text in [Value::from(events).to_string(), stack.logs(), person, page, since.stdout, now] {
        assert!(!text.contains(CANARY), "{text}");
    }
}

#[tokio::test]
async fn a_loop_of_refused_requests_makes_few_events() {
    let stack = require!(Plan::default().start().await);
    let token = stack.token("acme");
    for number in 0..1_000_u32 {
        let body = json!({"workspace": "acme", "image_id": "img", "base_image": format!("A {number}")}).to_string();
        assert_eq!(stack.post_raw("/v1/builds", &token, &[], body).await.unwrap().status, 422);
        let body = json!({"workspace": "acme", "image_id": format!("i-{number}"), "modified": number}).to_string();
        let token = if number.is_multiple_of(2) { token.as_str() } else { "wb_nobodys" };
        let expected = if number.is_multiple_of(2) { 422 } else { 401 };
        assert_eq!(stack.post_raw("/v1/builds", token, &[], body).await.unwrap().status, expected);
    }
    wait_for_refusals(&stack, 1, "unowned").await;
    let told =
        stack.events().await.into_iter().filter(|event| event.line["type"] == "waybill.v1.RequestRefused").count();
    assert!((50..=70).contains(&told), "{told} events of 2,000 requests");
    let metrics = reqwest::get(format!("{}/metrics", stack.gateway_url())).await.unwrap().text().await.unwrap();
    for outcome in ["recorded", "repeated", "over_budget"] {
        let line = format!("waybill_refusals_total{{outcome=\"{outcome}\"");
        assert!(metrics.contains(&line), "{line}: {metrics}");
    }
    let verified = stack.run(&["replay", "--verify"]).await;
    assert_eq!(verified.status.code(), Some(0), "{}", verified.stderr);
}
