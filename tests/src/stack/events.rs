//! The log as `waybill events --json` shows it.

use std::time::Duration;

use serde_json::Value;

use super::Stack;
use crate::{
    process::{Finished, Process},
    wait::eventually,
};

const READ: Duration = Duration::from_secs(30);
const WAIT: Duration = Duration::from_secs(30);

/// One event of the log.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// Stream sequence.
    pub sequence: u64,
    /// Name of the event without its version; empty for what is no event.
    pub name: String,
    /// The body; null for what is no event.
    pub data: Value,
    /// The whole line.
    pub line: Value,
}

impl Recorded {
    /// From a line of JSON.
    pub fn parse(line: &str) -> Self {
        let line: Value = serde_json::from_str(line).expect("a line of JSON");
        let text = |field: &str| line[field].as_str().unwrap_or_default();
        Self {
            sequence: text("sequence").parse().expect("a sequence"),
            name: text("type").trim_start_matches("waybill.v1.").to_owned(),
            data: line["data"].clone(),
            line,
        }
    }

    /// A text field of the body; empty when there is none.
    pub fn text(&self, field: &str) -> &str {
        self.data[field].as_str().unwrap_or_default()
    }

    /// Whether it is this event about this container.
    pub fn is(&self, name: &str, container_id: &str) -> bool {
        self.name == name && self.text("container_id") == container_id
    }
}

impl Stack {
    /// Runs a subcommand to its end.
    pub async fn run(&self, arguments: &[&str]) -> Finished {
        self.run_within(READ, arguments).await
    }

    /// Likewise, where there may be more to do.
    pub async fn run_within(&self, limit: Duration, arguments: &[&str]) -> Finished {
        let mut child = self.waybill();
        child.args(arguments);
        let log_dir = self.scratch.folder("commands").expect("a folder for output");
        child.current_dir(&log_dir);
        Process::run("waybill", child, &log_dir, limit).await.expect("the command ends")
    }

    /// Everything in the log.
    pub async fn events(&self) -> Vec<Recorded> {
        let finished = self.run(&["events", "--json"]).await;
        assert!(finished.status.success(), "{}", finished.stderr);
        finished.stdout.lines().map(Recorded::parse).collect()
    }

    /// Waits until the log satisfies a condition, and returns what it yields.
    pub async fn wait_for<T>(&self, what: &str, mut condition: impl FnMut(&[Recorded]) -> Option<T>) -> T {
        let mut last = Vec::new();
        let found = eventually(WAIT, what, async || {
            last = self.events().await;
            condition(&last)
        });
        match found.await {
            Ok(found) => found,
            Err(error) => {
                let lines: Vec<String> = last.iter().map(|event| event.line.to_string()).collect();
                panic!("{error}; the log:\n{}\n{}", lines.join("\n"), self.logs());
            }
        }
    }

    /// Waits for an event about a container.
    pub async fn wait_for_event(&self, name: &str, container_id: &str) -> Recorded {
        let wanted = |events: &[Recorded]| events.iter().find(|event| event.is(name, container_id)).cloned();
        self.wait_for(&format!("{name} of {container_id}"), wanted).await
    }

    /// Waits for the end of a container's story: a pull, or a provider that failed.
    pub async fn wait_for_outcome(&self, container_id: &str) -> Recorded {
        let ends = ["ImagePullSucceeded", "ImagePullFailed", "CredentialProviderFailed"];
        let end = |events: &[Recorded]| {
            events.iter().find(|event| ends.iter().any(|name| event.is(name, container_id))).cloned()
        };
        self.wait_for(&format!("the outcome of {container_id}"), end).await
    }
}
