//! `waybill secrets`: the named secrets of a workspace, by the gateway's HTTP. No answer holds a value.

mod show;

use std::{
    io::Read as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Value, json};
use waybill_registry::core_dumps;
use waybill_schemas::{SecretName, WorkspaceId, v1::MAX_REASON};
use zeroize::Zeroizing;

use crate::{
    Failure, done_or_refused,
    gateway::{Gateway, Request},
    operator,
};

#[derive(Debug, Args)]
pub(crate) struct SecretsArguments {
    #[command(subcommand)]
    command: Option<SecretsCommand>,
    /// Owner of the secrets [default: WAYBILL_WORKSPACE]
    #[arg(long, global = true, value_name = "NAME")]
    workspace: Option<WorkspaceId>,
    /// The gateway's answer as JSON.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum SecretsCommand {
    /// Every secret of the workspace: registry, kind, version, state, and until when it works.
    #[command(after_help = "Examples:\n  waybill secrets list --workspace acme --json")]
    List,
    /// One secret.
    #[command(after_help = "Examples:\n  waybill secrets show team --workspace acme")]
    Show {
        /// Its name.
        name: SecretName,
    },
    /// Make a secret, or give the one that is there a new version.
    #[command(after_help = "Examples:\n  waybill secrets put team --registry ghcr.io --creds credentials.json\n  \
        pass show registry | waybill secrets put team --registry ghcr.io --creds -")]
    Put {
        /// Its name.
        name: SecretName,
        /// Registry that the credentials are for, such as ghcr.io or registry.example.com:5000.
        #[arg(long, value_name = "HOST")]
        registry: String,
        #[command(flatten)]
        credentials: Credentials,
        #[command(flatten)]
        present: Present,
        /// Ask the registry for this image first; a version that it refuses never replaces one that it took.
        #[arg(long, value_name = "IMAGE")]
        verify: Option<String>,
    },
    /// Give a secret a new version. Every container that uses the secret gets it.
    #[command(after_help = "Examples:\n  waybill secrets rotate team --creds new-credentials.json --if-version 3")]
    Rotate {
        /// Its name.
        name: SecretName,
        #[command(flatten)]
        credentials: Credentials,
        #[command(flatten)]
        present: Present,
    },
    /// Withdraw a secret from every container that uses it. A new version brings it back.
    #[command(after_help = "Examples:\n  waybill secrets revoke team --reason 'the account was closed'")]
    Revoke {
        /// Its name.
        name: SecretName,
        #[command(flatten)]
        present: Present,
        #[command(flatten)]
        why: Why,
    },
    /// Withdraw a secret, and erase every version of it for good.
    #[command(after_help = "Examples:\n  waybill secrets shred team --reason 'the contract ended' --if-version 4")]
    Shred {
        /// Its name.
        name: SecretName,
        #[command(flatten)]
        present: Present,
        #[command(flatten)]
        why: Why,
    },
}

#[derive(Debug, Args)]
struct Credentials {
    /// File with the credentials, in any form that POST /v1/builds takes; `-` for standard input.
    #[arg(long, value_name = "FILE")]
    creds: PathBuf,
}

#[derive(Debug, Args)]
struct Present {
    /// Only if this is the secret's present version; 0 where there must be none.
    #[arg(long, value_name = "N")]
    if_version: Option<u64>,
}

#[derive(Debug, Args)]
struct Why {
    /// Why, for whoever reads the log later.
    #[arg(long, value_name = "TEXT", value_parser = parse_reason)]
    reason: Option<String>,
}

/// A reason as an event takes it.
pub(crate) fn parse_reason(text: &str) -> Result<String, String> {
    let fits = text.chars().count() <= MAX_REASON && !text.chars().any(char::is_control);
    if fits { Ok(text.to_owned()) } else { Err(format!("one line of at most {MAX_REASON} characters")) }
}

/// `waybill secrets`: 0 done, 1 refused, 2 not asked or not answered.
pub(crate) fn run(home: &Path, arguments: &SecretsArguments) -> ExitCode {
    done_or_refused(ask_gateway(home, arguments))
}

fn ask_gateway(home: &Path, arguments: &SecretsArguments) -> Result<bool, Failure> {
    let settings = operator::settings(home)?;
    let workspace = operator::workspace(&settings, arguments.workspace.as_ref())?;
    let gateway = Gateway::read(home, &settings, workspace.clone())?;
    let command = arguments.command.as_ref().unwrap_or(&SecretsCommand::List);
    let request = request(command, &workspace)?;
    let answer = match command {
        SecretsCommand::List => gateway.ask_all(&request, "secrets", "after", usize::MAX)?,
        _ => gateway.ask(&request)?,
    };
    if arguments.json {
        show::json(&answer)?;
    } else {
        show::text(&answer, &workspace)?;
    }
    Ok(answer.is_good)
}

/// The request that a command makes.
fn request(command: &SecretsCommand, workspace: &WorkspaceId) -> Result<Request, Failure> {
    let (method, name, verb, body) = match command {
        SecretsCommand::List => (Method::GET, None, None, None),
        SecretsCommand::Show { name } => (Method::GET, Some(name), None, None),
        SecretsCommand::Put { name, registry, credentials, present, verify } => {
            let credentials = read_credentials(&credentials.creds)?;
            let body = put_body(registry, &credentials, present.if_version, verify.as_deref());
            (Method::PUT, Some(name), None, Some(body))
        }
        SecretsCommand::Rotate { name, credentials, present } => {
            let credentials = read_credentials(&credentials.creds)?;
            (Method::POST, Some(name), Some("rotate"), Some(rotate_body(&credentials, present.if_version)))
        }
        SecretsCommand::Revoke { name, present, why } => {
            (Method::POST, Some(name), Some("revoke"), Some(withdraw_body(present.if_version, why.reason.as_deref())))
        }
        SecretsCommand::Shred { name, present, why } => {
            (Method::POST, Some(name), Some("shred"), Some(withdraw_body(present.if_version, why.reason.as_deref())))
        }
    };
    let path = ["secrets", workspace.as_str()].into_iter().chain(name.map(SecretName::as_str)).chain(verb);
    Ok(Request { method, path: path.map(str::to_owned).collect(), query: Vec::new(), body })
}

fn put_body(registry: &str, credentials: &str, if_version: Option<u64>, verify: Option<&str>) -> Value {
    let mut body = rotate_body(credentials, if_version);
    set(&mut body, "registry", Some(json!(registry)));
    set(&mut body, "verify_image", verify.map(|image| json!(image)));
    body
}

fn rotate_body(credentials: &str, if_version: Option<u64>) -> Value {
    let mut body = json!({ "credentials": credentials_value(credentials) });
    set(&mut body, "if_version", if_version.map(|version| json!(version)));
    body
}

fn withdraw_body(if_version: Option<u64>, reason: Option<&str>) -> Value {
    let mut body = json!({});
    set(&mut body, "if_version", if_version.map(|version| json!(version)));
    set(&mut body, "reason", reason.map(|reason| json!(reason)));
    body
}

fn set(body: &mut Value, name: &str, value: Option<Value>) {
    if let (Value::Object(members), Some(value)) = (body, value) {
        members.insert(name.to_owned(), value);
    }
}

/// A JSON object of keys goes as it is; any other text goes as text, without the line's end. The structured form holds another
/// object, and goes as text too.
fn credentials_value(text: &str) -> Value {
    let keys = serde_json::from_str::<Value>(text).ok().filter(is_keys);
    keys.unwrap_or_else(|| json!(text.trim_end_matches(['\r', '\n'])))
}

fn is_keys(value: &Value) -> bool {
    value.as_object().is_some_and(|keys| keys.values().all(|value| value.is_string() || value.is_null()))
}

/// Largest file of credentials that is read, in bytes; the gateway takes no more.
const MOST: u64 = 256 * 1024;

fn read_credentials(file: &Path) -> Result<Zeroizing<String>, Failure> {
    core_dumps::forbid()?;
    let unreadable = |error: std::io::Error| format!("--creds {}: {}", file.display(), error.kind());
    let mut text = Zeroizing::new(String::new());
    let most = MOST.saturating_add(1);
    let read = match file.as_os_str() == "-" {
        true => std::io::stdin().take(most).read_to_string(&mut text),
        false => std::fs::File::open(file).and_then(|file| file.take(most).read_to_string(&mut text)),
    };
    if u64::try_from(read.map_err(unreadable)?).unwrap_or(u64::MAX) > MOST {
        return Err(format!("--creds {}: credentials have at most {MOST} bytes", file.display()).into());
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_go_in_the_form_that_the_file_has() {
        let cases = [
            ("u:p\n", json!("u:p")),
            (
                r#"{"USERNAME":"u","PASSWORD":"p","TOKEN":null}"#,
                json!({"USERNAME": "u", "PASSWORD": "p", "TOKEN": null}),
            ),
            (r#"{"registry":"a.b","credentials":{}}"#, json!(r#"{"registry":"a.b","credentials":{}}"#)),
            ("[1]", json!("[1]")),
            (" spaced:pass word ", json!(" spaced:pass word ")),
        ];
        for (text, expected) in cases {
            assert_eq!(credentials_value(text), expected, "{text}");
        }
    }

    #[test]
    fn a_body_holds_what_was_given() {
        let cases = [
            (put_body("a.b", "u:p", None, None), json!({ "registry": "a.b", "credentials": "u:p" })),
            (
                put_body("a.b", "u:p", Some(0), Some("a.b/app:1")),
                json!({ "registry": "a.b", "credentials": "u:p", "if_version": 0, "verify_image": "a.b/app:1" }),
            ),
            (rotate_body("u:p", Some(3)), json!({ "credentials": "u:p", "if_version": 3 })),
            (withdraw_body(None, None), json!({})),
            (withdraw_body(Some(2), Some("closed")), json!({ "if_version": 2, "reason": "closed" })),
        ];
        for (body, expected) in cases {
            assert_eq!(body, expected);
        }
    }
}
