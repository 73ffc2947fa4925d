//! `waybill replay` and `waybill projection`: what was decided is decided again, and any moment of the past can be asked.

mod asof;
mod command;
mod diff;
pub(crate) mod history;
mod live;
mod verify;

use serde_json::Value;
use waybill_tests::{process::Finished, stack::Stack};

const SOON: std::time::Duration = std::time::Duration::from_secs(60);

/// Runs a command that succeeds, and returns its lines of JSON.
async fn json(stack: &Stack, arguments: &[&str]) -> Vec<Value> {
    let finished = stack.run(&[arguments, &["--json"]].concat()).await;
    assert!(finished.status.success(), "{arguments:?}: {}", finished.stderr);
    finished.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Runs a command as people do, and looks at what they would see.
async fn text(stack: &Stack, arguments: &[&str]) -> Finished {
    let finished = stack.run(arguments).await;
    for line in finished.stdout.lines() {
        assert!(line.chars().count() <= 80, "{arguments:?} is too wide: {line}");
        assert!(!line.contains(char::is_control), "{arguments:?} writes codes into a pipe: {line:?}");
    }
    assert!(!finished.stderr.contains('\u{1b}'), "{}", finished.stderr);
    finished
}
