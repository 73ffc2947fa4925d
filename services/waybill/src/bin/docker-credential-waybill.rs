//! A Docker credential helper: gives registry clients a container's login, and stores nothing.
//!
//! The protocol is that of <https://github.com/docker/docker-credential-helpers>: the action is the only argument, input
//! and output are standard, and so are errors, whose words clients compare. The environment says on whose behalf it asks:
//! `WAYBILL_SOCKET` and `WAYBILL_ACCESS_FILE`.

#[path = "../core_dumps.rs"]
mod core_dumps;

use std::{
    collections::BTreeMap,
    io::{self, Read as _, Write as _},
    process::ExitCode,
};

use serde::{Deserialize, Serialize};
use waybill_domain::{credentials::Secret, reference::RegistryHost};
use waybill_worker::node::{Answer, Client, ClientError, Code, Request};
use zeroize::Zeroizing;

/// Longest input, in bytes.
const MAX_INPUT: u64 = 64 * 1024;
/// What Docker calls the registry of references without a host.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";

/// A failure; `Display` is what goes to standard output.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("credentials not found in native keychain")]
    NotFound(Option<ClientError>),
    #[error("no credentials server URL")]
    NoServerUrl,
    #[error("no credentials username")]
    NoUsername,
    #[error("waybill: {0}")]
    Client(#[from] ClientError),
    #[error("waybill: cannot read or write: {}", .0.kind())]
    Io(#[from] io::Error),
    #[error("usage: docker-credential-waybill <get|list|store|erase|version>")]
    Usage,
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
    let action = match std::env::args().skip(1).collect::<Vec<_>>().as_slice() {
        [action] => action.clone(),
        _ => String::new(),
    };
    match core_dumps::forbid().map_err(Failure::Io).and_then(|()| run(&action)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Who has closed its ends is not told.
            let _ = writeln!(io::stdout().lock(), "{failure}");
            if let Failure::NotFound(Some(reason)) | Failure::Client(reason) = &failure {
                let _ = writeln!(io::stderr().lock(), "waybill: {reason}");
            }
            ExitCode::FAILURE
        }
    }
}

fn run(action: &str) -> Result<(), Failure> {
    match action {
        "get" => get(input()?.trim()),
        "list" => list(),
        "store" => store(&input()?),
        "erase" if input()?.trim().is_empty() => Err(Failure::NoServerUrl),
        "erase" => Ok(()),
        "version" => {
            let version = env!("CARGO_PKG_VERSION");
            Ok(writeln!(io::stdout().lock(), "docker-credential-waybill (waybill) v{version}")?)
        }
        _ => Err(Failure::Usage),
    }
}

fn get(server_url: &str) -> Result<(), Failure> {
    if server_url.is_empty() {
        return Err(Failure::NoServerUrl);
    }
    let registry = registry_of(server_url).ok_or(Failure::NotFound(None))?.to_string();
    let client = Client::from_env(|key| std::env::var_os(key))?;
    match client.ask(|access: Secret| Request::Get { access, registry: Some(registry), image: None }) {
        Ok(Answer::Login(given)) => {
            print(&Credentials { server_url, username: &given.username, secret: given.password.expose() })
        }
        Ok(_) => Err(ClientError::NotOurs(client.socket).into()),
        Err(ClientError::Refused(error)) if error.code == Code::NotFound => {
            Err(Failure::NotFound(Some(ClientError::Refused(error))))
        }
        Err(error) => Err(error.into()),
    }
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
    Ok(writeln!(io::stdout().lock(), "{}", text.as_str())?)
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
