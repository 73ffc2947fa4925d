//! Events over HTTP: page by page, as they come, and never another workspace's.

use axum::{
    body::{Body, to_bytes},
    http::{Request, header},
};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::{
    contract::{check, document},
    support::{Gateway, OTHER_TOKEN, request},
};

/// A gateway whose log holds the scheduler's key, one build and three containers of `acme`, and one container of `other`.
async fn filled() -> Gateway {
    let gateway = Gateway::new().await;
    gateway.build("img", "a.b/c", json!("u:p")).await;
    for container in ["c1", "c2", "c3"] {
        let body = json!({"workspace": "acme", "container_id": container, "image_id": "img", "worker_id": "w"});
        gateway.post("/v1/containers", &body).await;
    }
    let other = json!({"workspace": "other", "container_id": "theirs", "worker_id": "w"});
    let request = Request::post("/v1/containers").header(header::CONTENT_TYPE, "application/json");
    let request = request.header(header::AUTHORIZATION, format!("Bearer {OTHER_TOKEN}"));
    gateway.send(request.body(other.to_string().into()).unwrap()).await;
    gateway.catch_up().await;
    gateway
}

async fn sequences(gateway: &Gateway, query: &str) -> (Vec<u64>, Value) {
    let answer = gateway.ask("GET", &format!("/v1/events{query}"), &Value::Null).await;
    assert_eq!(answer.status.as_u16(), 200, "{query}: {}", answer.text);
    check(&document(), "get", "/v1/events", &answer);
    let said = answer.json();
    let events = said["events"].as_array().unwrap().iter();
    let sequences = events.map(|event| event["sequence"].as_str().unwrap().parse().unwrap());
    (sequences.collect(), said["next"].clone())
}

#[tokio::test]
async fn events_are_filtered_and_paged() {
    let gateway = filled().await;
    let null = Value::Null;
    let cases = [
        ("", vec![2, 3, 4, 5, 6], null.clone()),
        ("?workspace=acme&order=newest", vec![6, 5, 4, 3, 2], null.clone()),
        ("?limit=2", vec![2, 3], json!(4)),
        ("?limit=2&from=4", vec![4, 5], json!(6)),
        ("?limit=2&order=newest", vec![6, 5], json!(4)),
        ("?limit=2&order=newest&until=4", vec![4, 3], json!(2)),
        ("?type=ContainerRequested,CredentialSecretSaved", vec![2, 4, 5, 6], null.clone()),
        ("?container=c2", vec![5], null.clone()),
        ("?image=img", vec![3], null.clone()),
        ("?secret=oci-registry-a-b", vec![2], null.clone()),
        ("?container=c2&image=img", vec![3, 5], null.clone()),
        ("?container=theirs", vec![], null.clone()),
        ("?worker=w", vec![], null.clone()),
        ("?from=2000-01-01T00:00:00Z&until=3", vec![2, 3], null.clone()),
        ("?until=2000-01-01T00:00:00Z", vec![], null.clone()),
    ];
    for (query, expected, next) in cases {
        assert_eq!(sequences(&gateway, query).await, (expected, next), "{query}");
    }
    let event = &gateway.ask("GET", "/v1/events?container=c1", &null).await.json()["events"][0];
    assert_eq!((&event["data"]["container_id"], &event["specversion"]), (&json!("c1"), &json!("1.0")));
}

#[tokio::test]
async fn a_bad_question_names_its_parameter() {
    let gateway = filled().await;
    for (query, status, field) in [
        ("?workspace=other", 403, "workspace"),
        ("?limit=1001", 422, "limit"),
        ("?from=yesterday", 422, "from"),
        ("?type=Nothing", 422, "type"),
        ("?type=", 422, "type"),
        ("?trace=", 422, "trace"),
        ("?order=up", 422, "order"),
        ("?container=a.b", 422, "container_id"),
        ("?colour=red", 422, "query"),
    ] {
        let answer = gateway.ask("GET", &format!("/v1/events{query}"), &Value::Null).await;
        assert_eq!((answer.status.as_u16(), &answer.json()["field"]), (status, &json!(field)), "{}", answer.text);
    }
}

/// Ids and types of a stream that has ended.
async fn read(body: Body) -> Vec<(String, String)> {
    let text = String::from_utf8(to_bytes(body, usize::MAX).await.unwrap().to_vec()).unwrap();
    let of = |block: &str, field: &str| {
        block.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_default().trim().to_owned()
    };
    let blocks = text.split("\n\n").filter(|block| block.contains("data:"));
    blocks.map(|block| (of(block, "id:"), of(block, "event:"))).collect()
}

#[tokio::test]
async fn a_stream_begins_where_its_reader_was_and_goes_on() {
    let requested = || "ContainerRequested".to_owned();
    let cases = [
        ("/v1/events?from=5", None, vec![("5", requested()), ("6", requested()), ("8", requested())]),
        ("/v1/events", Some("5"), vec![("6", requested()), ("8", requested())]),
        ("/v1/events", None, vec![("8", requested())]),
        ("/v1/events?container=c9", Some("1"), vec![("8", requested())]),
        ("/v1/events?type=ImageSecretNamed", Some("1"), vec![("3", "ImageSecretNamed".to_owned())]),
    ];
    for (path, last, expected) in cases {
        let gateway = filled().await;
        let mut asked = request("GET", path).header(header::ACCEPT, "text/event-stream");
        if let Some(last) = last {
            asked = asked.header("Last-Event-ID", last);
        }
        let response = gateway.router.clone().oneshot(asked.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.status().as_u16(), 200, "{path}");
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let refused =
            gateway.send(request("GET", path).header(header::ACCEPT, "text/event-stream").body(Body::empty()).unwrap());
        refused.await.expect_problem(503, "too_many_streams");
        let reading = tokio::spawn(read(response.into_body()));
        gateway.post("/v1/containers", &json!({"workspace": "acme", "container_id": "c9", "worker_id": "w"})).await;
        while gateway.listeners() == 0 {
            tokio::task::yield_now().await;
        }
        gateway.catch_up().await;
        while gateway.unheard() > 0 {
            tokio::task::yield_now().await;
        }
        gateway.stop();
        let expected: Vec<_> = expected.into_iter().map(|(id, name)| (id.to_owned(), name)).collect();
        assert_eq!(reading.await.unwrap(), expected, "{path} after {last:?}");
    }
}
