//! Questions: who may ask, what is answered, and that the answers are those of the document.

use axum::{
    body::Body,
    http::{Request, header},
};
use serde_json::json;
use waybill_platform::testing::Failure;

use super::{
    contract::{check, document},
    support::{Answer, Gateway, OTHER_TOKEN, TOKEN},
};

async fn ask(gateway: &Gateway, path: &str, token: Option<&str>) -> Answer {
    let request = Request::get(path);
    let request = match token {
        Some(token) => request.header(header::AUTHORIZATION, format!("Bearer {token}")),
        None => request,
    };
    gateway.send(request.body(Body::empty()).unwrap()).await
}

const TEMPLATES: [&str; 3] = [
    "/v1/images/{workspace}/{id}/explain",
    "/v1/containers/{workspace}/{id}/explain",
    "/v1/secrets/{workspace}/{name}/explain",
];

fn path(template: &str, id: &str) -> String {
    template.replace("{workspace}", "acme").replace("{id}", id).replace("{name}", id)
}

#[tokio::test]
async fn images_containers_and_secrets_are_explained_from_the_log() {
    let (gateway, document) = (Gateway::new().await, document());
    gateway.build("img", "a.b/c", json!("u:p")).await;
    let request = json!({"workspace": "acme", "container_id": "ctr", "image_id": "img", "worker_id": "w"});
    gateway.post("/v1/containers", &request).await;
    let [image, container, secret] = TEMPLATES;
    for (template, id, kind, state, steps) in [
        (image, "img", "image", "healthy", 2),
        (image, "none", "image", "broken", 0),
        (container, "ctr", "container", "in_flight", 2),
        (container, "none", "container", "broken", 0),
        (secret, "oci-registry-a-b", "secret", "healthy", 1),
        (secret, "none", "secret", "broken", 0),
    ] {
        let answer = ask(&gateway, &path(template, id), Some(TOKEN)).await;
        assert_eq!(answer.status.as_u16(), 200, "{}", answer.text);
        check(&document, "get", template, &answer);
        let said = answer.json();
        assert_eq!((&said["kind"], &said["id"]), (&json!(kind), &json!(id)), "{said}");
        assert_eq!(said["verdict"]["state"], state, "{said}");
        assert_eq!(said["timeline"].as_array().unwrap().len(), steps, "{said}");
    }
}

#[tokio::test]
async fn a_moment_of_the_past_and_what_changed_since() {
    let (gateway, document) = (Gateway::new().await, document());
    let request = json!({"workspace": "acme", "container_id": "ctr", "image_id": "img", "worker_id": "w"});
    gateway.post("/v1/containers", &request).await;
    gateway.build("img", "a.b/c", json!("u:p")).await;
    let [_, container, _] = TEMPLATES;
    let explained = async |query: &str| {
        let answer = ask(&gateway, &format!("{}{query}", path(container, "ctr")), Some(TOKEN)).await;
        check(&document, "get", container, &answer);
        answer.json()
    };
    let then = explained("?as_of=1").await;
    assert_eq!(then["verdict"]["code"], "not_requested");
    assert_eq!(explained("?as_of=2").await["verdict"]["code"], "awaiting_decision");
    assert_eq!(explained("?as_of=2000-01-01T00:00:00Z").await["verdict"], then["verdict"]);
    let changes = explained("?diff=1").await;
    assert_eq!((&changes["changed"], &changes["before"]), (&json!(true), &then["verdict"]));
    assert_eq!(changes["steps"][0]["sequence"], 2, "{changes}");
    let same = explained("?diff=2&as_of=3").await;
    assert_eq!((&same["changed"], &same["after"]["code"]), (&json!(false), &json!("awaiting_decision")));
    for (query, field) in [("?as_of=99", "as_of"), ("?diff=soon", "diff"), ("?at=1", "query")] {
        assert_eq!(explained(query).await["field"], field);
    }
}

#[tokio::test]
async fn who_may_not_ask_and_what_cannot_be_answered() {
    let (gateway, document) = (Gateway::new().await, document());
    for template in TEMPLATES {
        let (path, wrong) = (path(template, "x"), path(template, "x%20y"));
        let cases = [
            (path.clone(), None, false, 401, "unauthenticated"),
            (path.clone(), Some(OTHER_TOKEN), false, 403, "another_workspace"),
            (wrong, Some(TOKEN), false, 422, "invalid_field"),
            (path, Some(TOKEN), true, 503, "log_unavailable"),
        ];
        for (path, token, away, status, problem) in cases {
            if away {
                gateway.fail(&Failure::ReadUnavailable);
            }
            let answer = ask(&gateway, &path, token).await;
            answer.expect_problem(status, problem);
            check(&document, "get", template, &answer);
            gateway.log.recover();
        }
    }
}
