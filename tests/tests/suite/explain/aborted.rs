//! Questions that are given up in the middle change no later answer.

use std::time::Duration;

use serde_json::{Value, json};
use waybill_tests::{require, stack::Plan};

#[tokio::test]
async fn a_client_that_goes_away_leaves_nothing_behind() {
    let stack = require!(Plan::default().start().await);
    for _ in 0..5 {
        stack.build("acme", "img", "a.b/app:1", json!("u:p")).await;
        stack.container("acme", "c-1", "img", "nobody").await;
    }
    let client = reqwest::Client::new();
    let ask = |what: &str, id: &str| {
        let url = format!("{}/v1/{what}/acme/{id}/explain", stack.gateway_url());
        client.get(url).bearer_auth(stack.token("acme"))
    };
    let code = async |what: &str, id: &str| {
        let answer: Value = ask(what, id).send().await.unwrap().json().await.unwrap();
        answer["verdict"]["code"].as_str().map(str::to_owned).unwrap_or_else(|| answer.to_string())
    };
    for round in 0..120_u64 {
        // Whoever gives up does so at another moment each time.
        let patience = Duration::from_micros(500 + round * 97 % 12_000);
        let _ = ask("images", "img").timeout(patience).send().await;
        assert_eq!(code("images", "img").await, "saved", "round {round}");
        let _ = ask("containers", "c-1").timeout(patience).send().await;
        let found = code("containers", "c-1").await;
        assert!(["unknown_worker", "awaiting_decision"].contains(&found.as_str()), "round {round}: {found}");
    }
}
