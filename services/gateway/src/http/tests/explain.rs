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

const KINDS: [(&str, &str); 2] = [("images", "image"), ("containers", "container")];

#[tokio::test]
async fn an_image_and_a_container_are_explained() {
    let (gateway, document) = (Gateway::new().await, document());
    for (kind, told) in KINDS {
        let answer = ask(&gateway, &format!("/v1/{kind}/acme/x/explain"), Some(TOKEN)).await;
        assert_eq!(answer.status.as_u16(), 200, "{}", answer.text);
        check(&document, "get", &format!("/v1/{kind}/{{workspace}}/{{id}}/explain"), &answer);
        let said = answer.json();
        assert_eq!((&said["kind"], &said["workspace"], &said["id"]), (&json!(told), &json!("acme"), &json!("x")));
    }
}

#[tokio::test]
async fn who_may_not_ask_and_what_cannot_be_answered() {
    let (gateway, document) = (Gateway::new().await, document());
    for (kind, _) in KINDS {
        let path = format!("/v1/{kind}/acme/x/explain");
        let cases = [
            (path.clone(), None, false, 401, "unauthenticated"),
            (path.clone(), Some(OTHER_TOKEN), false, 403, "another_workspace"),
            (format!("/v1/{kind}/acme/x.y/explain"), Some(TOKEN), false, 422, "invalid_field"),
            (path, Some(TOKEN), true, 503, "log_unavailable"),
        ];
        for (path, token, away, status, problem) in cases {
            if away {
                gateway.fail(&Failure::ReadUnavailable);
            }
            let answer = ask(&gateway, &path, token).await;
            answer.expect_problem(status, problem);
            check(&document, "get", &format!("/v1/{kind}/{{workspace}}/{{id}}/explain"), &answer);
            gateway.log.recover();
        }
    }
}
