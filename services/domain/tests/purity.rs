//! Invariant 3: the core has no I/O, async, clock, randomness or environment, neither itself nor through a dependency.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// Crates that do I/O, run tasks, read a clock or make random numbers.
const FORBIDDEN_CRATES: &[&str] = &[
    "async-nats",
    "aws-",
    "axum",
    "getrandom",
    "hyper",
    "mio",
    "nkeys",
    "oci-client",
    "opentelemetry",
    "rand",
    "rand_core",
    "redb",
    "reqwest",
    "rustls",
    "socket2",
    "tokio",
    "tracing",
    "futures",
    "async-std",
    "chrono",
    "jiff",
    "fastrand",
];

/// What the sources must not say, with the reason.
const FORBIDDEN_WORDS: &[(&str, &str)] = &[
    ("std::fs", "I/O"),
    ("std::io", "I/O"),
    ("std::net", "I/O"),
    ("std::process", "I/O"),
    ("std::env", "environment"),
    ("env!(", "environment"),
    ("include_str!", "a build-time file"),
    ("std::thread", "concurrency"),
    ("std::sync::Mutex", "shared state"),
    ("thread_local!", "shared state"),
    ("SystemTime", "clock"),
    ("Instant", "clock"),
    ("now_utc", "clock"),
    ("now_local", "clock"),
    ("new_v4", "randomness"),
    ("new_v7", "randomness"),
    ("RandomState", "randomness"),
    ("HashMap", "iteration order differs from run to run"),
    ("HashSet", "iteration order differs from run to run"),
    ("async ", "async"),
    (".await", "async"),
    ("println!", "I/O"),
    ("unsafe", "the core has no need of it"),
];

#[test]
fn no_dependency_does_io() {
    let output = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--offline",
            "--package",
            "waybill-domain",
            "--edges",
            "normal",
            "--prefix",
            "none",
            "--format",
            "{p}",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "cargo tree: {}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout).unwrap();
    assert!(tree.contains("waybill-schemas"), "the tree is empty:\n{tree}");
    for name in tree.lines().filter_map(|line| line.split_whitespace().next()) {
        let forbidden = FORBIDDEN_CRATES.iter().any(|crate_name| match crate_name.strip_suffix('-') {
            Some(prefix) => name.starts_with(prefix),
            None => name == *crate_name,
        });
        assert!(!forbidden, "waybill-domain depends on {name}");
    }
}

#[test]
fn no_source_reaches_outside() {
    let mut seen = 0;
    for path in sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")) {
        let text = std::fs::read_to_string(&path).unwrap();
        let production = text.split("#[cfg(test)]").next().unwrap();
        for (number, line) in production.lines().enumerate() {
            let code = line.split("//").next().unwrap();
            for (word, reason) in FORBIDDEN_WORDS {
                assert!(!code.contains(word), "{}:{}: {word} ({reason})", path.display(), number + 1);
            }
        }
        seen += 1;
    }
    assert!(seen > 5, "only {seen} sources were read");
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| match path.is_dir() {
            true => sources(&path),
            false => vec![path],
        })
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .collect()
}
