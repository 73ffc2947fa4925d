//! Gateways that save at the same time, and attempts that ended half-way.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use serde_json::{Value, json};
use waybill_domain::{
    credentials::{CredentialInput, Credentials},
    reference::RegistryHost,
    secret::{Naming, new_version},
};
use waybill_platform::{
    sealing::{Binding, PrivateKey, seal},
    vault::{SecretEntry, Vault as _, VaultEntry},
};
use waybill_schemas::{Event, Subject, VaultKey};

use super::support::Gateway;
use crate::{
    idempotency::{IdempotencyKey, request_id},
    versions::{Origin, VersionRequest, save_version},
};

fn build(image_id: &str, credentials: &str) -> Value {
    json!({"workspace": "acme", "image_id": image_id, "base_image": "a.b/c", "base_image_creds": credentials})
}

/// Versions of the secret's events, in the log's order.
fn versions(gateway: &Gateway) -> Vec<u64> {
    gateway.events().iter().filter_map(|event| Some(event.event.stored_version()?.version)).collect()
}

#[tokio::test]
async fn two_gateways_never_say_the_same_version() {
    let one = Gateway::new().await;
    let other = one.sibling();
    let builds = (0..8).map(|at| {
        let (gateway, body) = (if at % 2 == 0 { &one } else { &other }, build(&format!("i{at}"), &format!("u:p{at}")));
        async move { gateway.post("/v1/builds", &body).await }
    });
    let answers = join_all(builds).await;
    let answered: BTreeSet<u64> =
        answers.iter().map(|answer| answer.json()["version"].as_u64().expect(&answer.text)).collect();
    let said = versions(&one);
    assert!(said.windows(2).all(|pair| pair[0] < pair[1]), "{said:?}");
    assert_eq!((said.len(), answered), (8, said.iter().copied().collect()));
    for event in one.events() {
        let Some(stored) = event.event.stored_version() else { continue };
        let key = VaultKey::Secret {
            workspace: "acme".parse().unwrap(),
            secret: event.event.secret_name().unwrap().clone(),
            version: stored.version,
        };
        let kept = one.vault.get(&key).await.unwrap().unwrap();
        assert_eq!(stored.digest, waybill_platform::sealing::digest(kept.entry.sealed().unwrap()), "{key}");
    }
}

#[tokio::test]
async fn two_accounts_that_race_for_a_name_get_one_each() {
    let one = Gateway::new().await;
    let other = one.sibling();
    let (first, second) = (build("i", "u:p"), build("j", "v:p"));
    let (first, second) = tokio::join!(one.post("/v1/builds", &first), other.post("/v1/builds", &second));
    let names: BTreeSet<String> =
        [first, second].iter().map(|answer| answer.json()["secret_name"].as_str().unwrap().to_owned()).collect();
    assert_eq!(names.into_iter().collect::<Vec<_>>(), ["oci-registry-a-b", "oci-registry-a-b-2"]);
}

#[tokio::test]
async fn if_version_lets_one_of_many_through() {
    let one = Gateway::new().await;
    let other = one.sibling();
    one.build("i", "a.b/c", json!("u:p")).await;
    let rotations = (0..6).map(|at| {
        let (gateway, body) =
            (if at % 2 == 0 { &one } else { &other }, json!({"credentials": format!("u:q{at}"), "if_version": 1}));
        async move { gateway.post("/v1/secrets/acme/oci-registry-a-b/rotate", &body).await }
    });
    let mut statuses: Vec<u16> = join_all(rotations).await.iter().map(|answer| answer.status.as_u16()).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409, 409, 409, 409, 409]);
}

/// A gateway that ended between the vault and the log leaves an entry that no event names.
#[tokio::test]
async fn an_orphan_in_the_vault_holds_nobody_up() {
    let gateway = Gateway::new().await;
    gateway.build("i", "a.b/c", json!("u:p")).await;
    let (workspace, secret): (waybill_schemas::WorkspaceId, waybill_schemas::SecretName) =
        ("acme".parse().unwrap(), "oci-registry-a-b".parse().unwrap());
    let binding = Binding::Secret {
        workspace: workspace.clone(),
        secret: secret.clone(),
        version: 2,
        registry: "a.b".to_owned(),
    };
    let to = gateway.scheduler.public().unwrap();
    let sealed = seal(&PrivateKey::generate(), &to, &binding, &"orphan".to_owned().into()).unwrap();
    let entry = VaultEntry::Secret(SecretEntry { sealed, mac: "0".repeat(64) });
    gateway.vault.create(&VaultKey::Secret { workspace, secret, version: 2 }, &entry).await.unwrap();
    assert_eq!(gateway.build("i", "a.b/c", json!("u:q")).await["version"], 3);
    assert_eq!(gateway.build("i", "a.b/c", json!("u:r")).await["version"], 4);
}

/// A gateway that ended between the secret's event and the image's: the same request again names the version that is saved.
#[tokio::test]
async fn a_build_that_ended_half_way_goes_on_where_it_was() {
    let gateway = Gateway::new().await;
    let key = IdempotencyKey::parse(b"k").unwrap();
    let subject = Subject::Image {
        workspace: "acme".parse().unwrap(),
        image_id: "i".parse().unwrap(),
        build: request_id("builds", Some(&key)).unwrap(),
    };
    let host = RegistryHost::parse("a.b").unwrap();
    let parsed = Credentials::parse(&CredentialInput::Text("u:p".into()), &host).unwrap();
    let (new, image_id) = (new_version(&parsed, &host), "i".parse().unwrap());
    let request = VersionRequest {
        workspace: &"acme".parse().unwrap(),
        naming: &Naming::for_build(&host, &new, &image_id),
        new: &new,
        verified: None,
        origin: Origin::Build { image_id: &image_id, subject: &subject },
    };
    save_version(&gateway.recorder.begin("token/acme"), &request).await.map(|_| ()).unwrap();
    assert_eq!(gateway.types(), ["CredentialSecretSaved"]);
    let answer = gateway.post_once("/v1/builds", "k", &build("i", "u:p")).await;
    assert_eq!(answer.status.as_u16(), 201, "{}", answer.text);
    assert_eq!((&answer.json()["version"], &answer.json()["unchanged"]), (&json!(1), &json!(false)));
    let [saved, named] = gateway.events().try_into().unwrap();
    assert_eq!(named.envelope.causation_id, Some(saved.envelope.id));
    assert!(matches!(named.event, Event::ImageSecretNamed(_)));
}

#[tokio::test]
async fn withdrawals_that_race_are_recorded_once() {
    let one = Gateway::new().await;
    let other = one.sibling();
    one.build("i", "a.b/c", json!("u:p")).await;
    let revocations = (0..6).map(|at| {
        let gateway = if at % 2 == 0 { &one } else { &other };
        async move { gateway.post("/v1/secrets/acme/oci-registry-a-b/revoke", &json!({})).await.status.as_u16() }
    });
    let mut statuses = join_all(revocations).await;
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409, 409, 409, 409, 409]);
    assert_eq!(one.types(), ["CredentialSecretSaved", "ImageSecretNamed", "CredentialSecretRevoked"]);
}
