//! Secrets by their names: put, shown, listed, rotated, revoked, shredded; and what is refused.

use serde_json::{Value, json};

use super::{lines::Lines, support::Gateway};

const CANARY: &str = "s3cr3t-rotated-0123456789";
const SECRET: &str = "/v1/secrets/acme/team.a";

async fn put(gateway: &Gateway, credentials: &str) -> Value {
    let answer = gateway.ask("PUT", SECRET, &json!({"registry": "a.b", "credentials": credentials})).await;
    assert!(answer.status.is_success(), "{}", answer.text);
    answer.json()
}

fn verb(verb: &str) -> String {
    format!("{SECRET}/{verb}")
}

fn fields<'v>(value: &'v Value, names: &[&str]) -> Vec<&'v Value> {
    names.iter().map(|name| &value[*name]).collect()
}

/// One story, told step by step: request, status, and some fields of the answer.
#[tokio::test]
async fn the_life_of_a_secret() {
    let gateway = Gateway::new().await;
    let (credentials, rotated) = (json!(format!("u:{CANARY}")), json!({"TOKEN": CANARY}));
    let put = |registry: &str, if_version: Option<u64>| json!({"registry": registry, "credentials": credentials, "if_version": if_version});
    let rotate = |if_version: u64| json!({"credentials": rotated, "if_version": if_version});
    let at = |if_version: u64| json!({"reason": "closed", "if_version": if_version});
    let none = Value::Null;
    let steps: Vec<(&str, String, Value, u16, Value)> = vec![
        ("GET", SECRET.to_owned(), none.clone(), 404, json!({"code": "not_found"})),
        ("POST", verb("rotate"), rotate(1), 404, json!({"code": "not_found"})),
        ("POST", verb("revoke"), json!({}), 404, json!({"code": "not_found"})),
        ("DELETE", SECRET.to_owned(), none.clone(), 404, json!({"code": "not_found"})),
        ("PUT", SECRET.to_owned(), put("a.b", Some(1)), 409, json!({"code": "version_conflict", "version": 0})),
        (
            "PUT",
            SECRET.to_owned(),
            put("a.b", Some(0)),
            201,
            json!({"outcome": "saved", "secret_name": "team.a", "version": 1, "registry": "a.b", "unchanged": false}),
        ),
        ("PUT", SECRET.to_owned(), put("a.b", Some(0)), 409, json!({"code": "version_conflict", "version": 1})),
        ("PUT", SECRET.to_owned(), put("a.b", None), 200, json!({"version": 1, "unchanged": true})),
        ("PUT", SECRET.to_owned(), put("c.d", None), 409, json!({"code": "registry_mismatch", "field": "registry"})),
        ("POST", verb("rotate"), rotate(2), 409, json!({"code": "version_conflict", "version": 1})),
        ("POST", verb("rotate"), rotate(1), 201, json!({"outcome": "rotated", "version": 2, "cred_type": "token"})),
        ("POST", verb("rotate"), rotate(2), 200, json!({"version": 2, "unchanged": true})),
        ("GET", SECRET.to_owned(), none.clone(), 200, json!({"state": "active", "version": 2, "cred_type": "token"})),
        ("POST", verb("revoke"), at(1), 409, json!({"code": "version_conflict", "version": 2})),
        ("POST", verb("revoke"), at(2), 200, json!({"outcome": "revoked", "version": 2, "registry": "a.b"})),
        ("GET", SECRET.to_owned(), none.clone(), 200, json!({"state": "revoked", "version": 2, "reason": "closed"})),
        ("POST", verb("revoke"), json!({}), 409, json!({"code": "withdrawn", "version": 2})),
        ("POST", verb("shred"), at(2), 200, json!({"outcome": "shredded", "version": 2})),
        ("POST", verb("shred"), json!({}), 409, json!({"code": "withdrawn", "version": 2})),
        ("POST", verb("revoke"), json!({}), 409, json!({"code": "withdrawn", "version": 2})),
        ("DELETE", SECRET.to_owned(), none.clone(), 409, json!({"code": "withdrawn"})),
        ("PUT", SECRET.to_owned(), put("c.d", None), 409, json!({"code": "registry_mismatch"})),
        ("PUT", SECRET.to_owned(), put("a.b", Some(2)), 201, json!({"outcome": "rotated", "version": 3})),
        ("DELETE", SECRET.to_owned(), none.clone(), 200, json!({"outcome": "shredded", "version": 3})),
        ("POST", verb("rotate"), rotate(3), 201, json!({"outcome": "rotated", "version": 4})),
    ];
    let mut saved = Value::Null;
    for (at, (method, path, body, status, expected)) in steps.into_iter().enumerate() {
        let answer = gateway.ask(method, &path, &body).await;
        assert_eq!(answer.status.as_u16(), status, "step {at}, {method} {path}: {}", answer.text);
        let said = answer.json();
        for (name, value) in expected.as_object().unwrap() {
            assert_eq!(said[name], *value, "step {at}, {method} {path}: {said}");
        }
        assert!(!answer.text.contains(CANARY), "step {at}: {}", answer.text);
        if expected["outcome"] == "saved" {
            saved = said["sequence"].clone();
        }
        if expected["unchanged"] == true && expected["version"] == 1 {
            assert_eq!(said["sequence"], saved, "where it was saved");
        }
    }
    assert_eq!(
        gateway.types(),
        [
            "CredentialSecretSaved",
            "CredentialSecretRotated",
            "CredentialSecretRevoked",
            "CredentialSecretShredded",
            "CredentialSecretRotated",
            "CredentialSecretShredded",
            "CredentialSecretRotated",
        ]
    );
    for event in gateway.events() {
        assert_eq!(event.subject.to_string(), "waybill.events.secret.acme.team=a");
        assert_eq!(event.envelope.actor.as_deref(), Some("token/acme/ci"));
        assert!(!String::from_utf8(event.event.to_json().unwrap()).unwrap().contains(CANARY));
    }
}

#[tokio::test]
async fn secrets_are_listed_by_name_and_workspace() {
    let gateway = Gateway::new().await;
    put(&gateway, "u:p").await;
    gateway.build("i", "c.d/x", json!("u:p")).await;
    gateway.post(&verb("revoke"), &json!({"reason": "closed"})).await;
    let answer = gateway.ask("GET", "/v1/secrets/acme", &Value::Null).await;
    assert_eq!(answer.status.as_u16(), 200, "{}", answer.text);
    let said = answer.json();
    assert_eq!(said["next"], Value::Null);
    let names = ["secret_name", "state", "version", "registry", "cred_type", "reason", "actor"];
    let listed: Vec<Vec<&Value>> =
        said["secrets"].as_array().unwrap().iter().map(|secret| fields(secret, &names)).collect();
    let null = Value::Null;
    let [one, active, revoked, basic] = [json!(1), json!("active"), json!("revoked"), json!("basic")];
    let [name, registry, other, host] = [json!("oci-registry-c-d"), json!("c.d"), json!("team.a"), json!("a.b")];
    let (closed, actor) = (json!("closed"), json!("token/acme/ci"));
    assert_eq!(
        listed,
        [
            vec![&name, &active, &one, &registry, &basic, &null, &actor],
            vec![&other, &revoked, &one, &host, &null, &closed, &actor],
        ]
    );
    let page = gateway.ask("GET", "/v1/secrets/acme?limit=1", &Value::Null).await.json();
    assert_eq!((&page["secrets"][0], &page["next"]), (&said["secrets"][0], &name));
    let page = gateway.ask("GET", "/v1/secrets/acme?limit=1&after=oci-registry-c-d", &Value::Null).await.json();
    assert_eq!((&page["secrets"][0], &page["next"]), (&said["secrets"][1], &Value::Null));
    let nowhere = gateway.ask("GET", "/v1/secrets/acme?after=", &Value::Null).await;
    assert_eq!((nowhere.status.as_u16(), &nowhere.json()["field"]), (422, &json!("after")));
    let shown = gateway.ask("GET", "/v1/secrets/acme/oci-registry-c-d", &Value::Null).await.json();
    assert_eq!(shown, said["secrets"][0]);
    assert_eq!(gateway.get("/v1/secrets/acme").await.status.as_u16(), 401);
    assert_eq!(gateway.ask("GET", "/v1/secrets/other", &Value::Null).await.status.as_u16(), 403);
}

#[tokio::test]
async fn a_repeated_operation_is_answered_with_what_was_recorded() {
    let none = Value::Null;
    let cases = [
        (
            "PUT",
            SECRET.to_owned(),
            json!({"registry": "a.b", "credentials": "u:q"}),
            json!({"registry": "c.d", "credentials": "u:q"}),
        ),
        ("POST", verb("rotate"), json!({"credentials": "u:q"}), none.clone()),
        ("POST", verb("revoke"), json!({"reason": "one"}), json!({"reason": "two"})),
        ("POST", verb("shred"), json!({"reason": "one"}), json!({"reason": "two"})),
        ("DELETE", SECRET.to_owned(), none.clone(), none.clone()),
    ];
    for (method, path, body, other) in cases {
        let gateway = Gateway::new().await;
        put(&gateway, "u:p").await;
        let first = gateway.ask_once(method, &path, "k", &body).await;
        assert!(first.status.is_success() && !first.replayed(), "{method} {path}: {}", first.text);
        let again = gateway.sibling().ask_once(method, &path, "k", &body).await;
        assert_eq!((again.status, again.json()), (first.status, first.json()), "{method} {path}");
        assert!(again.replayed(), "{method} {path}");
        assert_eq!(gateway.events().len(), 2, "{method} {path}");
        if !other.is_null() {
            gateway.ask_once(method, &path, "k", &other).await.expect_problem(422, "idempotency_key_reused");
        }
        // A key is for one operation.
        let elsewhere = gateway.ask_once("PUT", SECRET, "k2", &json!({"registry": "a.b", "credentials": "u:z"})).await;
        assert_eq!(elsewhere.status.as_u16(), 201, "{}", elsewhere.text);
        assert_eq!(gateway.events().len(), 3, "{method} {path}");
    }
}

/// Credentials that were good when they were recorded are not refused for their age when the answer was lost.
#[tokio::test]
async fn a_repeated_rotation_is_answered_after_the_credentials_expired() {
    let keys = |until: &str| {
        json!({"credentials": {
            "AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": CANARY, "AWS_CREDENTIAL_EXPIRATION": until,
        }})
    };
    let (later, past) = (keys("2099-01-01T00:00:00Z"), keys("2001-01-01T00:00:00Z"));
    let gateway = Gateway::new().await;
    let put = json!({"registry": "123456789012.dkr.ecr.eu-west-1.amazonaws.com", "credentials": "u:p"});
    assert_eq!(gateway.ask("PUT", SECRET, &put).await.status.as_u16(), 201);
    let first = gateway.post_once(&verb("rotate"), "k", &later).await;
    assert_eq!(first.status.as_u16(), 201, "{}", first.text);
    assert_eq!(first.json()["expires_at"], "2099-01-01T00:00:00Z");
    let again = gateway.post_once(&verb("rotate"), "k", &past).await;
    assert_eq!((again.status, again.replayed()), (first.status, true), "{}", again.text);
    let fresh = gateway.post_once(&verb("rotate"), "k2", &past).await;
    assert_eq!(fresh.expect_problem(422, "invalid_field")["field"], "credentials");
}

#[tokio::test]
async fn what_cannot_be_used_is_refused_and_not_repeated() {
    let gateway = Gateway::new().await;
    put(&gateway, "u:p").await;
    let rotation = |credentials: Value| json!({"credentials": credentials});
    let cases = [
        ("POST", verb("rotate"), rotation(json!("")), "credentials"),
        ("POST", verb("rotate"), rotation(json!(CANARY)), "credentials"),
        ("POST", verb("rotate"), rotation(json!({"USERNAME": CANARY})), "credentials"),
        ("POST", verb("rotate"), rotation(json!({"COLOUR": CANARY})), "credentials"),
        ("POST", verb("rotate"), rotation(json!({"PASSWORD": [CANARY]})), "credentials"),
        (
            "POST",
            verb("rotate"),
            rotation(json!(format!(r#"{{"registry":"c.d","credentials":{{"TOKEN":"{CANARY}"}}}}"#))),
            "credentials",
        ),
        ("POST", verb("rotate"), json!({}), "credentials"),
        ("POST", verb("rotate"), json!({"credentials": "u:p", "if_version": -1}), "if_version"),
        ("POST", verb("revoke"), json!({"reason": "two\nlines"}), "reason"),
        ("POST", verb("shred"), json!({"reason": "x".repeat(201)}), "reason"),
        ("PUT", SECRET.to_owned(), json!({"credentials": "u:p"}), "registry"),
        ("PUT", SECRET.to_owned(), json!({"registry": "no host", "credentials": "u:p"}), "registry"),
        ("PUT", SECRET.to_owned(), json!({"registry": "a.b", "credentials": CANARY}), "credentials"),
        (
            "PUT",
            "/v1/secrets/acme/no%20name".to_owned(),
            json!({"registry": "a.b", "credentials": "u:p"}),
            "secret_name",
        ),
        ("GET", "/v1/secrets/acme/no%2Aname".to_owned(), Value::Null, "secret_name"),
        ("DELETE", format!("/v1/secrets/acme/{}", "x".repeat(129)), Value::Null, "secret_name"),
        (
            "PUT",
            SECRET.to_owned(),
            json!({"registry": "a.b", "credentials": "u:p", "verify_image": "a.b/c"}),
            "verify_image",
        ),
    ];
    for (method, path, body, field) in cases {
        let answer = gateway.ask(method, &path, &body).await;
        assert_eq!(answer.expect_problem(422, "invalid_field")["field"], field, "{method} {path} {body}");
        assert!(!answer.text.contains(CANARY), "{}", answer.text);
    }
    assert_eq!(gateway.events().len(), 1);
}

#[tokio::test]
async fn each_operation_leaves_a_line() {
    let (lines, _guard) = Lines::capture();
    let gateway = Gateway::new().await;
    put(&gateway, &format!("u:{CANARY}")).await;
    gateway.post(&verb("rotate"), &json!({"credentials": {"USERNAME": "u", "TOKEN": CANARY}})).await;
    gateway.post(&verb("revoke"), &json!({})).await;
    gateway.post(&verb("shred"), &json!({})).await;
    for (message, version) in [
        ("credential secret saved", 1),
        ("credential secret rotated", 2),
        ("credential secret revoked", 2),
        ("credential secret shredded", 2),
    ] {
        let line = &lines.with(message)[..];
        assert_eq!(line.len(), 1, "{message}");
        let got = fields(&line[0], &["level", "secret_name", "registry", "version"]);
        assert_eq!(got, [&json!("INFO"), &json!("team.a"), &json!("a.b"), &json!(version)], "{message}");
    }
    assert!(!lines.text().contains(CANARY));
}
