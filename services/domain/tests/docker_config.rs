//! Docker configuration files against their table, as text and as an object, and never in any message.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests fail by panicking")]

#[allow(dead_code, reason = "shared with other tests")]
#[path = "support/rows.rs"]
mod support;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use support::{expand, rows, variant};
use waybill_domain::{
    credentials::{CredentialError, CredentialHelper, CredentialInput, Credentials, DockerConfig, DockerLogin, Parsed},
    reference::ImageReference,
};

const CASES: &str = include_str!("testdata/docker_config.txt");
const CANARY: &str = "hunter2";

/// The column with `@text@` in Base64.
fn file(column: &str) -> String {
    let encoded = |(at, part): (usize, &str)| match at % 2 {
        0 => expand(part),
        _ => STANDARD.encode(expand(part)),
    };
    column.split('@').enumerate().map(encoded).collect()
}

fn describe(error: &CredentialError) -> String {
    match error {
        CredentialError::NoEntry { held, .. } => format!("NoEntry {held}"),
        CredentialError::NeedsHelper { field, .. } => format!("NeedsHelper {field}"),
        other => variant(other),
    }
}

fn values(parsed: &Parsed) -> String {
    match &parsed.credentials {
        Credentials::Basic(login) => format!("USERNAME={} PASSWORD={}", login.username, login.password.expose()),
        Credentials::Token(token) => {
            let user = token.username.as_ref().map(|user| format!(" USERNAME={user}")).unwrap_or_default();
            format!("TOKEN={}{user}", token.token.expose())
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn files_have_what_the_table_says() {
    for case in rows(CASES) {
        // A user name before a host is no Base64.
        let text = match case.raw(1).contains("u:hunter2@e.f") {
            true => case.raw(1).replace("@x:hunter2@", "eDpodW50ZXIy"),
            false => file(case.raw(1)),
        };
        let image = ImageReference::parse(case.raw(0)).unwrap();
        let object: CredentialInput = serde_json::from_str(&text).unwrap();
        assert!(matches!(object, CredentialInput::Docker(_)), "{case}");
        for input in [object, CredentialInput::Text(text.as_str().into())] {
            let parsed = Credentials::parse(&input, &image);
            let printed = format!("{input:?} {parsed:?}");
            assert!(!printed.contains(CANARY), "{case}: {printed}");
            match parsed {
                Ok(parsed) => {
                    assert_eq!(parsed.credentials.cred_type().as_str(), case.raw(2), "{case}");
                    assert_eq!(values(&parsed), expand(case.raw(3)), "{case}");
                }
                Err(error) => {
                    assert_eq!(("!", describe(&error).as_str()), (case.raw(2), case.raw(3)), "{case}");
                    assert!(!error.to_string().contains(CANARY), "{case}: {error}");
                }
            }
        }
    }
}

#[test]
fn files_are_bounded() {
    let image = ImageReference::parse("a.b/app").unwrap();
    let entries: Vec<String> = (0..1025).map(|number| format!("\"h{number}.example\":{{}}")).collect();
    let many = format!(r#"{{"auths":{{{}}}}}"#, entries.join(","));
    let large = format!(r#"{{"auths":{{"a.b":{{"auth":"{}"}}}}}}"#, "A".repeat(256 * 1024));
    let deep = format!(r#"{{"auths":{}{}}}"#, "{\"a\":".repeat(10_000), "}".repeat(10_000));
    for text in [many, large, deep] {
        assert!(Credentials::parse(&CredentialInput::Text(text.as_str().into()), &image).is_err());
    }
    let hosts: Vec<String> = (0..100).map(|number| format!("\"h{number}.example\":{{}}")).collect();
    let told =
        Credentials::parse(&CredentialInput::Text(format!(r#"{{"auths":{{{}}}}}"#, hosts.join(",")).into()), &image);
    let told = told.unwrap_err().to_string();
    assert!(told.len() < 400 && told.contains("and others"), "{told}");
}

#[test]
fn what_is_no_such_file() {
    for text in ["[]", "u:hunter2", r#"{"USERNAME":"hunter2"}"#, r#"{"auths":{}"#, "7", r#"{"a.b":{"colour":"x"}}"#] {
        let error = DockerConfig::read(text).unwrap_err();
        assert_eq!(variant(&error), "DockerConfig", "{text}");
    }
    assert_eq!(variant(&DockerConfig::read(r#"{"auths":"hunter2"}"#).unwrap_err()), "InvalidValue");
    let keys: CredentialInput = serde_json::from_str(r#"{"auths":"x"}"#).unwrap();
    assert_eq!(keys, CredentialInput::from_keys([("auths", "x")]), "environment-style keys are strings");
}

/// Docker writes such files, and starts with them.
#[test]
fn files_without_logins_are_files() {
    let host = "a.b".parse().unwrap();
    for text in [
        "",
        " \n",
        "null",
        "{}",
        "\u{feff}{}",
        r#"{"auths":null}"#,
        r#"{"auths":{}}"#,
        r#"{"credsStore":""}"#,
        r#"{"credsStore":null,"credHelpers":null}"#,
        r#"{"HttpHeaders":{"X":"y"}}"#,
        r#"{"detachKeys":"ctrl-e,e","experimental":"enabled"}"#,
        r#"{"currentContext":"x","proxies":{"default":{"httpProxy":"http://p"}}}"#,
    ] {
        let config = DockerConfig::read(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(config.login(&host, None), Err(CredentialError::None), "{text}");
    }
}

#[test]
fn helpers_are_named_and_their_answers_are_read() {
    let image = ImageReference::parse("ubuntu").unwrap();
    let config = DockerConfig::read(r#"{"credHelpers":{"index.docker.io":"x-1.y_z"}}"#).unwrap();
    let helper = CredentialHelper {
        name: "x-1.y_z".to_owned(),
        server: "https://index.docker.io/v1/".to_owned(),
        field: "credHelpers",
    };
    assert_eq!(config.login(image.registry(), None), Ok(DockerLogin::Helper(helper.clone())));
    let cases = [
        (r#"{"ServerURL":"s","Username":"u","Secret":"hunter2"}"#, Some("PASSWORD")),
        (r#"{"ServerURL":"s","Username":"<token>","Secret":"hunter2"}"#, Some("TOKEN")),
        (r#"{"ServerURL":"","Username":"","Secret":""}"#, Some("-")),
        (r#"{"ServerURL":"s"}"#, Some("-")),
        ("{}", Some("-")),
        ("", Some("-")),
        (" \n", Some("-")),
        (r#"{"Username":"u"}"#, None),
        (r#"{"Username":"","Secret":"hunter2"}"#, None),
        (r#"{"Username":["u"],"Secret":7}"#, None),
        ("hunter2", None),
    ];
    for (printed, expected) in cases {
        let answer = helper.answer(printed);
        assert!(!format!("{answer:?}").contains(CANARY));
        let found = answer.ok().map(|keys| {
            let secret = keys.and_then(|keys| keys.into_keys().find(|key| key != "USERNAME"));
            secret.unwrap_or_else(|| "-".to_owned())
        });
        assert_eq!(found.as_deref(), expected, "{printed}");
    }
}

#[test]
fn a_program_for_the_registry_goes_before_what_the_file_holds_and_the_one_for_all_after_it() {
    let image = ImageReference::parse("a.b/app").unwrap();
    let cases = [
        (r#"{"auths":{"a.b":{"auth":"dTpw"}},"credHelpers":{"a.b":"x"},"credsStore":"y"}"#, "x"),
        (r#"{"auths":{"a.b/app":{"auth":"dTpw"}},"credHelpers":{"a.b":"x"}}"#, "x"),
        (r#"{"auths":{"a.b":{"auth":"dTpw"}},"credHelpers":{"c.d":"x"}}"#, "keys"),
        (r#"{"auths":{"a.b":{"auth":"dTpw"}},"credHelpers":{"a.b":""}}"#, "keys"),
        (r#"{"auths":{"a.b":{"auth":"dTpw"}},"credsStore":"y"}"#, "keys"),
        (r#"{"auths":{"a.b":{}},"credsStore":"y"}"#, "y"),
    ];
    for (text, expected) in cases {
        let found = DockerConfig::read(text).unwrap().login(image.registry(), Some(image.repository())).unwrap();
        let found = match found {
            DockerLogin::Keys(_) => "keys".to_owned(),
            DockerLogin::Helper(helper) => helper.name,
        };
        assert_eq!(found, expected, "{text}");
    }
}
