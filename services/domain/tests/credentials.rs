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
use waybill_domain::credentials::{
    BasicLogin, CredentialError, CredentialInput, Parsed, Secret, TokenLogin, UnmarshalError, marshal, parse, unmarshal,
};
use waybill_domain::reference::RegistryHost;

const CREDENTIALS: &str = include_str!("testdata/credentials.txt");
const ECR: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";
const CANARY: &str = "hunter2";

#[test]
fn credentials_are_taken_for_what_the_table_says() {
    for case in rows(CREDENTIALS) {
        match (case.raw(2), parse(&input(&case), &host(&case))) {
            ("!", Err(refused)) => assert_eq!(describe(&refused), case.raw(3), "{case}"),
            (_, parsed) => {
                let parsed = parsed.unwrap_or_else(|refused| panic!("{case}: {refused}"));
                assert_eq!(parsed.cred_type.as_str(), case.raw(2), "{case}");
                assert_eq!(exposed(&parsed.values), pairs(case.raw(3)), "{case}");
                assert_eq!(parsed.expires_at.map(|at| at.to_string()), case.optional(4), "{case}");
            }
        }
    }
}

#[test]
fn what_is_marshalled_is_the_same_when_read_and_when_given_again() {
    for case in rows(CREDENTIALS) {
        let host = host(&case);
        let Ok(parsed) = parse(&input(&case), &host) else { continue };
        let marshalled = marshal(&parsed, &host);
        let read = unmarshal(marshalled.expose()).unwrap();
        assert_eq!((&read.registry, read.cred_type), (&host, parsed.cred_type), "{case}");
        let again = parse(&CredentialInput::Text(marshalled), &host);
        match parsed.cred_type.as_str() {
            "public" => assert_eq!(again.unwrap().cred_type, parsed.cred_type, "{case}"),
            _ => assert_eq!(again, Ok(Parsed { claimed: Some(host), ..parsed }), "{case}"),
        }
    }
}

#[test]
fn nothing_that_can_be_printed_has_a_value_in_it() {
    for case in rows(CREDENTIALS) {
        let (input, host) = (input(&case), host(&case));
        assert_silent(&input, &case);
        match parse(&input, &host) {
            Err(refused) => assert_silent_error(&refused, &case),
            Ok(parsed) => {
                assert_silent(&parsed, &case);
                let marshalled = marshal(&parsed, &host);
                assert_silent(&marshalled, &case);
                let read = unmarshal(marshalled.expose()).unwrap();
                assert_silent(&(read.basic(), read.token(), read.aws(), &read), &case);
            }
        }
    }
}

#[test]
fn unreadable_marshalled_credentials_say_where_and_not_what() {
    let cases = [
        ("", "Json Truncated"),
        ("hunter2", "Json Syntax"),
        ("\"hunter2\"", "Json Shape"),
        ("{}", "MissingField registry"),
        (r#"{"registry":"ghcr.io"}"#, "MissingField type"),
        (r#"{"registry":"ghcr.io","type":"basic"}"#, "MissingField credentials"),
        (r#"{"registry":"hunter2","type":"basic","credentials":{}}"#, "InvalidRegistry"),
        (r#"{"registry":"GHCR.io","type":"basic","credentials":{}}"#, "InvalidRegistry"),
        (r#"{"registry":"index.docker.io","type":"basic","credentials":{}}"#, "InvalidRegistry"),
        (r#"{"registry":"ghcr.io","type":"hunter2","credentials":{}}"#, "UnknownType"),
        (r#"{"registry":"ghcr.io","type":"Basic","credentials":{}}"#, "UnknownType"),
        (r#"{"registry":"ghcr.io","type":"basic","credentials":{"PASSWORD":7}}"#, "Json Shape in credentials"),
        (r#"{"registry":"ghcr.io","type":"basic","credentials":{"PASSWORD":"hunter2"#, "Json Truncated in credentials"),
        (r#"{"registry":"ghcr.io","type":"basic","credentials":{},"hunter2":1}"#, "Json Shape"),
        (r#"{"registry":"ghcr.io","type":"basic","credentials":{}}hunter2"#, "Json Syntax"),
    ];
    for (text, expected) in cases {
        let refused = unmarshal(text).unwrap_err();
        let described = match &refused {
            UnmarshalError::Json(error) => {
                format!(
                    "Json {:?}{}",
                    error.problem,
                    error.field.map(|field| format!(" in {field}")).unwrap_or_default()
                )
            }
            UnmarshalError::MissingField { field } => format!("MissingField {field}"),
            other => variant(other),
        };
        assert_eq!(described, expected, "{text}");
        assert_silent_error(&refused, &text);
    }
}

#[test]
fn typed_views_name_what_is_missing() {
    let read = |cred_type: &str, values: &str| {
        unmarshal(&format!(r#"{{"registry":"ghcr.io","type":"{cred_type}","credentials":{values}}}"#)).unwrap()
    };
    let missing = |error: UnmarshalError| match error {
        UnmarshalError::Incomplete { missing, .. } => missing,
        other => panic!("{other}"),
    };
    assert_eq!(missing(read("basic", "{}").basic().unwrap_err()), "USERNAME");
    assert_eq!(missing(read("basic", r#"{"USERNAME":"u","PASSWORD":""}"#).basic().unwrap_err()), "PASSWORD");
    assert_eq!(missing(read("token", "{}").token().unwrap_err()), "TOKEN");
    assert_eq!(missing(read("aws", r#"{"AWS_ACCESS_KEY_ID":"AKIA1"}"#).aws().unwrap_err()), "AWS_SECRET_ACCESS_KEY");

    let login = BasicLogin { username: "u".to_owned(), password: "t".into() };
    assert_eq!(read("token", r#"{"TOKEN":"t"}"#).token(), Ok(TokenLogin::Bearer("t".into())));
    assert_eq!(read("token", r#"{"TOKEN":"t","USERNAME":"u"}"#).token(), Ok(TokenLogin::Login(login)));
    let keys = r#"{"AWS_ACCESS_KEY_ID":"AKIA1","AWS_SECRET_ACCESS_KEY":"s","AWS_REGION":"eu-west-1"}"#;
    let keys = read("aws", keys).aws().unwrap();
    assert_eq!((keys.access_key_id.as_str(), keys.region.as_str()), ("AKIA1", "eu-west-1"));
    assert_eq!((keys.secret_access_key.expose(), keys.session_token, keys.role), ("s", None, None));
    let role =
        r#"{"AWS_ACCESS_KEY_ID":"AKIA1","AWS_SECRET_ACCESS_KEY":"s","AWS_REGION":"eu-west-1","AWS_ROLE_ARN":"r"}"#;
    let role = read("aws", role).aws().unwrap().role.unwrap();
    assert_eq!((role.arn.as_str(), role.external_id, role.session_name.as_str()), ("r", None, "waybill"));
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

fn exposed(values: &BTreeMap<String, Secret>) -> BTreeMap<String, String> {
    values.iter().map(|(key, value)| (key.clone(), value.expose().to_owned())).collect()
}

/// The error as the table writes it.
fn describe(refused: &CredentialError) -> String {
    let details = match refused {
        CredentialError::Incomplete { cred_type, missing } => format!(" {cred_type} {missing}"),
        CredentialError::RegistryMismatch { claimed, image } => format!(" {claimed} for {image}"),
        CredentialError::InvalidJson(error) => {
            format!(" {:?}{}", error.problem, error.field.map(|field| format!(" in {field}")).unwrap_or_default())
        }
        CredentialError::MissingField { field } => format!(" {field}"),
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

/// Passwords that break careless parsers and writers.
fn hostile() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        prop::sample::select(vec![
            ":",
            "\"",
            "\\",
            "{",
            "}",
            "\n",
            "\r",
            "\t",
            "\0",
            "\u{7f}",
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
    prop::collection::vec(piece, 1..8).prop_map(|pieces| pieces.concat())
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
        let marshalled = marshal(&parse(&keys, &host).unwrap(), &host);
        let read = unmarshal(marshalled.expose()).unwrap();
        prop_assert_eq!(read.basic().unwrap(), BasicLogin { username: username.clone(), password: password.as_str().into() });
        prop_assert_eq!(&read.registry, &host);

        let as_json: serde_json::Value = serde_json::from_str(marshalled.expose()).unwrap();
        prop_assert_eq!(as_json["credentials"]["PASSWORD"].as_str(), Some(password.as_str()));

        let text = CredentialInput::Text(format!("{username}:{password}").into());
        let bare = username.trim_start_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
        if !bare.starts_with(['{', '[', '"']) {
            prop_assert_eq!(marshal(&parse(&text, &host).unwrap(), &host), marshalled);
        }
    }

    #[test]
    fn no_error_repeats_what_it_was_given(text in with_canary()) {
        let host = RegistryHost::parse("ghcr.io").unwrap();
        match parse(&CredentialInput::Text(text.as_str().into()), &host) {
            Ok(parsed) => assert_silent(&parsed, &text),
            Err(refused) => assert_silent_error(&refused, &text),
        }
        if let Err(refused) = unmarshal(&text) {
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
        _ = unmarshal(&text);
    }
}
