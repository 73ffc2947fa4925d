//! Requests and ends: a placement's number, and who may end which.

use serde_json::{Value, json};

use super::support::{Gateway, OTHER_TOKEN, bare};

const REQUEST: &str = "/v1/containers";
const END: &str = "/v1/containers/ended";

fn request(container_id: &str) -> Value {
    json!({"workspace": "acme", "container_id": container_id, "image_id": "i", "worker_id": "w"})
}

async fn place(gateway: &Gateway, container_id: &str) -> u64 {
    let answer = gateway.post(REQUEST, &request(container_id)).await;
    assert_eq!(answer.status.as_u16(), 202, "{}", answer.text);
    let said = answer.json();
    assert_eq!(said["placement"], said["sequence"]);
    said["placement"].as_u64().unwrap()
}

fn end(container_id: &str, placement: u64) -> Value {
    json!({"workspace": "acme", "container_id": container_id, "placement": placement})
}

#[tokio::test]
async fn a_container_request_is_recorded_as_it_was_asked() {
    let required = json!({"workspace": "acme", "container_id": "c-1", "worker_id": "w-1"});
    let cases = [
        (json!({}), json!({"build_container": false})),
        (json!({"image_id": ""}), json!({"build_container": false})),
        (json!({"image_id": null}), json!({"build_container": false})),
        (json!({"image_id": "i", "build_container": true}), json!({"image_id": "i", "build_container": true})),
    ];
    for (asked, recorded) in cases {
        let gateway = Gateway::new().await;
        let (mut body, mut expected) = (required.clone(), required.clone());
        body.as_object_mut().unwrap().extend(asked.as_object().unwrap().clone());
        expected.as_object_mut().unwrap().extend(recorded.as_object().unwrap().clone());
        let answer = gateway.post(REQUEST, &body).await;
        assert_eq!(answer.status.as_u16(), 202, "{}", answer.text);
        assert_eq!((&answer.json()["sequence"], &answer.json()["placement"]), (&json!(2), &json!(2)));
        let event = gateway.events()[0].event.to_json().unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&event).unwrap(), expected);
    }
}

#[tokio::test]
async fn an_end_names_its_placement() {
    let gateway = Gateway::new().await;
    let (first, second, other) = (place(&gateway, "c").await, place(&gateway, "c").await, place(&gateway, "d").await);
    for (name, body, status) in [
        ("an older placement", end("c", first), 202),
        ("another container's", end("c", other), 404),
        ("none's", end("c", 99), 404),
        ("the scheduler's key", end("c", 1), 404),
        ("zero", end("c", 0), 404),
        ("half a number", json!({"workspace": "acme", "container_id": "c", "placement": 2.5}), 422),
        (
            "a whole number as JSON Schema means it",
            json!({"workspace": "acme", "container_id": "d", "placement": 4.0}),
            202,
        ),
        ("the newest", end("c", second), 202),
    ] {
        let answer = gateway.post(END, &body).await;
        assert_eq!(answer.status.as_u16(), status, "{name}: {}", answer.text);
        if status == 202 {
            let (answered, asked) = (answer.json()["placement"].as_f64(), body["placement"].as_f64());
            assert_eq!((answered, answer.replayed()), (asked, false), "{name}");
        } else {
            assert_eq!(answer.json()["field"], "placement", "{name}");
        }
    }
    assert_eq!(gateway.types(), [["ContainerRequested"; 3], ["ContainerEnded"; 3]].concat());
    let events = gateway.events();
    assert_eq!(events[3].subject, events[0].subject, "an end stands on its request's subject");
    assert_eq!(events[3].envelope.causation_id, Some(events[0].envelope.id));
}

#[tokio::test]
async fn a_placement_ends_once() {
    let gateway = Gateway::new().await;
    let placement = place(&gateway, "c").await;
    let first = gateway.post(END, &end("c", placement)).await;
    for key in ["k", "l"] {
        let again = gateway.post_once(END, key, &end("c", placement)).await;
        assert_eq!((again.status, again.replayed(), again.json()), (first.status, true, first.json()));
    }
    assert_eq!(gateway.types(), ["ContainerRequested", "ContainerEnded"]);
}

#[tokio::test]
async fn another_workspaces_placement_is_not_there() {
    let gateway = Gateway::new().await;
    let placement = place(&gateway, "c").await;
    let body = json!({"workspace": "other", "container_id": "c", "placement": placement}).to_string();
    let request = bare(END).header("Authorization", format!("Bearer {OTHER_TOKEN}"));
    gateway.send(request.body(body.into()).unwrap()).await.expect_problem(404, "not_found");
    assert_eq!(gateway.types(), ["ContainerRequested"]);
}

#[tokio::test]
async fn a_request_that_has_ended_is_still_known_by_its_key() {
    let gateway = Gateway::new().await;
    let first = gateway.post_once(REQUEST, "k", &request("c")).await;
    let placement = first.json()["placement"].as_u64().unwrap();
    gateway.post(END, &end("c", placement)).await;
    let again = gateway.post_once(REQUEST, "k", &request("c")).await;
    assert_eq!((again.status, again.replayed(), again.json()), (first.status, true, first.json()));
    let mut other = request("c");
    other["worker_id"] = json!("w2");
    gateway.post_once(REQUEST, "k", &other).await.expect_problem(422, "idempotency_key_reused");
}
