//! A credential helper: the program `docker-credential-<name>`, which is told a server and prints its credentials.
//!
//! Source: <https://github.com/docker/docker-credential-helpers>, "Development". What it prints is never repeated.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    io::{Read as _, Write as _},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use waybill_domain::{
    credentials::{CredentialHelper, CredentialInput, DockerConfig, DockerLogin, Secret},
    reference::ImageReference,
};
use zeroize::Zeroizing;

/// How long a program may take: it may ask a person or a cloud.
const LIMIT: Duration = Duration::from_secs(30);
/// Most bytes of an answer that are read.
const MOST: u64 = 64 * 1024;
const PAUSE: Duration = Duration::from_millis(5);
/// What every helper prints that has nothing for the server.
const NOT_FOUND: &str = "credentials not found in native keychain";

/// Why a program gave no credentials. Nothing that it printed is repeated.
#[derive(Debug, thiserror::Error)]
#[error("{words}")]
pub struct HelperError {
    words: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl From<String> for HelperError {
    fn from(words: String) -> Self {
        Self { words, source: None }
    }
}

/// What a Docker configuration of this machine has for an image: in the file, or what the program says that the file names
/// for it. Blocks for as long as the program takes, at most 30 s.
///
/// # Errors
/// [`HelperError`] where a program is named and gives no answer; there is no second try without it then.
pub fn credentials(config: DockerConfig, image: &ImageReference) -> Result<CredentialInput, HelperError> {
    match config.login(image.registry(), Some(image.repository())) {
        Ok(DockerLogin::Helper(program)) => Ok(CredentialInput::Keys(ask_helper(&program, LIMIT)?.unwrap_or_default())),
        // Whoever reads the file finds what is wrong with it.
        Ok(DockerLogin::Keys(_)) | Err(_) => Ok(CredentialInput::Docker(Ok(config))),
    }
}

/// The credentials that the program has for the server; none where it says that it has none.
fn ask_helper(helper: &CredentialHelper, limit: Duration) -> Result<Option<BTreeMap<String, Secret>>, HelperError> {
    let program = format!("docker-credential-{}", helper.name);
    let called = format!("{program} ({})", helper.field);
    let mut child = start_helper(&program).map_err(|source| HelperError {
        words: format!("{called} cannot be started; install it, or put it on PATH"),
        source: Some(source.into()),
    })?;
    let answered = read_answer(&mut child, &helper.server, limit);
    // It may have ended already.
    let _ = child.kill();
    let _ = child.wait();
    match answered {
        None => Err(format!("{called} did not answer within {} s", limit.as_secs()).into()),
        Some((status, printed)) if status.success() => helper.answer(&printed).map_err(|source| HelperError {
            words: format!("{program} did not answer as a credential helper does"),
            source: Some(source.into()),
        }),
        Some((_, printed)) if printed.trim() == NOT_FOUND => Ok(None),
        Some((status, _)) => {
            let why = format!("run `{program} get` with {} as its input to see why", helper.server);
            Err(format!("{called} failed: {status}; {why}").into())
        }
    }
}

fn start_helper(program: &str) -> std::io::Result<Child> {
    let mut command = Command::new(program);
    for (key, _) in std::env::vars_os().filter(|(key, _)| is_private(key)) {
        command.env_remove(key);
    }
    command.arg("get").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()
}

/// Settings may hold keys, which are no business of another program; our own helper is told who asks by these two.
fn is_private(key: &OsStr) -> bool {
    let key = key.to_string_lossy();
    key.starts_with("WAYBILL_") && !matches!(key.as_ref(), "WAYBILL_SOCKET" | "WAYBILL_ACCESS_FILE")
}

/// Its end and what it printed; none where that takes too long.
fn read_answer(child: &mut Child, server: &str, limit: Duration) -> Option<(ExitStatus, Zeroizing<String>)> {
    let until = Instant::now() + limit;
    if let Some(mut input) = child.stdin.take() {
        // A program that does not read has its own way to know the server.
        let _ = writeln!(input, "{server}");
    }
    let output = child.stdout.take()?;
    let (sender, printed) = mpsc::channel();
    thread::spawn(move || {
        // Large enough from the start, so that no copy is left behind by growing it.
        let capacity = usize::try_from(MOST).unwrap_or_default();
        let mut text = Zeroizing::new(String::with_capacity(capacity));
        let _ = output.take(MOST).read_to_string(&mut text);
        // Nobody waits for it any more after the limit.
        let _ = sender.send(text);
    });
    let text = printed.recv_timeout(limit).ok()?;
    while Instant::now() < until {
        if let Ok(Some(status)) = child.try_wait() {
            return Some((status, text));
        }
        thread::sleep(PAUSE);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_does_not_answer_is_not_waited_for() {
        let mut silent = Command::new("sleep");
        let mut child = silent.arg("600").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        assert!(read_answer(&mut child, "a.b", Duration::from_millis(20)).is_none());
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let name = "waybill-no-such-helper".to_owned();
        let helper = CredentialHelper { name, server: "a.b".to_owned(), field: "credsStore" };
        let error = ask_helper(&helper, LIMIT).unwrap_err().to_string();
        assert!(error.contains("docker-credential-waybill-no-such-helper (credsStore)"), "{error}");
    }
}
