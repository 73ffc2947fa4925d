//! Two gateways on one log answer as one does, however much both are asked at once.

use std::time::Duration;

use serde_json::{Value, json};
use waybill_tests::{
    port::Port,
    process::Process,
    ready, require,
    stack::{Plan, Stack},
    wait::eventually,
};

const START: Duration = Duration::from_secs(60);
/// How often each of the askers asks.
const ROUNDS: u32 = 30;

/// One more gateway beside the stack's, and where it listens.
async fn second_gateway(stack: &Stack) -> (Process, String, Port) {
    let port = Port::reserve().unwrap();
    let mut command = stack.waybill();
    command.arg("gateway").env("WAYBILL_GATEWAY_LISTEN", port.host());
    let mut process = Process::spawn("gateway-2", command, stack.dir()).unwrap();
    let url = format!("http://{}", port.host());
    ready::until_http(&mut process, START, &format!("{url}/readyz"), |status| status.is_success()).await.unwrap();
    (process, url, port)
}

/// What a gateway says of an image, of a container, and to a build that it was told of before.
async fn answers(client: &reqwest::Client, url: &str, token: &str) -> [Value; 3] {
    let explain = |path: &str| client.get(format!("{url}/v1/{path}/explain")).bearer_auth(token);
    let body = json!({ "workspace": "acme", "image_id": "img", "existing_image_uri": "a.b/app:1", "existing_image_creds": "u:p" });
    let again =
        client.post(format!("{url}/v1/builds")).bearer_auth(token).header("Idempotency-Key", "once").json(&body);
    let asked = [explain("images/acme/img"), explain("containers/acme/c-1"), again].map(|request| async move {
        let answer = request.send().await.unwrap();
        let status = answer.status();
        let body: Value = answer.json().await.unwrap();
        assert!(status.is_success(), "{status} {body:#}");
        json!([body["verdict"]["code"], body["timeline"], body["sequence"]])
    });
    futures_util::future::join_all(asked).await.try_into().unwrap()
}

#[tokio::test]
async fn gateways_do_not_disturb_each_other() {
    let stack = require!(Plan::default().start().await);
    let (_process, second, _port) = second_gateway(&stack).await;
    let (client, token) = (reqwest::Client::new(), stack.token("acme"));
    for _ in 0..5 {
        stack.build("acme", "img", "a.b/app:1", json!("u:p")).await;
        stack.container("acme", "c-1", "img", "nobody").await;
    }
    // Settled, so that every later answer is the same.
    let settled = async || answers(&client, &second, &token).await;
    let expected = eventually(START, "every request is decided", async || {
        let now = settled().await;
        let decided =
            stack.events().await.iter().filter(|event| event.is("ContainerCredentialsSkipped", "c-1")).count();
        (decided == 5 && now == settled().await).then_some(now)
    });
    let expected = expected.await.unwrap();
    let first = stack.gateway_url();
    let askers = (0..6).map(|number| {
        let url = if number % 2 == 0 { &first } else { &second };
        let (client, token, expected) = (&client, &token, &expected);
        async move {
            for round in 0..ROUNDS {
                assert_eq!(&answers(client, url, token).await, expected, "asker {number}, round {round}");
            }
        }
    });
    futures_util::future::join_all(askers).await;
}
