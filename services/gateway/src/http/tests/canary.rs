//! Secrets in every place of a request come out nowhere: no answer, log line, span, or stored message.

use axum::{
    body::Body,
    http::{Request, header},
};
use serde_json::{Value, json};

use waybill_platform::testing::Failure;

use super::{
    lines::Lines,
    support::{Gateway, TOKEN, bare, post, request},
};

pub(super) const CANARY: &str = "canary-5up3r-s3cr3t";

/// Bodies with the canary wherever a client may put a secret, rightly or not.
pub(super) fn bodies() -> Vec<String> {
    let credentials = [
        json!(format!("user:{CANARY}")),
        json!(format!("{CANARY}:password")),
        json!(CANARY),
        json!(format!("{{\"registry\": {CANARY}")),
        json!(json!({"registry": "a.b", "type": CANARY, "credentials": {"TOKEN": CANARY}}).to_string()),
        json!(json!({"registry": CANARY, "credentials": {"TOKEN": CANARY}}).to_string()),
        json!(json!({"registry": "a.b", "type": "token", "credentials": {"TOKEN": CANARY}}).to_string()),
        json!({"USERNAME": "u", "PASSWORD": CANARY}),
        json!({"USERNAME": CANARY, "PASSWORD": CANARY}),
        json!({"USERNAME": CANARY}),
        json!({"AWS_ACCESS_KEY_ID": CANARY, "AWS_SECRET_ACCESS_KEY": CANARY, "AWS_CREDENTIAL_EXPIRATION": CANARY}),
        json!({(CANARY): "swapped"}),
        json!({(CANARY): 5}),
        json!({"PASSWORD": [CANARY]}),
        json!([CANARY]),
    ];
    let mut bodies = Vec::new();
    for credentials in credentials {
        for (reference, field) in [("existing_image_uri", "existing_image_creds"), ("base_image", "base_image_creds")] {
            bodies.push(json!({"workspace": "acme", "image_id": "i", reference: "a.b/app", field: credentials}));
        }
    }
    let pasted = [format!("{CANARY}:{CANARY}@a.b/app"), format!("https://{CANARY}@a.b/app"), format!("{CANARY}@a.b")];
    bodies.extend(pasted.map(|uri| json!({"workspace": "acme", "image_id": "i", "base_image": uri})));
    bodies.push(
        json!({"workspace": "acme", "image_id": "i", "base_image": "a.b/c", "base_image_secret": format!("{CANARY}!")}),
    );
    bodies.push(json!({"workspace": "acme", "image_id": format!("{CANARY}!")}));
    bodies.push(json!({"workspace": format!("{CANARY}!"), "image_id": "i"}));
    bodies.push(json!({"workspace": CANARY, "image_id": "i"}));
    bodies.push(json!({"workspace": "acme", "image_id": "i", "modified": CANARY}));
    bodies.push(json!({"workspace": "acme", "image_id": "i", "unknown": CANARY}));
    let mut texts: Vec<String> = bodies.iter().map(Value::to_string).collect();
    texts.push(format!("{CANARY} is not JSON"));
    texts.push(format!("{{\"workspace\": {CANARY}}}"));
    texts.push(format!("[\"{CANARY}\"]"));
    texts.push(format!("\"{CANARY}\""));
    texts
}

/// Bodies of operations on a secret, likewise.
fn secret_bodies() -> Vec<Value> {
    let credentials = [
        json!(format!("user:{CANARY}")),
        json!(CANARY),
        json!({"USERNAME": CANARY, "PASSWORD": CANARY}),
        json!({"TOKEN": CANARY}),
        json!({(CANARY): 5}),
        json!([CANARY]),
    ];
    let mut bodies: Vec<Value> = credentials.iter().map(|creds| json!({"credentials": creds})).collect();
    bodies.extend(credentials.iter().map(|creds| json!({"registry": "a.b", "credentials": creds})));
    bodies.push(json!({"registry": format!("{CANARY}:{CANARY}@a.b"), "credentials": "u:p"}));
    bodies.push(json!({"registry": "a.b", "credentials": "u:p", "verify_image": format!("{CANARY}:{CANARY}@a.b/c")}));
    bodies.push(json!({"registry": "a.b", "credentials": "u:p", "if_version": CANARY}));
    bodies.push(json!({"reason": format!("{CANARY}\n")}));
    bodies.push(json!({"if_version": CANARY}));
    bodies
}

fn requests() -> Vec<Request<Body>> {
    let mut requests = Vec::new();
    for body in secret_bodies() {
        for (method, verb) in [("PUT", ""), ("POST", "/rotate"), ("POST", "/revoke"), ("POST", "/shred")] {
            let path = format!("/v1/secrets/acme/s{verb}");
            requests.push(request(method, &path).body(body.to_string().into()).unwrap());
        }
    }
    for body in bodies() {
        for path in ["/v1/builds", "/v1/containers"] {
            requests.push(post(path).body(body.clone().into()).unwrap());
            requests.push(post(path).header("Idempotency-Key", "key-1").body(body.clone().into()).unwrap());
        }
        let unauthorised = format!("Bearer {CANARY}");
        requests.push(bare("/v1/builds").header(header::AUTHORIZATION, unauthorised).body(body.into()).unwrap());
    }
    requests
}

#[tokio::test]
async fn nothing_comes_out() {
    let (lines, _guard) = Lines::capture();
    let mut saved = 0;
    for failure in [None, Some(Failure::Refused(10054)), Some(Failure::LostAck)] {
        let gateway = Gateway::new().await;
        for request in requests() {
            gateway.log.recover();
            match &failure {
                Some(Failure::LostAck) => gateway.log.fail([Failure::LostAck]),
                Some(failure) => gateway.fail(failure),
                None => {}
            }
            let answer = gateway.send(request).await;
            let told = format!("{} {:?} {}", answer.status, answer.headers, answer.text);
            assert!(!told.contains(CANARY), "{failure:?}: {told}");
            assert!(
                !answer.status.is_server_error() || failure == Some(Failure::Refused(10054)),
                "{failure:?}: {told}"
            );
            saved += u32::from(answer.status.as_u16() == 201);
        }
        for stored in gateway.log.messages() {
            let text = format!("{} {:?} {}", stored.subject, stored.headers, String::from_utf8_lossy(&stored.payload));
            assert!(!text.contains(CANARY), "{text}");
        }
        for kept in gateway.kept().await {
            assert!(!format!("{kept:?} {:?}", kept.entry.sealed()).contains(CANARY));
        }
    }
    assert!(saved > 20, "the canary was sealed {saved} times");
    let text = lines.text();
    assert!(text.contains("credential secret saved") && text.contains("build received"), "logs were captured");
    assert!(text.contains("request refused"), "refusals were captured");
    assert!(!text.contains(CANARY), "{:?}", text.lines().find(|line| line.contains(CANARY)));
    assert!(!text.contains(TOKEN), "{:?}", text.lines().find(|line| line.contains(TOKEN)));
}

/// A client's own name for a field is told to the client alone: somebody may have swapped names and values.
#[tokio::test]
async fn an_unknown_field_is_not_named_in_the_log() {
    let (lines, _guard) = Lines::capture();
    let gateway = Gateway::new().await;
    let body = json!({"workspace": "acme", "image_id": "i", (CANARY): "x"});
    assert_eq!(gateway.post("/v1/builds", &body).await.json()["field"], CANARY);
    assert_eq!(lines.with("request refused").len(), 1);
    assert!(!lines.text().contains(CANARY));
}
