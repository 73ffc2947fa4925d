//! The operations guide: each command in it is run.

use std::{fs, path::Path, time::Duration};

use serde_json::json;
use waybill_tests::{
    find,
    process::{Finished, Process, command},
    require,
    scratch::Scratch,
    stack::{Plan, Stack},
};

use super::{
    documents::{commands, words},
    forge::publish_torn,
};

const GUIDE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../OPERATIONS.md");

/// Commands that run until they are stopped: every stack of these tests is made of them.
const SERVICES: [&str; 6] = [
    "waybill dev",
    "waybill gateway",
    "waybill issuer",
    "waybill scheduler",
    "waybill worker --id node-1",
    "waybill scheduler --rebuild",
];

async fn run(stack: &Stack, folder: &Path, line: &str) -> Finished {
    let mut child = stack.waybill();
    let here = stack.gateway_url().replace("http://", "");
    child.args(words(line)[1..].iter().map(|word| word.replace("127.0.0.1:8484", &here))).current_dir(folder);
    Process::run("waybill", child, folder, Duration::from_secs(60)).await.unwrap()
}

/// The situation of the guide: a workspace acme with a secret team-pull, and messages from 17 on that cannot be read.
async fn situation() -> Result<Stack, waybill_tests::error::StartError> {
    let stack = Plan::default().workers(&["node-1"]).setting("WAYBILL_LOG", "warn").start().await?;
    let login = json!({ "registry": "ghcr.io", "credentials": "puller:password" });
    stack.put_secret("acme", "team-pull", &login).await;
    while publish_torn(&stack).await < 17 {}
    Ok(stack)
}

#[tokio::test]
async fn every_command_is_run() {
    let stack = require!(situation().await);
    let folder = Scratch::new("operations").unwrap();
    fs::write(folder.path().join("new-credentials.json"), r#"{"USERNAME":"puller","PASSWORD":"other"}"#).unwrap();
    let guide = fs::read_to_string(GUIDE).unwrap();
    let mut ran = 0;
    for line in commands(&guide) {
        let arguments = words(&line);
        if SERVICES.contains(&line.as_str()) {
            continue;
        }
        let finished = match arguments[1].as_str() {
            // A folder of its own for each: this one's servers run.
            "init" => {
                let mut child = command(find::workspace_binary("waybill").unwrap());
                child.arg("--home").arg(folder.path().join(format!("home-{ran}"))).args(&arguments[1..]);
                Process::run("waybill", child, folder.path(), Duration::from_secs(60)).await.unwrap()
            }
            // A node's folder is its own too, and its gateway is this one.
            "--home" => {
                let mut child = stack.waybill_in(&folder.path().join("node"));
                let place = |word: &String| match word.starts_with("http://") {
                    true => stack.gateway_url(),
                    false => word.clone(),
                };
                child.args(arguments.iter().skip(3).map(place)).arg("--only").current_dir(folder.path());
                Process::run("waybill", child, folder.path(), Duration::from_secs(60)).await.unwrap()
            }
            _ => run(&stack, folder.path(), &line).await,
        };
        if arguments[1] == "join-token" {
            fs::write(folder.path().join("token"), &finished.stdout).unwrap();
        }
        let said = format!("{}{}", finished.stdout, finished.stderr);
        let (expected, reason): (&[i32], &str) = match arguments[1].as_str() {
            // Restored into servers that have no such stream; `cluster::drill` does that.
            "restore" => (&[2], "exists, up to sequence"),
            // This one server keeps one copy; `cluster::drill` has three.
            "replicas" => (&[2], "does not change the stream"),
            "doctor" | "replay" | "forecast" => (&[0, 1], ""),
            // The messages may be on another subject, or an old key still needed.
            "quarantine" if arguments[2] == "discard" => (&[0, 2], ""),
            "keys" => (&[0, 1], ""),
            _ => (&[0], ""),
        };
        let words = said.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(expected.contains(&finished.status.code().unwrap()) && words.contains(reason), "{line}: {said}");
        ran += 1;
    }
    assert!(ran >= 20, "{ran} commands");
    for file in ["log.backup", "vault.backup", "nightly-log.backup", "nightly-vault.backup"] {
        assert!(folder.path().join(file).is_file(), "{file}");
    }
}
