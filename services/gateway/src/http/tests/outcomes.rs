//! What becomes of builds: what is recorded, what is kept in the vault, and what is answered.

use axum::http::StatusCode;
use serde_json::{Value, json};
use waybill_platform::sealing::digest;
use waybill_schemas::Event;

use super::support::{Gateway, open};

const PASSWORD: &str = "canary-5up3r-s3cr3t";

fn build(more: Value) -> Value {
    let mut build = json!({"workspace": "acme", "image_id": "img-1"});
    build.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    build
}

#[tokio::test]
async fn what_is_saved() {
    let structured =
        json!({"registry": "a.b", "type": "basic", "credentials": {"USERNAME": "u", "PASSWORD": PASSWORD}});
    let docker = json!({"auths": {"https://a.b/v2/": {"username": "u", "password": PASSWORD}}, "experimental": true});
    let cases = [
        ("Docker configuration", docker.clone(), "basic"),
        ("its text", json!(docker.to_string()), "basic"),
        ("identity token", json!({"auths": {"a.b": {"username": "u", "identitytoken": PASSWORD}}}), "token"),
        ("user:password", json!(format!("u:{PASSWORD}")), "basic"),
        ("JSON text", json!(structured.to_string()), "basic"),
        ("keys", json!({"USERNAME": "u", "PASSWORD": PASSWORD, "TOKEN": null}), "basic"),
        ("a token", json!({"USERNAME": "u", "TOKEN": PASSWORD}), "token"),
    ];
    for (name, credentials, cred_type) in cases {
        let gateway = Gateway::new().await;
        let body = build(json!({"existing_image_uri": "a.b/app:1", "existing_image_creds": credentials}));
        let answer = gateway.post("/v1/builds", &body).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{name}: {}", answer.text);
        let said = answer.json();
        // An identity token names no account, so the secret is the image's own.
        let suffix = if name == "identity token" { "-img-1" } else { "" };
        let secret_name = format!("oci-registry-a-b{suffix}");
        for (field, value) in [
            ("outcome", json!("saved")),
            ("registry", json!("a.b")),
            ("secret_name", json!(secret_name)),
            ("cred_type", json!(cred_type)),
            ("version", json!(1)),
            ("unchanged", json!(false)),
            ("sequence", json!(3)),
        ] {
            assert_eq!(said[field], value, "{name}: {field}");
        }
        let [saved, named] = gateway.events().try_into().unwrap();
        assert_eq!(saved.subject.to_string(), format!("waybill.events.secret.acme.{secret_name}"), "{name}");
        assert!(named.subject.to_string().starts_with("waybill.events.image.acme.img-1."), "{name}");
        assert_eq!(said["event_id"], named.envelope.id.to_string(), "{name}");
        assert_eq!(named.envelope.causation_id, Some(saved.envelope.id), "{name}");
        assert_eq!(named.envelope.correlation_id, Some(saved.envelope.id), "{name}");
        for envelope in [&saved.envelope, &named.envelope] {
            assert_eq!(envelope.source, "/waybill/gateway");
            assert_eq!(envelope.actor.as_deref(), Some("token/acme/ci"));
        }
        let Event::CredentialSecretSaved(saved) = saved.event else { panic!("{name}") };
        let Event::ImageSecretNamed(named) = named.event else { panic!("{name}") };
        assert_eq!((named.version, named.image_ref.as_str()), (Some(1), "a.b/app:1"), "{name}");
        assert_eq!(saved.image_id.as_ref().map(|id| id.as_str()), Some("img-1"), "{name}");
        let [kept] = gateway.kept().await.try_into().unwrap();
        assert_eq!(kept.key.to_string(), format!("secret.acme.{secret_name}.1"), "{name}");
        assert_eq!(saved.stored.digest, digest(kept.entry.sealed().unwrap()), "{name}");
        let credentials = open(&gateway, &kept, "a.b");
        assert!(credentials.expose().contains(PASSWORD), "{name}");
        assert_eq!(saved.stored.credentials_length, u64::try_from(credentials.expose().len()).unwrap(), "{name}");
        let account =
            saved.stored.account.map(|account| (account.len(), account.bytes().all(|b| b.is_ascii_hexdigit())));
        assert_eq!(account, suffix.is_empty().then_some((32, true)), "{name}");
    }
}

#[tokio::test]
async fn each_version_has_a_key_of_its_own() {
    let gateway = Gateway::new().await;
    for password in ["u:p1", "u:p2"] {
        gateway.build("i", "a.b/c", json!(password)).await;
    }
    let senders: Vec<_> = gateway.kept().await.iter().map(|kept| kept.entry.sealed().unwrap().sender.clone()).collect();
    assert_eq!(senders.len(), 2);
    assert_ne!(senders[0], senders[1]);
}

#[tokio::test]
async fn a_docker_configuration_for_other_registries_is_skipped_with_their_hosts() {
    let gateway = Gateway::new().await;
    let config = json!({"auths": {"c.d": {"username": "u", "password": PASSWORD}}});
    let body = build(json!({"existing_image_uri": "a.b/app:1", "existing_image_creds": config}));
    let said = gateway.post("/v1/builds", &body).await.json();
    assert_eq!((&said["outcome"], &said["reason"]), (&json!("skipped"), &json!("no_credentials_provided")));
    let detail = said["detail"].as_str().unwrap();
    assert!(detail.contains("for c.d, but none for a.b/app") && !detail.contains(PASSWORD), "{detail}");
    let [Event::CredentialSecretSkipped(skipped)] = [gateway.events()[0].event.clone()] else { panic!() };
    assert_eq!(skipped.detail.as_deref(), Some(detail), "the log has it too");
}

#[tokio::test]
async fn what_is_skipped() {
    let half = json!({"AWS_ACCESS_KEY_ID": "AKIA1"});
    let ecr = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/app";
    let expired = json!({
        "AWS_ACCESS_KEY_ID": "AKIA1", "AWS_SECRET_ACCESS_KEY": PASSWORD,
        "AWS_CREDENTIAL_EXPIRATION": "2001-01-01T00:00:00Z",
    });
    let cases = [
        (json!({}), "no_image_reference", None),
        (json!({"base_image": "a.b/app"}), "no_credentials_provided", None),
        (json!({"base_image": "a.b/app", "base_image_creds": null}), "no_credentials_provided", None),
        (json!({"base_image": "a.b/app", "base_image_secret": ""}), "no_credentials_provided", None),
        (json!({"base_image": "a.b/app", "base_image_creds": "u:p", "modified": true}), "image_modified", None),
        (json!({"base_image": "public.ecr.aws/x/y"}), "public_registry", None),
        (json!({"base_image": "a.b/app", "base_image_creds": {"COLOUR": "blue"}}), "unrecognized_credentials", None),
        (json!({"base_image": ecr, "base_image_creds": half}), "incomplete_credentials", Some("AWS_SECRET_ACCESS_KEY")),
        (json!({"base_image": ecr, "base_image_creds": expired}), "expired_credentials", None),
        (json!({"base_image": "a.b/app", "base_image_creds": {"auths": {"a.b": {}}}}), "no_credentials_provided", None),
    ];
    for (more, reason, missing) in cases {
        let gateway = Gateway::new().await;
        let answer = gateway.post("/v1/builds", &build(more)).await;
        assert_eq!(answer.status, StatusCode::OK, "{reason}: {}", answer.text);
        let said = answer.json();
        assert_eq!((&said["outcome"], &said["reason"]), (&json!("skipped"), &json!(reason)), "{}", answer.text);
        assert_eq!(said.get("missing_key").and_then(Value::as_str), missing, "{reason}");
        assert_eq!(gateway.types(), ["CredentialSecretSkipped"], "{reason}");
        assert!(gateway.kept().await.is_empty(), "{reason}");
    }
}
