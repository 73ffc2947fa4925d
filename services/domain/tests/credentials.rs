//! Credentials against their table, on their way through the marshalled form, and never in any message.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a test fails by panicking, and its helpers are outside #[test]"
)]

#[path = "support/rows.rs"]
mod support;

use core::error::Error;
use core::fmt::Debug;
use std::collections::BTreeMap;

use proptest::prelude::*;
use support::{Row, expand, rows, variant};
use waybill_domain::credentials::{BasicLogin, CredentialError, CredentialInput, Credentials, Parsed, Secret};
use waybill_domain::reference::RegistryHost;

const CREDENTIALS: &str = include_str!("testdata/credentials.txt");
const ECR: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";
const CANARY: &str = "hunter2";

/// What the columns of the table say of credentials.
fn parse(input: &CredentialInput, host: &RegistryHost) -> Result<Credentials, CredentialError> {
    Credentials::parse(input, host).map(|parsed| parsed.credentials)
}

#[test]
fn credentials_are_taken_for_what_the_table_says() {
    for case in rows(CREDENTIALS) {
        let host = host(&case);
        match (case.raw(2), parse(&input(&case), &host)) {
            ("!", Err(refused)) => assert_eq!(describe(&refused), case.raw(3), "{case}"),
            (_, parsed) => {
                let parsed = parsed.unwrap_or_else(|refused| panic!("{case}: {refused}"));
                assert_eq!(parsed.cred_type().as_str(), case.raw(2), "{case}");
                assert_eq!(sealed_values(&parsed, &host), pairs(case.raw(3)), "{case}");
                assert_eq!(parsed.expires_at().map(|at| at.to_string()), case.optional(4), "{case}");
            }
        }
    }
}

/// The values that travel, but for what a key file holds: its account.
fn sealed_values(credentials: &Credentials, host: &RegistryHost) -> BTreeMap<String, String> {
    let json: serde_json::Value = serde_json::from_str(credentials.to_json(host).expose()).unwrap();
    assert_eq!(json["registry"], host.as_str());
    let values = json["credentials"].as_object().unwrap().iter();
    values.map(|(key, value)| (key.clone(), value.as_str().unwrap().to_owned())).collect()
}

#[test]
fn what_is_sealed_is_the_same_when_read_and_when_given_again() {
    for case in rows(CREDENTIALS) {
        let host = host(&case);
        let Ok(parsed) = parse(&input(&case), &host) else { continue };
        let sealed = parsed.to_json(&host);
        assert_eq!(Credentials::from_json(&sealed), Ok((host.clone(), parsed.clone())), "{case}");
        let again = Credentials::parse(&CredentialInput::Text(sealed), &host);
        assert_eq!(again, Ok(Parsed { credentials: parsed, trimmed: Vec::new() }), "{case}");
    }
}

#[test]
fn nothing_that_can_be_printed_has_a_value_in_it() {
    for case in rows(CREDENTIALS) {
        let (input, host) = (input(&case), host(&case));
        assert_silent(&input, &case);
        match Credentials::parse(&input, &host) {
            Err(refused) => assert_silent_error(&refused, &case),
            Ok(parsed) => {
                assert_silent(&parsed, &case);
                let sealed = parsed.credentials.to_json(&host);
                assert_silent(&sealed, &case);
                assert_silent(&Credentials::from_json(&sealed), &case);
                assert!(!parsed.credentials.identity().unwrap_or_default().contains(CANARY), "{case}");
            }
        }
    }
}

#[test]
fn sealed_credentials_that_cannot_be_read_say_where_and_not_what() {
    let cases = [
        ("", "InvalidJson Truncated"),
        ("hunter2", "InvalidJson Syntax"),
        ("\"hunter2\"", "InvalidJson Shape"),
        ("{}", "MissingField registry"),
        (r#"{"registry":"ghcr.io"}"#, "MissingField type"),
        (r#"{"registry":"ghcr.io","type":"basic"}"#, "MissingField credentials"),
        (r#"{"registry":"hunter2","type":"basic","credentials":{}}"#, "InvalidRegistry"),
        (r#"{"registry":"GHCR.io","type":"basic","credentials":{}}"#, "NotCanonical"),
        (r#"{"registry":"index.docker.io","type":"basic","credentials":{}}"#, "NotCanonical"),
        (r#"{"registry":"ghcr.io","type":"hunter2","credentials":{}}"#, "UnknownType"),
        (r#"{"registry":"ghcr.io","type":"Basic","credentials":{}}"#, "UnknownType"),
        (r#"{"registry":"ghcr.io","type":"public","credentials":{}}"#, "Public"),
        (r#"{"registry":"ghcr.io","type":"unknown","credentials":{"A":"hunter2"}}"#, "Unrecognized"),
        (r#"{"registry":"ghcr.io","type":"basic","credentials":{}}"#, "Incomplete basic USERNAME"),
        (r#"{"registry":"ghcr.io","type":"basic","credentials":{"USERNAME":"u"}}"#, "Incomplete basic PASSWORD"),
        (r#"{"registry":"ghcr.io","type":"token","credentials":{}}"#, "Incomplete token TOKEN"),
        (
            r#"{"registry":"ghcr.io","type":"aws","credentials":{"AWS_ACCESS_KEY_ID":"a","AWS_SECRET_ACCESS_KEY":"b"}}"#,
            "RegistryMismatch Amazon ECR for ghcr.io",
        ),
        (
            r#"{"registry":"a.b:5000","type":"gcp","credentials":{}}"#,
            "RegistryMismatch Google Artifact Registry for a.b:5000",
        ),
        (r#"{"registry":"a.b","type":"azure","credentials":{}}"#, "RegistryMismatch Azure Container Registry for a.b"),
        (r#"{"registry":"ghcr.io","type":"basic","credentials":{"PASSWORD":7}}"#, "InvalidJson Shape in credentials"),
        (
            r#"{"registry":"ghcr.io","type":"basic","credentials":{"PASSWORD":"hunter2"#,
            "InvalidJson Truncated in credentials",
        ),
        (r#"{"registry":"ghcr.io","type":"basic","credentials":{},"hunter2":1}"#, "InvalidJson Shape"),
        (r#"{"registry":"ghcr.io","type":"basic","credentials":{}}hunter2"#, "InvalidJson Syntax"),
    ];
    for (text, expected) in cases {
        let refused = Credentials::from_json(&Secret::from(text)).unwrap_err();
        assert_eq!(describe(&refused), expected, "{text}");
        assert_silent_error(&refused, &text);
    }
}

/// Host, keys, and the account's name.
type Account<'k> = (&'k str, &'k [(&'k str, &'k str)], Option<&'k str>);

/// What tells accounts apart is a name that lasts, and never a secret.
#[test]
fn accounts_have_names() {
    let identity = |host: &str, keys: &[(&str, &str)]| {
        let host = RegistryHost::parse(host).unwrap();
        parse(&CredentialInput::from_keys(keys.iter().copied()), &host).unwrap().identity()
    };
    let secret = ("AWS_SECRET_ACCESS_KEY", CANARY);
    let role = ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/pull");
    let azure = [("AZURE_CLIENT_ID", "app"), ("AZURE_CLIENT_SECRET", CANARY), ("AZURE_TENANT_ID", "t.example")];
    let user = |name| [("USERNAME", name), ("PASSWORD", CANARY)];
    let file = r#"{"type":"service_account","client_email":"a@p.example","private_key":"hunter2"}"#;
    let cases: [Account<'_>; 15] = [
        ("a.b", &user("ada"), Some("ada")),
        ("a.b", &[("USERNAME", "ada"), ("TOKEN", CANARY)], Some("ada")),
        ("a.b", &[("TOKEN", CANARY)], None),
        ("ghcr.io", &[("GITHUB_TOKEN", CANARY)], None),
        ("ghcr.io", &[("GITHUB_USERNAME", "octo"), ("GITHUB_TOKEN", CANARY)], Some("octo")),
        ("nvcr.io", &[("NGC_API_KEY", CANARY)], None),
        ("gcr.io", &user("oauth2accesstoken"), None),
        ("gcr.io", &[("USERNAME", "_json_key"), ("PASSWORD", file)], Some("a@p.example")),
        ("gcr.io", &user("_json_key"), None),
        ("gcr.io", &[("GCP_ACCESS_TOKEN", CANARY)], None),
        ("my.azurecr.io", &azure, Some("t.example/app")),
        (ECR, &user("AWS"), None),
        (ECR, &[("AWS_ACCESS_KEY_ID", "AKIA1"), secret], Some("AKIA1")),
        (ECR, &[("AWS_ACCESS_KEY_ID", "ASIA1"), secret, ("AWS_SESSION_TOKEN", "t")], None),
        (
            ECR,
            &[("AWS_ACCESS_KEY_ID", "ASIA1"), secret, ("AWS_SESSION_TOKEN", "t"), role],
            Some("arn:aws:iam::123456789012:role/pull"),
        ),
    ];
    for (host, keys, expected) in cases {
        assert_eq!(identity(host, keys).as_deref(), expected, "{host} {keys:?}");
    }
}

fn host(case: &Row) -> RegistryHost {
    let text = case.text(0);
    RegistryHost::parse(if text == "ecr" { ECR } else { &text }).unwrap()
}

fn input(case: &Row) -> CredentialInput {
    match case.raw(1).split_once(' ').unwrap_or((case.raw(1), "")) {
        ("keys", keys) => CredentialInput::from_keys(pairs(keys)),
        ("text", text) => CredentialInput::Text(expand(text.trim_start()).into()),
        _ => panic!("{case}: neither keys nor text"),
    }
}

/// `NAME=value …`, or `-` for none.
fn pairs(column: &str) -> BTreeMap<String, String> {
    let pair = |text: &str| {
        let (key, value) = text.split_once('=').expect("NAME=value");
        (expand(key), expand(value))
    };
    column.split(' ').filter(|text| !text.is_empty() && *text != "-").map(pair).collect()
}

/// The error as the table writes it.
fn describe(refused: &CredentialError) -> String {
    let details = match refused {
        CredentialError::Incomplete { cred_type, missing, .. } => format!(" {cred_type} {missing}"),
        CredentialError::RegistryMismatch { claimed, image } => format!(" {claimed} for {image}"),
        CredentialError::InvalidJson(error) => {
            format!(" {:?}{}", error.problem, error.field.map(|field| format!(" in {field}")).unwrap_or_default())
        }
        CredentialError::MissingField { field } => format!(" {field}"),
        CredentialError::Empty { keys } => format!(" {keys}"),
        CredentialError::InvalidValue { key, .. } | CredentialError::UnsupportedValue { key, .. } => format!(" {key}"),
        _ => String::new(),
    };
    format!("{}{details}", variant(refused))
}

fn assert_silent(value: &impl Debug, case: &impl core::fmt::Display) {
    let said = format!("{value:?} {value:#?}");
    assert!(!said.contains(CANARY), "{case}: {said}");
}

fn assert_silent_error(error: &dyn Error, case: &impl core::fmt::Display) {
    let mut next = Some(error);
    while let Some(error) = next {
        let said = format!("{error} {error:?} {error:#?}");
        assert!(!said.contains(CANARY), "{case}: {said}");
        next = error.source();
    }
}

/// Texts that break careless parsers and writers, of characters that a login may have.
fn hostile() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        prop::sample::select(vec![
            ":",
            "\"",
            "\\",
            "{",
            "}",
            "\u{2028}",
            "é",
            "🐳",
            " ",
            ",",
            "\\u0000",
            "{\"registry\":\"evil.com\"}",
            "\",\"registry\":\"evil.com",
            "=",
            "@",
            "/",
            "%00",
        ])
        .prop_map(str::to_owned),
        any::<char>().prop_map(String::from),
        "[a-z]{1,6}",
    ];
    let sendable = |c: &char| !c.is_control() && *c != '\u{feff}';
    let text =
        prop::collection::vec(piece, 1..8).prop_map(move |pieces| pieces.concat().chars().filter(sendable).collect());
    text.prop_filter("nothing is left", |text: &String| !text.is_empty())
}

/// Text with a canary somewhere, much of it close to the structured form.
fn with_canary() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "hunter2",
        "{",
        "}",
        "[",
        "]",
        "\"",
        ":",
        ",",
        "\"registry\":",
        "\"type\":",
        "\"credentials\":",
        "\"ghcr.io\"",
        "\"basic\"",
        "\"hunter2\"",
        "\"hunter2_:/!\"",
        "{\"PASSWORD\":",
        "1",
        "null",
        "true",
        "\\",
        "\n",
        " ",
    ]);
    prop::collection::vec(piece, 1..16).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn any_login_arrives_as_it_was_given(
        username in hostile().prop_map(|text| text.replace(':', ";")),
        password in hostile(),
    ) {
        let host = RegistryHost::parse("[::1]:5000").unwrap();
        let keys = CredentialInput::from_keys([("USERNAME", username.as_str()), ("PASSWORD", password.as_str())]);
        let credentials = parse(&keys, &host).unwrap();
        let login = BasicLogin { username: username.clone(), password: password.as_str().into() };
        prop_assert_eq!(&credentials, &Credentials::Basic(login));
        let sealed = credentials.to_json(&host);
        prop_assert_eq!(Credentials::from_json(&sealed), Ok((host.clone(), credentials)));

        let as_json: serde_json::Value = serde_json::from_str(sealed.expose()).unwrap();
        prop_assert_eq!(as_json["credentials"]["PASSWORD"].as_str(), Some(password.as_str()));

        let text = CredentialInput::Text(format!("{username}:{password}").into());
        if !username.trim_start().starts_with(['{', '[', '"']) {
            prop_assert_eq!(parse(&text, &host).unwrap().to_json(&host), sealed);
        }
    }

    #[test]
    fn no_error_repeats_what_it_was_given(text in with_canary()) {
        let host = RegistryHost::parse("ghcr.io").unwrap();
        match parse(&CredentialInput::Text(text.as_str().into()), &host) {
            Ok(parsed) => assert_silent(&parsed, &text),
            Err(refused) => assert_silent_error(&refused, &text),
        }
        if let Err(refused) = Credentials::from_json(&Secret::from(text.as_str())) {
            assert_silent_error(&refused, &text);
        }
        if let Err(refused) = serde_json::from_str::<CredentialInput>(&text) {
            assert_silent_error(&refused, &text);
        }
    }

    #[test]
    fn any_text_and_any_keys_are_parsed_or_refused_but_never_panic(
        text in any::<String>(),
        keys in prop::collection::btree_map(any::<String>(), any::<String>(), 0..4),
    ) {
        for host in ["ghcr.io", "localhost:5000", ECR] {
            let host = RegistryHost::parse(host).unwrap();
            _ = parse(&CredentialInput::Text(text.as_str().into()), &host);
            _ = parse(&CredentialInput::from_keys(keys.clone()), &host);
        }
        _ = Credentials::from_json(&Secret::from(text.as_str()));
    }
}
