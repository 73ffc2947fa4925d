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
    let token = TokenCreated {
        token_id: role.as_str().parse().unwrap(),
        roles: vec![role],
        hash: recorded_hash(&proof(&Secret::new(role.as_str()))),
        workspaces: Vec::new(),
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
