//! Room on the disk of a nats-server that runs on this machine. A log without room takes no events.

use std::{io, path::Path};

use super::finding::Finding;

const CHECK: &str = "disk";
/// Less than this is too little, in bytes.
const LEAST: u64 = 1 << 30;

/// Looks at the file system of a folder.
pub(super) fn check(folder: &Path) -> Finding {
    judge(free_bytes(folder).map_err(|error| error.to_string()))
}

fn judge(free: Result<u64, String>) -> Finding {
    match free {
        Ok(free) if free >= LEAST => Finding::ok(CHECK, format!("{} free for data/nats", spell(free))),
        Ok(free) => Finding::attention(
            CHECK,
            format!("{} free for data/nats: without room the log takes no events", spell(free)),
            "make room; nothing of the log can be deleted, so that this is another disk or other files of this one",
        ),
        Err(why) => Finding::unknown(CHECK, why, "look at the disk of data/nats"),
    }
}

fn spell(bytes: u64) -> String {
    let mebibytes = bytes >> 20;
    match mebibytes {
        0..1024 => format!("{mebibytes} MiB"),
        _ => format!("{} GiB", mebibytes >> 10),
    }
}

/// Bytes that a user without privileges can still write.
fn free_bytes(folder: &Path) -> io::Result<u64> {
    let stats = rustix::fs::statvfs(folder)?;
    Ok(stats.f_bavail.saturating_mul(stats.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Status::{Attention, Ok as Well, Unknown};

    #[test]
    fn little_room_needs_attention() {
        let cases = [
            (Ok(3 << 30), Well, "3 GiB free"),
            (Ok(LEAST), Well, "1 GiB free"),
            (Ok(LEAST - 1), Attention, "1023 MiB free"),
            (Ok(0), Attention, "0 MiB free"),
            (Err("why".to_owned()), Unknown, "why"),
        ];
        for (free, status, says) in cases {
            let finding = judge(free);
            assert_eq!(finding.status, status, "{finding:?}");
            assert!(finding.says.contains(says), "{finding:?}");
        }
    }

    #[test]
    fn a_folder_has_a_disk() {
        let folder = tempfile::tempdir().unwrap();
        assert!(free_bytes(folder.path()).is_ok());
        assert_eq!(check(&folder.path().join("none")).status, Unknown);
    }
}
