//! Rotation as a specification: given saved credentials, when these come, then they take their place or this is wrong.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use waybill_domain::{
    credentials::CredentialInput,
    rotate::{decide_rotation, in_use},
};
use waybill_schemas::{
    Event, Sealed, Timestamp,
    v1::{CredType, CredentialSecretRevoked, CredentialSecretRotated, CredentialSecretSaved, CredentialSource},
};

const KEY: &str = "XAB3NANV3M6N7AHSQP2U5FRWKKUT7EG2ZXXABV4XVXYQRJGM4S2CZGHT";
const CANARY: &str = "s3cr3t-rotated-0123456789";

fn now() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

fn saved(image_ref: &str) -> CredentialSecretSaved {
    CredentialSecretSaved {
        workspace: "ws".parse().unwrap(),
        image_id: "img".parse().unwrap(),
        image_ref: image_ref.to_owned(),
        registry: "a.b".to_owned(),
        secret_name: "oci-registry-a-b".to_owned(),
        cred_type: CredType::Basic,
        source: CredentialSource::FromRegistry,
        expires_at: None,
        credentials: Sealed {
            sender: KEY.parse().unwrap(),
            recipient: KEY.parse().unwrap(),
            ciphertext: "box".to_owned(),
        },
    }
}

#[test]
fn what_can_take_the_place_of_saved_credentials() {
    const ECR: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/app:1";
    let keys = |pairs: &[(&str, &str)]| CredentialInput::from_keys(pairs.iter().copied());
    let text = |text: String| CredentialInput::Text(text.as_str().into());
    let aws = [("AWS_ACCESS_KEY_ID", "AKIA"), ("AWS_SECRET_ACCESS_KEY", CANARY)];
    let until = |expiry| [&aws[..], &[("AWS_CREDENTIAL_EXPIRATION", expiry)]].concat();
    let cases = [
        ("a.b/app:1", text(format!("u:{CANARY}")), Ok(CredType::Basic)),
        ("a.b/app:1", keys(&[("TOKEN", CANARY)]), Ok(CredType::Token)),
        (ECR, keys(&aws), Ok(CredType::Aws)),
        (ECR, keys(&until("2026-01-01T00:00:01Z")), Ok(CredType::Aws)),
        (ECR, keys(&until("2026-01-01T00:00:00Z")), Err("expired at")),
        (ECR, keys(&aws[..1]), Err("cannot be used")),
        ("a.b/app:1", keys(&[]), Err("cannot be used")),
        ("a.b/app:1", text(CANARY.to_owned()), Err("cannot be used")),
        ("a.b/app:1", keys(&[("COLOUR", CANARY)]), Err("type unknown")),
        (
            "a.b/app:1",
            text(format!(r#"{{"registry":"c.d","credentials":{{"TOKEN":"{CANARY}"}}}}"#)),
            Err("cannot be used"),
        ),
        ("not a reference", text(format!("u:{CANARY}")), Err("reference")),
    ];
    for (image_ref, credentials, expected) in cases {
        let decided = decide_rotation(&saved(image_ref), &credentials, now());
        match (decided, expected) {
            (Ok(plan), Ok(cred_type)) => assert_eq!(plan.cred_type, cred_type, "{credentials:?}"),
            (Err(error), Err(words)) => {
                assert!(error.to_string().contains(words), "{error}");
                assert!(!format!("{error:?}").contains(CANARY));
            }
            (decided, expected) => panic!("{credentials:?}: {decided:?}, not {expected:?}"),
        }
    }
}

#[test]
fn what_a_container_would_get() {
    let save = |_: u64| Event::from(saved("a.b/app:1"));
    let elsewhere = || Event::from(saved("a.b/app:2"));
    let rotate = |replaces| Event::from(CredentialSecretRotated { replaces, secret: saved("a.b/app:1") });
    let revoke = |revokes| {
        Event::from(CredentialSecretRevoked {
            workspace: "ws".parse().unwrap(),
            image_id: "img".parse().unwrap(),
            revokes,
            image_ref: "a.b/app:1".to_owned(),
            registry: "a.b".to_owned(),
            secret_name: "oci-registry-a-b".to_owned(),
            reason: None,
        })
    };
    let cases = [
        (vec![], None),
        (vec![save(0)], Some(1)),
        (vec![save(0), save(0)], Some(2)),
        (vec![save(0), rotate(1)], Some(2)),
        (vec![save(0), revoke(1)], None),
        (vec![save(0), rotate(1), revoke(1)], Some(2)),
        (vec![save(0), rotate(1), revoke(2)], None),
        (vec![save(0), revoke(1), save(0)], Some(3)),
        // Asked for before the image became another one.
        (vec![save(0), elsewhere(), rotate(1)], Some(2)),
        (vec![save(0), elsewhere(), rotate(2)], Some(3)),
        (vec![save(0), save(0), rotate(1)], Some(3)),
        (vec![save(0), elsewhere(), rotate(1), revoke(2)], None),
        (vec![elsewhere(), revoke(1), rotate(1)], Some(3)),
        (vec![save(0), save(0), revoke(2), rotate(1)], Some(4)),
    ];
    for (events, expected) in cases {
        let found = in_use((1..).zip(&events)).map(|(sequence, _)| sequence);
        assert_eq!(found, expected, "{events:?}");
    }
}
