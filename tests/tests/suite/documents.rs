//! What the documents say can be done: commands exist, paths lead somewhere.

use std::{fs, path::Path, process::Command, time::Duration};

use serde_json::Value;
use waybill_platform::log::supported;
use waybill_tests::{
    find,
    nats::OLDEST,
    process::Process,
    require,
    scratch::Scratch,
    stack::{Plan, Stack},
};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// What people read.
const DOCUMENTS: [&str; 9] = [
    "README.md",
    "ARCHITECTURE.md",
    "DEBUGGING.md",
    "REGISTRIES.md",
    "OPERATIONS.md",
    "SECURITY.md",
    "CONTRIBUTING.md",
    "PERFORMANCE.md",
    "CHANGELOG.md",
];

fn document(name: &str) -> String {
    fs::read_to_string(Path::new(ROOT).join(name)).unwrap()
}

/// What a document has of our commands: indented lines, which go on after a backslash, without the comment behind them, and words
/// between backticks.
pub(crate) fn commands(text: &str) -> Vec<String> {
    let text = &text.replace(" \\\n", " ");
    let indented = text.lines().filter_map(|line| line.strip_prefix("    ")?.split(" #").next());
    let ticked = text.split('`').skip(1).step_by(2);
    let lines = indented.chain(ticked).map(|command| command.trim().replace('\n', " "));
    lines.filter(|command| command.starts_with("waybill ")).collect()
}

/// Words of a command line, of which those in single quotes are one.
pub(crate) fn words(command: &str) -> Vec<String> {
    let parts = command.split('\'').enumerate();
    let split = parts.flat_map(|(number, part)| match number % 2 {
        0 => part.split_whitespace().map(str::to_owned).collect(),
        _ => vec![part.to_owned()],
    });
    split.collect()
}

#[test]
fn commands_are_found_wherever_they_stand() {
    let text = "Say `waybill dev`, `nats-server` or\n\n    waybill init    # first\n    curl x\n\nthen `waybill\nsecrets list`.";
    assert_eq!(commands(text), ["waybill init", "waybill dev", "waybill secrets list"]);
}

#[test]
fn every_command_is_one_that_the_binary_takes() {
    let binary = require!(find::workspace_binary("waybill"));
    let commands: Vec<String> = DOCUMENTS.iter().flat_map(|name| commands(&document(name))).collect();
    assert!(commands.len() >= 5, "{commands:?}");
    for command in commands {
        // Options are parsed before help is shown: one that does not exist is refused.
        let output = Command::new(&binary).args(&words(&command)[1..]).arg("--help").output().unwrap();
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

/// Path and body of every request that a document makes with curl.
fn requests(text: &str) -> Vec<(String, Value)> {
    let curls = text.split("curl -s http://127.0.0.1:8484").skip(1);
    let posts = curls.filter_map(|rest| {
        let path = rest.split_whitespace().next()?;
        let body = rest.split("\n\n").next()?.split("-d '").nth(1)?.split('\'').next()?;
        Some((path.to_owned(), serde_json::from_str(body).unwrap()))
    });
    posts.collect()
}

/// Runs a command line of a document in a folder that has the files that it names.
async fn run_in(stack: &Stack, folder: &Path, line: &str) {
    let mut child = stack.waybill();
    child.args(&words(line)[1..]).current_dir(folder);
    let finished = Process::run("waybill", child, folder, Duration::from_secs(30)).await.unwrap();
    assert!(finished.status.success(), "{line}: {}{}", finished.stdout, finished.stderr);
}

#[tokio::test]
async fn what_the_readme_asks_of_the_gateway_is_done() {
    let stack = require!(Plan::default().workers(&["node-1"]).start().await);
    let readme = document("README.md");
    let requests = requests(&readme);
    assert_eq!(requests.len(), 2, "a build and a container");
    for (path, body) in requests {
        let answer = stack.post(&path, &body).await;
        assert!(answer.status.is_success(), "{path}: {answer:?}");
        if path == "/v1/builds" {
            assert_eq!(answer.text("outcome"), "saved");
        }
    }
    stack.wait_for_event("ContainerCredentialsAttached", "c-1").await;

    let folder = Scratch::new("documents").unwrap();
    for name in ["credentials.json", "new-credentials.json"] {
        fs::write(folder.path().join(name), r#"{"USERNAME":"puller","PASSWORD":"other"}"#).unwrap();
    }
    let all = commands(&readme).into_iter().chain(commands(&document("REGISTRIES.md")));
    let here = |line: &String| {
        line.starts_with("waybill secrets") || line.starts_with("waybill check ") && !line.contains("--live")
    };
    let lines: Vec<String> = all.filter(here).collect();
    assert!(lines.len() >= 5, "{lines:?}");
    for line in lines {
        run_in(&stack, folder.path(), &line).await;
    }
}

#[test]
fn every_path_leads_somewhere() {
    for name in DOCUMENTS {
        let text = document(name);
        let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        let ticked = text.split('`').skip(1).step_by(2).filter(|word| word.contains('/'));
        let folders = ["infra/", "schemas/", "services/", "tests/"];
        let paths: Vec<&str> =
            links.chain(ticked).filter(|path| folders.iter().any(|folder| path.starts_with(folder))).collect();

        for path in paths {
            let file = path.split(' ').next().unwrap();
            assert!(Path::new(ROOT).join(file).exists(), "{name} names {file}, which is not there");
        }
    }
}

/// The doctor, the wrapper, the README and these tests ask for the same server.
#[test]
fn one_version_of_nats_server_is_the_oldest() {
    assert_eq!(supported("0.0.0").unwrap_err(), format!("run nats-server {OLDEST} or later"));
    for (file, words) in [
        ("README.md", format!("`nats-server` ({OLDEST} or newer)")),
        ("infra/justw", format!("nats_minimum={OLDEST}\n")),
    ] {
        assert!(document(file).contains(&words), "{file} does not say {words}");
    }
}

/// Nothing but what a newcomer expects at the top.
#[test]
fn the_top_level_stays_small() {
    let files = ["Cargo.toml", "Cargo.lock", "justfile", "LICENSE"];
    let folders = ["services", "schemas", "infra", "tests", "target"];
    for entry in fs::read_dir(ROOT).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let expected = name.starts_with('.')
            || [&files[..], &folders[..], &DOCUMENTS[..]].iter().any(|names| names.contains(&name.as_str()));
        assert!(expected, "{name} does not belong at the top level");
    }
}

/// A file is one idea; past 400 lines there is a second one in it.
#[test]
fn sources_stay_readable() {
    let mut seen = 0;
    for folder in ["services", "schemas", "tests"] {
        visit(&Path::new(ROOT).join(folder), &mut |path, text| {
            seen += 1;
            assert!(text.starts_with("//!"), "{} does not say what it is", path.display());
            assert!(text.lines().count() <= 400, "{} has {} lines", path.display(), text.lines().count());
        });
    }
    assert!(seen > 100, "only {seen} sources");
}

pub(crate) fn visit(folder: &Path, look: &mut impl FnMut(&Path, &str)) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            visit(&path, look);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            look(&path, &fs::read_to_string(&path).unwrap());
        }
    }
}
