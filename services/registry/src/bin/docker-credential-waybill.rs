//! A Docker credential helper: gives registry clients a container's login, and stores nothing.
//!
//! The protocol is that of <https://github.com/docker/docker-credential-helpers>: the action is the only argument, input
//! and output are standard, and so are errors, whose words clients compare. The environment says on whose behalf it asks:
//! `WAYBILL_SOCKET` and `WAYBILL_ACCESS_FILE`.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    io::{self, Read as _, Write as _},
    process::ExitCode,
};

use serde::{Deserialize, Serialize};
use waybill_domain::{credentials::Secret, reference::RegistryHost};
use waybill_registry::{
    core_dumps,
    node::{Answer, Client, ClientError, Code, Error as NodeError, Request},
};
use zeroize::Zeroizing;

/// Longest input, in bytes.
const MAX_INPUT: u64 = 64 * 1024;
/// What Docker calls the registry of references without a host.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";

/// Our name, as upstream's words have it.
const NAME: &str = "docker-credential-waybill";

/// A failure; `Display` is what goes to standard output.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("credentials not found in native keychain")]
    NotFound(ClientError),
    #[error("no credentials server URL")]
    NoServerUrl,
    #[error("no credentials username")]
    NoUsername,
    #[error("waybill: {0}")]
    Client(#[from] ClientError),
    #[error("waybill: cannot read or write: {}", .0.kind())]
    Io(#[from] io::Error),
    #[error("{}", usage())]
    Usage,
    #[error("{NAME}: unknown action: {0}")]
    UnknownAction(String),
}

impl Failure {
    /// The reason for people and programs, with its code in front: what goes to standard error.
    fn typed(&self) -> String {
        match self {
            Self::NotFound(reason) | Self::Client(reason) => reason.to_string(),
            Self::Io(error) => format!("io: cannot read or write: {}", error.kind()),
            Self::NoServerUrl | Self::NoUsername | Self::Usage | Self::UnknownAction(_) => {
                format!("{}: {self}", Code::BadRequest)
            }
        }
    }
}

fn usage() -> String {
    format!("Usage: {NAME} <store|get|erase|list|version>")
}

/// What `get` gives.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Credentials<'a> {
    #[serde(rename = "ServerURL")]
    server_url: &'a str,
    username: &'a str,
    secret: &'a str,
}

/// What `store` is given, as far as it is looked at.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Stored {
    #[serde(rename = "ServerURL", default)]
    server_url: String,
    #[serde(default)]
    username: String,
}

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    match core_dumps::forbid().map_err(Failure::Io).and_then(|()| run(&arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Who has closed its ends is not told.
            let _ = writeln!(io::stdout().lock(), "{failure}");
            let _ = writeln!(io::stderr().lock(), "waybill: {}", failure.typed());
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[OsString]) -> Result<(), Failure> {
    let [action] = arguments else { return Err(Failure::Usage) };
    match action.to_string_lossy().as_ref() {
        "get" => get(input()?.trim()),
        "list" => list(),
        "store" => store(&input()?),
        "erase" if input()?.trim().is_empty() => Err(Failure::NoServerUrl),
        "erase" => Ok(()),
        "version" | "--version" | "-v" => {
            let version = env!("CARGO_PKG_VERSION");
            Ok(writeln!(io::stdout().lock(), "{NAME} (waybill) v{version}")?)
        }
        "--help" | "-h" => Ok(writeln!(io::stdout().lock(), "{}", usage())?),
        unknown => Err(Failure::UnknownAction(unknown.to_owned())),
    }
}

fn get(server_url: &str) -> Result<(), Failure> {
    if server_url.is_empty() {
        return Err(Failure::NoServerUrl);
    }
    let registry = registry_of(server_url).ok_or_else(no_registry)?.to_string();
    let client = Client::from_env(|key| std::env::var_os(key))?;
    match client.ask(|access: Secret| Request::Get { access, registry: Some(registry), image: None }) {
        Ok(Answer::Login(given)) => {
            print(&Credentials { server_url, username: &given.username, secret: given.password.expose() })
        }
        Ok(_) => Err(ClientError::NotOurs(client.socket).into()),
        Err(ClientError::Refused(error)) if error.code == Code::NotFound => Err(Failure::NotFound(error.into())),
        Err(error) => Err(error.into()),
    }
}

/// What is asked for is no registry, so there is nothing for it; the text itself may be anything and is not repeated.
fn no_registry() -> Failure {
    let message = "the server URL names no registry".to_owned();
    Failure::NotFound(NodeError { code: Code::NotFound, message }.into())
}

fn list() -> Result<(), Failure> {
    let client = Client::from_env(|key| std::env::var_os(key))?;
    match client.ask(|access| Request::List { access }) {
        Ok(Answer::Logins { logins }) => {
            let named = |registry: String| if registry == "docker.io" { DOCKER_HUB.to_owned() } else { registry };
            print(&logins.into_iter().map(|(registry, user)| (named(registry), user)).collect::<BTreeMap<_, _>>())
        }
        Ok(_) => Err(ClientError::NotOurs(client.socket).into()),
        Err(error) => Err(error.into()),
    }
}

/// Takes what a login command hands over, and keeps nothing: a container's credentials come from its build.
fn store(input: &str) -> Result<(), Failure> {
    if let Ok(stored) = serde_json::from_str::<Stored>(input) {
        if stored.server_url.is_empty() {
            return Err(Failure::NoServerUrl);
        }
        if stored.username.is_empty() {
            return Err(Failure::NoUsername);
        }
    }
    Ok(())
}

fn input() -> Result<Zeroizing<String>, Failure> {
    let mut text = Zeroizing::new(String::new());
    io::stdin().lock().take(MAX_INPUT).read_to_string(&mut text)?;
    Ok(text)
}

fn print(value: &impl Serialize) -> Result<(), Failure> {
    let text = Zeroizing::new(serde_json::to_string(value).map_err(io::Error::from)?);
    Ok(writeln!(io::stdout().lock(), "{}", as_go_has_it(&text).as_str())?)
}

/// Go's encoder writes these for the sake of browsers. They stand in strings only, so the JSON says the same.
fn as_go_has_it(json: &str) -> Zeroizing<String> {
    // Room for all at once: a string that grows leaves its former self in memory.
    let mut text = Zeroizing::new(String::with_capacity(json.len().saturating_mul(6)));
    for letter in json.chars() {
        match letter {
            '<' => text.push_str("\\u003c"),
            '>' => text.push_str("\\u003e"),
            '&' => text.push_str("\\u0026"),
            '\u{2028}' => text.push_str("\\u2028"),
            '\u{2029}' => text.push_str("\\u2029"),
            letter => text.push(letter),
        }
    }
    text
}

/// The registry that clients mean: a host, or the address of its API.
fn registry_of(server_url: &str) -> Option<RegistryHost> {
    let bare = server_url.strip_prefix("https://").or_else(|| server_url.strip_prefix("http://")).unwrap_or(server_url);
    let (host, path) = bare.split_once('/').unwrap_or((bare, ""));
    let is_api = matches!(path, "" | "v1" | "v1/" | "v2" | "v2/");
    RegistryHost::parse(host).ok().filter(|_| is_api)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_as_go_has_it() {
        let cases = [
            ("plain \"ß\" \\", r#""plain \"ß\" \\""#),
            ("a<b>c&d", r#""a\u003cb\u003ec\u0026d""#),
            ("\u{2028}\u{2029}", r#""\u2028\u2029""#),
            ("\u{8}\u{c}\n\r\t\u{1}", r#""\b\f\n\r\t\u0001""#),
        ];
        for (text, expected) in cases {
            let json = serde_json::to_string(text).unwrap();
            assert_eq!(as_go_has_it(&json).as_str(), expected);
            assert_eq!(serde_json::from_str::<String>(expected).unwrap(), text);
        }
    }

    #[test]
    fn a_server_url_names_a_registry() {
        let cases = [
            ("ghcr.io", Some("ghcr.io")),
            ("https://ghcr.io", Some("ghcr.io")),
            ("https://ghcr.io/", Some("ghcr.io")),
            ("http://localhost:5000/v2/", Some("localhost:5000")),
            ("a.b:443/v1", Some("a.b:443")),
            ("https://index.docker.io/v1/", Some("docker.io")),
            ("https://registry-1.docker.io/v2/", Some("docker.io")),
            ("docker.io", Some("docker.io")),
            ("https://[::1]:5000", Some("[::1]:5000")),
            ("https://index.docker.io/v1/access-token", None),
            ("ghcr.io/team", None),
            ("ftp://ghcr.io", None),
            ("https://user@ghcr.io", None),
            ("word", None),
            ("https://", None),
        ];
        for (text, expected) in cases {
            let found = registry_of(text);
            assert_eq!(found.as_ref().map(RegistryHost::as_str), expected, "{text}");
        }
    }
}
