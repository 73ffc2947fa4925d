//! What a person at a terminal gets, colours and a bar within 80 columns; and what a pipe gets, neither.

use std::time::Duration;

use serde_json::json;
use waybill_tests::{
    process::{Finished, Process},
    python::Python,
    require,
    stack::{Plan, Stack},
};

const SOON: Duration = Duration::from_secs(60);
/// Runs a program on a terminal of its own, and copies what is written there.
const PTY: &str = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))";

/// What the command writes to its terminal is in `stdout`.
async fn on_a_terminal(python: &Python, stack: &Stack, env: &[(&str, &str)], arguments: &[&str]) -> Finished {
    let waybill = stack.waybill();
    let mut command = python.command();
    command.args(["-c", PTY]).arg(waybill.get_program()).args(waybill.get_args()).args(arguments);
    for (key, value) in waybill.get_envs() {
        match value {
            Some(value) => command.env(key, value),
            None => command.env_remove(key),
        };
    }
    // What a test wants to know of the services is not what a person sets.
    command.env_remove("WAYBILL_LOG").env_remove("WAYBILL_LOG_FORMAT");
    command.env_remove("NO_COLOR").envs(env.iter().copied());
    Process::run("terminal", command, stack.dir(), SOON).await.unwrap()
}

/// The text without escape sequences, and those.
fn parted(text: &str) -> (String, Vec<String>) {
    let mut pieces = text.split("\u{1b}[");
    let mut plain = pieces.next().unwrap_or_default().to_owned();
    let mut codes = Vec::new();
    for piece in pieces {
        let end = piece.find(|c: char| c.is_ascii_alphabetic()).expect("a sequence ends") + 1;
        codes.push(piece[..end].to_owned());
        plain += &piece[end..];
    }
    (plain, codes)
}

/// What is seen on the terminal, line by line; a line that is written over is a line.
fn assert_fits(arguments: &[&str], finished: &Finished) -> String {
    let (plain, _) = parted(&finished.stdout);
    for line in plain.split(['\n', '\r']) {
        assert!(line.chars().count() <= 80, "{arguments:?}: {} columns: {line}", line.chars().count());
        assert!(!line.contains(char::is_control), "{arguments:?}: {line:?}");
    }
    plain
}

#[tokio::test]
async fn colours_and_a_bar_are_for_terminals() {
    let python = require!(Python::with_modules(&["pty"]));
    let stack = require!(Plan::default().start().await);
    stack.build("acme", "img", "127.0.0.1:1/team/app:1", json!("user:secret")).await;
    stack.container("acme", "c-1", "img", "w1").await;
    stack.wait_for_outcome("c-1").await;
    for arguments in [
        ["events"].as_slice(),
        &["explain", "container", "c-1"],
        &["projection", "images"],
        &["doctor"],
        &["secrets"],
        &["check", "127.0.0.1:1/team/app:1"],
        &["replay"],
    ] {
        let seen = on_a_terminal(&python, &stack, &[], arguments).await;
        let plain = assert_fits(arguments, &seen);
        let dull = on_a_terminal(&python, &stack, &[("NO_COLOR", "1")], arguments).await;
        assert_fits(arguments, &dull);
        let piped = stack.run(arguments).await;
        let colours = |text: &str| parted(text).1.into_iter().any(|code| code.ends_with('m'));
        let bar = arguments == ["replay"];
        assert_eq!(colours(&seen.stdout), !bar, "{arguments:?}: {:?}", seen.stdout);
        assert!(!colours(&dull.stdout), "NO_COLOR, {arguments:?}: {:?}", dull.stdout);
        assert!(!piped.stdout.contains('\u{1b}') && !piped.stderr.contains(['\u{1b}', '\r']), "{arguments:?}");
        let drawn =
            plain.split(['\n', '\r']).any(|line| line.starts_with('[') && line.contains('%') && line.ends_with("/s"));
        assert_eq!(drawn, bar, "{arguments:?}: {plain}");
    }

    let nowhere = [("WAYBILL_SCHEDULER_PROJECTION", "/none/projection.redb")];
    let told = on_a_terminal(&python, &stack, &nowhere, &["projection"]).await;
    let plain = assert_fits(&["projection"], &told);
    assert!(plain.contains("error: cannot read the live projection") && plain.contains("because: "), "{plain}");
}
