//! Many containers at once: one entry for each root cause, what runs where, and the events as they come.

use std::{collections::BTreeSet, time::Duration};

use reqwest::Method;
use serde_json::{Value, json};
use waybill_tests::{
    require,
    stack::{Plan, Service, Stack},
    wait::eventually,
};

use super::readable;

const SOON: Duration = Duration::from_secs(30);
/// Nobody listens there.
const GONE: &str = "127.0.0.1:1/team/app:1";

/// Code, what has to be mended, and how many containers still stand so, of each cause.
fn causes(answer: &Value) -> BTreeSet<(String, String, u64)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let causes = answer["causes"].as_array().unwrap().iter();
    causes.map(|cause| (text(&cause["code"]), text(&cause["about"]), cause["still"].as_u64().unwrap())).collect()
}

/// Three containers of a registry that is away, and two of a secret that is revoked.
async fn filled(stack: &Stack) {
    stack.build("acme", "gone", GONE, json!("user:secret")).await;
    for container in ["c-1", "c-2", "c-3"] {
        stack.container("acme", container, "gone", "w1").await;
    }
    stack.build("acme", "barred", "registry.invalid/team/app:1", json!("user:secret")).await;
    stack.change_secret("acme", "oci-registry-registry-invalid", "revoke", &json!({})).await;
    for container in ["r-1", "r-2"] {
        stack.container("acme", container, "barred", "w1").await;
    }
    for container in ["c-1", "c-2", "c-3"] {
        stack.wait_for_outcome(container).await;
    }
    for container in ["r-1", "r-2"] {
        stack.wait_for_event("ContainerCredentialsSkipped", container).await;
    }
}

#[tokio::test]
async fn failures_have_one_entry_for_each_cause() {
    let mut stack = require!(Plan::default().start().await);
    filled(&stack).await;
    let expected = BTreeSet::from([
        ("unreachable".to_owned(), "registry 127.0.0.1:1".to_owned(), 3),
        ("secret_revoked".to_owned(), "secret oci-registry-registry-invalid".to_owned(), 2),
    ]);
    let path = "/v1/failures?since=1h";
    let told = eventually(SOON, "both causes are told", async || {
        let answer = stack.send(Method::GET, "acme", path, None).await;
        (answer.status == 200 && causes(&answer.body) == expected).then_some(answer.body)
    });
    let told = told.await.unwrap();
    for cause in told["causes"].as_array().unwrap() {
        let id = cause["example"]["id"].as_str().unwrap();
        let explained = stack.send(Method::GET, "acme", &format!("/v1/containers/acme/{id}/explain"), None).await.body;
        for field in ["sentence", "remedy"] {
            assert_eq!(cause[field], explained["verdict"][field], "{cause:#}");
        }
    }
    assert_eq!(stack.send(Method::GET, "acme", "/v1/failures?workspace=other", None).await.status, 403);

    let broken = stack.run(&["containers", "--state", "broken", "--json"]).await;
    let listed: Value = serde_json::from_str(&broken.stdout).unwrap_or_else(|_| panic!("{}", broken.stderr));
    let ids = listed["containers"].as_array().unwrap().iter().map(|one| one["container_id"].as_str().unwrap());
    assert_eq!(ids.collect::<BTreeSet<_>>(), BTreeSet::from(["c-1", "c-2", "c-3", "r-1", "r-2"]));

    // The gateway answers the command, and where it is away the command reads the log itself.
    for away in [false, true] {
        if away {
            stack.stop(&Service::Gateway).await;
        }
        let finished = stack.run(&["explain", "--since", "1h", "--json"]).await;
        assert_eq!(finished.status.code(), Some(1), "{}", finished.stderr);
        let answer: Value = serde_json::from_str(&finished.stdout).unwrap();
        assert_eq!(causes(&answer), expected);
        let people = stack.run(&["explain", "--since", "1h"]).await;
        readable(&people);
        assert!(people.stdout.starts_with("5 failed since 1h, of 2 causes"), "{}", people.stdout);
    }
    let all = stack.run(&["explain", "--since", "1h", "--all", "--json"]).await;
    assert_eq!(causes(&serde_json::from_str(&all.stdout).unwrap()), expected);
}

#[tokio::test]
async fn events_come_as_they_are_recorded() {
    let stack = require!(Plan::default().start().await);
    let url = format!("{}/v1/events?type=ContainerRequested", stack.gateway_url());
    let client = reqwest::Client::new();
    let request = client.get(url).bearer_auth(stack.token("acme")).header("Accept", "text/event-stream");
    let mut stream = request.send().await.unwrap();
    assert_eq!(stream.status(), 200);
    let placement = stack.container("acme", "c-1", "img", "w1").await.placement();
    let mut text = String::new();
    let read = tokio::time::timeout(SOON, async {
        while !text.contains("\n\n") || !text.contains("data:") {
            text += std::str::from_utf8(&stream.chunk().await.unwrap().unwrap()).unwrap();
        }
    });
    read.await.unwrap();
    assert!(text.contains(&format!("id: {placement}")) && text.contains("\"container_id\":\"c-1\""), "{text}");

    let page = stack.send(Method::GET, "acme", "/v1/events?container=c-1&limit=1", None).await.body;
    assert_eq!(page["events"][0]["sequence"], placement.to_string(), "{page:#}");
}
