//! The save decision as a table: a build, and what becomes of its credentials.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

#[allow(dead_code, reason = "shared with other tests")]
mod support;

use support::expand;
use waybill_domain::{
    credentials::CredentialInput,
    save::{BuildError, BuildRequest, SaveDecision, decide_save},
};
use waybill_schemas::v1::{CredType, CredentialSource, SaveSkipReason as Skip};

const NOW: &str = "2026-01-01T00:00:00Z";
const ECR: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/app:1";
const CANARY: &str = "canary-5up3r-s3cr3t";
/// A Docker configuration for other hosts than `a.b`.
const FILE: &str = r#"{"auths":{"c.d":{"username":"u","password":"canary-5up3r-s3cr3t"},"h.b":{"username":"u"}}}"#;

fn build() -> BuildRequest {
    BuildRequest {
        workspace: "ws".parse().unwrap(),
        image_id: "i".parse().unwrap(),
        existing_image_uri: None,
        existing_image_creds: None,
        base_image: None,
        base_image_creds: None,
        modified: false,
    }
}

fn existing(uri: &str, credentials: Option<CredentialInput>) -> BuildRequest {
    BuildRequest { existing_image_uri: Some(uri.to_owned()), existing_image_creds: credentials, ..build() }
}

fn base(image: &str, credentials: Option<CredentialInput>) -> BuildRequest {
    BuildRequest { base_image: Some(image.to_owned()), base_image_creds: credentials, ..build() }
}

fn text(credentials: &str) -> Option<CredentialInput> {
    Some(CredentialInput::Text(credentials.into()))
}

fn keys(keys: &[(&str, &str)]) -> Option<CredentialInput> {
    Some(CredentialInput::from_keys(keys.iter().map(|(key, value)| (key.to_string(), value.to_string()))))
}

fn decide(build: &BuildRequest) -> Result<SaveDecision, BuildError> {
    decide_save(build, NOW.parse().unwrap())
}

#[test]
fn what_is_saved() {
    let aws = [("AWS_ACCESS_KEY_ID", "AKIA1"), ("AWS_SECRET_ACCESS_KEY", CANARY)];
    let later = [aws[0], aws[1], ("AWS_SESSION_TOKEN", "t"), ("AWS_CREDENTIAL_EXPIRATION", "2026-01-01T01:00:00Z")];
    let structured =
        format!(r#"{{"registry":"a.b","type":"basic","credentials":{{"USERNAME":"u","PASSWORD":"{CANARY}"}}}}"#);
    let cases = [
        (
            "user:password",
            existing("a.b/app", text(&format!("u:{CANARY}"))),
            "a.b/app",
            CredType::Basic,
            CredentialSource::FromRegistry,
        ),
        (
            "structured",
            existing("a.b/app", text(&structured)),
            "a.b/app",
            CredType::Basic,
            CredentialSource::FromRegistry,
        ),
        (
            "base image",
            base("a.b:5000/app:2", text(&format!("u:{CANARY}"))),
            "a.b:5000/app:2",
            CredType::Basic,
            CredentialSource::BaseImage,
        ),
        ("aws, region from the host", existing(ECR, keys(&aws)), ECR, CredType::Aws, CredentialSource::FromRegistry),
        ("aws, not yet expired", existing(ECR, keys(&later)), ECR, CredType::Aws, CredentialSource::FromRegistry),
        (
            "an existing image goes before the base image",
            BuildRequest {
                base_image: Some("c.d/base".to_owned()),
                ..existing("a.b/app", text(&format!("u:{CANARY}")))
            },
            "a.b/app",
            CredType::Basic,
            CredentialSource::FromRegistry,
        ),
    ];
    for (name, build, reference, cred_type, source) in cases {
        let SaveDecision::Save(plan) = decide(&build).unwrap() else { panic!("{name}: skipped") };
        assert_eq!(plan.target.reference.to_string(), reference, "{name}");
        assert_eq!((plan.cred_type, plan.target.source), (cred_type, source), "{name}");
        assert!(plan.credentials.expose().contains(CANARY), "{name}");
        assert!(!format!("{plan:?}{build:?}").contains(CANARY), "{name}: printed");
    }
}

#[test]
fn the_expiry_is_known_from_the_start() {
    // 2026-01-01T01:00:00Z, which is an hour from now, and the moment itself.
    let (later, at_once) = (expand("<jwt:1767229200>"), expand("<jwt:1767225600>"));
    let cases = [
        ("a password that does not say", text(&format!("u:{CANARY}")), Some(None)),
        ("a password", text(&format!("u:{later}")), Some(Some("2026-01-01T01:00:00Z"))),
        ("a token", keys(&[("TOKEN", &later)]), Some(Some("2026-01-01T01:00:00Z"))),
        ("a token that has ended", keys(&[("TOKEN", &at_once)]), None),
        ("a password that has ended", text(&format!("u:{at_once}")), None),
        ("a user's token that has ended", keys(&[("USERNAME", "u"), ("TOKEN", &at_once)]), None),
    ];
    for (name, credentials, expected) in cases {
        let found = match decide(&existing("a.b/app", credentials)).unwrap() {
            SaveDecision::Save(plan) => Some(plan.expires_at.map(|at| at.to_string())),
            SaveDecision::Skip(skip) => {
                assert_eq!(skip.reason, Skip::ExpiredCredentials, "{name}");
                None
            }
        };
        assert_eq!(found, expected.map(|at| at.map(str::to_owned)), "{name}");
    }
}

#[test]
fn what_is_skipped() {
    let half = keys(&[("AWS_ACCESS_KEY_ID", "AKIA1")]);
    let expired = keys(&[
        ("AWS_ACCESS_KEY_ID", "AKIA1"),
        ("AWS_SECRET_ACCESS_KEY", "s"),
        ("AWS_CREDENTIAL_EXPIRATION", "2026-01-01T00:00:00Z"),
    ]);
    let elsewhere = text(r#"{"registry":"c.d","type":"basic","credentials":{"USERNAME":"u","PASSWORD":"p"}}"#);
    let modified = BuildRequest { modified: true, ..base("a.b/app", text("u:p")) };
    let cases = [
        ("no image", BuildRequest { existing_image_creds: text("u:p"), ..build() }, Skip::NoImageReference, None),
        ("blank image", existing("  ", text("u:p")), Skip::NoImageReference, None),
        ("modified", modified, Skip::ImageModified, None),
        ("none given", existing("a.b/app", None), Skip::NoCredentialsProvided, None),
        ("empty map", existing("a.b/app", keys(&[])), Skip::NoCredentialsProvided, None),
        ("empty text", existing("a.b/app", text("")), Skip::NoCredentialsProvided, None),
        (
            "empty values",
            existing("a.b/app", keys(&[("USERNAME", ""), ("PASSWORD", "")])),
            Skip::NoCredentialsProvided,
            None,
        ),
        (
            "base image's are not for the existing one",
            BuildRequest { base_image_creds: text("u:p"), ..existing("a.b/app", None) },
            Skip::NoCredentialsProvided,
            None,
        ),
        ("public registry", existing("public.ecr.aws/app/app", None), Skip::PublicRegistry, None),
        ("half of the keys", existing(ECR, half), Skip::IncompleteCredentials, Some("AWS_SECRET_ACCESS_KEY")),
        ("expired", existing(ECR, expired), Skip::ExpiredCredentials, None),
        ("for another registry", existing("a.b/app", elsewhere), Skip::RegistryMismatch, None),
        ("a file without an entry", existing("a.b/app", text(FILE)), Skip::NoCredentialsProvided, None),
        ("the same, public", existing("public.ecr.aws/a/b", text(FILE)), Skip::PublicRegistry, None),
        ("half an entry", existing("h.b/app", text(FILE)), Skip::IncompleteCredentials, Some("PASSWORD")),
        (
            "cloud keys for another registry",
            existing("a.b/app", keys(&[("AWS_ACCESS_KEY_ID", "AKIA1"), ("AWS_SECRET_ACCESS_KEY", CANARY)])),
            Skip::RegistryMismatch,
            None,
        ),
        ("unknown keys", existing("a.b/app", keys(&[("COLOUR", "blue")])), Skip::UnrecognizedCredentials, None),
    ];
    for (name, build, reason, missing) in cases {
        let SaveDecision::Skip(skip) = decide(&build).unwrap() else { panic!("{name}: saved") };
        assert_eq!((skip.reason, skip.missing_key.as_deref()), (reason, missing), "{name}");
        let kind = match reason {
            Skip::UnrecognizedCredentials => Some(CredType::Unknown),
            Skip::ExpiredCredentials | Skip::IncompleteCredentials => skip.cred_type,
            _ => None,
        };
        assert_eq!(skip.cred_type, kind, "{name}");
        assert_eq!(skip.target.is_none(), reason == Skip::NoImageReference, "{name}");
        let told = skip.detail.unwrap_or_default();
        assert!(!name.contains("file") || told.contains("for c.d, h.b, but none for a.b/app"), "{name}: {told}");
        assert!(name != "empty values" || told.contains("no value in PASSWORD, USERNAME"), "{told}");
        assert!(!told.contains(CANARY), "{name}: {told}");
    }
}

#[test]
fn what_was_dropped_is_told() {
    let login = |password: &str| keys(&[("USERNAME", "u"), ("PASSWORD", password)]);
    let cases = [(format!("{CANARY}\n"), Some("an end of PASSWORD")), (CANARY.to_owned(), None)];
    for (password, expected) in cases {
        let SaveDecision::Save(plan) = decide(&existing("a.b/app", login(&password))).unwrap() else {
            panic!("skipped")
        };
        assert_eq!(plan.note.is_some(), expected.is_some(), "{:?}", plan.note);
        assert!(plan.note.unwrap_or_default().ends_with(expected.unwrap_or_default()));
        assert!(!plan.credentials.expose().contains("\\n") && !plan.credentials.expose().contains("\\u"));
    }
}

#[test]
fn what_cannot_be_decided_names_its_field() {
    let cases = [
        ("reference", existing("UPPER CASE", text("u:p")), "existing_image_uri"),
        ("base reference", base("a.b/", None), "base_image"),
        ("no form", existing("a.b/app", text(CANARY)), "existing_image_creds"),
        ("broken JSON", base("a.b/app", text(&format!("{{\"registry\": {CANARY}"))), "base_image_creds"),
    ];
    for (name, build, field) in cases {
        let error = decide(&build).unwrap_err();
        assert_eq!(error.field(), field, "{name}");
        let mut text = format!("{error:?}{error}");
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            text.push_str(&cause.to_string());
            source = cause.source();
        }
        assert!(!text.contains(CANARY), "{name}: {text}");
    }
}
