//! The clouds' own clients against the clouds' doubles: what a double gives and refuses, those who made the protocol accept.

use std::{
    path::PathBuf,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde_json::Value;
use waybill_tests::{
    azure::{Azure, CLIENT_ID, TENANT},
    ecr::Ecr,
    google::Google,
    login::Login,
    python::Python,
    registry::{Accounts, Registry, Scheme},
    require,
    sts::RefusingSts,
};

/// Importing these clients takes seconds on a slow machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// Runs a program of `tests/clients` to its end, and reads what it printed.
async fn ask(python: &Python, client: &str, endpoints: [&str; 2], secrets: &[(&str, &str)]) -> Value {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("clients").join(client);
    let output = python.run(&script, &endpoints, secrets, PATIENCE).await.unwrap();
    serde_json::from_str(output.trim()).unwrap_or_else(|_| panic!("{output}"))
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
}

#[tokio::test]
async fn aws_accepts_the_doubles_of_ecr_and_sts() {
    let python = require!(Python::with_modules(&["botocore", "awscli"]));
    let accounts = Accounts::default();
    let ecr = require!(Ecr::start("AKIAEXAMPLE", &accounts));
    let sts = require!(RefusingSts::start());
    // Neither a file nor a metadata service of this machine has a say.
    let keys = [
        ("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_CONFIG_FILE", "/dev/null"),
        ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
    ];
    let told = ask(&python, "aws_keys.py", [&ecr.endpoint(), &sts.endpoint()], &keys).await;

    let login = Login::from_basic(told["token"].as_str().unwrap()).unwrap();
    assert!(accounts.knows(&login), "botocore's token is a login of the registry");
    let left = told["lives_for"].as_f64().unwrap() - now();
    assert!((11.9 * 3600.0..=12.0 * 3600.0).contains(&left), "{left}");
    assert!(accounts.knows(&Login::new("AWS", told["command"].as_str().unwrap())), "and so is the command's password");
    assert_eq!(told["unknown_key"]["Code"], "UnrecognizedClientException", "{told}");
    assert_eq!(told["role"]["Code"], "AccessDenied", "{told}");
    let words = told["role"]["Message"].as_str().unwrap();
    assert!(words.contains("is not authorized to perform: sts:AssumeRole"), "{words}");
    assert_eq!(ecr.calls().len(), 3, "{:?}", ecr.calls());
}

#[tokio::test]
async fn google_auth_accepts_the_doubles_of_google() {
    let python = require!(Python::with_modules(&["google.auth", "requests"]));
    let accounts = Accounts::default();
    let google = require!(Google::start(&accounts));
    google.accept("subject-token");
    let files = [
        ("KEY_FILE", &*Google::known_key_file()),
        ("OTHER_KEY_FILE", &*Google::key_file("b@c.example")),
        ("EXTERNAL_FILE", &*Google::known_external_file()),
        ("SUBJECT_TOKEN", "subject-token"),
    ];
    let told = ask(&python, "google_keys.py", [&google.token_endpoint(), &google.iam_endpoint()], &files).await;

    for kind in ["account", "identity"] {
        let token = told[kind]["token"].as_str().unwrap_or_else(|| panic!("{kind}: {told}"));
        assert!(accounts.knows(&Login::new("oauth2accesstoken", token)), "{kind}: {told}");
    }
    let cases = [
        ("unknown_account", "Invalid grant: account not found"),
        ("unknown_identity", "The given credential is rejected by the attribute condition."),
    ];
    for (kind, words) in cases {
        let refused = told[kind]["refused"].as_str().unwrap_or_else(|| panic!("{kind}: {told}"));
        assert!(refused.contains("invalid_grant") && refused.contains(words), "{kind}: {refused}");
    }
}

#[tokio::test]
async fn azure_identity_accepts_the_double_of_entra_id() {
    let python = require!(Python::with_modules(&["azure.identity", "requests"]));
    let azure = require!(Azure::start("azure-secret"));
    let accounts = Accounts::default();
    let registry =
        require!(Registry::with_routes(Scheme::Bearer(Duration::from_secs(300)), &accounts, azure.exchange(&accounts)));
    let keys = [("AZURE_TENANT_ID", TENANT), ("AZURE_CLIENT_ID", CLIENT_ID), ("AZURE_CLIENT_SECRET", "azure-secret")];
    let host = format!("http://{}", registry.host());
    let told = ask(&python, "azure_keys.py", [&azure.login_endpoint(), &host], &keys).await;

    let left = told["ends"].as_f64().unwrap() - now();
    assert!((3000.0..=3600.0).contains(&left), "{left}");
    let refresh_token = told["refresh_token"].as_str().unwrap();
    assert!(accounts.knows(&Login::new("00000000-0000-0000-0000-000000000000", refresh_token)), "{told}");
    let refused = told["refused"].as_str().unwrap();
    assert!(refused.contains("AADSTS7000215: Invalid client secret provided."), "{refused}");
}
