//! A credential helper: the program `docker-credential-<name>`, which is told a server and prints its credentials.
//!
//! Source: <https://github.com/docker/docker-credential-helpers>, "Development". What it prints is never repeated.

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use waybill_domain::credentials::{CredentialHelper, Secret};
use zeroize::Zeroizing;

/// How long a program may take: it may ask a person or a cloud.
pub(super) const LIMIT: Duration = Duration::from_secs(30);
/// Most bytes of an answer that are read.
const MOST: u64 = 64 * 1024;
const PAUSE: Duration = Duration::from_millis(5);
/// What every helper prints that has nothing for the server.
const NOT_FOUND: &str = "credentials not found in native keychain";

/// Why a program gave no credentials.
#[derive(Debug, thiserror::Error)]
pub(super) enum HelperError {
    /// It is not there, or no program.
    #[error("{program} ({field}) cannot be started; install it, or put it on PATH")]
    Start {
        program: String,
        field: &'static str,
        #[source]
        source: std::io::Error,
    },
    /// It does not end.
    #[error("{program} ({field}) did not answer within {seconds} s")]
    TimedOut { program: String, field: &'static str, seconds: u64 },
    /// It failed.
    #[error("{program} ({field}) failed: {status}; run `{program} get` with {server} as its input to see why")]
    Failed { program: String, field: &'static str, status: String, server: String },
    /// It printed something else.
    #[error("{program} did not answer as a credential helper does")]
    Answer {
        program: String,
        #[source]
        source: waybill_domain::credentials::CredentialError,
    },
}

/// The credentials that the program has for the server; none where it says that it has none.
pub(super) fn ask(helper: &CredentialHelper, limit: Duration) -> Result<Option<BTreeMap<String, Secret>>, HelperError> {
    let program = format!("docker-credential-{}", helper.name);
    let field = helper.field;
    let not_started = |source| HelperError::Start { program: program.clone(), field, source };
    let mut child = start(&program).map_err(not_started)?;
    let answered = answer(&mut child, &helper.server, limit);
    // It may have ended already.
    let _ = child.kill();
    let _ = child.wait();
    match answered {
        None => Err(HelperError::TimedOut { program, field, seconds: limit.as_secs() }),
        Some((status, printed)) if status.success() => {
            let keys = helper.answer(&printed).map_err(|source| HelperError::Answer { program, source })?;
            Ok(Some(keys))
        }
        Some((_, printed)) if printed.trim() == NOT_FOUND => Ok(None),
        Some((status, _)) => {
            Err(HelperError::Failed { program, field, status: status.to_string(), server: helper.server.clone() })
        }
    }
}

fn start(program: &str) -> std::io::Result<Child> {
    Command::new(program).arg("get").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()
}

/// Its end and what it printed; none where that takes too long.
fn answer(child: &mut Child, server: &str, limit: Duration) -> Option<(ExitStatus, Zeroizing<String>)> {
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
        assert!(answer(&mut child, "a.b", Duration::from_millis(20)).is_none());
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let name = "waybill-no-such-helper".to_owned();
        let helper = CredentialHelper { name, server: "a.b".to_owned(), field: "credsStore" };
        let error = ask(&helper, LIMIT).unwrap_err().to_string();
        assert!(error.contains("docker-credential-waybill-no-such-helper (credsStore)"), "{error}");
    }
}
