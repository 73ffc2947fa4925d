//! Commands for runtimes of this node: a login file for programs that read one, and the end of a container.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use clap::Args;
use serde_json::json;
use waybill_registry::{
    core_dumps,
    node::{Answer, Client, ClientError, Code, GivenLogin, Request, SOCKET},
};
use waybill_schemas::{ContainerId, WorkspaceId};
use waybill_worker::node::{NodeDir, Owner};
use zeroize::Zeroizing;

use crate::{Failure, output};

/// Name of a login file beside its access file: the worker removes both when the container ends.
const LOGIN_FILE: &str = "auth.json";

/// The user name under which Docker's tools keep an identity token.
const IDENTITY_TOKEN_USER: &str = "<token>";

/// Which container is meant: by its name in the worker's folder, or by its access file.
#[derive(Debug, Args)]
pub(crate) struct Whose {
    /// The container
    #[arg(long, value_name = "ID", requires = "workspace", requires = "node_dir")]
    container: Option<ContainerId>,
    /// Its workspace
    #[arg(long, value_name = "NAME", requires = "container")]
    workspace: Option<WorkspaceId>,
    /// Folder of the worker's socket and access files
    #[arg(long, value_name = "DIR", env = "WAYBILL_WORKER_NODE_DIR")]
    node_dir: Option<PathBuf>,
    /// The worker's socket, where it is not in that folder
    #[arg(long, value_name = "FILE", env = "WAYBILL_SOCKET")]
    socket: Option<PathBuf>,
    /// The container's access file, where it is not named
    #[arg(long, value_name = "FILE", env = "WAYBILL_ACCESS_FILE")]
    access_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct LoginFileArguments {
    #[command(flatten)]
    whose: Whose,
    /// Where to write it [default: auth.json beside the access file; elsewhere the worker does not remove it]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Whose {
    fn client(&self, home: &Path) -> Result<Client, Failure> {
        // As the worker reads it: relative to the home folder.
        let dir = self.node_dir.as_ref().map(|dir| home.join(dir));
        let named = match (&self.workspace, &self.container) {
            (Some(workspace), Some(container)) => Some(Owner::Container(workspace.clone(), container.clone())),
            _ => None,
        };
        let of_name = dir.as_ref().zip(named).map(|(dir, owner)| NodeDir::access_file_in(dir, &owner));
        let access_file = of_name.or_else(|| self.access_file.clone());
        let socket = self.socket.clone().or_else(|| dir.map(|dir| dir.join(SOCKET)));
        match (socket, access_file) {
            (Some(socket), Some(access_file)) => Ok(Client { socket, access_file }),
            _ => Err("which container? Give --container and --workspace with --node-dir, or --access-file with \
                      --socket; WAYBILL_WORKER_NODE_DIR, WAYBILL_ACCESS_FILE and WAYBILL_SOCKET are read too"
                .into()),
        }
    }
}

/// `waybill login-file`: writes the container's login as containers-auth.json(5) has it, and prints where.
pub(crate) fn login_file(home: &Path, arguments: &LoginFileArguments) -> Result<(), Failure> {
    core_dumps::forbid()?;
    let client = arguments.whose.client(home)?;
    let Answer::Login(given) = client.ask(|access| Request::Get { access, registry: None, image: None })? else {
        return Err(ClientError::NotOurs(client.socket).into());
    };
    let file = match &arguments.output {
        Some(file) => file.clone(),
        None => client.access_file.with_file_name(LOGIN_FILE),
    };
    write(&file, content(&given).as_bytes()).map_err(|error| format!("cannot write {}: {error}", file.display()))?;
    writeln!(output::stdout(), "{}", file.display())?;
    if let Some(end) = given.expires_at {
        writeln!(io::stderr().lock(), "The login works until {end}; run this again before.")?;
    }
    Ok(())
}

/// `waybill container-ended`: has the worker forget the container's logins and remove its files. Where the worker cannot do
/// it now, the login file goes at least: it is the one with a login in the clear.
pub(crate) fn container_ended(home: &Path, whose: &Whose) -> Result<(), Failure> {
    let client = whose.client(home)?;
    match client.ask(|access| Request::End { access }) {
        Ok(Answer::Ended { .. }) => Ok(()),
        Ok(_) => Err(ClientError::NotOurs(client.socket).into()),
        Err(error) if may_work_later(&error) => Err(format!("{error}\n{}", left_behind(&client.access_file)).into()),
        Err(error) => Err(error.into()),
    }
}

fn may_work_later(error: &ClientError) -> bool {
    match error {
        ClientError::NoAnswer { .. } => true,
        ClientError::Refused(error) => error.code == Code::Unavailable,
        _ => false,
    }
}

/// Removes the login file beside an access file, and tells what is left to do.
fn left_behind(access_file: &Path) -> String {
    let file = access_file.with_file_name(LOGIN_FILE);
    let removed = match fs::remove_file(&file) {
        Ok(()) => format!("{} is removed. ", file.display()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => format!("{} cannot be removed ({error}): remove it. ", file.display()),
    };
    format!(
        "{removed}The container counts as running until its end is recorded: run this again when the worker answers, or \
         say it to the gateway (POST /v1/containers/ended)."
    )
}

fn content(given: &GivenLogin) -> Zeroizing<String> {
    let secret = given.password.expose();
    // An identity token stands by itself; the clients that know it read the user name it is announced by as well.
    let identity = given.username == IDENTITY_TOKEN_USER;
    let plain = Zeroizing::new(format!("{}:{}", given.username, if identity { "" } else { secret }));
    let auth = Zeroizing::new(STANDARD.encode(plain.as_bytes()));
    // Docker knows its Hub by an address from its first years; other clients know that address too.
    let host = if given.registry == "docker.io" { "https://index.docker.io/v1/" } else { &given.registry };
    let entry = match identity {
        true => json!({ "auth": auth.as_str(), "identitytoken": secret }),
        false => json!({ "auth": auth.as_str() }),
    };
    Zeroizing::new(json!({ "auths": { host: entry } }).to_string())
}

/// Writes a file of this user only, whole or not at all.
fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let private = fs::Permissions::from_mode(0o600);
    let mut file = tempfile::Builder::new().prefix(".auth").permissions(private).tempfile_in(folder)?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guide_names_every_code() {
        let guide = include_str!("../../../REGISTRIES.md");
        let source = || io::Error::other("");
        let path = PathBuf::new;
        let of_client = [
            ClientError::NotSet("X"),
            ClientError::NoAccessFile { file: path(), source: source() },
            ClientError::NoAnswer { socket: path(), source: source() },
            ClientError::NotOurs(path()),
        ];
        let of_client = of_client.iter().map(|error| error.to_string().split(':').next().unwrap().to_owned());
        for code in of_client.chain(Code::ALL.iter().map(ToString::to_string)) {
            assert!(guide.lines().any(|line| line.starts_with("| `") && line.contains(&format!("`{code}`"))), "{code}");
        }
    }

    #[test]
    fn the_file_is_as_clients_read_it() {
        let cases = [
            ("a.b:5000", "u", "p", r#"{"auths":{"a.b:5000":{"auth":"dTpw"}}}"#),
            ("docker.io", "u", "p:ü", r#"{"auths":{"https://index.docker.io/v1/":{"auth":"dTpwOsO8"}}}"#),
            // As containers/image and docker write and read it.
            ("a.b", "<token>", "it", r#"{"auths":{"a.b":{"auth":"PHRva2VuPjo=","identitytoken":"it"}}}"#),
        ];
        for (registry, user, password, expected) in cases {
            let given = GivenLogin {
                username: user.to_owned(),
                password: password.into(),
                expires_at: None,
                registry: registry.to_owned(),
            };
            assert_eq!(content(&given).as_str(), expected);
        }
    }
}
