//! What will break, as the command, the endpoint and the console tell it of a real log.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use waybill_tests::{
    require,
    stack::{Plan, Service, Stack},
    wait::eventually,
};

const SOON: Duration = Duration::from_secs(30);

/// Kind and id of what is told.
fn list(answer: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let forecasts = answer["forecasts"].as_array().cloned().unwrap_or_default();
    forecasts.iter().map(|one| (text(&one["kind"]), text(&one["id"]))).collect()
}

/// Credentials that end within some hours.
async fn save_ending(stack: &Stack, hours: u64) {
    let ends = time::OffsetDateTime::now_utc() + Duration::from_secs(hours * 3600);
    let ends = ends.format(&time::format_description::well_known::Rfc3339).unwrap();
    let credentials = json!({
        "AWS_ACCESS_KEY_ID": "ASIAEXAMPLEEXAMPLE00", "AWS_SECRET_ACCESS_KEY": "x".repeat(40), "AWS_SESSION_TOKEN": "token",
        "AWS_CREDENTIAL_EXPIRATION": ends
    });
    let body = json!({"registry": "123456789012.dkr.ecr.eu-west-1.amazonaws.com", "credentials": credentials});
    let saved = stack.put_secret("acme", "short", &body).await;
    assert!(saved.status.is_success(), "{saved:?}");
}

#[tokio::test]
async fn a_secret_that_ends_is_told_before_it_breaks() {
    let mut stack = require!(Plan::default().start().await);
    let none = stack.run(&["forecast"]).await;
    assert_eq!(none.status.code(), Some(0), "{}", none.stderr);

    save_ending(&stack, 30).await;
    let build = json!({
        "workspace": "acme", "image_id": "img", "existing_image_secret": "short",
        "existing_image_uri": "123456789012.dkr.ecr.eu-west-1.amazonaws.com/app:1"
    });
    assert_eq!(stack.post("/v1/builds", &build).await.status, 200);
    stack.container("acme", "c-1", "img", "w1").await;
    stack.wait_for_event("ContainerCredentialsAttached", "c-1").await;

    let told = eventually(SOON, "the secret is foretold", async || {
        let answer = stack.send(Method::GET, "acme", "/v1/forecast?within=2d", None).await;
        (!list(&answer.body).is_empty()).then_some(answer.body)
    });
    let told = told.await.unwrap();
    assert_eq!(list(&told), [("secret_expires".to_owned(), "short".to_owned())], "{told:#}");
    let first = &told["forecasts"][0];
    assert_eq!((first["containers"].as_u64(), first["workers"].as_u64()), (Some(1), Some(1)), "{told:#}");
    assert_eq!(first["remedy"], "waybill secrets rotate short --creds FILE --workspace acme");
    assert_eq!(stack.send(Method::GET, "acme", "/v1/forecast?within=soon", None).await.status, 422);
    assert_eq!(stack.send(Method::GET, "acme", "/v1/forecast?workspace=other", None).await.status, 403);
    let page = super::read_page(&stack, "/").await;
    assert!(page.contains("secret_expires") && page.contains("waybill secrets rotate short"), "{page}");

    // By the gateway, and where it is away the command reads the log itself.
    for away in [false, true] {
        if away {
            stack.stop(&Service::Gateway).await;
        }
        for (within, status, expected) in [("2d", 1, 1), ("12h", 0, 0)] {
            let finished = stack.run(&["forecast", "--within", within, "--json"]).await;
            assert_eq!(finished.status.code(), Some(status), "{within}: {}", finished.stderr);
            let answer: Value = serde_json::from_str(&finished.stdout).unwrap();
            assert_eq!(list(&answer).len(), expected, "{away} {within}: {answer:#}");
        }
        let person = stack.run(&["forecast", "--within", "2d"]).await.stdout;
        assert!(person.contains("→ waybill secrets rotate short --creds FILE"), "{person}");
    }
}
