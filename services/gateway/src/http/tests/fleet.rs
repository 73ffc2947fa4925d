//! What runs where, over HTTP.

use serde_json::{Value, json};

use super::{
    contract::{check, document},
    support::Gateway,
};

#[tokio::test]
async fn containers_are_listed_by_where_they_run_and_how_they_stand() {
    let gateway = Gateway::new().await;
    for (container, worker) in [("c1", "w1"), ("c2", "w2"), ("c3", "w1"), ("c1", "w2")] {
        let body = json!({"workspace": "acme", "container_id": container, "image_id": "img", "worker_id": worker});
        gateway.post("/v1/containers", &body).await;
    }
    gateway.catch_up().await;
    let document = document();
    let cases = [
        ("", vec![("c1", 5), ("c3", 4), ("c2", 3)], Value::Null),
        ("?worker=w2", vec![("c1", 5), ("c2", 3)], Value::Null),
        ("?worker=w2&limit=1", vec![("c1", 5)], json!(3)),
        ("?worker=w2&limit=1&up_to=3", vec![("c2", 3)], Value::Null),
        ("?limit=1&up_to=4", vec![("c3", 4)], json!(3)),
        ("?state=in_flight&code=awaiting_decision", vec![("c1", 5), ("c3", 4), ("c2", 3)], Value::Null),
        ("?state=broken", vec![], Value::Null),
        ("?image=other", vec![], Value::Null),
        ("?secret=none", vec![], Value::Null),
    ];
    for (query, expected, next) in cases {
        let answer = gateway.ask("GET", &format!("/v1/containers{query}"), &Value::Null).await;
        check(&document, "get", "/v1/containers", &answer);
        let said = answer.json();
        let listed = said["containers"].as_array().unwrap().iter();
        let listed: Vec<_> =
            listed.map(|one| (one["container_id"].as_str().unwrap(), one["placement"].as_u64().unwrap())).collect();
        assert_eq!((listed, &said["next"]), (expected, &next), "{query}");
        assert_eq!(said["position"], 5);
    }
    for (query, field) in [("?state=well", "state"), ("?code=none", "code"), ("?worker=a.b", "worker_id")] {
        let answer = gateway.ask("GET", &format!("/v1/containers{query}"), &Value::Null).await;
        assert_eq!(answer.expect_problem(422, "invalid_field")["field"], field);
    }
}
