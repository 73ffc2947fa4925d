//! What each role of a token may ask for.

use std::collections::BTreeMap;

use axum::http::{Request, header};
use waybill_domain::credentials::Secret;
use waybill_platform::{
    identity::{proof, recorded_hash},
    log::{Expect, Log as _, NewEvent},
};
use waybill_schemas::{
    Envelope, Subject, Uuid,
    v1::{TokenCreated, TokenRole},
};

use super::{contract::document, support::Gateway};

const ROLES: [TokenRole; 4] = [TokenRole::Builder, TokenRole::Orchestrator, TokenRole::Reader, TokenRole::Admin];
/// What the issuer is asked for: it checks the right itself.
const OF_THE_ISSUER: [&str; 5] = ["joinWorker", "retireWorker", "addWorkspace", "createToken", "revokeToken"];

/// Makes a token of a role for every workspace, whose text is the role's name.
pub(super) async fn create_token(gateway: &Gateway, role: TokenRole) {
    create_named_token(gateway, role.as_str(), &[role], &[]).await;
}

/// Makes a token whose text is its name.
pub(super) async fn create_named_token(gateway: &Gateway, name: &str, roles: &[TokenRole], workspaces: &[&str]) {
    let token = TokenCreated {
        token_id: name.parse().unwrap(),
        roles: roles.to_vec(),
        hash: recorded_hash(&proof(&Secret::new(name))),
        workspaces: workspaces.iter().map(|name| name.parse().unwrap()).collect(),
        ends_at: None,
        uses: None,
        worker_prefix: None,
    };
    let subject = Subject::Token { token_id: token.token_id.clone() };
    let new = NewEvent { subject, envelope: Envelope::new(Uuid::new_v4(), "/test"), event: token.into() };
    gateway.log.append(&new, Expect::Anything, None).await.unwrap();
}

/// Method and path of each operation that wants a token, with an id in the place of each parameter, by the operation's id.
fn operations() -> BTreeMap<String, (String, String)> {
    let document = document();
    let paths = document["paths"].as_object().unwrap();
    let all = paths.iter().flat_map(|(path, methods)| {
        let path = path.replace("{workspace}", "acme").replace("{name}", "s").replace("{id}", "i");
        methods.as_object().unwrap().iter().filter(|(_, operation)| operation["security"].is_array()).map(
            move |(method, operation)| {
                (operation["operationId"].as_str().unwrap().to_owned(), (method.to_uppercase(), path.clone()))
            },
        )
    });
    all.collect()
}

#[tokio::test]
async fn each_operation_asks_for_its_role() {
    let gateway = Gateway::new().await;
    for role in ROLES {
        create_token(&gateway, role).await;
    }
    gateway.tokens.recorded().refresh(&gateway.log, &mut None).await.unwrap();
    for (id, (method, path)) in operations() {
        if OF_THE_ISSUER.contains(&id.as_str()) {
            continue;
        }
        let needed = match (method.as_str(), path.as_str()) {
            ("GET", "/v1/tokens") => TokenRole::Admin,
            ("GET", _) => TokenRole::Reader,
            (_, path) if path.starts_with("/v1/containers") => TokenRole::Orchestrator,
            _ => TokenRole::Builder,
        };
        for role in ROLES {
            let request = Request::builder().method(method.as_str()).uri(path.as_str());
            let request = request.header(header::AUTHORIZATION, format!("Bearer {role}"));
            let request = request.header(header::CONTENT_TYPE, "application/json");
            let answer = gateway.send(request.body("{}".into()).unwrap()).await;
            assert_ne!(answer.status, 401, "{id} by {role}");
            let is_refused = answer.status == 403 && answer.json()["code"] == "wrong_role";
            assert_eq!(is_refused, role != needed, "{id} by {role}: {}", answer.text);
        }
    }
}

/// Where a question names no workspace, nothing is answered of one that was not meant.
#[tokio::test]
async fn a_token_of_several_workspaces_names_the_one_that_it_asks_about() {
    let gateway = Gateway::new().await;
    create_named_token(&gateway, "two", &[TokenRole::Orchestrator, TokenRole::Reader], &["acme", "other"]).await;
    gateway.tokens.recorded().refresh(&gateway.log, &mut None).await.unwrap();
    gateway.build("img", "a.b/c", serde_json::json!("u:p")).await;
    gateway.catch_up().await;
    let send = async |method: &str, path: &str, body: &str| {
        let request = Request::builder().method(method).uri(path).header(header::AUTHORIZATION, "Bearer two");
        let request = request.header(header::CONTENT_TYPE, "application/json");
        gateway.send(request.body(body.to_owned().into()).unwrap()).await
    };
    for question in ["containers", "events", "failures?since=1h", "forecast", "now"] {
        let (path, joint) = (format!("/v1/{question}"), if question.contains('?') { '&' } else { '?' });
        let unnamed = send("GET", &path, "").await.expect_problem(422, "invalid_field");
        assert_eq!(unnamed["field"], "workspace", "{unnamed}");
        assert!(unnamed["detail"].as_str().unwrap().ends_with("several workspaces: acme, other"), "{unnamed}");
        for (workspace, status) in [("acme", 200), ("other", 200), ("third", 403)] {
            let answer = send("GET", &format!("{path}{joint}workspace={workspace}"), "").await;
            assert_eq!(answer.status.as_u16(), status, "{path} {workspace}: {}", answer.text);
            assert_eq!(answer.text.contains("img"), question == "events" && workspace == "acme", "{}", answer.text);
        }
    }
    for (workspace, status) in [("acme", 202), ("other", 202), ("third", 403)] {
        let body = format!(r#"{{"workspace":"{workspace}","container_id":"c","image_id":"img","worker_id":"w"}}"#);
        let answer = send("POST", "/v1/containers", &body).await;
        assert_eq!(answer.status.as_u16(), status, "{workspace}: {}", answer.text);
    }
    let actors: Vec<_> = gateway.events().into_iter().filter_map(|event| event.envelope.actor).collect();
    assert_eq!(actors.iter().filter(|actor| *actor == "token/acme+1/two").count(), 2, "{actors:?}");
}
