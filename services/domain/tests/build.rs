//! What a build comes to, and what becomes of a secret's versions.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

use waybill_domain::{
    credentials::CredentialInput,
    fold::SecretState,
    save::{BuildDecision, BuildRequest, decide_build, skip_bound_elsewhere},
    secret::{Naming, Next, SecretHead, SecretRefusal, decide_new_version, decide_withdrawal, is_same_account},
};
use waybill_schemas::{
    Event,
    v1::{self, CredType, SecretVersion, Verified},
};

const CANARY: &str = "canary-5up3r-s3cr3t";

fn build() -> BuildRequest {
    BuildRequest {
        workspace: "ws".parse().unwrap(),
        image_id: "img-1".parse().unwrap(),
        existing_image_uri: None,
        existing_image_creds: None,
        existing_image_secret: None,
        base_image: None,
        base_image_creds: None,
        base_image_secret: None,
        modified: false,
    }
}

fn login() -> Option<CredentialInput> {
    Some(CredentialInput::from_keys([("USERNAME", "puller"), ("PASSWORD", CANARY)]))
}

fn keys(pairs: &[(&str, &str)]) -> Option<CredentialInput> {
    Some(CredentialInput::from_keys(pairs.iter().copied()))
}

/// `save <first name>`, `name <secret>`, or the reason of a skip.
fn in_words(build: &BuildRequest) -> String {
    match decide_build(build, "2026-06-01T00:00:00Z".parse().unwrap()) {
        Ok(BuildDecision::Save(plan)) => {
            assert!(!format!("{plan:?}").contains(CANARY));
            format!("save {}", plan.naming.candidate(0).unwrap())
        }
        Ok(BuildDecision::Name { secret_name, .. }) => format!("name {secret_name}"),
        Ok(BuildDecision::Skip(skip)) => skip.reason.to_string(),
        Err(error) => format!("refused: {}", error.field()),
    }
}

#[test]
fn a_build_saves_or_names_a_secret_or_says_why_not() {
    let uri = || Some("registry.example.com:5000/team/app:1".to_owned());
    let ecr = || Some("123456789012.dkr.ecr.eu-west-1.amazonaws.com/app:1".to_owned());
    let name = |name: &str| Some(name.parse().unwrap());
    let sts = [("AWS_ACCESS_KEY_ID", "ASIA1"), ("AWS_SECRET_ACCESS_KEY", CANARY), ("AWS_SESSION_TOKEN", CANARY)];
    let expired = [sts.as_slice(), &[("AWS_CREDENTIAL_EXPIRATION", "2026-05-01T00:00:00Z")]].concat();
    let long_lived = [("AWS_ACCESS_KEY_ID", "AKIA1"), ("AWS_SECRET_ACCESS_KEY", CANARY)];
    let existing = || BuildRequest { existing_image_uri: uri(), ..build() };
    let cases = [
        ("nothing", build(), "no_image_reference"),
        ("no credentials", existing(), "no_credentials_provided"),
        (
            "credentials",
            BuildRequest { existing_image_creds: login(), ..existing() },
            "save oci-registry-registry-example-com-5000",
        ),
        (
            "credentials under a name",
            BuildRequest { existing_image_creds: login(), existing_image_secret: name("team.pull"), ..existing() },
            "save team.pull",
        ),
        ("a name alone", BuildRequest { existing_image_secret: name("team.pull"), ..existing() }, "name team.pull"),
        (
            "a name for the other image",
            BuildRequest { base_image_secret: name("team.pull"), ..existing() },
            "no_credentials_provided",
        ),
        (
            "the base image's",
            BuildRequest { base_image: uri(), base_image_creds: login(), ..build() },
            "save oci-registry-registry-example-com-5000",
        ),
        ("modified", BuildRequest { existing_image_creds: login(), modified: true, ..existing() }, "image_modified"),
        (
            "a part is missing",
            BuildRequest { existing_image_creds: keys(&[("USERNAME", "puller")]), ..existing() },
            "incomplete_credentials",
        ),
        (
            "unknown keys",
            BuildRequest { existing_image_creds: keys(&[("USER", "puller"), ("PASS", CANARY)]), ..existing() },
            "unrecognized_credentials",
        ),
        (
            "long-lived keys of an account",
            BuildRequest { existing_image_uri: ecr(), existing_image_creds: keys(&long_lived), ..build() },
            "save oci-registry-123456789012-dkr-ecr-eu-west-1-amazonaws-com",
        ),
        (
            "keys that change at each issue belong to the image",
            BuildRequest { existing_image_uri: ecr(), existing_image_creds: keys(&sts), ..build() },
            "save oci-registry-123456789012-dkr-ecr-eu-west-1-amazonaws-com-img-1",
        ),
        (
            "expired",
            BuildRequest { existing_image_uri: ecr(), existing_image_creds: keys(&expired), ..build() },
            "expired_credentials",
        ),
        (
            "no reference",
            BuildRequest { existing_image_uri: Some("https://a.b/c".to_owned()), ..build() },
            "refused: existing_image_uri",
        ),
    ];
    for (title, build, expected) in cases {
        assert_eq!(in_words(&build), expected, "{title}");
    }
}

fn version(version: u64, registry: &str, account: Option<&str>) -> SecretVersion {
    SecretVersion {
        version,
        registry: registry.to_owned(),
        cred_type: CredType::Basic,
        account: account.map(str::to_owned),
        expires_at: None,
        credentials_length: 1,
        digest: "sha256:0".to_owned(),
        note: None,
        verified: None,
    }
}

fn head(sequence: u64, stored: SecretVersion) -> SecretHead {
    let saved = v1::CredentialSecretSaved {
        workspace: "ws".parse().unwrap(),
        secret_name: "s".parse().unwrap(),
        image_id: None,
        stored,
    };
    SecretHead::from_event(sequence, &saved.into()).unwrap()
}

fn withdrawn(shred: bool) -> SecretHead {
    let (workspace, secret_name) = ("ws".parse().unwrap(), "s".parse().unwrap());
    let (version, registry, account, reason) = (3, "a.b".to_owned(), Some("me".to_owned()), None);
    let event: Event = if shred {
        v1::CredentialSecretShredded { workspace, secret_name, version, registry, account, reason }.into()
    } else {
        v1::CredentialSecretRevoked { workspace, secret_name, version, registry, account, reason }.into()
    };
    SecretHead::from_event(9, &event).unwrap()
}

#[test]
fn two_registries_or_accounts_never_share_a_default_name() {
    let mine = head(4, version(1, "a.b", Some("me")));
    let cases = [
        ("free", None, "a.b", Some("me"), true),
        ("mine", Some(&mine), "a.b", Some("me"), true),
        ("another account", Some(&mine), "a.b", Some("you"), false),
        ("another registry of the same label", Some(&mine), "a-b", Some("me"), false),
        ("an account that is not known", Some(&mine), "a.b", None, false),
    ];
    for (title, head, registry, account, same) in cases {
        assert_eq!(is_same_account(head, registry, account), same, "{title}");
    }
    assert!(is_same_account(Some(&withdrawn(true)), "a.b", Some("me")), "a shredded secret keeps its account");
    let naming = Naming::Default { base: "oci-registry-a-b".parse().unwrap() };
    let names: Vec<String> = (0..3).map(|index| naming.candidate(index).unwrap().to_string()).collect();
    assert_eq!(names, ["oci-registry-a-b", "oci-registry-a-b-2", "oci-registry-a-b-3"]);
    let given = Naming::Given("mine".parse().unwrap());
    assert_eq!((given.candidate(0).unwrap().as_str(), given.candidate(1)), ("mine", None));
}

#[test]
fn a_new_version_is_decided_from_the_head() {
    let (active, revoked, shredded) = (head(4, version(2, "a.b", None)), withdrawn(false), withdrawn(true));
    let elsewhere = Err(SecretRefusal::RegistryMismatch { bound_to: "a.b".to_owned() });
    let cases = [
        ("the first", None, "a.b", None, Ok(Next { version: 1, after: 0 })),
        ("the first, as expected", None, "a.b", Some(0), Ok(Next { version: 1, after: 0 })),
        ("the next", Some(&active), "a.b", None, Ok(Next { version: 3, after: 4 })),
        ("the next, as expected", Some(&active), "a.b", Some(2), Ok(Next { version: 3, after: 4 })),
        ("overtaken", Some(&active), "a.b", Some(1), Err(SecretRefusal::VersionConflict { present: 2, asked: 1 })),
        ("expected, and not there", None, "a.b", Some(1), Err(SecretRefusal::VersionConflict { present: 0, asked: 1 })),
        ("another registry", Some(&active), "c.d", None, elsewhere.clone()),
        ("after a revocation", Some(&revoked), "a.b", None, Ok(Next { version: 4, after: 9 })),
        ("after a shredding, numbers go on", Some(&shredded), "a.b", None, Ok(Next { version: 4, after: 9 })),
        ("another registry after a shredding", Some(&shredded), "c.d", None, elsewhere),
    ];
    for (title, head, registry, if_version, expected) in cases {
        assert_eq!(decide_new_version(head, registry, if_version), expected, "{title}");
    }
}

#[test]
fn a_withdrawal_is_decided_from_the_head() {
    let (active, revoked, shredded) = (head(4, version(2, "a.b", None)), withdrawn(false), withdrawn(true));
    let gone = Err(SecretRefusal::Withdrawn { version: 3 });
    let cases = [
        ("nothing there", None, false, None, Err(SecretRefusal::Unknown)),
        ("nothing there to shred", None, true, Some(1), Err(SecretRefusal::Unknown)),
        ("revoke", Some(&active), false, None, Ok(Next { version: 2, after: 4 })),
        ("shred", Some(&active), true, Some(2), Ok(Next { version: 2, after: 4 })),
        ("overtaken", Some(&active), false, Some(1), Err(SecretRefusal::VersionConflict { present: 2, asked: 1 })),
        ("revoked already", Some(&revoked), false, None, gone.clone()),
        ("shred what is revoked", Some(&revoked), true, None, Ok(Next { version: 3, after: 9 })),
        ("shredded already", Some(&shredded), true, None, gone.clone()),
        ("revoke what is shredded", Some(&shredded), false, None, gone),
    ];
    for (title, head, shred, if_version, expected) in cases {
        assert_eq!(decide_withdrawal(head, shred, if_version), expected, "{title}");
    }
}

#[test]
fn a_version_counts_as_verified_when_the_registry_gave_the_manifest() {
    let with = |verified| head(1, SecretVersion { verified, ..version(1, "a.b", None) });
    let verified = Verified { digest: None, provider_failure: None, pull_failure: None, detail: None };
    assert!(!with(None).is_verified());
    assert!(!with(Some(verified.clone())).is_verified());
    assert!(with(Some(Verified { digest: Some("sha256:1".to_owned()), ..verified })).is_verified());
    assert!(!withdrawn(false).is_verified());
    assert_eq!(withdrawn(true).state, SecretState::Shredded);
}

#[test]
fn a_secret_bound_elsewhere_is_a_skip_that_names_both_hosts() {
    let request =
        BuildRequest { existing_image_uri: Some("c.d/app:1".to_owned()), existing_image_creds: login(), ..build() };
    let now = "2026-06-01T00:00:00Z".parse().unwrap();
    let Ok(BuildDecision::Save(plan)) = decide_build(&request, now) else { panic!("not saved") };
    let skip = skip_bound_elsewhere(plan.target, "team".parse().unwrap(), "a.b");
    assert_eq!(skip.reason, v1::SaveSkipReason::RegistryMismatch);
    assert_eq!(skip.detail.as_deref(), Some("secret team is for a.b, the image is on c.d"));
}

#[test]
fn credentials_in_the_field_of_another_image_are_told_unless_they_are_empty() {
    let text = |text: &str| Some(CredentialInput::Text(text.into()));
    for (creds, expected) in
        [(text("u:p"), Some("there is base_image_creds, which is not for this image")), (text(" "), None), (None, None)]
    {
        let build = BuildRequest { existing_image_uri: Some("a.b/c".to_owned()), base_image_creds: creds, ..build() };
        match decide_build(&build, "2026-01-01T00:00:00Z".parse().unwrap()).unwrap() {
            BuildDecision::Skip(skip) => assert_eq!(skip.detail.as_deref(), expected),
            other => panic!("{other:?}"),
        }
    }
}
