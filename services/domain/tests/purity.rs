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
    ("env!(", "environment"),
    ("include_str!", "a build-time file"),
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
    ("async fn", "async"),
    ("async move", "async"),
    ("async {", "async"),
    ("async |", "async"),
    (".await", "async"),
    ("println!", "I/O"),
    ("unsafe", "the core has no need of it"),
];

/// Modules of the standard library that reach outside; of `net`, the addresses are only text.
const FORBIDDEN_MODULES: &[&str] = &["fs", "io", "net", "process", "env", "thread"];
const ADDRESSES: &[&str] = &["Ipv4Addr", "Ipv6Addr", "IpAddr"];

/// What of the code reaches outside, and why that must not be. Comments are left out, and spaces do not matter.
fn outside(code: &str) -> Option<String> {
    let code: String = code.lines().map(|line| line.split("//").next().unwrap()).collect::<Vec<_>>().join(" ");
    let word = FORBIDDEN_WORDS.iter().find(|(word, _)| code.contains(word));
    if let Some((word, reason)) = word {
        return Some(format!("{word} ({reason})"));
    }
    let tight: String = code.replace(" as ", ",").split_whitespace().collect::<Vec<_>>().join("");
    let tight = ADDRESSES.iter().fold(tight, |tight, name| tight.replace(&format!("net::{name}"), name));
    let starts = |at: usize| !tight[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
    let path = |module: &str| tight.match_indices(&format!("{module}::")).any(|(at, _)| starts(at));
    let imported =
        |module: &str| imports(&tight).any(|import| import.split(['{', '}', ',', ':']).any(|name| name == module));
    let module = FORBIDDEN_MODULES.iter().find(|module| path(module) || imported(module));
    module.map(|module| format!("{module} (I/O, concurrency or environment)"))
}

/// What each `use std…;` or `use core…;` takes, without spaces.
fn imports(tight: &str) -> impl Iterator<Item = &str> {
    let of = |root: &'static str| tight.split(root).skip(1).filter_map(|rest| rest.split(';').next());
    of("usestd::").chain(of("usecore::"))
}

#[test]
fn every_way_outside_is_seen() {
    let cases = [
        ("std::fs::read(path)", true),
        ("use std::{fs, path::Path};\nfn f() { fs::read(p); }", true),
        ("use std::{\n    collections::BTreeMap,\n    fs,\n};", true),
        ("use std::{collections::BTreeMap, fs as files};", true),
        ("use std::io;", true),
        ("io::stdin()", true),
        ("use std::net::TcpStream;", true),
        ("net::TcpStream::connect(a)", true),
        ("process::id()", true),
        ("env::var(name)", true),
        ("use std::{thread, time::Duration};", true),
        ("async move { }", true),
        ("use core::net::Ipv6Addr;", false),
        ("use std::{collections::BTreeMap, path::Path};", false),
        ("crate::audio::fs_name(process_name)", false),
        ("// std::fs is not used", false),
    ];
    for (code, seen) in cases {
        assert_eq!(outside(code).is_some(), seen, "{code}: {:?}", outside(code));
    }
}

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
    for folder in ["src", "../../schemas/src"] {
        let sources = sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder));
        assert!(sources.len() > 5, "only {} sources in {folder}", sources.len());
        for path in sources {
            let text = std::fs::read_to_string(&path).unwrap();
            let production = text.split("#[cfg(test)]").next().unwrap();
            assert_eq!(outside(production), None, "{}", path.display());
        }
    }
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
